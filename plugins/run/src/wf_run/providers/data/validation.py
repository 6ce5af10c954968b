"""The datasets of further validation sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wf_base.data import Dataset
from wf_building.built import name_of_live
from wf_data.given import as_dataset
from wf_run.description import NAMES
from wf_run.parts.data.validation import VALIDATION, names_of, path_of
from wf_run.run_build import RunBuild


def validation_sets(run: RunBuild, dataset: Dataset | None) -> Mapping[str, Dataset]:
    """The further validation sets by name; a set from the run's own dataset is read in the same way."""
    tables = run.plan.get(VALIDATION)
    if dataset is None or not tables:
        return {}
    used = {}
    for name in names_of(tables):
        table = tables[name]
        used[name] = table["use"] if isinstance(table, Mapping) else table
        is_alike = isinstance(used[name], str) and used[name] == run.plan["dataset"]["use"]
        run.builder.within[f"{VALIDATION}.{name}"] = {"learned": _learned(dataset) if is_alike else None}
    made = run.values.need(VALIDATION)
    shown = {name: use if isinstance(use, str) else name_of_live(use) for name, use in used.items()}
    return {path_of(name): as_dataset(own, shown.get(name, name), run.registry) for name, own in made.items()}


def validation_facts(validation_sets: Mapping[str, Dataset]) -> dict[str, Mapping[str, Any]] | None:
    """The facts of each of them, by its name among the splits; None without any."""
    return {name: dict(own.facts) for name, own in validation_sets.items()} or None


def _learned(dataset: Dataset) -> dict[str, Any]:
    """The run value `learned`, as in the later description of the data."""
    reader = None if dataset.reader is None else dict(dataset.reader.description())
    return {"reader": reader, "targets": dataset.targets, **{name: list(getattr(dataset, name)) for name in NAMES}}
