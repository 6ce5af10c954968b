"""``wf tune``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from wf.engine.figures import divided
from wf.errors import DataError, InterruptedRun, UsageError, WfError
from wf.registry import Registry
from wf.terminal import plural
from wf_building.builder import Builder
from wf_cli.commands import everywhere_of
from wf_cli.common import of_line, registry_of
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json, tell, terminal_width
from wf_run.cli.completing import complete_names, complete_runs
from wf_run.cli.run_options import write_options
from wf_run.cli.running import VARIANT, RunCommand
from wf_run.cli.starting import uncollected
from wf_run.directory.naming import place_of
from wf_run.planning.plan import prepare
from wf_run.runfiles.runfile import dump
from wf_run.trust.code import Source
from wf_run.trust.guards import guard_for
from wf_run.trust.records import record
from wf_tune.code import check_code, check_files, warm_up
from wf_tune.planning import (
    OWN,
    check_not_given,
    check_options_of,
    document_of_line,
    figure_of_trial,
    freeze,
    resolved,
    setting_of,
    settings_of,
    settled,
    sources_of,
    space_of_line,
    take_own,
    try_choices,
    try_defaults,
    whole,
)
from wf_tune.space import Space, document_of, nothing_varied, parse

if TYPE_CHECKING:
    from wf_compare.training import Setting
    from wf_tune.directory import Directory
    from wf_tune.judging import Verdict
    from wf_tune.search import Engine
    from wf_tune.trials import Trial, Trials

SECTION = ("vary", "by", "trials", "jobs", "repeats", *OWN, "finalists", "final_repeats", "storage", "join", "resume")
"""The options of a search, in the order of the help."""
ALWAYS = ("quiet", "as_json")
"""Options that every form of the command accepts."""
GOING_ON = (*ALWAYS, "jobs", "resume", "storage", "trials", "finalists", "final_repeats")
JOINING = (*ALWAYS, "jobs", "join", "name", "run_dir")


class TuneCommand(RunCommand):
    """A `RunCommand` whose help lists the options of the search before the options of the run."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups."""
        write_options(self, ctx, formatter, first={"Search": SECTION})


@click.command("tune", cls=TuneCommand)
@click.argument("places", nargs=-1, metavar="[RUN.toml ... | DIR]", type=click.Path(), shell_complete=complete_runs)
@click.option("--vary", multiple=True, metavar="KEY=VALUES", help="A setting and its values; repeatable.")
@click.option("--by", metavar="FIGURE", help="The figure to improve. [the first metric on validation]")
@click.option("--trials", metavar="N", help="Number of trials on all machines together. [50]")
@click.option("--jobs", metavar="N", default="1", help="Number of concurrent trials, which share the threads. [1]")
@click.option("--repeats", metavar="N", help="Runs per trial, with consecutive seeds. [1]")
@click.option(
    "--searcher",
    metavar="NAME",
    shell_complete=complete_names("searcher"),
    help="Chooses the settings of the next trial. [tpe]",
)
@click.option(
    "--pruner",
    metavar="NAME",
    shell_complete=complete_names("pruner"),
    help="Stops unpromising trials early. [none]",
)
@click.option("--finalists", metavar="N", help="Number of trials to compare with the defaults at the end. [3]")
@click.option("--final-repeats", metavar="N", help="Runs of each finalist and of the defaults, with fresh seeds. [5]")
@click.option("--storage", metavar="URL", help="The database of the trials. [a file in the directory]")
@click.option("--join", metavar="URL", help="Join a search that was started with --storage URL.")
@click.option("--resume", metavar="DIR", type=click.Path(), help="Continue the search in DIR.")
@VARIANT
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@click.option("--name", metavar="NAME", help="The search's name below runs/. [tune-DATASET-VARIED-HASH]")
@click.option("--run-dir", metavar="DIR", type=click.Path(), help="The search's path, instead of a name.")
@click.option("--dry-run", is_flag=True, help="Check every value and build the defaults; write nothing.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def tune(ctx: click.Context, /, places: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> int:
    """Search for settings that improve a figure, and compare the best with the defaults.

    VALUES are log(a,b) or uniform(a,b) for real numbers, int(a,b) or logint(a,b) for integers, and choice(A,B,...) or
    A,B,... for anything else. Put brackets in quotes: --vary 'optimizer.lr=log(1e-5,1e-1)'. An option of a component is
    varied only in trials with that component. The options of wf run and run files apply to all trials; their settings
    are the defaults.

    Each trial is an ordinary run in the search's directory. Repeat the command to continue a search: an interrupted
    trial resumes from its checkpoint, and finished trials are not run again. At the end the best trials and the
    defaults are trained with fresh seeds and compared as by wf compare, so that the winner is not just the luckiest
    trial. best.toml is its run file. With DIR, the command shows the state of a search and trains nothing. Exit code 1
    if no trial was trained to its end, 4 if the storage is lost, 5 if all trials diverged.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError("wf tune starts its own processes (--jobs); run it without torchrun")
    logging.getLogger("wf").setLevel(logging.WARNING if quiet else logging.INFO)
    say = (lambda _: None) if quiet else tell
    options["quiet"] = quiet
    take_own(ctx, options)
    _settle_storage(options)
    if options["join"] is not None:
        _refuse_others(ctx, JOINING, "uses the settings of the search that it joins", "--join")
        found = _join(ctx, options, say)
    elif options["resume"] is not None:
        _refuse_others(ctx, GOING_ON, "continues with its original settings", "--resume")
        found = _resume(ctx, options, say)
    elif places and not all(place.endswith(".toml") for place in places):
        if len(places) > 1:
            raise UsageError("give run files, or the directory of one search")
        _refuse_others(ctx, (*ALWAYS, "storage"), "only shows the search", "wf tune DIR")
        found = _look(ctx, places[0], options)
    else:
        begun = _begin(ctx, places, options, say, as_json=as_json)
        if begun is None:
            return 0
        found = begun
    return _show(*found, as_json=as_json)


Outcome = tuple["Directory", Sequence["Trial"], "Verdict | None"]
"""A search, its trials, and the final comparison."""


def _show(directory: Directory, trials: Sequence[Trial], verdict: Verdict | None, *, as_json: bool) -> int:
    from wf_compare.tables.table import exit_code
    from wf_tune.ending import no_best
    from wf_tune.views.text import record_of, to_words

    if as_json:
        print_json(record_of(directory, trials, verdict))
    else:
        echo(to_words(directory, trials, verdict, terminal_width()))
    if verdict is not None:
        return exit_code(verdict.table)
    none = no_best(directory.manifest, trials)
    return 0 if none is None else none.exit_code


def _begin(
    ctx: click.Context, run_files: Sequence[str], options: dict[str, Any], say: Any, *, as_json: bool
) -> Outcome | None:
    """Start a search, or continue it if its directory exists; returns None for a dry run."""
    from wf_tune.search import Engine, check_points

    if not options["vary"]:
        raise nothing_varied()
    dimensions = [parse(text) for text in options["vary"]]
    base, folders, registry = document_of_line(ctx, run_files, options)
    builder = Builder(registry, folders=folders)
    space = space_of_line(base, dimensions, builder)
    plan = prepare(document_of(base, {}, space)[0], registry, folders)
    check_not_given(ctx, space)
    base, seed = settled(base, plan, builder), int(plan["seed"])
    engine = Engine.build(options["searcher_table"], options["pruner_table"], seed, registry)
    engine.draws(0, space)  # raises UsageError if the searcher cannot handle this space
    repeats = whole("repeats", options["repeats"] or "1")
    if engine.paired and repeats < 2:
        raise UsageError(
            f"pruner '{options['pruner']}' compares trials seed by seed, so each trial needs several repeats\n"
            "  add --repeats 6"
        )
    ready = partial(prepare, registry=registry, folders=folders)
    plans = check_points(base, space, ready)
    check_options_of(plans, space, builder)
    trial, setting, code = try_defaults(ctx, plan, registry, folders, options, sources_of(base, space, folders))
    check_options_of(plans, space, builder, resolved(trial.run_file))
    try_choices(base, space, ready, trial, setting, quiet=options["quiet"])
    by, larger = figure_of_trial(options["by"], trial, plans)
    if divided(by)[0] == "test":
        say(
            f"warning: the search chooses by {by}, so the test split no longer shows how good the best trial is on new "
            "samples\n  choose by a figure on the validation split, such as --by validation/loss"
        )
    from wf_tune.directory import Directory, default_name, definition_of

    definition = definition_of(
        dump(base),
        plans,
        space,
        by=by,
        larger_is_better=larger,
        searcher=options["searcher_table"],
        pruner=options["pruner_table"],
        repeats=repeats,
        seed=seed,
        conditions=code,
    )
    name = default_name(plans[0], space, definition["digest"])
    path = place_of(options["name"], options["run_dir"]) or Path("runs") / name
    directory = Directory.at(path)
    if directory is not None and directory.definition["digest"] != definition["digest"]:
        raise UsageError(f"{path} is a search with other settings\n  choose another --name")
    if directory is not None:
        check_code(directory.definition, code, path, say)
    for message in trial.messages:
        say(message)
    if options["dry_run"]:
        _report_dry_run(space, by, as_json=as_json)
        return None
    settings = settings_of(options, directory)
    if directory is None:
        from wf_tune.trials import Trials

        study = path.name
        if options["storage"] is not None and Trials.has(options["storage"], study):
            _refuse_second(options["storage"], study)
        directory = Directory.create(
            path,
            definition,
            storage=options["storage"],
            study=study,
            home=True,
            plugins=list(dict.fromkeys((*setting.plugins, *setting.of_run))),
            only_builtin=setting.only_builtin,
            folders=[str(folder) for folder in folders],
            first=None if engine.grid else space.defaults(resolved(trial.run_file)),
            **settings,
        )
        record(directory.path, _sources_in(directory), registry)
    else:
        directory.update(**settings)
    return _go_on(ctx, directory, registry, setting, options["storage"], say)


def _resume(ctx: click.Context, options: Mapping[str, Any], say: Any) -> Outcome:
    directory = _open(options["resume"])
    directory.update(**settings_of(options, directory))
    return _again(ctx, directory, options["storage"], say, quiet=options["quiet"])


def _join(ctx: click.Context, options: Mapping[str, Any], say: Any) -> Outcome:
    from wf_tune.directory import Directory
    from wf_tune.trials import Trials, shown

    url, study = options["join"], options["name"]
    if url.startswith("sqlite:") and not Path(shown(url)).exists():
        raise DataError(f"there is no search to join: {shown(url)} is not there")
    if study is None:
        names = Trials.names(url)
        if len(names) != 1:
            listed = f"has {', '.join(names)}\n  choose one: --name NAME" if names else "has no search"
            raise UsageError(f"cannot tell which search to join: the storage {listed}")
        [study] = names
    definition = Trials(url, study).definition
    path = place_of(None, options["run_dir"]) or Path("runs") / study
    directory = Directory.at(path)
    if directory is None:
        jobs = whole("jobs", options["jobs"])
        directory = Directory.create(
            path,
            definition,
            storage=url,
            study=study,
            home=False,
            jobs=jobs,
            finalists=0,
            final_repeats=0,
            trials=0,
            plugins=list(everywhere_of(ctx).plugins),
            only_builtin=everywhere_of(ctx).only_builtin,
            folders=[],
            first=None,
        )
        directory.update(status="running")
    elif directory.definition["digest"] != definition["digest"]:
        raise UsageError(f"{path} holds a different search from '{study}' in the storage\n  choose another --run-dir")
    else:
        directory.update(jobs=whole("jobs", options["jobs"]))
    return _again(ctx, directory, url, say, quiet=options["quiet"])


def _look(ctx: click.Context, place: str, options: Mapping[str, Any]) -> Outcome:
    """The state of a search, without training."""
    directory = _open(place)
    trials = directory.trials(options["storage"]).all()
    return directory, trials, _last_verdict(directory, registry_of(ctx))


def _last_verdict(directory: Directory, registry: Registry) -> Verdict | None:
    """The verdict of the last comparison with the defaults; None if none was made."""
    from wf_compare.comparison import Request, figure_of
    from wf_compare.results import larger_is_better
    from wf_compare.study import Study
    from wf_compare.tables.table import make_table
    from wf_tune.judging import verdict_of

    final = directory.manifest.get("final")
    if final is None or not (directory.path / final).is_dir():
        return None
    study = Study(directory.path / final)
    by, rows = figure_of(study, Request()), study.rows()
    table = make_table(rows, by, larger_is_better(by, rows, registry), study.path, study.manifest["jobs"])
    return verdict_of(table, directory)


def _again(ctx: click.Context, directory: Directory, storage: str | None, say: Any, *, quiet: bool) -> Outcome:
    """Go on with a search by its directory, which may have been received with foreign code."""
    line = of_line(ctx)
    ask = partial(guard_for, directory.path, _sources_in(directory), line=line["line"], trust=line["trust"])
    registry = registry_of(ctx, directory.manifest["plugins"], ask)
    check_files(directory.definition, directory.folders)
    setting = setting_of(ctx, registry, directory.manifest["plugins"], directory.folders, directory.manifest["jobs"])
    with uncollected("" if quiet else "loading torch ..."):
        code = warm_up(_sources_in(directory), setting)
    check_code(directory.definition, code, directory.path, say)
    return _go_on(ctx, directory, registry, setting, storage, say)


def _go_on(
    ctx: click.Context,
    directory: Directory,
    registry: Registry,
    setting: Setting,
    storage: str | None,
    say: Any,
) -> Outcome:
    """Train the missing trials, and compare the best with the defaults."""
    manifest, definition = directory.manifest, directory.definition
    from wf_tune.search import Engine

    engine = Engine.build(definition["searcher"], definition["pruner"], definition["seed"], registry)
    with directory.held(say):
        try:
            trials = directory.trials(storage)
            if manifest["status"] == "new":
                first, larger = manifest["first"], definition["larger_is_better"]
                if not trials.exists:
                    trials.create(definition, larger_is_better=larger, first=first, total=manifest["trials"])
                elif trials.definition["digest"] != definition["digest"]:
                    _refuse_second(trials.shown, manifest["study"])
            elif manifest["home"]:
                trials.total = manifest["trials"]
            directory.update(status="running", reason=None)
            verdict = _carry_out(ctx, directory, trials, engine, registry, setting, say)
        except InterruptedRun as error:
            directory.update(status="interrupted", reason=str(error))
            error.add_note(_again_words(directory))
            raise
        except WfError as error:
            directory.update(status="failed", reason=str(error))
            error.add_note(_again_words(directory) if directory.has_trials else directory.lost)
            raise
        return directory, trials.all(), verdict


def _carry_out(
    ctx: click.Context,
    directory: Directory,
    trials: Trials,
    engine: Engine,
    registry: Registry,
    setting: Setting,
    say: Any,
) -> Verdict | None:
    from wf_compare.comparison import Line
    from wf_tune.ending import why_none
    from wf_tune.judging import judge
    from wf_tune.search import Search, ranked
    from wf_tune.views.text import record_of

    manifest = directory.manifest
    freeze()
    total = trials.total
    number = len([one for one in trials.all() if one.state not in ("running", "waiting")])
    done = f", {number} of them already finished" if number else ""
    say(f"{plural(total, 'trial')} in {directory.path}{done}")
    search = Search(
        directory=directory,
        trials=trials,
        engine=engine,
        setting=setting,
        jobs=manifest["jobs"],
        total=total,
        say=say,
    )
    while (goes_on := search.run()) and manifest["home"] and trials.wait(say):
        pass
    verdict, found = None, trials.all()
    ended = [one for one in found if one.state not in ("running", "waiting")]
    is_over = not goes_on or len(ended) == len(found)
    if is_over and ended and not any(one.state == "complete" for one in ended):
        none = why_none(ended, directory.definition)
        directory.update(status=none.status, reason=none.words)
        directory.write(record_of(directory, found, None))
        return None
    if manifest["home"]:
        best = ranked(trials.all(), larger_is_better=directory.definition["larger_is_better"])
        everywhere = everywhere_of(ctx)
        line = Line(plugins=tuple(everywhere.plugins), only_builtin=everywhere.only_builtin)
        verdict = judge(directory, best, registry, setting, manifest["jobs"], say, line)
        verdict = verdict or _last_verdict(directory, registry)
    directory.update(status="done", reason=None)
    directory.write(record_of(directory, trials.all(), verdict))
    return verdict


def _sources_in(directory: Directory) -> list[Source]:
    return sources_of(directory.document, directory.space, directory.folders)


def _open(place: str) -> Directory:
    from wf_tune.directory import Directory

    return Directory.open(place)


def _settle_storage(options: dict[str, Any]) -> None:
    """Make the URLs of the line independent of the working directory."""
    for name in ("storage", "join"):
        if options[name] is not None:
            from wf_tune.trials import of_line

            options[name] = of_line(options[name])


def _refuse_second(url: str, study: str) -> None:
    from wf_tune.trials import shown

    raise UsageError(
        f"{shown(url)} already has a search named '{study}'\n"
        f"  to join it: wf tune --join {shown(url)} --name {study}\n  to start another one: --name NAME"
    )


def _refuse_others(ctx: click.Context, allowed: Sequence[str], why: str, what: str) -> None:
    """Refuse options that would change the settings of an existing search."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in ctx.params
        if name not in (*allowed, "places") and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    given += [f"--{kind}.{name}" for kind, table in ctx.meta["options"].items() for name in table]
    given += [f"--{kind}" for kind in OWN if ctx.get_parameter_source(kind) is ParameterSource.COMMANDLINE]
    if given:
        raise UsageError(f"{', '.join(dict.fromkeys(given))}: {what} {why}\n  remove it")
    if ctx.params["places"] and "places" not in allowed and what.startswith("--"):
        raise UsageError(f"{what} cannot be combined with run files")


def _report_dry_run(space: Space, by: str, *, as_json: bool) -> None:
    if as_json:
        rows = [{"key": key, "values": text} for key, text in space.texts]
        print_json({"directory": None, "status": "dry-run", "by": by, "space": rows})
        return
    lines = []
    for one in space.dimensions:
        only = space.only_where(one.key)
        where = f"  where {only[0]} is {' or '.join(sorted(only[1]))}" if only else ""
        lines.append(f"{one.key} = {one.text}{where}")
    echo("\n".join([*lines, "", f"dry run: checked every value, by {by}; nothing was written"]))


def _again_words(directory: Directory) -> str:
    return f"to continue, repeat the command or run: wf tune --resume {directory.path}"
