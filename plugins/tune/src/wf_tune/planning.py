"""Reading the command line of ``wf tune``: run file, figure and settings of the search; building the defaults."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from wf.declarations.component import REQUIRED
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS, option_prefix
from wf.engine.figures import Monitor, metric_of
from wf.errors import DataError, UsageError
from wf.parameters import takes_several, with_names, without_null
from wf.registry import Registry
from wf.typed import as_wanted
from wf_building.builder import Builder
from wf_building.options import check_options, missing
from wf_building.scopes import SCOPED
from wf_cli.arguments import ADD, REMOVE
from wf_cli.commands import everywhere_of
from wf_cli.common import of_line, registry_of
from wf_cli.output import tell
from wf_run.cli.run_options import kind_of
from wf_run.cli.running import from_line
from wf_run.cli.starting import uncollected
from wf_run.opening import place_of_files
from wf_run.planning.defaults import with_defaults
from wf_run.planning.names import check_value
from wf_run.planning.plan import prepare
from wf_run.runfiles.lists import divided
from wf_run.runfiles.reading import read
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import RunFile, merge
from wf_run.runfiles.runfile import options_of as options_of_table
from wf_run.runfiles.said import said_in
from wf_run.trust.code import Source
from wf_run.trust.guards import guard_for
from wf_tune.code import warm_up
from wf_tune.space import Dimension, Space, Value, at, document_of, given_in, without

if TYPE_CHECKING:
    from wf_compare.training import Setting
    from wf_tune.directory import Directory

OWN = ("searcher", "pruner")
"""The component kinds of this command; run files do not have them."""
Wish = tuple[str, Value]
"""A setting and one of its values."""
MORE_POINTS = 16
"""How many settings besides are tried with a value that cannot be built with the first ones."""


def freeze() -> None:
    """Exclude all objects from garbage collection, which would copy memory pages that forked processes share."""
    gc.collect()
    gc.freeze()


def try_defaults(
    ctx: click.Context,
    plan: Any,
    registry: Registry,
    folders: Sequence[Path],
    options: Mapping[str, Any],
    sources: Sequence[Source],
) -> tuple[Any, Setting, dict[str, Any]]:
    """Build the defaults in a separate process, and meanwhile warm up this one for the trials.

    Returns:
        The result, the setting shared by all processes, and the code of the components, from `wf_tune.code.warm_up`.
    """
    with uncollected("" if options["quiet"] else "loading torch ..."):
        from wf_compare.training import try_out
    from wf_compare.workers import Died, Pool, preload

    setting = setting_of(ctx, registry, of_run(plan), folders, whole("jobs", options["jobs"]))
    setting.prepare(plan)
    code: dict[str, Any] = {}

    def tasks() -> Iterator[tuple[str, Sequence[Any]]]:
        yield "defaults", (plan, setting)
        preload(["torch._dynamo", "wf_tune.search"])  # meanwhile
        code.update(warm_up(sources, setting))

    pool: Pool[str] = Pool(try_out, 2)
    phase = "" if options["quiet"] else "preparing the defaults ..."
    with uncollected(phase), closing(pool.run(tasks())) as results:
        [(_, trial)] = list(results)
    if isinstance(trial, Died):
        raise DataError(f"the defaults cannot be built: {trial.reason}")
    if trial.error:
        kinds: dict[int, type[Exception]] = {4: DataError}
        raise kinds.get(trial.exit_code, UsageError)(
            f"the defaults cannot be trained: {trial.error}\n"
            "  they are the settings without --vary; a run file may have values for those that are varied"
        )
    preload(trial.modules)
    return trial, setting, code


def try_choices(
    base: RunFile, space: Space, prepare: Callable[[RunFile], Any], trial: Any, setting: Setting, *, quiet: bool
) -> None:
    """Build a run for each varied component and general key, each value in turn, as the trials will.

    A value that cannot be built with the first values of the others is tried with some more of these.

    Args:
        base: The run file of the search.
        space: The search space.
        prepare: Prepares a run file.
        trial: The defaults, from `try_defaults`.
        setting: The setting shared by all processes.
        quiet: Whether to say nothing.

    Raises:
        UsageError: With every value that no trial can have, and why. A `DataError` if the data are the cause.
    """
    known = resolved(trial.run_file)
    wanted = [
        (one.key, value)
        for one in space.dimensions
        if "." not in one.key
        for value in one.choices
        if one.value_of(at(known, one.key)) != value
    ]

    def tasks(wishes: Iterable[Wish], begin: int, num: int) -> dict[tuple[Wish, int], Any]:
        return {
            (wish, place): (prepare(document_of(base, point, space)[0]), setting)
            for wish in wishes
            for place, point in enumerate(islice(space.samples(dict([wish])), begin, begin + num))
        }

    first = _built(tasks(wanted, 0, 1), setting, quiet=quiet)
    failed = {wish: found for (wish, _), found in first.items() if found.error}
    more = _built(tasks(failed, 1, MORE_POINTS), setting, quiet=quiet)
    possible = {wish for (wish, _), found in more.items() if not found.error}
    if impossible := {wish: found for wish, found in failed.items() if wish not in possible}:
        raise _cannot_be_trained(impossible)


def _built(tasks: Mapping[Any, Sequence[Any]], setting: Setting, *, quiet: bool) -> dict[Any, Any]:
    """The results of building runs, by the keys of `tasks`."""
    from wf_compare.training import Trial, try_out
    from wf_compare.workers import Died, Pool, preload

    found = {}
    pool: Pool[Any] = Pool(try_out, setting.jobs)
    phase = "" if quiet or not tasks else "preparing the choices ..."
    with uncollected(phase), closing(pool.run(tasks.items())) as results:
        for name, one in results:
            found[name] = Trial(error=one.reason, exit_code=4) if isinstance(one, Died) else one
            preload(found[name].modules)
    return {name: found[name] for name in tasks}


def _cannot_be_trained(failed: Mapping[Wish, Any]) -> Exception:
    lines = []
    for (key, value), one in failed.items():
        lines += [f"no trial with {key}={value} can be trained: {one.error}", f"leave {value} out of --vary {key}"]
    kinds: dict[int, type[Exception]] = {4: DataError}
    return kinds.get(next(iter(failed.values())).exit_code, UsageError)("\n  ".join(lines))


def setting_of(
    ctx: click.Context, registry: Registry, of_run: Sequence[str], folders: Sequence[Path], jobs: int
) -> Setting:
    """The settings shared by the processes."""
    from wf_compare.training import Setting

    everywhere = everywhere_of(ctx)
    return Setting(
        plugins=tuple(everywhere.plugins),
        of_run=tuple(of_run),
        guard=registry.guard,
        only_builtin=everywhere.only_builtin,
        folders=tuple(folders),
        jobs=jobs,
    )


def document_of_line(
    ctx: click.Context, run_files: Sequence[str], options: Mapping[str, Any]
) -> tuple[RunFile, Sequence[Path], Registry]:
    """The run file given by the command line, the folders of its relative paths, and the registry."""
    base, folders = read([Path(file) for file in run_files] or None, options["variant"])
    settings = {key: value for key, value in options.items() if kind_of(key) or key in GENERAL}
    document, notes = merge(base, from_line(settings, ctx.meta["options"], options["lr"]))
    for note in (*said_in(base).notes, *notes):
        tell(note)
    line = [name for name in everywhere_of(ctx).plugins if not name.startswith("no:")]
    if names := [*document.get("plugins", []), *line]:
        document["plugins"] = list(dict.fromkeys(names))
    place, ask = place_of_files(said_in(base).files), None
    if place is not None:
        words = of_line(ctx, options=ctx.meta["options"], settings=options)
        ask = partial(
            guard_for, place, [(resolve(document, lenient=True), folders)], line=words["line"], trust=words["trust"]
        )
    return document, folders, registry_of(ctx, base.get("plugins", []), ask)


def settled(document: RunFile, plan: Mapping[str, Any], builder: Builder) -> RunFile:
    """The run file as it can be written: 2021 is text where an option takes text, as long as its typed form is known.

    Args:
        document: The run file with the values of the line.
        plan: The same, prepared: it has a name for each component, also for the one that reads ``house.csv``.
        builder: Knows the components.
    """
    found = dict(document)
    for kind in KINDS.keys() & document.keys():
        value = document[kind]
        if kind in KINDS.several and isinstance(value, list):
            signs = [divided(table) for table in value]
            found[kind] = [
                table if sign == REMOVE else _settled(kind, table, name, builder)
                for table, (sign, name) in zip(value, signs, strict=True)
            ]
        elif isinstance(value, Mapping) and isinstance(
            use := (plan.get(kind) or {}).get("use") or value.get("use"), str
        ):
            found[kind] = _settled(kind, value, use, builder)
    return found


def _settled(kind: str, table: Any, use: str, builder: Builder) -> Any:
    if not isinstance(table, Mapping) or (entry := builder.entry(kind, use)) is None:
        return table
    params = {param.name: param for param in builder.params(entry)}
    found = dict(table)
    for name in params.keys() & table.keys():
        value, param = table[name], params[name]
        if param.kind is None:
            found[name] = as_wanted(value, param.type)
        elif isinstance(value, Mapping) and isinstance(value.get("use"), str):
            found[name] = _settled(param.kind, value, value["use"], builder)
    return found


def take_own(ctx: click.Context, options: dict[str, Any]) -> None:
    """Take the options of the searcher and the pruner out of the run's options."""
    for kind, default in zip(OWN, ("tpe", "none"), strict=True):
        table = ctx.meta["options"].pop(kind, {})
        name = options[kind] or table.get("use") or default
        options[kind], options[f"{kind}_table"] = name, {"use": name, **table}


def figure_of_trial(by: str | None, trial: Any, plans: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """The figure to improve, and whether larger is better.

    Args:
        by: The user's choice.
        trial: The defaults.
        plans: Prepared run files of other points, which must have the same figure.
    """
    from wf_compare.results import check_same_figure, choose_figure

    chosen = choose_figure(by, trial.figures, [resolved(trial.run_file)], "the trials")
    monitor = Monitor.read(chosen, trial.directions)
    check_same_figure(monitor.figure, plans, trial.figures, "the trials")
    _check_metric(monitor, resolved(trial.run_file), plans)
    return monitor.figure, monitor.direction("--by")


def _check_metric(by: Monitor, defaults: RunFile, plans: Sequence[Mapping[str, Any]]) -> None:
    """Refuse trials without the metric of the figure."""
    wanted = metric_of(by.name, _metrics_of(defaults))
    for plan in plans:
        own = _metrics_of(plan)
        if wanted and own and not any(name.startswith(ADD) for name in own) and wanted not in own:
            raise UsageError(
                f"a trial with metric {' and '.join(own)} has no figure {by.figure}\n"
                f"  add to the metrics of all trials: --vary metric={ADD}A,{ADD}B, or choose another figure: "
                "--by FIGURE"
            )


def _metrics_of(document: Mapping[str, Any]) -> list[str]:
    """The names of the metrics of a run file, with their signs."""
    return [str(table["use"]).partition("@")[0] for table in document.get("metric", [])]


def settings_of(options: Mapping[str, Any], directory: Directory | None) -> dict[str, Any]:
    """The settings that may change from one call to the next."""
    manifest = {} if directory is None else directory.manifest
    known = {"trials": 50, "finalists": 3, "final_repeats": 5} | {
        name: manifest[name] for name in ("trials", "finalists", "final_repeats") if name in manifest
    }
    least = {"trials": 1, "finalists": 0, "final_repeats": 2}
    found = {name: known[name] if options[name] is None else whole(name, options[name], least[name]) for name in known}
    return {**found, "jobs": whole("jobs", options["jobs"])}


def sources_of(base: RunFile, space: Space, folders: Sequence[Path]) -> list[Source]:
    """Run files of trials that together use every component of the space."""
    documents = [document_of(base, {}, space)[0]]
    for one in space.dimensions:
        documents += [document_of(base, {one.key: value}, space)[0] for value in one.choices if "." not in one.key]
    return [(resolve(document, lenient=True), folders) for document in documents]


def space_of_line(base: RunFile, dimensions: Sequence[Dimension], builder: Builder) -> Space:
    """The search space of the command line.

    Args:
        base: The run file with the values of the line.
        dimensions: The settings that are varied.
        builder: Knows the components.
    """
    given = given_in(base, dimensions)
    plan = prepare(without(base, given)[0], builder.registry, builder.folders)
    chosen = {one.key: one.choices for one in dimensions if one.choices}
    defaults = {key: table["use"] for key in chosen if isinstance(table := plan.get(key), Mapping) and "use" in table}
    return Space(
        dimensions, partial(options_of, builder), partial(kind_of_choice, builder, plan, chosen), given, defaults
    )


def check_options_of(
    plans: Sequence[RunFile], space: Space, builder: Builder, known: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Refuse components of trials that lack an option which they need, or have one that they do not know.

    Args:
        plans: Prepared run files of points that together use every component of the space.
        space: The search space.
        builder: Knows the components.
        known: The resolved run file of the defaults, if they have been built: it has the components that the data
            choose.

    Raises:
        UsageError: With the component, the option, and how to give it.
    """
    for kind in dict.fromkeys(one.key.partition(".")[0] for one in space.dimensions):
        if kind not in KINDS:
            continue
        seen: list[Any] = []
        for plan in plans:
            value = with_defaults(plan, builder.registry).get(kind)
            for table in value if isinstance(value, list) else [value]:
                if table and table not in seen:
                    seen.append(table)
                    _check_component(kind, _named(kind, table, known), builder)


def _named(kind: str, table: Any, known: Mapping[str, Any]) -> Any:
    """A table with the name of its component; None if only the data can tell it."""
    if not isinstance(table, Mapping) or "use" in table:
        return table
    own = known.get(kind)
    if isinstance(own, Mapping) and "use" in own:
        return {"use": own["use"], **table}
    if KINDS[kind].chosen_by and not known:
        return None
    raise UsageError(
        f"--vary {kind}.{next(iter(table))}: there is no {kind} that could have the option\n"
        f"  name one: --{kind} NAME, or vary it: --vary {kind}=A,B   see: wf list {KINDS[kind].plural}"
    )


def _check_component(kind: str, table: Any, builder: Builder, prefix: str | None = None) -> None:
    """Check the options of a component and of those inside it as building it would."""
    table = table if isinstance(table, Mapping) else {"use": table}
    use = table.get("use")
    if not isinstance(use, str):
        return
    if use == SCOPED:
        for scope, own in options_of_table(kind, table).items():
            _check_component(kind, own, builder, f"{kind}.{scope}")
        return
    if (entry := builder.entry(kind, use)) is None:
        return
    prefix = option_prefix(kind, use) if prefix is None else prefix
    params, owner = entry.params(), f"{kind} '{entry.component.name}'"
    options = check_options(entry, options_of_table(kind, table), params)
    for param in with_names(params, options):
        if param.name in options:
            value = without_null(options[param.name])
            check_value(param, value, owner, builder.registry)
            if param.kind is not None and value is not None:
                several = takes_several(param.type)
                for one in value if several else [value]:
                    _check_component(param.kind, one, builder, "" if several else f"{prefix}.{param.name}")
        elif param.source is None and param.default is REQUIRED:
            more = f"\n  or vary it: --vary {prefix}.{param.name}=VALUES" if prefix else ""
            raise UsageError(f"{missing(param, owner, prefix)}{more}")


def options_of(builder: Builder, kind: str, name: str) -> Collection[str]:
    """The names of a component's options, without the parameters that run values fill."""
    entry = builder.entry(kind, name)
    return [param.name for param in entry.params() if param.source is None] if entry else []


def kind_of_choice(
    builder: Builder, plan: Mapping[str, Any], chosen: Mapping[str, Sequence[str]], key: str
) -> str | None:
    """The kind of the components that a key chooses; None where its values are no components.

    Args:
        builder: Knows the components.
        plan: A prepared run file.
        chosen: The varied components, by key.
        key: ``optimizer``, or an option that is itself a component, ``scheduler.then``.
    """
    kind, _, option = key.partition(".")
    if not option:
        return kind if kind in KINDS else None
    table = plan.get(kind)
    if kind in KINDS.several:
        name, _, option = option.partition(".")
        uses = [name]
    else:
        uses = list(chosen.get(kind) or ([table["use"]] if isinstance(table, Mapping) and "use" in table else []))
    for use in uses:
        entry = builder.entry(kind, use)
        params = entry.params() if entry is not None else ()
        if found := next((param.kind for param in params if param.name == option and param.kind), None):
            return found
    return None


def check_not_given(ctx: click.Context, space: Space) -> None:
    """Refuse a setting that is both varied and given on the command line."""
    for one in space.dimensions:
        kind, *parts = one.key.split(".")
        option, given = bool(parts), ctx.meta["options"].get(kind)
        for part in parts[:-1]:
            given = given.get(part) if isinstance(given, Mapping) else None
        is_given = option and isinstance(given, Mapping) and parts[-1] in given
        name = kind.replace("-", "_")
        if not option and name in ctx.params:
            is_given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if one.key == "optimizer.lr" and ctx.params.get("lr") is not None:
            raise UsageError("both --lr and --vary optimizer.lr are given; remove one of them")
        if is_given:
            written = f"--{one.key}" if option else f"--{one.key.replace('_', '-')}"
            raise UsageError(f"both {written} and --vary {one.key} are given; remove one of them")


def resolved(text: str) -> RunFile:
    """Parse the text of a resolved run file."""
    import tomllib

    return tomllib.loads(text)


def of_run(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """The plugins that a run file names."""
    return tuple(plan.get("plugins", []))


def whole(name: str, text: str, low: int = 1) -> int:
    """The integer value of an option, checked against its minimum."""
    if not text.isdecimal() or int(text) < low:
        raise UsageError(f"--{name.replace('_', '-')} must be an integer of at least {low}, not {text}")
    return int(text)
