"""The runs of a comparison, read from their directories, and whether they can be compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wf.engine.figures import LOSS, TRAIN, Monitor, divided, fits, metric_of
from wf.errors import DataError, DivergedError, UsageError, unknown
from wf.registry import Registry
from wf.traits import MetricTraits
from wf_run.directory.finding import is_run
from wf_run.directory.rundir import RunDirectory
from wf_run.runfiles.runfile import RunFile
from wf_storage.manifests import read_records

FINAL = ("done", "diverged")
"""Statuses of runs that are not trained again."""
JUDGED = ("validation", "test")
"""The splits with figures to compare by, the preferred one first."""
LOST = ("damaged", "missing")
"""Statuses of trained runs that can no longer be read."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: a row's settings with one seed."""

    repeat: str
    """The pairing key: ``seed 42``."""
    place: Path
    status: str
    """``done``, ``diverged``, ``failed``, ``interrupted``, ``running``, ``killed``, ``not started``, or of `LOST`."""
    reason: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the last evaluations, and of the last steps."""
    directions: Mapping[str, bool] = field(default_factory=dict)
    """Whether a larger figure is better, by name without the split, as declared."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """The sizes of its splits."""
    seconds: float | None = None
    """Duration of the training, evaluations included."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Versions by name, and the device: the conditions that may change the figures of a repeated run."""
    exit_code: int = 0
    """The exit code of `wf run` for a run that ended; 0 for one that did not."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Runs that differ only in their repeat."""

    name: str
    settings: Mapping[str, Any]
    """The settings that distinguish it from the other rows."""
    document: RunFile
    """Its resolved run file."""
    runs: tuple[Run, ...]


def read_run(place: Path, repeat: str, failure: Mapping[str, Any] | None = None, *, over: bool = False) -> Run:
    """Read a run from its directory.

    Args:
        place: The directory, which need not exist.
        repeat: The pairing key.
        failure: ``reason`` and ``exit_code`` of a failed run, if its directory does not record them.
        over: Whether it was trained, so that its directory must exist.
    """
    manifest: dict[str, Any] = {"status": "not started"}
    if over:
        manifest = {"status": "missing", "reason": f"{place} is missing"}
    try:
        if os.path.lexists(place / "manifest.json") or is_run(place):
            manifest = RunDirectory(place).state
        seconds = _seconds(place)
    except DataError as error:
        manifest, seconds = {"reason": str(error)}, None
    status, reason = str(manifest.get("status", "damaged")), manifest.get("reason")
    if failure is not None and status not in FINAL:
        status, reason = "failed", failure["reason"]
    codes = {"diverged": DivergedError.exit_code, "failed": (failure or {}).get("exit_code", 1)}
    code = codes.get(status, DataError.exit_code if status in LOST else 0)
    return Run(
        repeat=repeat,
        place=place,
        status=status,
        reason=None if status == "done" else reason,
        metrics={**(manifest.get("recorded") or {}), **(manifest.get("metrics") or {})},
        directions=RunDirectory(place).directions,
        samples=manifest.get("samples") or {},
        seconds=seconds,
        made_with=_made_with(manifest),
        exit_code=code,
    )


def _made_with(manifest: Mapping[str, Any]) -> dict[str, str]:
    found = {name: str(version) for name, version in manifest.get("versions", {}).items() if name != "python"}
    for component in manifest.get("components", []):
        if component["distribution"]:
            found[component["distribution"]] = str(component["version"])
    return found | ({"device": str(manifest["device"])} if "device" in manifest else {})


def _seconds(place: Path) -> float | None:
    """The duration of a run; the timings restart at 0 whenever the run was resumed."""
    total, last = 0.0, None
    for record in read_records(place / "timings.jsonl"):
        now = record.get("elapsed_sec")
        if not isinstance(now, (int, float)):
            continue
        if last is not None and now < last:
            total += last
        last = now
    return None if last is None else float(total + last)


def figures_of(rows: Sequence[Row]) -> list[str]:
    """The figures that the finished runs of every row have."""
    found = [{name for run in row.runs for name in run.metrics} for row in rows if any(run.metrics for run in row.runs)]
    names = dict.fromkeys(name for row in rows for run in row.runs for name in run.metrics)
    return [name for name in names if all(name in having for having in found)]


def choose_figure(
    by: str | None, figures: Sequence[str], documents: Sequence[Mapping[str, Any]], of: str = "these rows"
) -> str:
    """The figure to compare by: the user's, or the first metric on the validation split, else on the test split.

    Args:
        by: The user's choice, optionally with a direction: ``validation/accuracy:max``.
        figures: The figures that every row has, such as ``validation/accuracy``, and patterns for further ones.
        documents: The rows' resolved run files.
        of: What has the figures, in messages.

    Raises:
        UsageError: For an unknown figure, or for the loss if the rows have different losses.
    """
    metrics = _metrics(documents[0])
    preferred = [f"{split}/{name}" for split in JUDGED for name in (*metrics, "loss")]
    chosen = Monitor.read(by).figure if by else next((name for name in preferred if name in figures), None)
    judged = [name for name in figures if divided(name)[0] != TRAIN and not name.endswith("*")]
    if chosen is None and judged:
        raise UsageError(f"choose the figure to compare by: --by FIGURE:max or :min\n  {', '.join(judged)}")
    if chosen is None:
        raise UsageError(
            "the rows have no figure in common\n  a custom evaluator declares its figures in its attribute 'figures'"
        )
    if chosen not in figures and not fits(chosen, figures):
        figure, colon, said = chosen.rpartition(":")
        if colon and (figure in figures or fits(figure, figures)):
            raise UsageError(f"--by {chosen}: unknown direction '{said}'\n  write --by {figure}:max or {figure}:min")
        raise UsageError(unknown("figure", chosen, figures, of=of))
    check_same_figure(chosen, documents, [name for name in (*preferred, *figures) if name in figures], of)
    return by or chosen


def check_same_figure(
    chosen: str, documents: Sequence[Mapping[str, Any]], figures: Sequence[str], of: str = "these rows"
) -> None:
    """Refuse a figure that is another one from row to row.

    Args:
        chosen: The figure.
        documents: The rows' run files.
        figures: All figures, the best choices of a split first.
        of: What has the figures, in messages.

    Raises:
        UsageError: For the loss if the rows have different losses, and for a metric with different options.
    """
    if chosen.endswith("/loss") and (different := _losses(documents)):
        metrics = [name for name in figures if metric_of(divided(name)[1], [LOSS]) is None and not name.endswith("*")]
        others = [name for split in JUDGED for name in metrics if divided(name)[0] == split]
        instead = f"choose a metric: --by {others[0]}" if others else "give the rows a metric: --metric NAME"
        raise UsageError(
            f"{chosen} is not the same figure in {of}: their losses are {different}, "
            f"and values of different functions cannot be compared\n  {instead}"
        )
    name = metric_of(divided(chosen)[1], _metrics(documents[0]))
    measures = [
        table
        for document in documents
        for own, table in zip(_metrics(document), document.get("metric", []), strict=True)
        if own == name
    ]
    if any(measure != measures[0] for measure in measures):
        raise UsageError(
            f"{chosen} is not the same figure in {of}: {' and '.join(dict.fromkeys(map(_in_words, measures)))}\n"
            "  give all the same metric, or choose another figure: --by FIGURE"
        )


def larger_is_better(by: str, rows: Sequence[Row], registry: Registry | None = None) -> bool | None:
    """The direction of a figure: the user's, as in ``validation/accuracy:max``, else declared; None if unknown.

    Without a registry the declaration is that which the runs have recorded.
    """
    monitor = Monitor.read(by)
    if monitor.larger_is_better is not None:
        return monitor.larger_is_better
    metric = metric_of(monitor.name, _metrics(rows[0].document))
    known = registry is not None and metric is not None and registry.has("metric", metric)
    traits = registry.find("metric", metric).component.traits if registry and metric and known else None
    if isinstance(traits, MetricTraits) and traits.larger_is_better is not None:
        return traits.larger_is_better
    said = (run.directions.get(monitor.name) for row in rows for run in row.runs)
    return next((larger for larger in said if larger is not None), None)


def _metrics(document: Mapping[str, Any]) -> list[str]:
    """The names of a run's metrics."""
    return [str(table["use"]).partition("@")[0] for table in document.get("metric", [])]


def check_different(documents: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Refuse identical rows.

    Raises:
        UsageError: Naming them.
    """
    for number, document in enumerate(documents):
        if (first := documents.index(document)) < number:
            raise UsageError(f"rows '{names[first]}' and '{names[number]}' are identical")
    trained = [what_trains(document) for document in documents]
    for number, one in enumerate(trained):
        if (first := trained.index(one)) < number:
            raise same_but_for_metrics(f"rows '{names[first]}' and '{names[number]}'")


def what_trains(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a run file that affects training: everything but metrics that nothing monitors during training."""
    watched = metric_of(Monitor.read(str(document.get("monitor"))).name, _metrics(document))
    tables = zip(_metrics(document), document.get("metric", []), strict=True)
    return {**document, "metric": [table for name, table in tables if name == watched]}


def same_but_for_metrics(which: str) -> UsageError:
    """The error for rows that differ only in their metrics."""
    return UsageError(
        f"{which} differ only in their metrics, and would be trained identically\n"
        "  give one row all of the metrics: --metric A --metric B"
    )


def check_same_data(documents: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Refuse rows on different data.

    Raises:
        UsageError: Naming two of them.
    """
    for document, name in zip(documents, names, strict=True):
        if document.get("dataset") != documents[0].get("dataset"):
            raise UsageError(
                f"rows '{names[0]}' and '{name}' use different data and cannot be compared: "
                f"{_data_in_words(documents[0])} and {_data_in_words(document)}\n"
                "  make one comparison per dataset"
            )


def what_differs(rows: Sequence[Row]) -> list[str]:
    """Conditions that differ between the runs, such as ``torch 2.13.0 and 2.14.1``."""
    found: dict[str, dict[str, None]] = {}
    for run in (run for row in rows for run in row.runs):
        for name, version in run.made_with.items():
            found.setdefault(name, {})[version] = None
    return [f"{name} {' and '.join(versions)}" for name, versions in found.items() if len(versions) > 1]


def why_unpaired(row: Row, reference: Row) -> str | None:
    """Why the runs of two rows cannot be paired; None if they can."""
    for key in ("split", "shuffle"):
        here, there = row.document.get(key), reference.document.get(key)
        if here != there:
            return f"its {key} is {here}, but {there} in '{reference.name}': they are evaluated on different samples"
    sizes = [next((run.samples for run in one.runs if run.samples), None) for one in (row, reference)]
    if None not in sizes and sizes[0] != sizes[1]:
        return f"its splits differ in size from those of '{reference.name}': the data has changed"
    if not {run.repeat for run in row.runs} & {run.repeat for run in reference.runs}:
        return f"it has no seed in common with '{reference.name}'"
    return None


def _losses(documents: Sequence[Mapping[str, Any]]) -> str:
    """The losses of rows with different losses, as options if the loss is the same; "" for equal ones."""
    tables = [document.get("loss", {}) for document in documents]
    same = {key for key in tables[0] if all(table.get(key) == tables[0][key] for table in tables)} - {"use"}
    one = len({table.get("use") for table in tables}) == 1
    shown = [{key: table[key] for key in table if key == "use" or (one and key not in same)} for table in tables]
    return " and ".join(dict.fromkeys(map(_in_words, shown))) if any(table != tables[0] for table in tables) else ""


def _data_in_words(document: Mapping[str, Any]) -> str:
    if "dataset" in document:
        return _in_words(document["dataset"])
    return f"samples of trainer {document['trainer']['use']} itself"


def _in_words(table: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name} {value}" for name, value in table.items() if name != "use")
    return f"{table.get('use')} ({options})" if options else str(table.get("use"))
