"""Evaluates a trained model on a file with targets; neither the training data nor their dataset are needed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wf.errors import DataError, PluginError, UsageError, unknown
from wf.terminal import plural
from wf_base import tree
from wf_base.data import Batch, Dataset, Spec, TensorSamples, as_default
from wf_base.random import sample_seeds
from wf_base.reading import ENDINGS, DatasetReader, LabelledReader, RecordReader, broken_link, unpacking
from wf_base.task import TaskRuntime
from wf_base.tree import Tree
from wf_data.batches.loading import drawn_for, generators_kept
from wf_data.checks import Checks
from wf_run.description import Description
from wf_run.using.raw import BLOCK, RECORDS, from_rows, records_of, takes_rows

_LOG = logging.getLogger("wf")
SPLIT = "data"
"""The split name of the file's samples in figures."""
_FEW = 16
"""The number of images read at once."""
Choose = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class Labelled:
    """Some samples with their targets."""

    inputs: Tree
    targets: Tree


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
            for inputs, targets in zip(tree.split(part.inputs, size), tree.split(part.targets, size), strict=True):
                num = tree.length(inputs)
                ids = torch.arange(self.num, self.num + num, device=self._device)
                self.num += num
                yield Batch(tree.to(inputs, self._device), tree.to(targets, self._device), ids, None, num)


def dataset_of(path: Path, description: Description, reader: Any, asked: Sequence[str]) -> Dataset | None:
    """The samples of a file like the training file; None if the reader does not read such files with targets.

    Args:
        path: The file.
        description: The description of the run's data.
        reader: The reader of its dataset; None without one.
        asked: The target columns that the user named.

    Raises:
        DataError: As `wf_base.reading.DatasetReader.dataset`.
        UsageError: If target columns are named.
    """
    ending = "/" if path.is_dir() else path.suffix.lower()
    if not isinstance(reader, DatasetReader) or ending not in reader.dataset_endings:
        return None
    if not path.exists():
        raise DataError(broken_link(path) or f"there is no file '{path}'")
    if asked:
        raise UsageError(f"{path} is read like the training file, and its targets are known\n  leave out --target")
    found: Any = reader.dataset(path, description.learned)
    if not isinstance(found, Dataset):
        raise PluginError(f"{type(reader).__name__}.dataset returned {type(found).__name__}, not a wf_base.Dataset")
    return found


def parts_of(
    dataset: Dataset, description: Description, task: TaskRuntime, path: Path, size: int, seed: int
) -> Iterator[Labelled]:
    """The samples of a dataset's `train`, `size` at a time; `seed` is the run's, for a `collate` that draws.

    Raises:
        DataError: For a sample that cannot be read, or whose target is not valid.
    """
    samples, checks = dataset.train, Checks(dataset, task, path.name)
    for begin in range(0, len(samples), size):
        ids = range(begin, min(begin + size, len(samples)))
        if isinstance(samples, TensorSamples) and not checks.collates:
            inputs, targets = (tree.part(own, begin, begin + size) for own in (samples.inputs, samples.targets))
        else:
            with generators_kept() if checks.draws else nullcontext():
                seeds = sample_seeds(seed, -1, torch.tensor(ids)).tolist()
                read = drawn_for(checks, [samples[one] for one in ids], seeds)
                inputs, targets = checks.pairs(read, ids, SPLIT)
        targets = task.served(tree.map_leaves(as_default, targets))
        if not checks.collates:
            task.check(inputs, targets, ids, checks.where(SPLIT))
        if isinstance(targets, torch.Tensor):
            wanted, num = description.spec.num_targets, task.facts(targets[0]).get("num_targets")
            if num is not None and num != wanted:
                raise DataError(f"{path}: the run has {wanted} target columns, not {num}")
        yield Labelled(inputs, targets)


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
        raise DataError(broken_link(path) or f"there is no file '{path}'")
    if type(task).targets_in is TaskRuntime.targets_in:
        raise _without_columns(path, description, reader)
    choose = partial(_choose, path, description, reader, asked, of_run)
    found = _of_folder(path, description, reader) if path.is_dir() else _of_file(path, description, reader, choose)
    first = 1
    for inputs, cells in found:
        try:
            targets = task.targets_in(cells, str(path), first)
        except NotImplementedError as error:
            raise _without_columns(path, description, reader) from error
        if targets.ndim == 2 and targets.shape[1] != description.spec.num_targets:
            raise DataError(f"{path}: the run has {description.spec.num_targets} target columns, not {len(cells)}")
        yield Labelled(inputs, targets)
        first += tree.length(inputs)


def _of_file(
    path: Path, description: Description, reader: Any, choose: Choose
) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
    ending = path.suffix.lower()
    if isinstance(reader, LabelledReader) and ending in reader.endings:
        yield from reader.labelled(path, choose)
        return
    by_rows = isinstance(reader, RecordReader) and ending == ".csv"
    if not by_rows and not (ending in RECORDS and takes_rows(description.inputs, reader)):
        raise UsageError(
            f"{path}: the run does not read samples with their targets from such a file\n"
            f"  {_instead(description, reader)}"
            + (f"\n  {unpacking(path.name, ENDINGS[ending])}" if ending in ENDINGS else "")
        )
    records, first, names = records_of(path), 1, None
    while block := list(itertools.islice(records, BLOCK)):
        names = names or choose(list(dict.fromkeys(name for record in block for name in record)))
        cells = {name: [record.get(name) for record in block] for name in names}
        yield from_rows(block, description.inputs, reader, str(path), first), cells
        first += len(block)
    if names is None:
        raise DataError(f"{path} has no rows")


def _without_columns(path: Path, description: Description, reader: Any) -> UsageError:
    return UsageError(
        f"{path}: the run's targets, {description.spec.targets or 'of no declared form'}, cannot be read from columns "
        f"or folders\n  {_instead(description, reader, columns=False)}"
    )


def _instead(description: Description, reader: Any, *, columns: bool = True) -> str:
    """The files from which the run reads samples with their targets, in words."""
    ways = []
    if isinstance(reader, DatasetReader):
        ways += ["a folder like that of the training data"] if "/" in reader.dataset_endings else []
        endings = [ending for ending in reader.dataset_endings if ending != "/"]
        ways += [f"a file like the training file ({', '.join(endings)})"] if endings else []
    if columns and (takes_rows(description.inputs, reader) or isinstance(reader, LabelledReader)):
        own = reader.endings if isinstance(reader, LabelledReader) else ()
        own = (*own, ".csv") if isinstance(reader, RecordReader) else own
        ways.append(f"a table of the run's columns and its targets ({', '.join(dict.fromkeys([*own, *RECORDS]))})")
    if columns and isinstance(reader, RecordReader) and [one["type"] for one in reader.fields()] == ["image"]:
        ways.append("a folder with a folder of images for each class")
    if not ways:
        return "its dataset has no reader of these: evaluate with its data: wf evaluate RUN --dataset.path PATH"
    return f"give {', or '.join(ways)}"


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


def _of_folder(path: Path, description: Description, reader: Any) -> Iterator[tuple[Tree, Mapping[str, Sequence[Any]]]]:
    """Images, each with the name of its folder."""
    fields = list(reader.fields()) if isinstance(reader, RecordReader) else []
    if [one["type"] for one in fields] != ["image"]:
        raise UsageError(f"{path} is a folder, but this run's inputs are not images\n  {_instead(description, reader)}")
    there = [
        (file, folder.name)
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for file in sorted(folder.rglob("*"))
        if not file.is_dir() and not file.name.startswith(".")
    ]
    files = [(file, label) for file, label in there if file.suffix.lower() in reader.endings]
    others = [file for file, _ in there if file.suffix.lower() not in reader.endings]
    if files and others:
        kinds = ", ".join(sorted({file.suffix.lower() or "without an ending" for file in others}))
        _LOG.warning("%s: skipped %s that this run does not read (%s)", path, plural(len(others), "file"), kinds)
    for file, _ in files:
        if (link := broken_link(file)) is not None:
            raise DataError(link)
    if not files:
        raise DataError(f"'{path}' has no images in folders named after the classes")
    for begin in range(0, len(files), _FEW):
        block = files[begin : begin + _FEW]
        inputs = reader.from_records([{fields[0]["name"]: file} for file, _ in block], str(path), begin + 1)
        yield inputs, {"folder": [label for _, label in block]}
