"""The sections of this package. Each has a method ``section``, which returns None if it has no content."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wf.declarations.kinds import KINDS
from wf.engine.figures import SPLITS
from wf_charts import Block, Code, Heading, Lines, Section, Series, Table, Text
from wf_charts.charts import is_wide
from wf_report.content import Content, ReportedRun
from wf_run.views.choosing import kind_of

NAMED = ("dataset", "model", "loss", "optimizer")
"""The kinds shown in the list of runs."""
MAX_ENTRIES = 12
"""The maximum number of entries in a chart's legend: runs, or the repeats of one row of a comparison together."""
MAX_DIFFERENT = 8
"""The maximum number of differing options shown as columns."""
POSITION = ("event", "split", "epoch", "step")
CONDITIONS = {
    "versions": "version",
    "device": "device",
    "device_name": "device name",
    "threads": "threads",
    "world_size": "processes",
    "precision": "precision",
    "determinism": "determinism",
    "dataset": "checksum",
}
"""Keys of a manifest with the conditions of a run."""


class Runs:
    """The runs and their outcomes."""

    def section(self, content: Content) -> Section:
        """One row per run, with the options in which they differ, and the runs' final messages."""
        keys = _different(content.runs)[:MAX_DIFFERENT]
        head = ["run", "status", *NAMED, *keys, "epochs", "seconds"]
        rows = [
            [
                run.name,
                str(run.manifest.get("status")),
                *(run.use(kind) for kind in NAMED),
                *(_cell(dict(_flat(run.run_file)).get(key)) for key in keys),
                run.manifest.get("epochs"),
                None if run.seconds is None else round(run.seconds, 2),
            ]
            for run in content.runs
        ]
        kept = [place for place in range(len(head)) if any(row[place] not in (None, "") for row in rows)]
        table = Table(head=[head[place] for place in kept], rows=[[row[place] for place in kept] for row in rows])
        notes = [[run.name, name, str(note)] for run in content.runs for name, note in _notes(run)]
        said = [Table(head=["run", "about", "note"], rows=notes)] if notes else []
        return Section(title="Runs", blocks=[table, *(text for run in content.runs for text in self._said(run)), *said])

    def _said(self, run: ReportedRun) -> Iterator[Text]:
        status, reason = run.manifest.get("status"), run.manifest.get("reason")
        if status != "done":
            yield Text(text=f"{run.name}: {status}{f', {reason}' if reason else ''}", is_warning=True)
        for hook in run.manifest.get("disabled_hooks") or ():
            yield Text(text=f"{run.name}: continued without hook {hook.get('hook', hook)}", is_warning=True)


class Figures:
    """The figures at the end of each run, by split."""

    def section(self, content: Content) -> Section:
        """One row per run and split, one column per figure; missing figures are empty."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        places = {run.name: place for place, run in enumerate(content.runs)}
        for run in content.runs:
            for figure, value in {**(run.manifest.get("metrics") or {})}.items():
                split, _, name = figure.partition("/")
                if isinstance(value, (int, float)) or value is None:
                    found.setdefault((run.name, split), {})[name] = value
        names = list(dict.fromkeys(name for figures in found.values() for name in figures))
        missing = [run.name for run in content.runs if all(name != run.name for name, _ in found)]
        blocks: list[Block] = []
        if found:
            ordered = sorted(found.items(), key=lambda item: (places[item[0][0]], _place_of_split(item[0][1])))
            rows = [[run, split, *(figures.get(name) for name in names)] for (run, split), figures in ordered]
            blocks.append(Table(head=["run", "split", *names], rows=rows))
        if missing:
            blocks.append(Text(text=f"No evaluation is recorded of {', '.join(missing)}."))
        return Section(title="Figures", blocks=blocks)


class CurvesOfRuns:
    """The curves of several runs, one over the other."""

    def section(self, content: Content) -> Section | None:
        """One chart per figure, with a curve for each run that has it. Runs that differ only in their seeds share a
        colour."""
        if len(content.runs) < 2:
            return None
        groups = _repeats(content.runs)
        entries = list(dict.fromkeys(groups.values()))[:MAX_ENTRIES]
        shown = [run for run in content.runs if groups[run.name] in entries]
        charts: dict[str, list[Series]] = {}
        for run in shown:
            for name, (x, y) in _curves(run).items():
                if len(x) > 1:
                    charts.setdefault(name, []).append(Series(name=run.name, x=x, y=y, group=groups[run.name]))
        if not charts:
            return None
        blocks: list[Block] = []
        if len(shown) < len(content.runs):
            blocks.append(Text(text=f"The first {len(shown)} of {len(content.runs)} runs are drawn."))
        for name, series in charts.items():
            wide = is_wide([value for one in series for value in one.y])
            blocks.append(Lines(name=name, title=name, series=series, x_label="epochs", log_y=wide))
        return Section(title="Curves", blocks=blocks)


class PlotsOfRuns:
    """All plots that fit a run's task, or draw a directory of several runs such as a comparison."""

    def section(self, content: Content) -> Section | None:
        """The charts of each run and directory that the user named, and the plots that could not be drawn."""
        blocks: list[Block] = []
        folders = [folder for folder in content.folders if kind_of(folder) is not None]
        shown: list[ReportedRun | Path] = [*folders, *content.named]
        for one in shown:
            drawn = content.draw(one)
            if len(shown) > 1 and (drawn.charts or drawn.missing or drawn.broken):
                blocks.append(Heading(text=one.name))
            blocks += drawn.charts
            problems = (*drawn.missing, *drawn.broken)
            blocks += [Text(text=f"Not drawn: {problem}", is_warning=True) for problem in problems]
        return Section(title="Plots", blocks=blocks) if blocks else None


class Environment:
    """Versions, device and data."""

    def section(self, content: Content) -> Section:
        """One row per condition and value, with the runs that have it, if they differ."""
        found: dict[str, dict[str, list[str]]] = {}
        for run in content.runs:
            for name, value in dict.fromkeys(_conditions(run.manifest)):
                found.setdefault(name, {}).setdefault(value, []).append(run.name)
        rows = [
            [name, value, "all" if len(runs) == len(content.runs) else ", ".join(runs)]
            for name, values in found.items()
            for value, runs in values.items()
        ]
        head = ["condition", "value", "runs"]
        if all(row[2] == "all" for row in rows):
            head, rows = head[:2], [row[:2] for row in rows]
        blocks: list[Block] = [Table(head=head, rows=rows)] if rows else [Text(text="Nothing is recorded.")]
        if any(len(values) > 1 for values in found.values()):
            text = "Not all runs were made under the same conditions; that may cause differences between them."
            blocks.insert(0, Text(text=text, is_warning=True))
        return Section(title="Environment", blocks=blocks)


class Repeat:
    """How to repeat the runs."""

    def section(self, content: Content) -> Section:
        """The commands, and the run file of each run that the user named."""
        shown = content.named or content.runs[:1]
        blocks: list[Block] = []
        for folder in content.folders:
            inside = [run for run in content.runs if run.path.is_relative_to(folder)]
            blocks.append(Text(text=f"{folder} holds {len(inside)} runs, each with its own run.toml."))
        for run in shown:
            command = f"wf replay {shlex.quote(str(run.path))}"
            what = "Trains the run again, and compares all figures and the weights"
            blocks.append(Code(text=command, caption=f"{run.name}: {what}"))
            if run.run_text:
                blocks.append(Code(text=run.run_text, caption=f"{run.name}: run.toml", is_folded=True))
            if run.manifest.get("repeatable") is False:
                blocks.append(Text(text=f"{run.name} used live objects: its run file alone cannot repeat it."))
        return Section(title="Repeat it", blocks=blocks)


def _place_of_split(split: str) -> int:
    """Splits come in wf's order, further ones last."""
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def _notes(run: ReportedRun) -> Iterator[tuple[str, Any]]:
    """The messages of hooks at the end of a run."""
    notes = run.manifest.get("notes")
    return iter(notes.items() if isinstance(notes, Mapping) else ())


def _different(runs: Sequence[ReportedRun]) -> list[str]:
    """The keys of run files in which runs differ, without the components that are shown anyway."""
    flat = [dict(_flat(run.run_file)) for run in runs if run.run_file]
    keys = dict.fromkeys(key for one in flat for key in one if key not in NAMED)
    return [key for key in keys if len({repr(one.get(key)) for one in flat}) > 1]


def _flat(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """``optimizer.lr``, ``hook``, and the general keys."""
    for key, value in document.items():
        if isinstance(value, Mapping) and key in KINDS:
            yield key, value.get("use")
            yield from ((f"{key}.{name}", option) for name, option in value.items() if name != "use")
        elif key in KINDS and isinstance(value, list):
            yield key, ", ".join(str(one.get("use")) for one in value if isinstance(one, Mapping))
        else:
            yield key, value


def _cell(value: Any) -> str | int | float | None:
    if value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)):
        return value
    return str(value)


def _conditions(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, words in CONDITIONS.items():
        value = manifest.get(key)
        if isinstance(value, Mapping):
            yield from ((f"{words} {name}", str(one)) for name, one in value.items())
        elif value is not None:
            yield words, str(value)
    for part in manifest.get("components") or ():
        if part.get("distribution"):
            yield f"version {part['distribution']}", str(part.get("version"))


def _repeats(runs: Sequence[ReportedRun]) -> dict[str, str]:
    """The group of each run, by name: runs whose run files differ only in the seed, named after their common folder or
    the first of them."""
    found: dict[str, list[str]] = {}
    for run in runs:
        rest = {key: value for key, value in run.run_file.items() if key != "seed"}
        found.setdefault(repr(rest) if rest else run.name, []).append(run.name)
    groups: dict[str, str] = {}
    for names in found.values():
        folder = os.path.commonpath([os.path.dirname(name) for name in names])
        title = names[0] if len(names) == 1 else folder or f"{names[0]} and {len(names) - 1} more seeds"
        groups |= {name: title if title not in groups.values() else name for name in names}
    return groups


def _curves(run: ReportedRun) -> dict[str, tuple[list[float], list[float]]]:
    """Epochs and values of each figure, by split and name; one value per step. The training loss is the mean over each
    epoch, or the recorded batches of a run without one."""
    steps, epochs = run.manifest.get("steps"), run.manifest.get("epochs")
    per_epoch = steps / epochs if steps and epochs else None
    found: dict[str, tuple[list[float], list[float]]] = {}
    for record in run.records:
        for name, value in record.items():
            if name in POSITION or name == "running_loss" or not (value is None or isinstance(value, (int, float))):
                continue
            x, y = found.setdefault(f"{record.get('split')}/{name}", ([], []))
            place = record["step"] / per_epoch if per_epoch else record["epoch"] + 1
            if not x or place > x[-1]:
                x.append(place)
                y.append(math.nan if value is None else float(value))
    found = {name: curve for name, curve in found.items() if name.replace("loss", "epoch_loss") not in found}
    return {
        name.replace("epoch_loss", "loss"): curve
        for name, curve in found.items()
        if not all(math.isnan(value) for value in curve[1])
    }
