"""``wf compare``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.discovery.guard import Guard
from wf.errors import DataError, InterruptedRun, UsageError, unknown
from wf.registry import Registry
from wf.terminal import plural
from wf_cli.arguments import take_options
from wf_cli.commands import everywhere_of
from wf_cli.common import of_line, registry_of
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json, tell, terminal_width
from wf_run.cli.completing import complete_runs
from wf_run.cli.run_options import kind_of
from wf_run.cli.running import RunCommand, from_line
from wf_run.directory.naming import place_of
from wf_run.opening import place_of_files
from wf_run.runfiles.reading import read_variants
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import RunFile, merge
from wf_run.runfiles.said import said_in
from wf_run.trust.code import Source
from wf_run.trust.guards import guard_for

if TYPE_CHECKING:
    from wf_compare.comparison import Planned, Request
    from wf_compare.study import Study
    from wf_compare.tables.table import Table
    from wf_compare.training import Setting

ALWAYS = ("by", "quiet", "as_json")
"""Options of every form of the command."""
GOING_ON = (*ALWAYS, "jobs", "resume")

Variant = tuple[str, RunFile]


class CompareCommand(RunCommand):
    """Like `RunCommand`, but keeps the arguments, to insert the varied options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        ctx.meta["line"] = list(args)
        return super().parse_args(ctx, args)


@click.command("compare", cls=CompareCommand)
@click.argument("places", nargs=-1, metavar="[RUN.toml ... | RUN ...]", type=click.Path(), shell_complete=complete_runs)
@click.option("--vary", multiple=True, metavar="KEY=A,B,...", help="One row per value; repeatable.")
@click.option("--repeats", metavar="N", help="Runs per row, with consecutive seeds starting at --seed. [5]")
@click.option(
    "--by",
    metavar="FIGURE",
    help="The figure to compare by, such as test/r2. [the first metric on validation]",
)
@click.option("--jobs", metavar="N", default="1", help="Number of concurrent runs, which share the threads. [1]")
@click.option("--resume", metavar="DIR", type=click.Path(), help="Continue the comparison in DIR.")
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@click.option("--folds", metavar="K", help="Train each row on K folds; alone, with one seed.")
@click.option("--name", metavar="NAME", help="The comparison's name below runs/. [compare-DATASET-VARIED-HASH]")
@click.option("--run-dir", metavar="DIR", type=click.Path(), help="The comparison's path, instead of a name.")
@click.option("--dry-run", is_flag=True, help="Build every row and show what would be trained; write nothing.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def compare(ctx: click.Context, /, places: tuple[str, ...], as_json: bool, quiet: bool, **options: Any) -> int:
    """Train rows of runs with the same seeds and compare them, or compare finished runs.

    --vary optimizer=adam,sgd makes one row per value, several --vary make every combination, and each [[variant]] table
    in RUN.toml makes a row; all other options are those of wf run and apply to all rows. Each row is trained with every
    seed, and differences from the first row are paired by seed. Repeating the command continues where it stopped:
    finished runs are not trained again. With RUN ... nothing is trained: the rows consist of those runs. If a run
    fails, the exit code is the one of the run: 5 if it diverged, 4 if it is lost; all others are trained and shown.
    """
    from wf_compare.tables.text import to_text

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError("wf compare starts its own processes (--jobs); run it without torchrun")
    logging.getLogger("wf").setLevel(logging.WARNING if quiet else logging.INFO)
    files = [place for place in places if place.endswith(".toml")]
    if options["resume"] is not None:
        _refuse_others(ctx, GOING_ON, "continues with its original settings", "--resume")
        table = _resume(ctx, options, quiet=quiet)
    elif places and not files:
        _refuse_others(ctx, ALWAYS, "cannot be changed", "a finished run")
        table = _look_back(ctx, places, options["by"])
    else:
        if len(places) > len(files):
            raise UsageError("give run files, or finished runs; each --vary or [[variant]] makes rows of the files")
        found = _train(ctx, files, options, quiet=quiet, as_json=as_json)
        if found is None:
            return 0
        table = found
    if as_json:
        print_json(table.record())
    else:
        where = "" if table.place is None else f"\n\ncomparison  {table.place}"
        echo(to_text(table, terminal_width()) + where)
    from wf_compare.tables.table import exit_code

    return exit_code(table)


def _train(
    ctx: click.Context, run_files: Sequence[str], options: dict[str, Any], *, quiet: bool, as_json: bool
) -> Table | None:
    """Plan the rows, and train them; returns None for a dry run."""
    from wf_compare.comparison import make_study, plan_rows
    from wf_compare.study import Study, default_name, digest_of

    base, variants, folders = read_variants(*map(Path, run_files)) if run_files else ({}, [], ())
    varied, rows = _rows(ctx, base, variants, options)
    of_run = _plugins(ctx, [base, *(variant for _, variant in variants)], [document for _, _, document in rows])
    line = of_line(ctx, options=ctx.meta["options"], settings=options, rows=[settings for _, settings, _ in rows])
    of_files = [merge(base, variant)[0] for _, variant in variants] or [base]
    sources = [(resolve(document, lenient=True), folders) for document in of_files]
    registry = _registry(ctx, said_in(base).files, sources, line, of_run)
    planned = plan_rows(rows, registry, folders)
    request = _request(options, planned[0].plan["seed"])
    digest = digest_of([row.plan for row in planned])
    path = _path(options, default_name([row.plan for row in planned], varied, digest))
    study = Study.at(path)
    if study is not None and study.manifest["digest"] != digest:
        raise UsageError(f"{path} is a comparison with different rows\n  choose another --name")
    say = _say(quiet=quiet)
    if study is None or options["dry_run"]:
        trials, setting = _try_out(ctx, path, planned, registry.guard, of_run, folders, request, say)
        if options["dry_run"]:
            _report_dry_run(planned, request, as_json=as_json)
            return None
        study = make_study(path, planned, trials, setting, request, registry)
    else:
        registry = _registry_of_study(ctx, study, line)
    return _go_on(ctx, study, registry, request, say)


def _try_out(
    ctx: click.Context,
    path: Path,
    planned: Sequence[Planned],
    guard: Guard | None,
    of_run: Sequence[str],
    folders: Sequence[Path],
    request: Request,
    say: Any,
) -> tuple[list[Any], Setting]:
    """Build the rows; returns the results, and the setting shared by their processes."""
    from wf_compare.comparison import try_rows
    from wf_compare.training import Setting

    everywhere = everywhere_of(ctx)
    setting = Setting(
        plugins=tuple(everywhere.plugins),
        of_run=tuple(of_run),
        guard=guard,
        only_builtin=everywhere.only_builtin,
        folders=tuple(folders),
        jobs=request.jobs,
    )
    try:
        trials = try_rows(planned, setting, request, say)
    except InterruptedRun as error:
        error.add_note("nothing was trained yet")
        raise
    total = len(planned) * len(request.repeats)
    say(f"{plural(len(planned), 'row')}, {plural(len(request.repeats), 'repeat')}: {plural(total, 'run')} in {path}")
    return trials, setting


def _report_dry_run(planned: Sequence[Planned], request: Request, *, as_json: bool) -> None:
    from wf_compare.study import name_of_repeat

    if not as_json:
        echo("\n".join([*(row.name for row in planned), "", "dry run: built every row; nothing was written"]))
        return
    runs = [{"repeat": name_of_repeat(repeat)} for repeat in request.repeats]
    rows = [{"name": row.name, "settings": dict(row.settings), "runs": runs} for row in planned]
    print_json({"directory": None, "status": "dry-run", "jobs": request.jobs, "rows": rows})


def _resume(ctx: click.Context, options: Mapping[str, Any], *, quiet: bool) -> Table:
    from wf_compare.comparison import Request
    from wf_compare.study import Study

    study = Study.open(options["resume"])
    registry = _registry_of_study(ctx, study, of_line(ctx))
    request = Request(by=options["by"], jobs=_whole("jobs", options["jobs"]))
    return _go_on(ctx, study, registry, request, _say(quiet=quiet))


def _registry_of_study(ctx: click.Context, study: Study, line: Mapping[str, Any]) -> Registry:
    """The registry for an existing comparison, which may have been received with foreign code."""
    ask = partial(guard_for, study.path, study.sources(), line=line["line"], trust=line["trust"])
    return registry_of(ctx, study.manifest["plugins"], ask)


def _go_on(ctx: click.Context, study: Study, registry: Registry, request: Request, say: Any) -> Table:
    from wf_compare.comparison import Line, go_on

    everywhere = everywhere_of(ctx)
    line = Line(plugins=tuple(everywhere.plugins), only_builtin=everywhere.only_builtin)
    try:
        return go_on(study, registry, request, say, line)
    except (InterruptedRun, DataError) as error:
        error.add_note(f"to continue: the same command, or wf compare --resume {study.path}")
        raise


def _look_back(ctx: click.Context, places: Sequence[str], by: str | None) -> Table:
    """Compare finished runs, or show the current state of a comparison."""
    from wf_compare.comparison import Request, figure_of, judge_past
    from wf_compare.past import rows_of
    from wf_compare.results import larger_is_better
    from wf_compare.study import Study
    from wf_compare.tables.table import make_table

    registry = registry_of(ctx)
    path = next((path for path in (Path(places[0]), Path("runs") / places[0]) if path.is_dir()), None)
    if len(places) == 1 and path is not None and Study.is_at(path):
        study = Study(path)
        chosen = figure_of(study, Request(by=by))
        rows = study.rows()
        return make_table(rows, chosen, larger_is_better(chosen, rows, registry), path, study.manifest["jobs"])
    return judge_past(rows_of(places), by, registry)


def _rows(
    ctx: click.Context, base: RunFile, variants: Sequence[Variant], options: Mapping[str, Any]
) -> tuple[list[str], list[tuple[str, dict[str, Any], RunFile]]]:
    """The varied keys, and each row's name, settings and run file."""
    from wf_compare.grid import name_of, parse_vary, points

    varied = [parse_vary(text) for text in options["vary"]]
    for key, _ in varied:
        _check_key(ctx, key)
    settings = {kind_of(key) or key: value for key, value in options.items() if kind_of(key) or key in GENERAL}
    rows, said = [], set()
    for name, variant in variants or [("", {})]:
        for point in points(varied):
            over = _line_with(ctx, settings, options["lr"], point)
            document, notes = merge(base, variant)
            document, more = merge(document, over)
            row = ", ".join(filter(None, (name, name_of(point)))) or "as given"
            for note in notes + more:
                if note not in said:
                    said.add(note)
                    tell(f"{row}: {note}")
            rows.append((row, {**({"variant": name} if name else {}), **point}, document))
    keys = [key.rpartition(".")[2] for key, _ in varied]
    return [*(["variants"] if variants else []), *keys], rows


def _line_with(ctx: click.Context, settings: Mapping[str, Any], lr: str | None, point: Mapping[str, str]) -> RunFile:
    """The command line as a document, with the values of one grid point."""
    own = dict(settings)
    for key, value in point.items():
        if key in KINDS.several:
            own[key] = (*own.get(key, ()), value)
        elif key == "lr":
            lr = value
        elif "." not in key:
            own[key] = value
    words = [f"--{key}={value}" for key, value in point.items() if "." in key]
    return from_line(own, take_options([*ctx.meta["line"], *words])[0], lr)


def _check_key(ctx: click.Context, key: str) -> None:
    """Refuse keys that cannot be varied, and keys that are also given as options."""
    kind = key.partition(".")[0]
    if key in ("seed", "fold"):
        raise UsageError(
            f"--vary {key}: this varies over the repeats and is the same for every row: --repeats, --folds"
        )
    if key != "lr" and kind not in (GENERAL if kind == key else ()) and kind not in KINDS:
        raise UsageError(unknown("key", key, [*GENERAL, *KINDS, "lr"], "to vary an option: optimizer.lr=0.1,0.01"))
    written = f"--{key}" if "." in key else f"--{key.replace('_', '-')}"
    if key not in KINDS.several and any(word == written or word.startswith(f"{written}=") for word in ctx.meta["line"]):
        raise UsageError(f"both {written} and --vary {key} are given; remove one of them")


def _request(options: Mapping[str, Any], seed: int) -> Request:
    from wf_compare.comparison import Request
    from wf_compare.study import repeats_of

    folds = None if options["folds"] is None else _whole("folds", options["folds"], 2)
    number = 5 if folds is None else 1
    num_repeats = number if options["repeats"] is None else _whole("repeats", options["repeats"])
    return Request(by=options["by"], repeats=repeats_of(seed, num_repeats, folds), jobs=_whole("jobs", options["jobs"]))


def _path(options: Mapping[str, Any], default: str) -> Path:
    return place_of(options["name"], options["run_dir"]) or Path("runs") / default


def _plugins(ctx: click.Context, files: Sequence[RunFile], rows: Sequence[RunFile]) -> tuple[str, ...]:
    """Add the plugins of the line to every row's run file; returns those that the run file names."""
    of_run = tuple(dict.fromkeys(name for document in files for name in document.get("plugins", [])))
    line = [name for name in everywhere_of(ctx).plugins if not name.startswith("no:")]
    for document in rows:
        if names := [*document.get("plugins", []), *line]:
            document["plugins"] = list(dict.fromkeys(names))
    return of_run


def _registry(
    ctx: click.Context,
    run_files: Sequence[Path],
    sources: Sequence[Source],
    line: Mapping[str, Any],
    of_run: Sequence[str],
) -> Registry:
    """The registry for the rows; a run file inside a run directory loads only code that is allowed."""
    place = place_of_files(run_files)
    ask = None if place is None else partial(guard_for, place, sources, line=line["line"], trust=line["trust"])
    return registry_of(ctx, of_run, ask)


def _whole(name: str, text: str, low: int = 1) -> int:
    if not text.isdecimal() or int(text) < low:
        raise UsageError(f"--{name} must be an integer of at least {low}, not {text}")
    return int(text)


def _refuse_others(ctx: click.Context, allowed: Sequence[str], why: str, what: str) -> None:
    """Refuse options that would change the training, where it is already determined."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in ctx.params
        if name not in (*allowed, "places") and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    given += [word for word in ctx.meta["line"] if word.startswith("--") and "." in word.partition("=")[0]]
    if given:
        raise UsageError(f"{', '.join(given)}: {what} {why}\n  remove it")
    if ctx.params["places"] and "resume" in allowed:
        raise UsageError("--resume DIR cannot be combined with runs")


def _say(*, quiet: bool) -> Any:
    return (lambda _: None) if quiet else tell
