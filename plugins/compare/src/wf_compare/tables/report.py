"""The section of ``wf report`` on comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wf.errors import WfError
from wf.terminal import duration
from wf_charts import Block, Section, Text
from wf_charts import Table as Cells
from wf_compare.comparison import Request, figure_of, judge_past
from wf_compare.past import rows_of
from wf_compare.results import larger_is_better
from wf_compare.study import Study
from wf_compare.tables.plots import BETTER, differences, means
from wf_compare.tables.table import METHOD, Line, Table, make_table
from wf_run.views.choosing import kind_of


class Comparison:
    """Means with intervals and paired differences, for each comparison; for other runs, of all of them."""

    def section(self, content: Any) -> Section | None:
        """The tables of comparisons, whose charts are plots if the user named them; for other runs one table of all.

        Runs in a directory of another kind, such as the trials of a search, are not compared: all trials have one seed,
        and the best of them is partly lucky. Comparisons in it are shown.
        """
        groups = [folder for folder in content.folders if kind_of(folder) is not None]
        studies = [study for folder in groups for study in _studies(folder)]
        others = [run for run in content.runs if not any(folder in run.path.parents for folder in groups)]
        if not studies and len(others) < 2:
            return None
        blocks: list[Block] = []
        for folder in studies:
            study = Study(folder)
            try:
                by, rows = figure_of(study, Request(by=content.by)), study.rows()
                blocks += _blocks(
                    make_table(rows, by, larger_is_better(by, rows, content.registry), folder, study.manifest["jobs"]),
                    charts=folder not in groups,
                )
            except WfError as error:
                blocks.append(Text(text=f"{folder.name} is not judged: {error}"))
        if not studies:
            try:
                blocks += _blocks(
                    judge_past(rows_of([str(run.path) for run in others]), content.by, content.registry),
                    charts=True,
                )
            except WfError as error:
                blocks.append(Text(text=f"The runs are not compared with each other: {error}"))
        return Section(title="Comparison", blocks=blocks)


def _studies(folder: Path) -> list[Path]:
    """The comparison in a directory: itself, or those directly below it."""
    return [folder] if Study.is_at(folder) else sorted(one for one in folder.iterdir() if Study.is_at(one))


def _blocks(table: Table, *, charts: bool) -> list[Block]:
    """The table, the charts if nobody else draws them, and how to read them."""
    first = table.lines[0].row.name
    blocks: list[Block] = [
        Cells(
            head=["row", table.by, "low", "high", f"minus {first}", "low", "high", "verdict", "runs", "time"],
            rows=[_cells(line) for line in table.lines],
            caption=f"{table.by}, mean over the runs of a row, with 95 % intervals",
        )
    ]
    better = BETTER[table.larger_is_better]
    if charts:
        blocks += [*means(table), *differences(table)]
    blocks.append(Text(text=f"{METHOD}{better}."))
    blocks += [Text(text=note, is_warning=True) for note in table.notes]
    problems = [(line, run, how) for line in table.lines for run, how in line.problems]
    blocks += [Text(text=f"{line.row.name}, {run.repeat}: {how}", is_warning=True) for line, run, how in problems]
    return blocks


def _cells(line: Line) -> list[str | int | float | None]:
    mean = line.estimate
    low, high = (mean.interval if mean else None) or (None, None)
    found = line.difference
    below, above = (found.estimate.interval if found else None) or (None, None)
    verdict = found.verdict if found else line.unpaired
    return [
        line.row.name,
        mean.mean if mean else None,
        low,
        high,
        found.estimate.mean if found else None,
        below,
        above,
        verdict,
        mean.num if mean else 0,
        None if line.seconds is None else duration(line.seconds),
    ]
