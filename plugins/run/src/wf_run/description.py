"""The description of a run's data, written to its directory before step 1: ``data.json`` and the sample ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from wf.declarations.task import Task
from wf.errors import DataError, PluginError
from wf.registry import Registry
from wf_base.data import Spec
from wf_base.task import TaskRuntime, make_task
from wf_data.inputs import Form, form_from, record_of
from wf_fitting.tasks import tasks_of
from wf_storage.files import write_atomically

FORMAT = 1
FILE, SAMPLE_IDS = "data.json", "samples.safetensors"
NAMES = ("class_names", "feature_names", "target_names", "vocabulary")
"""The names of a dataset, in order."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """The facts about the data that a run's model needs."""

    spec: Spec
    inputs: Form
    """The shape of a sample before the transforms; None if the trainer made the samples and did not declare it."""
    target_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    reader: Mapping[str, Any] | None
    """The description of the dataset's reader; None without a reader."""
    values: Mapping[str, Any]
    """The run values that the model was built with, without those in the run file or in `spec`."""
    predictions: str
    """The form of the model outputs, see `wf.traits`."""
    single_logit: bool
    """Whether two classes share a single output."""

    task: str | None = None
    """The name of the task; None if it follows from targets and predictions."""
    links: tuple[str, ...] | None = None
    """The links before the loss in evaluations; None in files of an older wf."""

    def outputs(self, registry: Registry) -> TaskRuntime:
        """The task that reads the model outputs.

        Raises:
            UsageError: If no plugin declares the task any longer.
        """
        spec, task = self.spec, self.task_in(registry)
        options = {"single_logit": self.single_logit, "class_names": spec.class_names, "vocabulary": self.vocabulary}
        return make_task(registry, task, spec.targets, self.predictions, **options)

    def task_in(self, registry: Registry) -> Task | None:
        """The declaration of the task; None if there is none.

        Raises:
            UsageError: If no plugin declares it any longer.
        """
        tasks = tasks_of(registry)
        return tasks.named(self.task) if self.task else tasks.of(self.spec.targets, predictions=self.predictions)

    @property
    def learned(self) -> dict[str, Any]:
        """The run value `learned`, for the dataset."""
        names = {name: list(getattr(self if hasattr(self, name) else self.spec, name)) for name in NAMES}
        return {"reader": self.reader, "targets": self.spec.targets, **names}

    def record(self) -> dict[str, Any]:
        """The content of ``data.json``."""
        return {
            "format": FORMAT,
            **asdict(self.spec),
            "target_names": self.target_names,
            "vocabulary": self.vocabulary,
            "inputs": None if self.inputs is None else record_of(self.inputs),
            "reader": self.reader,
            "values": self.values,
            "predictions": self.predictions,
            "single_logit": self.single_logit,
            "task": self.task,
            "links": self.links,
        }

    def write(self, folder: Path, ids: Mapping[str, Tensor]) -> None:
        """Write it to a run directory, with the sample ids of each split.

        Raises:
            PluginError: If the reader's description is not plain JSON.
            SaveError: When it cannot be written.
        """
        try:
            lines = [
                f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in self.record().items()
            ]
        except (TypeError, ValueError) as error:
            raise PluginError(
                f"dataset '{self.spec.name}': the description of its reader is not plain JSON: {error}"
            ) from error
        if ids:
            write_atomically(folder / SAMPLE_IDS, save({split: _small(own) for split, own in ids.items()}))
        write_atomically(folder / FILE, "{\n" + ",\n".join(lines) + "\n}\n")


def read_description(folder: Path) -> Description | None:
    """The description in a run directory; None without one, as from an older wf.

    Raises:
        DataError: If it is damaged or from a newer wf.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise DataError(f"{file} has format {found['format']!r}, this wf reads {FORMAT}\n  install a newer wf")
        return _description(found)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{file} is damaged: {type(error).__name__}: {error}") from error


def read_sample_ids(folder: Path) -> dict[str, Tensor]:
    """The sample ids of each split that has any, int64.

    Raises:
        DataError: When the file is damaged.
    """
    file = folder / SAMPLE_IDS
    if not file.is_file():
        return {}
    try:
        found = load(file.read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{file} is damaged: {error}") from error
    if any(ids.ndim != 1 or ids.is_floating_point() or ids.is_complex() for ids in found.values()):
        raise DataError(f"{file} is damaged: it must hold whole numbers, a list for each split")
    return {split: ids.to(torch.int64) for split, ids in found.items()}


def _description(found: Mapping[str, Any]) -> Description:
    classes = len(found["class_names"]) or (2 if found["single_logit"] else None)  # older files have nothing else
    later: dict[str, Any] = {"num_classes": classes, "facts": {}}
    spec = {field.name: found.get(field.name, later.get(field.name)) for field in fields(Spec)}
    if lacks := [name for name in spec if name not in found and name not in later]:
        raise KeyError(*lacks)
    spec = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.items()}
    if not isinstance(found["values"], dict) or not isinstance(spec["facts"], dict):
        raise ValueError("unknown values")
    return Description(
        spec=Spec(**spec),
        inputs=None if found["inputs"] is None else form_from(found["inputs"], spec["vocab_size"]),
        target_names=tuple(found["target_names"]),
        vocabulary=tuple(found["vocabulary"]),
        reader=found["reader"],
        values=found["values"],
        predictions=found["predictions"],
        single_logit=found["single_logit"],
        task=found.get("task"),
        links=None if found.get("links") is None else tuple(found["links"]),
    )


def _small(ids: Tensor) -> Tensor:
    """As int32 if the numbers allow it."""
    return ids.to(torch.int32) if not len(ids) or int(ids.max()) < 2**31 else ids
