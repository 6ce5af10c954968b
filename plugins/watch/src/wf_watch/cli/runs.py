"""``wf runs``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from wf.engine.figures import Monitor, best
from wf.errors import DataError, UsageError, unknown
from wf.traits import MetricTraits
from wf_cli.common import WfCommand, registry_of
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json
from wf_run.directory.rundir import RunDirectory
from wf_watch.conditions import chosen
from wf_watch.reading import Listed, read_runs
from wf_watch.rows import grouped, text_of

WHERE = click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only runs with this field, setting or figure: dataset=digits, optimizer.lr=0.1, 'test/accuracy>0.9'.",
)
BY = click.option(
    "--by",
    "--sort",
    "by",
    metavar="FIGURE",
    help="Show this figure, such as test/accuracy or test/spread:min, and sort by it, the best first.",
)


class RunsCommand(WfCommand):
    """``wf runs``, and the separate command ``wf runs rm``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of either command."""
        if args[:1] == ["rm"]:
            from wf_watch.cli.removing import remove

            return remove.make_context(f"{info_name} rm", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command("runs", cls=RunsCommand)
@click.argument("folder", default="runs", metavar="[FOLDER]", type=click.Path())
@click.option("--search", metavar="WORD", help="Only runs with WORD in their name, status or components.")
@WHERE
@BY
@JSON
@click.pass_context
def runs(
    ctx: click.Context, folder: str, search: str | None, conditions: tuple[str, ...], by: str | None, as_json: bool
) -> None:
    """List the runs below runs/ or FOLDER, by dataset, with their settings, progress and results.

    Each dataset has a table with one row per run, with the settings in which its runs differ and their figures. A
    comparison or a cross-validation is one row; wf runs runs/NAME lists the runs in it. wf runs rm removes runs.
    """
    place = place_of(folder)
    found = [run for run in read_runs(place) if search is None or _has(run, search)]
    found = chosen(found, conditions)
    if by is not None:
        found = sort(ctx, found, by)
    if as_json:
        order = {run.run_dir: number for number, run in enumerate(found)}
        told = [run for group in grouped(found).values() for run in group]
        print_json([run.record() for run in sorted(told, key=lambda run: order[run.run_dir])])
    elif found:
        echo(text_of(found, None if by is None else Monitor.read(by).figure))
    elif conditions:
        echo(f"no runs in {place} meet the conditions: {', '.join(conditions)}")
    else:
        echo(f"no runs in {place}" if search is None else f"no runs in {place} have '{search}'")


def place_of(folder: str) -> Path:
    """The folder given by path or by name below ``runs/``.

    Raises:
        DataError: If no such folder exists.
    """
    place = next((path for path in (Path(folder), Path("runs") / folder) if os.path.isdir(path)), None)
    if place is not None:
        return place
    if not os.path.isdir("runs"):
        raise DataError(f"there is no folder '{folder}'\n  runs are made by wf run, below runs/")
    try:
        RunDirectory.open(folder)
    except DataError as error:  # with suggestions
        raise DataError(f"{error}\n  look for a word: wf runs --search {folder}") from None
    raise AssertionError  # a run directory is a folder


def _has(run: Listed, word: str) -> bool:
    texts = (run.name, run.status, run.dataset, run.model, run.loss, run.optimizer, *run.rows)
    return any(word.lower() in text.lower() for text in texts if text)


def sort(ctx: click.Context, found: Sequence[Listed], by: str) -> list[Listed]:
    """The runs that have a figure, the best first, and then the others.

    Raises:
        UsageError: For a figure that no run has, or with an unknown direction.
    """
    monitor = Monitor.read(by)
    known = dict.fromkeys(name for run in found for name in run.figures)
    if found and not known:
        raise UsageError(
            "none of these runs has figures\n"
            "  figures of a comparison: wf compare NAME   of the runs in it: wf runs NAME"
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
