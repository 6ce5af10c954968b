"""Evaluates a trained model on a file with targets; neither the training data nor their dataset are needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, UsageError, unknown
from wf_base import tree
from wf_base.data import Batch, Spec
from wf_base.reading import LabelledReader, RecordReader
from wf_base.task import TaskRuntime
from wf_base.tree import Tree
from wf_run.description import Description
from wf_run.using.raw import BLOCK, RECORDS, records_of

SPLIT = "data"
"""The split name of the file's samples in figures."""
_FEW = 16
"""The number of images read at once."""
Choose = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Labelled:
    """Some samples with their targets."""

    inputs: Tree
    targets: Tensor


class GivenData:
    """Samples served once, in place of a run's data.

    Args:
        spec: The run's facts about its data.
        batch_size: The run's batch size.
        task: The run's.
        parts: The samples with their targets, prepared for the model.
        device: The device for batches.
    """

    collates = False
    splits = (SPLIT,)

    def __init__(
        self, spec: Spec, batch_size: int, task: TaskRuntime, parts: Iterable[Labelled], device: torch.device
    ) -> None:
        self.spec, self.batch_size, self.task = spec, batch_size, task
        self._parts, self._device = parts, device
        self.num = 0
        """The samples so far."""

    def num_samples(self, split: str) -> int:
        """The number of samples so far: the total is unknown before the file is read."""
        return self.num

    def batches(self, split: str, batch_size: int | None = None, *, even: bool = False) -> Iterator[Batch]:
        """The samples in batches, once."""
        size = batch_size or self.batch_size
        for part in self._parts:
            for inputs, targets in zip(tree.split(part.inputs, size), part.targets.split(size), strict=True):
                num = len(targets)
                ids = torch.arange(self.num, self.num + num, device=self._device)
                self.num += num
                yield Batch(tree.to(inputs, self._device), targets.to(self._device), ids, None, num)


def labelled_of(
    path: Path, description: Description, task: TaskRuntime, reader: Any, asked: Sequence[str], of_run: Sequence[str]
) -> Iterator[Labelled]:
    """Raw inputs and targets of a file, or of a folder with a folder of images for each class.

    Args:
        path: A table, JSON lines or parquet, or such a folder.
        description: The description of the run's data.
        task: The run's.
        reader: The reader of its dataset, which reads the inputs; None without one.
        asked: The target columns; empty for the columns used in training.
        of_run: The target columns named in the run file.

    Raises:
        DataError: For a file without such columns, or values that are not valid targets of the run.
        UsageError: If the run's targets cannot be read from columns, or the columns are unknown.
    """
    if not path.exists():
        raise DataError(f"there is no file '{path}'")
    choose = partial(_choose, path, description, reader, asked, of_run)
    found = _of_folder(path, reader) if path.is_dir() else _of_file(path, reader, choose)
    first = 1
    for inputs, cells in found:
        try:
            targets = task.targets_in(cells, str(path), first)
        except NotImplementedError as error:
            raise UsageError(
                f"the run's targets, {description.spec.targets or 'of no declared form'}, cannot be read from the "
                "columns of a file\n"
                "  evaluate with its dataset: wf evaluate RUN --dataset.path PATH"
            ) from error
        if targets.ndim == 2 and targets.shape[1] != description.spec.num_targets:
            raise DataError(f"{path}: the run has {description.spec.num_targets} target columns, not {len(cells)}")
        yield Labelled(inputs, targets)
        first += tree.length(inputs)


def _of_file(path: Path, reader: Any, choose: Choose) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
    ending = path.suffix.lower()
    if isinstance(reader, LabelledReader) and ending in reader.endings:
        yield from reader.labelled(path, choose)
        return
    if not isinstance(reader, RecordReader) or ending not in (".csv", *RECORDS):
        raise UsageError(
            f"{path}: targets are read from a table of the run's columns, JSON lines, parquet, or folders of images by "
            "class\n  evaluate with the run's dataset: wf evaluate RUN --dataset.path PATH"
        )
    records, first, names = records_of(path), 1, None
    while block := list(itertools.islice(records, BLOCK)):
        names = names or choose(list(dict.fromkeys(name for record in block for name in record)))
        cells = {name: [record.get(name) for record in block] for name in names}
        yield reader.from_records(block, str(path), first), cells
        first += len(block)
    if names is None:
        raise DataError(f"{path} has no rows")


def _choose(
    path: Path,
    description: Description,
    reader: Any,
    asked: Sequence[str],
    of_run: Sequence[str],
    header: Sequence[str],
) -> Sequence[str]:
    """The columns of the targets.

    Raises:
        DataError: If a column is missing.
        UsageError: If the target columns are unknown.
    """
    names = list(asked or of_run or description.target_names or getattr(reader, "target_columns", ()))
    classes = description.spec.class_names
    if not names and classes and set(classes) <= set(header):
        names = list(classes)
    if not names:
        inputs = {str(one["name"]) for one in reader.fields()} if isinstance(reader, RecordReader) else set()
        others = [name for name in header if name not in inputs]
        raise UsageError(
            f"{path}: the target column is unknown: the run file does not name it\n"
            f"  name it: --target {others[0] if len(others) == 1 else 'COLUMN'}"
            + (f"\n  columns that are not inputs: {', '.join(others)}" if others else "")
        )
    for name in names:
        if name not in header:
            raise DataError(f"{path}: {unknown('column', name, header, 'name the targets: --target COLUMN')}")
    return names


def _of_folder(path: Path, reader: Any) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
    """Images, each with the name of its folder."""
    fields = list(reader.fields()) if isinstance(reader, RecordReader) else []
    if [one["type"] for one in fields] != ["image"]:
        raise UsageError(f"{path} is a folder, but this run's inputs are not images\n  give a file with a table")
    files = [
        (file, folder.name)
        for folder in sorted(path.iterdir())
        if folder.is_dir()
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in reader.endings
    ]
    if not files:
        raise DataError(f"'{path}' has no images in folders named after the classes")
    for begin in range(0, len(files), _FEW):
        block = files[begin : begin + _FEW]
        inputs = reader.from_records([{fields[0]["name"]: file} for file, _ in block], str(path), begin + 1)
        yield inputs, {"folder": [label for _, label in block]}
