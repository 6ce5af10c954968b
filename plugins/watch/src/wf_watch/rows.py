"""The list of runs as text: one table per dataset, with the settings in which its runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from wf.engine.figures import SPLITS
from wf.terminal import plural, visible
from wf_cli.output import number, paragraphs, terminal_width
from wf_watch.reading import NAMED, Listed

MAX_ROWS = 8
"""The maximum number of named rows of a comparison."""
MAX_FIGURES = 2
"""The maximum number of figures of a split."""
_MAX_CELL = 30
_GAP = "  "
_MORE = "…"
_NO_DIFFERENCE = ("dataset", "links", "plugins", "device", "name")
"""Settings that are not compared: a group has one dataset, and the others do not affect the result."""
_FIRST = ("model", "loss", "optimizer", "scheduler", "task", "trainer")
"""Settings that come first among those that differ."""


def differing(runs: Sequence[Listed]) -> list[str]:
    """The settings in which single runs of one dataset differ, the components first, then in the order of run files."""
    tables = [run.settings for run in runs if run.is_single and run.settings]
    names = dict.fromkeys(name for table in tables for name in table)
    found = []
    for name in names:
        if name.partition(".")[0] in _NO_DIFFERENCE and "." not in name:
            continue
        own = [table[name] for table in tables if name in table]  # another component has other options
        values = set(map(str, own)) if any(isinstance(value, list) for value in own) else set(own)
        if len(values) > 1:
            found.append(name)
    return sorted(found, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))


def grouped(runs: Sequence[Listed]) -> dict[str, list[Listed]]:
    """The runs by dataset, in the order of the first of each; those that differ get their `options`."""
    groups: dict[str, list[Listed]] = {}
    for run in runs:
        groups.setdefault(run.dataset or "", []).append(run)
    return {dataset: with_options(group) for dataset, group in groups.items()}


def with_options(group: Sequence[Listed]) -> list[Listed]:
    """The runs of one dataset, each with the settings in which they differ."""
    names = differing(group)
    return [replace(run, options={name: run.settings[name] for name in names if name in run.settings}) for run in group]


def text_of(runs: Sequence[Listed], figure: str | None = None, width: int | None = None) -> str:
    """The tables, each with a heading.

    Args:
        runs: The runs.
        figure: The only figure to show; None for those of the test split, else of validation.
        width: The columns of the screen.
    """
    wide = terminal_width() if width is None else width
    return "\n\n".join(_group(dataset, group, figure, wide) for dataset, group in grouped(runs).items())


@dataclass(frozen=True, kw_only=True)
class _Column:
    title: str
    cells: Sequence[str]
    rank: int
    """The rank of a column; the highest rank is left out first."""

    @cached_property
    def width(self) -> int:
        return max(map(len, (self.title, *self.cells)))


def _group(dataset: str, runs: Sequence[Listed], figure: str | None, width: int) -> str:
    known = _columns(runs, figure)
    columns = _fitting(known, width)
    more = [_MORE] if len(columns) < len(known) else []
    lines = [_heading(dataset, runs), _line([(column.title, column.width) for column in columns], more)]
    for index, run in enumerate(runs):
        lines.append(_line([(column.cells[index], column.width) for column in columns]))
        if below := _below(run):
            lines.append(paragraphs(visible(below, line=True), indent="    "))
    return "\n".join(lines)


def _heading(dataset: str, runs: Sequence[Listed]) -> str:
    """``digits: 3 runs, mlp, ce, adam``: the number of runs and their common settings."""
    shared = []
    for kind in NAMED[1:]:
        names = {getattr(run, kind) for run in runs if run.is_single}
        if len(names) == 1 and (name := names.pop()):
            shared.append(f"{kind} {name}")
    name = dataset or "no dataset"
    return visible(", ".join([f"{name}: {plural(len(runs), 'run')}", *shared]), line=True)


def _columns(runs: Sequence[Listed], figure: str | None) -> list[_Column]:
    columns = [
        _Column(title="name", cells=[visible(run.name, line=True) for run in runs], rank=0),
        _Column(title="status", cells=[_status(run) for run in runs], rank=0),
    ]
    names = [figure] if figure is not None else _figures(runs)
    for index, name in enumerate(names):
        cells = [_value(run.figures.get(name)) for run in runs]
        columns.append(_Column(title=name, cells=cells, rank=1 if not index else 30 + index))
    options = differing(runs)
    for index, name in enumerate(options):
        cells = [_setting(run.settings.get(name)) for run in runs]
        columns.append(_Column(title=name, cells=cells, rank=2 + index))
    columns.append(_Column(title="started", cells=[_when(run.started) for run in runs], rank=20))
    return columns


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """The columns that fit; those of the highest rank are left out first, name and status stay."""
    found = list(columns)
    while len(found) > 2 and _wide(found, more=len(found) < len(columns)) > width:
        found.remove(max(found, key=lambda column: column.rank))
    return found


def _wide(columns: Sequence[_Column], *, more: bool) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1) + (3 if more else 0)


def _line(cells: Sequence[tuple[str, int]], end: Sequence[str] = ()) -> str:
    return _GAP.join([*(f"{text:<{width}}" for text, width in cells), *end]).rstrip()


def _figures(runs: Sequence[Listed]) -> list[str]:
    """Two figures of the test split, the loss last; of validation if a run has none of test."""
    for split in reversed(SPLITS):
        names = dict.fromkeys(
            name
            for run in runs
            for name, value in run.metrics.items()
            if name.startswith(f"{split}/") and isinstance(value, (int, float))
        )
        if names:
            ordered = sorted(names, key=lambda name: name.endswith("/loss"))[:MAX_FIGURES]
            trains = any(run.status == "running" and ordered[0] not in run.metrics for run in runs)
            return [*ordered, *([ordered[0].replace(f"{split}/", "validation/", 1)] if trains else [])]
    return []


def _status(run: Listed) -> str:
    """``done``, ``running 30 %, 2 min left``, ``3 of 8 runs done``."""
    if run.num_runs:
        runs = plural(run.num_runs, "run")
        text = f"{run.status}, {runs}" if run.num_done == run.num_runs else f"{run.num_done or 0} of {runs} done"
        return visible(text, line=True)
    parts = [run.status]
    if run.status == "running" and run.steps is not None:
        parts[0] += f" {run.shared:.0%}".replace("%", " %") if run.shared is not None else f" step {run.steps:,}"
        parts += [] if run.left_sec is None else [f"{time_of(run.left_sec)} left"]
    return visible(", ".join(parts), line=True)


def time_of(seconds: float) -> str:
    """``45 s``, ``2 min``, ``3 h 07 min``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _below(run: Listed) -> str:
    """Why a run ended early, or the rows of a comparison."""
    if run.status not in ("done", "running") and run.reason:
        return run.reason.splitlines()[0]
    more = f", ... ({len(run.rows)} rows in all)" if len(run.rows) > MAX_ROWS else ""
    return "; ".join(run.rows[:MAX_ROWS]) + more


def _value(value: Any) -> str:
    return visible(number(value)[:_MAX_CELL], line=True)


def _setting(value: Any) -> str:
    """A setting as in a run file: ``0.001``, ``128, 64``."""
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
    return visible(text if len(text) <= _MAX_CELL else f"{text[: _MAX_CELL - 1]}…", line=True)


def _when(started: str | None) -> str:
    return "-" if started is None else datetime.fromisoformat(started).astimezone().strftime("%Y-%m-%d %H:%M")
