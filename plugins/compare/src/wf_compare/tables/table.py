"""The table of a comparison: for each row a mean with its interval, and the difference from the first row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.engine.figures import Monitor
from wf.errors import DivergedError, UsageError
from wf.terminal import plural
from wf_compare.results import FINAL, Row, Run, what_differs, why_unpaired
from wf_compare.statistics import CONFIDENCE, Difference, Estimate, difference, estimate, together

METHOD = "Student t over the repeats; differences are paired; verdicts hold for all differences together (Holm)"


@dataclass(frozen=True, kw_only=True)
class Line:
    """The results of one row."""

    row: Row
    estimate: Estimate | None
    """None if no run of the row has the figure."""
    difference: Difference | None
    """From the first row, over the common repeats; None for the first row itself, and if there is no difference."""
    unpaired: str | None
    """The reason for a missing difference."""
    seconds: float | None
    """The mean duration of a run."""
    problems: tuple[tuple[Run, str], ...]
    """The runs without the figure, each with its outcome."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A comparison."""

    place: Path | None
    by: str
    larger_is_better: bool | None
    lines: tuple[Line, ...]
    jobs: int = 1
    """Number of concurrent runs, as far as known."""

    @property
    def notes(self) -> list[str]:
        """Remarks on the runs besides their figures."""
        runs, notes = [run for line in self.lines for run in line.row.runs], []
        if differing := what_differs([line.row for line in self.lines]):
            notes.append(
                f"Runs were made under different conditions: {'; '.join(differing)}. This may cause differences."
            )
        if missing := sum(run.status not in (*FINAL, "failed") for run in runs):
            notes.append(f"{missing} of {len(runs)} runs are not finished{self._go_on('to train them')}.")
        if failed := sum(run.status == "failed" for run in runs):
            notes.append(f"{failed} of {len(runs)} runs failed{self._go_on('to retry them')}.")
        return [*notes, *filter(None, map(self._unpaired_repeats, self.lines))]

    def _unpaired_repeats(self, line: Line) -> str | None:
        """Remark that a row has different repeats than the first one."""
        first = self.lines[0].row
        mine, theirs = ({run.repeat for run in row.runs} for row in (line.row, first))
        if line.difference is None or mine == theirs:
            return None
        return (
            f"'{line.row.name}' has {plural(len(mine), 'repeat')} and '{first.name}' {len(theirs)}: "
            f"the difference uses the {len(mine & theirs)} that both have."
        )

    def _go_on(self, what: str) -> str:
        return "" if self.place is None else f"; {what}: wf compare --resume {self.place}"

    def record(self) -> dict[str, Any]:
        """The record for ``--json`` and ``table.json``."""
        return {
            "directory": None if self.place is None else str(self.place),
            "by": self.by,
            "larger_is_better": self.larger_is_better,
            "confidence": CONFIDENCE,
            "method": METHOD,
            "jobs": self.jobs,
            "notes": self.notes,
            "rows": [_line_record(line, self.by) for line in self.lines],
        }


def make_table(
    rows: Sequence[Row], by: str, larger_is_better: bool | None, place: Path | None = None, jobs: int = 1
) -> Table:
    """Compare rows by a figure, each with the first one.

    Args:
        rows: With their runs, the reference row first.
        by: The figure, such as ``validation/accuracy``, optionally with a direction.
        larger_is_better: Its direction.
        place: The directory of the comparison.
        jobs: Number of concurrent runs.

    Raises:
        UsageError: If the figure is not a single number.
    """
    lines, by = [], Monitor.read(by).figure
    for row, found in zip(rows, _differences(rows, by, larger_is_better), strict=True):
        mine = _values(row, by)
        seconds = [run.seconds for run in row.runs if run.status == "done" and run.seconds is not None]
        lines.append(
            Line(
                row=row,
                estimate=estimate(list(mine.values())) if mine else None,
                difference=found if isinstance(found, Difference) else None,
                unpaired=found if isinstance(found, str) else None,
                seconds=sum(seconds) / len(seconds) if seconds else None,
                problems=tuple((run, _what_became(run, by)) for run in row.runs if run.repeat not in mine),
            )
        )
    return Table(place=place, by=by, larger_is_better=larger_is_better, lines=tuple(lines), jobs=jobs)


def exit_code(table: Table) -> int:
    """The exit code: 0 if no run has a problem, the code of a failed run, or 5 if runs diverged and none failed."""
    codes = [run.exit_code for line in table.lines for run, _ in line.problems if run.exit_code]
    return next((code for code in codes if code != DivergedError.exit_code), codes[0] if codes else 0)


def _differences(rows: Sequence[Row], by: str, larger_is_better: bool | None) -> list[Difference | str | None]:
    """The differences from the first row, judged together; see `_difference`."""
    found = [_difference(row, rows[0], by, larger_is_better) for row in rows]
    judged = iter(together([one for one in found if isinstance(one, Difference)]))
    return [next(judged) if isinstance(one, Difference) else one for one in found]


def _difference(row: Row, reference: Row, by: str, larger_is_better: bool | None) -> Difference | str | None:
    """The difference from the first row, or why there is none; None for that row itself."""
    if row is reference:
        return None
    mine, theirs = _values(row, by), _values(reference, by)
    common = [repeat for repeat in mine if repeat in theirs]
    why = why_unpaired(row, reference)
    if why is not None or not common:
        return why or "no pair of runs is done"
    pairs = [mine[repeat] for repeat in common], [theirs[repeat] for repeat in common]
    found = difference(*pairs, larger_is_better=larger_is_better)
    why = next((why for one in (row, reference) if (why := _why_incomplete(one, by))), None)
    return found if why is None else Difference(estimate=found.estimate, verdict="unknown", why=why)


def _why_incomplete(row: Row, by: str) -> str | None:
    """Why a row's figures are not representative; None if no run lacks the figure."""
    having = _values(row, by)
    states = {run.status for run in row.runs if run.repeat not in having}
    if not states:
        return None
    if states & {"diverged", "failed", "done"}:
        return f"not all runs of '{row.name}' ended well, and those that did are a biased sample"
    return f"only {len(having)} of {len(row.runs)} runs of '{row.name}' exist"


def _what_became(run: Run, by: str) -> str:
    if run.status == "done":
        return f"done, but its {by} is not a finite number"
    return f"{run.status}: {run.reason.splitlines()[0]}" if run.reason else run.status


def _values(row: Row, by: str) -> dict[str, float]:
    """The figure of each finished repeat that has it."""
    found = {}
    for run in row.runs:
        value = run.metrics.get(by)
        if run.status != "done" or value is None:
            continue
        if not isinstance(value, (int, float)):
            raise UsageError(f"{by} is not a single number; choose another figure with --by")
        if math.isfinite(value):
            found[run.repeat] = float(value)
    return found


def _line_record(line: Line, by: str) -> dict[str, Any]:
    found = line.difference
    return {
        "name": line.row.name,
        "settings": dict(line.row.settings),
        **_estimate_record(line.estimate),
        "seconds": line.seconds,
        "difference": None if found is None else _difference_record(found),
        "unpaired": line.unpaired,
        "runs": [
            {
                "repeat": run.repeat,
                "run_dir": str(run.place),
                "status": run.status,
                "reason": run.reason,
                "value": run.metrics.get(by),
                "seconds": run.seconds,
            }
            for run in line.row.runs
        ],
    }


def _difference_record(found: Difference) -> dict[str, Any]:
    return {
        **_estimate_record(found.estimate),
        "p": found.p,
        "holm_p": found.holm_p,
        "verdict": found.verdict,
        "why": found.why or None,
    }


def _estimate_record(found: Estimate | None) -> dict[str, Any]:
    if found is None:
        return {"mean": None, "interval": None, "num": 0}
    return {"mean": found.mean, "interval": found.interval, "num": found.num}
