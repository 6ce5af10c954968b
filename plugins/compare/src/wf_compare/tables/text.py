"""A comparison as text, for terminals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from wf.terminal import duration, visible
from wf_compare.statistics import DOUBTFUL, Estimate, Verdict
from wf_compare.tables.table import Line, Table

VERDICTS = get_args(Verdict)
MIN_NAME = 12
"""The minimum width of the names column."""


def to_text(table: Table, width: int) -> str:
    """The table, the outcome of runs without a figure, and an explanation.

    Args:
        table: The comparison.
        width: Terminal width in columns.
    """
    blocks = [_grid(_cells(table), width), *_problems(table, width), _notes(table, width)]
    return "\n\n".join(blocks)


def plain_number(value: Any) -> str:
    """The figure of one run as text."""
    return f"{value:.4f}" if isinstance(value, float) and 1e-3 <= abs(value) < 1e3 else f"{value}"


def _cells(table: Table) -> list[list[str]]:
    """The cells: name, runs, figure, difference, verdict, time; columns without information are omitted."""
    lines = table.lines
    found = [line.estimate for line in lines if line.estimate]
    decimals = _decimals([*found, *(line.difference.estimate for line in lines if line.difference)])
    differences = [_number(line.difference.estimate if line.difference else None, decimals, "+") for line in lines[1:]]
    columns = [
        ["", *(line.row.name for line in lines)],
        ["runs", *(_runs(line) for line in lines)] if any(line.problems for line in lines) else [],
        [table.by, *(_number(line.estimate, decimals) for line in lines)],
        [f"minus {_shortened(lines[0].row.name)}", "", *differences] if len(lines) > 1 else [],
        ["", *(line.difference.verdict if line.difference else "" for line in lines)] if len(lines) > 1 else [],
        ["  time", *(f"{'-' if line.seconds is None else duration(line.seconds):>6}" for line in lines)],
    ]
    rows = zip(*(column for column in columns if column), strict=True)
    return [[visible(cell, line=True) for cell in row] for row in rows]


def _runs(line: Line) -> str:
    return f"{len(line.row.runs) - len(line.problems)}/{len(line.row.runs)}"


def _shortened(name: str) -> str:
    return name if len(name) <= 14 else "the first"


def _number(found: Estimate | None, decimals: int, sign: str = "") -> str:
    """``0.9741 ± 0.0089``."""
    if found is None:
        return "-"
    half = "" if found.half_width is None else f" ± {found.half_width:.{decimals}f}"
    return f"{found.mean:{sign}z.{decimals}f}{half}"


def _decimals(estimates: Sequence[Estimate]) -> int:
    """Enough decimals for two digits of the narrowest interval and three of the largest mean."""
    means = [abs(found.mean) for found in estimates if found.mean]
    noise = 1e-12 * max(means, default=0)  # differences that are equal up to rounding
    halves = [found.half_width for found in estimates if found.half_width and found.half_width > noise]
    if not halves:
        return 4
    wanted = [1 - math.floor(math.log10(min(halves)))]
    wanted += [2 - math.floor(math.log10(max(means)))] if means else []
    return min(8, max(0, *wanted))


def _grid(rows: Sequence[Sequence[str]], width: int) -> str:
    """Rows in columns: the name, wrapped if too long, and other words left-aligned, numbers right-aligned."""
    num_columns = len(rows[0])
    widths = [max(len(row[column]) for row in rows) for column in range(num_columns)]
    room = width - sum(size + 2 for size in widths[1:])
    widths[0] = min(widths[0], max(MIN_NAME, room))
    lines = []
    for row in rows:
        first, *more = textwrap.wrap(row[0], widths[0], subsequent_indent="  ") or [""]
        cells = [
            f"{cell:<{size}}" if cell in VERDICTS else f"{cell:>{size}}" for cell, size in zip(row, widths, strict=True)
        ]
        lines += ["  ".join([f"{first:<{widths[0]}}", *cells[1:]]).rstrip(), *more]
    return "\n".join(lines)


def _problems(table: Table, width: int) -> list[str]:
    """The outcome of runs without a figure, equal outcomes in one line."""
    lines = []
    for line in table.lines:
        ends: dict[str, list[str]] = {}
        for run, end in line.problems:
            ends.setdefault(end, []).append(run.repeat)
        lines += [f"{line.row.name}, {_listed(repeats)}: {end}" for end, repeats in ends.items()]
        if line.unpaired and not line.problems:
            lines.append(f"{line.row.name}: not compared, {line.unpaired}")
    return ["\n".join(_wrapped(lines, width))] if lines else []


def _listed(repeats: Sequence[str]) -> str:
    """``seed 42, 43``."""
    first, *others = repeats
    return ", ".join([first, *(repeat.removeprefix("seed ") for repeat in others)])


def _notes(table: Table, width: int) -> str:
    """How to read the table, and its limits."""
    repeats = list(dict.fromkeys(run.repeat for line in table.lines for run in line.row.runs))
    lines = [*_method(table, repeats), *(_verdicts(table) if len(repeats) > 1 else []), *table.notes]
    return "\n".join(_wrapped(lines, width))


def _method(table: Table, repeats: Sequence[str]) -> list[str]:
    num = len(repeats)
    direction = {True: "; larger is better", False: "; smaller is better", None: ""}[table.larger_is_better]
    if num == 1:
        return [
            f"{table.by} of one run per row ({repeats[0]}){direction}. The variation from seed to seed is "
            "unknown, so no row is better or worse than another: --repeats 5."
        ]
    folds = any("fold" in repeat for repeat in repeats)
    varies = "folds" if folds else "initial weights, order and split"
    text = (
        f"Mean ± 95 % confidence interval over {num} repeats ({_range(repeats)}: {varies}), by Student's t{direction}. "
        f"Time is per run{f', with {table.jobs} at a time' if table.jobs > 1 else ''}."
    )
    if folds:
        text += " Folds share their train samples, so the intervals are too narrow."
    return [text]


def _range(repeats: Sequence[str]) -> str:
    """``seeds 42 to 46``."""
    seeds = [int(repeat.removeprefix("seed ")) for repeat in repeats if repeat.removeprefix("seed ").isdecimal()]
    if len(seeds) == len(repeats) and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} {'to' if len(seeds) > 2 else 'and'} {seeds[-1]}"
    return _listed(repeats) if len(repeats) <= 6 else f"{repeats[0]} to {repeats[-1]}"


def _verdicts(table: Table) -> list[str]:
    found = [line.difference for line in table.lines if line.difference is not None]
    verdicts = {difference.verdict for difference in found}
    unknown = dict.fromkeys(difference.why for difference in found if difference.why)
    judged = [difference for difference in found if difference.verdict != "unknown"]
    lines = [f"unknown: {why}." for why in unknown]
    if "tie" in verdicts:
        lines.append(
            "tie: the interval of the paired difference contains 0. These repeats do not distinguish the two; "
            "that does not show that they are equal."
        )
    if len(judged) > 1:
        lines.append(
            f"Verdicts hold for all {len(judged)} differences together, at 5 % by Holm's method; each interval is for "
            "its own difference alone."
        )
    if verdicts & {*DOUBTFUL.values()}:
        lines.append("?: the interval excludes 0, but among so many differences that may be chance; use more repeats.")
    if judged:
        lines.append("Not covered: other data, or rows with individually tuned options.")
    return lines


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    ]
