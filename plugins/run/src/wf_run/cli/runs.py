"""``wf runs``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from wf.engine.figures import Monitor, best
from wf.errors import DataError, UsageError, unknown
from wf.terminal import visible
from wf.traits import MetricTraits
from wf_cli.common import Verb, registry_of
from wf_cli.listing import JSON
from wf_cli.output import echo, number, paragraphs, plural, print_json
from wf_run.directory.rundir import RunDirectory, is_run, runs_below

NAMED = ("dataset", "model", "loss", "optimizer")
"""The kinds that the list names."""
MAX_ROWS = 8
"""So many rows of a comparison it names."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A run in a list."""

    name: str
    run_dir: str
    started: str | None
    status: str
    reason: str | None
    dataset: str | None = None
    model: str | None = None
    loss: str | None = None
    optimizer: str | None = None
    epochs: int | None = None
    rows: Sequence[str] = ()
    """Of a comparison: what its rows are called."""
    num_runs: int | None = None
    """Of a comparison or a cross-validation: the runs that it is to have."""
    num_done: int | None = None
    """How many of them are done."""
    metrics: Mapping[str, Any]
    """Of the last evaluations."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Of the last steps, beside the loss."""

    @property
    def figures(self) -> dict[str, Any]:
        """All of them."""
        return {**self.recorded, **self.metrics}


@click.command("runs", cls=Verb)
@click.argument("folder", default="runs", metavar="[FOLDER]", type=click.Path())
@click.option("--search", metavar="WORD", help="Only those with WORD in their name, status or components.")
@click.option(
    "--by",
    metavar="FIGURE",
    help="Show this figure, as test/accuracy or test/spread:min, and sort by it, the best first.",
)
@JSON
@click.pass_context
def runs(ctx: click.Context, folder: str, search: str | None, by: str | None, as_json: bool) -> None:
    """The runs below runs/ or FOLDER, oldest first: what was trained, how it ended, and its figures.

    A comparison or a cross-validation is one line; wf runs runs/NAME lists the runs in it.
    """
    place = next((path for path in (Path(folder), Path("runs") / folder) if os.path.isdir(path)), None)
    if place is None:
        raise _nowhere(folder)
    if is_run(place):
        found = [_read(place, place.parent)]
    else:
        unreadable: dict[str, str] = {}
        found = [_read(path, place) for path in runs_below(place, unreadable)]
        if str(place) in unreadable:
            raise DataError(f"{place} cannot be read: {unreadable[str(place)]}")
        found += [_unreadable(Path(path), place, why) for path, why in unreadable.items()]
    found = sorted(found, key=lambda run: (run.started or "", run.name))
    found = [run for run in found if search is None or _has(run, search)]
    if by is not None:
        found = _sorted(ctx, found, by)
    if as_json:
        print_json([asdict(run) for run in found])
    elif found:
        _print(found, by)
    else:
        echo(f"no runs in {place}" if search is None else f"no runs in {place} have '{search}'")


def _nowhere(folder: str) -> DataError:
    if not os.path.isdir("runs"):
        return DataError(f"there is no folder '{folder}'\n  runs are made by wf run, below runs/")
    try:
        RunDirectory.open(folder)
    except DataError as error:  # with the closest ones
        return DataError(f"{error}\n  look for a word: wf runs --search {folder}")
    raise AssertionError  # a run directory is a folder


def _read(path: Path, folder: Path) -> Listed:
    manifest = _manifest(path)
    within = [] if is_run(path) else [_manifest(run) for run in runs_below(path, {})]
    first = within[0] if within else manifest
    components: dict[str, list[str]] = {}
    for component in first.get("components", []):
        components.setdefault(component["kind"], []).append(component["name"])
    names = {kind: ", ".join(components[kind]) for kind in NAMED if kind in components}
    if manifest.get("kind") == "comparison":
        names = {kind: name for kind, name in names.items() if kind == "dataset"}
    return Listed(
        name=path.relative_to(folder).as_posix(),
        run_dir=str(path),
        started=first.get("started"),
        status=str(manifest.get("status")),
        reason=manifest.get("reason"),
        epochs=manifest.get("epochs"),
        rows=[str(row["name"]) for row in manifest.get("rows", ())],
        num_runs=_num_runs(manifest, within),
        num_done=sum(run.get("status") == "done" for run in within) if within else None,
        metrics=manifest.get("metrics") or {},
        recorded=manifest.get("recorded") or {},
        **names,
    )


def _unreadable(path: Path, folder: Path, why: str) -> Listed:
    name = path.relative_to(folder).as_posix()
    reason = f"{path} cannot be read: {why}"
    return Listed(name=name, run_dir=str(path), started=None, status="unreadable", reason=reason, metrics={})


def _num_runs(manifest: Mapping[str, Any], within: Sequence[Mapping[str, Any]]) -> int | None:
    """The runs that a comparison or a cross-validation is to have; None for a single run."""
    if manifest.get("kind") == "comparison":
        return len(manifest.get("rows", ())) * len(manifest.get("repeats", ()))
    folds = manifest.get("folds")  # their number, and at the end the figures of each
    return folds if isinstance(folds, int) else len(folds or within) or None


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run; one that lost files says that alone."""
    directory = RunDirectory(path)
    try:
        manifest = directory.state
    except DataError as error:
        return {"status": "damaged", "reason": str(error)}
    if is_run(path) and not os.path.isfile(directory.run_file):
        return {**manifest, "status": "damaged", "reason": f"{directory.run_file} is gone"}
    return manifest


def _has(run: Listed, word: str) -> bool:
    texts = (run.name, run.status, run.dataset, run.model, run.loss, run.optimizer, *run.rows)
    return any(word.lower() in text.lower() for text in texts if text)


def _sorted(ctx: click.Context, found: list[Listed], by: str) -> list[Listed]:
    """The runs that have the figure, the best first, and then the others."""
    monitor = Monitor.read(by)
    known = dict.fromkeys(name for run in found for name in run.figures)
    if found and not known:
        raise UsageError(
            "none of these runs has figures\n  those of a comparison: wf compare NAME   of the runs in it: wf runs NAME"
        )
    if found and monitor.figure not in known:
        raise UsageError(unknown("figure", monitor.figure, known, of="these runs"))
    values = {number: run.figures.get(monitor.figure) for number, run in enumerate(found)}
    order = best(values, larger_is_better=_direction(ctx, monitor, found))
    return [found[number] for number in [*order, *(number for number in values if number not in order)]]


def _direction(ctx: click.Context, monitor: Monitor, found: Sequence[Listed]) -> bool:
    """Whether a larger figure is better, according to the user, the metric, or one of the runs."""
    registry, name = registry_of(ctx), monitor.name
    traits = registry.find("metric", name).component.traits if registry.has("metric", name) else None
    if monitor.larger_is_better is None and isinstance(traits, MetricTraits) and traits.larger_is_better is not None:
        return traits.larger_is_better
    for run in found if monitor.larger_is_better is None else ():
        if (larger := RunDirectory(Path(run.run_dir)).directions.get(monitor.name)) is not None:
            return larger
    return monitor.direction("--by")


def _print(found: list[Listed], by: str | None) -> None:
    """Two lines per run: name, time and outcome; components and figures."""
    names = {run.run_dir: visible(run.name, line=True) for run in found}
    width = max(map(len, names.values()))
    figure = None if by is None else Monitor.read(by).figure
    for run in found:
        parts = [getattr(run, kind) for kind in NAMED if getattr(run, kind)]
        parts += [_progress(run)] if run.num_runs else []
        parts += [plural(run.epochs, "epoch")] if run.epochs is not None else []
        shown = (_rows(run) or _figures(run)) if figure is None else f"{figure} {number(run.figures.get(figure))}"
        if run.status not in ("done", "running") and run.reason:
            shown = run.reason.splitlines()[0]
        name, text = names[run.run_dir], "  ".join(filter(None, (", ".join(parts), shown)))
        echo(f"{name:<{width}}  {_when(run.started):<16}  {visible(run.status, line=True)}")
        echo(paragraphs(visible(text, line=True), indent="    "))


def _progress(run: Listed) -> str:
    """``8 runs``, ``3 of 8 runs done``."""
    runs = plural(run.num_runs or 0, "run")
    return runs if run.num_done == run.num_runs else f"{run.num_done or 0} of {runs} done"


def _rows(run: Listed) -> str:
    more = f", ... ({len(run.rows)} rows in all)" if len(run.rows) > MAX_ROWS else ""
    return "; ".join(run.rows[:MAX_ROWS]) + more


def _when(started: str | None) -> str:
    return "-" if started is None else datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M")


def _figures(run: Listed) -> str:
    """The figures of the test split, else of the validation split: the metrics first, the loss last."""
    for split in ("test", "validation", "train"):
        own = {key.partition("/")[2]: value for key, value in run.metrics.items() if key.startswith(f"{split}/")}
        plain = {name: value for name, value in own.items() if isinstance(value, (int, float))}
        if plain:
            names = sorted(plain, key=lambda name: name == "loss")
            return f"{split} " + ", ".join(f"{name} {number(plain[name])}" for name in names[:2])
    return ""
