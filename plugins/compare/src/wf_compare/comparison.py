"""Carrying out a comparison: build its rows, train the missing runs, evaluate."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wf.discovery.guard import Guard
from wf.engine.figures import Monitor, fits
from wf.errors import DataError, InterruptedRun, PluginError, UsageError, WfError
from wf.registry import Registry
from wf.terminal import duration
from wf_compare.results import (
    FINAL,
    Row,
    check_different,
    check_same_data,
    choose_figure,
    figures_of,
    larger_is_better,
    read_run,
)
from wf_compare.study import OVER, Cell, Study, digest_of, hashes_of, versions_of
from wf_compare.tables.table import Table, make_table
from wf_compare.workers import Died, Pool, preload
from wf_run.planning.plan import prepare
from wf_run.runfiles.runfile import RunFile, check
from wf_run.trust.records import record

Say = Callable[[str], None]
"""Called with progress messages, one line each."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A row to be trained."""

    name: str
    settings: Mapping[str, Any]
    plan: RunFile
    """From `wf_run.planning.plan.prepare`."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Settings of a comparison besides its rows."""

    by: str | None = None
    """The figure to compare by; None for the first metric on the validation split."""
    repeats: Sequence[Mapping[str, Any]] = ()
    """The changes of each repeat; None for those that the comparison has."""
    jobs: int = 1
    """Number of concurrent runs."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The plugins that a command line names."""

    plugins: tuple[str, ...] = ()
    """As given by ``-p``."""
    only_builtin: bool = False


def plan_rows(
    rows: Sequence[tuple[str, Mapping[str, Any], RunFile]], registry: Registry, folders: Sequence[Path] = ()
) -> list[Planned]:
    """Prepare rows, given as name, settings and run file; relative paths are also looked up in `folders`.

    Raises:
        UsageError: For a row that cannot work, with its name.
    """
    planned: list[Planned] = []
    names = [name for name, _, _ in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two rows are called '{twice}'; give each [[variant]] its own name")
    for name, settings, document in rows:
        try:
            plan = prepare(document, registry, folders)
        except WfError as error:
            error.add_note(f"in row '{name}'")
            raise
        if planned and plan["seed"] != planned[0].plan["seed"]:
            raise UsageError(
                f"row '{name}' sets a seed; all rows use the same seeds, starting at --seed: see --repeats"
            )
        planned.append(Planned(name=name, settings=settings, plan=plan))
    return planned


def try_rows(rows: Sequence[Planned], setting: Any, request: Request, say: Say) -> list[Any]:
    """Build every row in its own process; rows that cannot be trained or compared are refused here.

    Returns:
        One `wf_compare.training.Trial` per row.

    Raises:
        WfError: For rows that cannot be built, naming all of them, or that cannot be compared by the figure.
    """
    found = build_rows(rows, setting, request.jobs)
    check_rows(rows, found, request, say)
    return found


def check_rows(rows: Sequence[Planned], found: Sequence[Any], request: Request, say: Say) -> None:
    """Refuse rows that were built and cannot be compared; says the choices that wf made for them.

    Raises:
        UsageError: For rows that are equal, or cannot be compared by the figure.
    """
    documents = [check(tomllib.loads(trial.run_file)) for trial in found]
    check_different(documents, [row.name for row in rows])
    check_same_data(documents, [row.name for row in rows])
    choose_figure(request.by, _common(trial.figures for trial in found), documents)
    for message in dict.fromkeys(message for trial in found for message in trial.messages):
        having = [row.name for row, trial in zip(rows, found, strict=True) if message in trial.messages]
        say(message if len(having) == len(rows) else f"{', '.join(having)}: {message}")


def build_rows(rows: Sequence[Planned], setting: Any, jobs: int) -> list[Any]:
    """Build every row in its own process.

    Returns:
        One `wf_compare.training.Trial` per row.

    Raises:
        WfError: For rows that cannot be built, naming all of them.
    """
    from wf_compare.training import Trial, try_out

    trials: dict[int, Any] = {}
    preload(["torch._dynamo"])  # imported when an optimizer is built, which takes a second or more
    for row in rows:
        setting.prepare(row.plan)  # forked processes inherit what this reads
    pool: Pool[int] = Pool(try_out, jobs)
    with closing(pool.run((number, (row.plan, setting)) for number, row in enumerate(rows))) as results:
        for number, trial in results:
            trials[number] = Trial(error=trial.reason, exit_code=1) if isinstance(trial, Died) else trial
            preload(trials[number].modules)
    found = [trials[number] for number in range(len(rows))]
    _refuse_broken(rows, found)
    return found


def make_study(
    path: Path, rows: Sequence[Planned], trials: Sequence[Any], setting: Any, request: Request, registry: Registry
) -> Study:
    """Create the directory of a comparison whose rows were built successfully."""
    plans = [row.plan for row in rows]
    documents = [check(tomllib.loads(trial.run_file)) for trial in trials]
    study = Study.create(
        path,
        [(row.name, row.settings, trial.run_file) for row, trial in zip(rows, trials, strict=True)],
        digest=digest_of(plans),
        versions=versions_of(documents, registry),
        code=hashes_of(documents),
        by=request.by,
        repeats=list(request.repeats),
        jobs=request.jobs,
        figures=_common(trial.figures for trial in trials),
        plugins=list(dict.fromkeys((*setting.plugins, *setting.of_run))),
        only_builtin=setting.only_builtin,
        folders=[str(folder) for folder in setting.folders],
    )
    record(study.path, study.sources(), registry)
    for place, source in zip(study.folders(), study.sources(), strict=True):
        record(place, [source], registry)
    return study


def go_on(study: Study, registry: Registry, request: Request, say: Say, line: Line = Line()) -> Table:
    """Train the unfinished runs of a comparison, and evaluate it.

    Args:
        study: The comparison.
        registry: Where names are looked up; its guard applies to the runs, too.
        request: The settings.
        say: Called with progress messages.
        line: The plugins that the command line names.

    Raises:
        UsageError: If the code has changed since the comparison began.
        InterruptedRun: On SIGINT or SIGTERM, after the runs have saved checkpoints.
    """
    with study.held(say):
        by = figure_of(study, request)
        repeats = list(request.repeats) or study.manifest["repeats"]
        missing = [cell for cell in study.cells(repeats) if read_run(cell.place, cell.repeat).status not in FINAL]
        if missing:
            _check_unchanged(study, registry)
        study.update(by=by, repeats=repeats, **({"status": "running", "reason": None} if missing else {}))
        try:
            if missing:
                _train(study, missing, request, by, say, line, registry.guard)
        except InterruptedRun as error:
            study.update(status="interrupted", reason=str(error))
            raise
        return finish(study, registry, by)


def finish(study: Study, registry: Registry, by: str) -> Table:
    """Evaluate a comparison in its current state, and write its table."""
    rows = study.rows()
    table = make_table(rows, by, larger_is_better(by, rows, registry), study.path, study.manifest["jobs"])
    states = [run.status for row in rows for run in row.runs]
    if all(state in OVER for state in states):
        worst = max(states, key=OVER.index)
        reason = None if worst == "done" else f"{states.count(worst)} of {len(states)} runs {worst}"
        study.update(status=worst, reason=reason, ended=datetime.now(UTC).isoformat(timespec="seconds"))
    study.write_table(table)
    return table


def judge_past(rows: Sequence[Row], by: str | None, registry: Registry) -> Table:
    """Evaluate existing runs.

    Raises:
        UsageError: For rows on different data, or without the figure.
    """
    documents = [row.document for row in rows]
    check_same_data(documents, [row.name for row in rows])
    chosen = choose_figure(by, figures_of(rows), documents)
    return make_table(rows, chosen, larger_is_better(chosen, rows, registry))


def figure_of(study: Study, request: Request) -> str:
    """The figure to compare by.

    Raises:
        UsageError: If the rows do not have it, or cannot be compared by it.
    """
    manifest = study.manifest
    figures = [*manifest["figures"], *figures_of(study.rows())]
    return choose_figure(request.by or manifest["by"], figures, study.documents())


def _train(
    study: Study, cells: Sequence[Cell], request: Request, by: str, say: Say, line: Line, guard: Guard | None
) -> None:
    from wf_compare.training import Setting, train

    manifest = study.manifest
    setting = Setting(
        plugins=line.plugins,
        of_run=tuple(manifest["plugins"]),
        guard=guard,
        only_builtin=manifest["only_builtin"] or line.only_builtin,
        folders=tuple(map(Path, manifest["folders"])),
        jobs=manifest["jobs"],
    )
    for document in study.documents():
        setting.prepare(document)  # forked processes inherit what this reads
    failures, total = dict(manifest["failures"]), len(list(study.cells()))
    number, by_key = total - len(cells), {study.key(cell): cell for cell in cells}
    if number:
        say(f"{number} of {total} runs were already finished")
    pool: Pool[str] = Pool(
        train, request.jobs, lambda key, how: say(f"{by_key[key].name}, {by_key[key].repeat}: {how}; restarted")
    )
    tasks = ((key, (cell.run_file, cell.changes, cell.place, setting)) for key, cell in by_key.items())
    with closing(pool.run(tasks)) as results:
        for key, outcome in results:
            number, cell = number + 1, by_key[key]
            failures.pop(key, None)
            if isinstance(outcome, Died):
                failures[key] = {"reason": f"{outcome.reason} repeatedly", "exit_code": 1}
            else:
                preload(outcome.modules)
                if outcome.status == "failed":
                    failures[key] = {"reason": outcome.reason, "exit_code": outcome.exit_code}
            study.update(failures=failures)
            say(f"{number:>{len(str(total))}}/{total}  {_in_words(cell, failures.get(key), by)}")


def _in_words(cell: Cell, failure: Mapping[str, Any] | None, by: str) -> str:
    from wf_compare.tables.text import plain_number

    run = read_run(cell.place, cell.repeat, failure)
    parts = [f"{cell.name}, {cell.repeat}"]
    if run.status == "done":
        figure = Monitor.read(by).figure
        value = run.metrics.get(figure)
        parts.append(f"{figure} {'is not a finite number' if value is None else plain_number(value)}")
    else:
        parts.append(f"{run.status}: {(run.reason or '').partition(chr(10))[0]}")
    if run.seconds is not None:
        parts.append(duration(run.seconds))
    return "  ".join(parts)


def _check_unchanged(study: Study, registry: Registry) -> None:
    """Refuse to continue with changed code: the new runs would not be comparable."""
    documents, manifest = study.documents(), study.manifest
    now = {"versions": versions_of(documents, registry), "code": hashes_of(documents)}
    for what in ("versions", "code"):
        for name, before in sorted(manifest[what].items()):
            if before != (after := now[what].get(name)):
                was = f"{name} {before} and now it is {after}" if what == "versions" else f"different code in {name}"
                raise UsageError(
                    f"the comparison in {study.path} was begun with {was}: new runs would not be comparable\n"
                    "  start a new one: --name NAME"
                )


def _refuse_broken(rows: Sequence[Planned], trials: Sequence[Any]) -> None:
    broken = [(row.name, trial) for row, trial in zip(rows, trials, strict=True) if trial.error]
    if broken:
        kinds: dict[int, type[WfError]] = {2: UsageError, 3: PluginError, 4: DataError}
        told = dict.fromkeys(trial.error for _, trial in broken)
        lines = [f"{', '.join(name for name, trial in broken if trial.error == error)}: {error}" for error in told]
        text = "\n".join(["these rows cannot be trained", *lines]).replace("\n", "\n  ")
        raise kinds.get(broken[0][1].exit_code, WfError)(text)


def _common(figures: Any) -> list[str]:
    """The figures, and patterns, that all rows have in common."""
    rows = [list(names) for names in figures]
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if all(name in row or fits(name, row) for row in rows)]
