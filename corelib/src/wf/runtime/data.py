"""Samples, datasets, splits and batches: the way of data from a dataset component to the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf.plan import SPLITS
from wf.runfile import parse_split
from wf.runtime.random import stream
from wf.runtime.reading import Reader
from wf.runtime.streams import Stream
from wf.runtime.task import TaskRuntime, task_of

IN_PLACE = (
    "{} changes its inputs in place, which changes the samples themselves\n"
    "  write x = x - 1 rather than x -= 1, or let it begin with x = x.clone()"
)
"""Batches are views of the samples where these are held in memory."""


class Batch(NamedTuple):
    """What a trainer and an evaluator get."""

    inputs: Tensor
    """``[N, ...]``."""
    targets: Tensor
    """``[N, ...]``, see `wf.traits`."""
    sample_ids: Tensor | None
    """int64 ``[N]``: the index of each sample in its dataset."""
    mask: Tensor | None
    """bool ``[N]``: which samples count; None when all do."""
    size: int
    """N."""


class Samples(Protocol):
    """A map-style dataset: ``len()`` and ``[i] -> (input, target)``, as `torch.utils.data.Dataset` has them.

    `TensorSamples` and `Stream` are two that are served in their own ways.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples held in memory; they are served as slices.

    Args:
        inputs: ``[N, ...]``. uint8 images are served as float32 divided by 255, a batch at a time.
        targets: ``[N, ...]``, see `wf.traits`.

    Raises:
        DataError: When the two differ in length.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return as_float(self.inputs[index]), self.targets[index]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a dataset component gives. A pair of tensors ``(inputs, targets)`` is taken for one, too.

    Raises:
        DataError: When the train split is empty.
    """

    train: Samples
    """All samples, or those for training where `test` is given."""
    targets: str
    """The form of its targets, see ``wf list tasks``."""
    task: str | None = None
    """Its task; None for the one that has such targets."""
    validation: Samples | None = None
    test: Samples | None = None
    class_names: Sequence[str] = ()
    """One a class; required for class_index, one_hot, multilabel and mask."""
    feature_names: Sequence[str] = ()
    """One an input column, where inputs are vectors."""
    vocabulary: Sequence[str] = ()
    """One a token, where inputs are tokens: int64 ``[N, T]``, padded with 0 at their ends; see `wf.runtime.text`."""
    target_names: Sequence[str] = ()
    """One a target column of a regression."""
    target_tensor: Tensor | None = field(default=None, repr=False)
    """int64 ``[N]``: the class of each train sample where `train` holds no tensors, for stratified splits."""
    reader: Reader | None = field(default=None, repr=False)
    """What read the inputs from files, and reads the files given to ``wf predict``."""
    transforms: Sequence[Any] = field(default=(), repr=False)
    """What its inputs need before all other transforms, in training and in prediction: fitted on the train split.

    The reader has a method ``transforms()`` that makes them again, to be given the state that they had."""

    def __post_init__(self) -> None:
        if len(self.train) == 0:
            raise DataError("the dataset has no samples")

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None for a regression."""
        return len(self.class_names) or None


def as_float(inputs: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], the arithmetic of torchvision's ToTensor; everything else as it is.

    On CUDA, too: divided by a number of Python's, it would multiply by the reciprocal, which has other bits.
    """
    if inputs.dtype != torch.uint8:
        return inputs
    whole = 255 if inputs.device.type == "cpu" else torch.full((), 255.0, device=inputs.device)
    return inputs.to(torch.float32).div_(whole)


def as_default(tensor: Tensor) -> Tensor:
    """float64, as NumPy and Python's numbers come, in torch's default precision; everything else as it is."""
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def class_index(labels: Sequence[Any]) -> tuple[Tensor, list[str]]:
    """Labels of any kind as class indices.

    Args:
        labels: One a sample: strings or numbers.

    Returns:
        int64 ``[N]`` and the class names, sorted (as numbers where all are).
    """
    values = sorted(set(labels))
    index = {value: position for position, value in enumerate(values)}
    return torch.tensor([index[label] for label in labels], dtype=torch.int64), [str(value) for value in values]


def stratified_parts(
    shares: Sequence[float], num_samples: int, classes: Tensor | None = None, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Divide samples into parts, each class in proportion.

    Args:
        shares: The share of each part; they add up to 1.
        num_samples: N.
        classes: int64 ``[N]``; None takes all samples for one class.
        generator: Draws the members; None takes each class's first samples for the first part, and so on.

    Returns:
        A sorted int64 tensor of indices for each part. Sizes are by largest remainder, so that every part gets its
        share of every class to within one sample.
    """
    groups = [torch.arange(num_samples)]
    if classes is not None:
        groups = [torch.nonzero(classes == value).flatten() for value in torch.unique(classes)]
    parts: list[list[Tensor]] = [[] for _ in shares]
    for group in groups:
        if generator is not None:
            group = group[torch.randperm(len(group), generator=generator)]
        for part, chunk in zip(parts, group.split(_sizes(shares, len(group))), strict=True):
            part.append(chunk)
    return [torch.cat(part).sort().values for part in parts]


def fold_parts(
    fold: int, num_folds: int, num_samples: int, classes: Tensor | None, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """The train and the test indices of one fold; each class is dealt out evenly over the folds.

    Raises:
        UsageError: With fewer than 2 folds or more folds than samples.
    """
    if not 2 <= num_folds <= num_samples:
        raise UsageError(f"{num_folds} folds do not divide {num_samples} samples; choose from 2 to {num_samples}")
    order = torch.randperm(num_samples, generator=generator) if generator else torch.arange(num_samples)
    if classes is not None:
        order = order[torch.argsort(classes[order], stable=True)]
    chosen = torch.zeros(num_samples, dtype=torch.bool)
    chosen[order[fold::num_folds]] = True
    return torch.nonzero(~chosen).flatten(), torch.nonzero(chosen).flatten()


def take(samples: Samples, indices: Tensor) -> Samples:
    """The samples at `indices`, in memory where they were in memory."""
    if isinstance(samples, TensorSamples):
        return TensorSamples(samples.inputs.index_select(0, indices), samples.targets.index_select(0, indices))
    return torch.utils.data.Subset(samples, indices.tolist())  # type: ignore[arg-type]  # ours is a protocol


def _sizes(shares: Sequence[float], num: int) -> list[int]:
    exact = [share * num for share in shares]
    sizes = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: sizes[index] - exact[index])
    for index in by_remainder[: num - sum(sizes)]:
        sizes[index] += 1
    return sizes


def _classes(dataset: Dataset, task: TaskRuntime) -> Tensor | None:
    """The class of each train sample, for stratification."""
    if dataset.target_tensor is not None:
        return dataset.target_tensor
    return task.strata(dataset.train.targets) if isinstance(dataset.train, TensorSamples) else None


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three splits of a run, and the indices of their samples in the dataset's train part."""

    samples: Mapping[str, Samples]
    indices: Mapping[str, Tensor]
    """int64; none of a stream, which knows its own numbers."""


def split_dataset(
    dataset: Dataset,
    split: str,
    seed: int,
    *,
    shuffle: bool,
    fold: tuple[int, int] | None = None,
    ids: Mapping[str, Tensor] | None = None,
    task: TaskRuntime | None = None,
) -> Splits:
    """Divide a dataset into train, validation and test, stratified for classification.

    With `shuffle` members are drawn from the seed; without, each class's first samples are for training, the next ones
    for validation, the last ones for test. A split that the dataset brings itself stays as it is.

    Args:
        dataset: What is divided.
        split: As `parse_split` reads it; shares of splits that the dataset brings itself are left out of account.
        seed: The run's seed.
        shuffle: Whether members are drawn.
        fold: ``(k, K)``: the test split is the k-th of K folds, and train and validation share the rest.
        ids: The samples of each split where the run has divided them before; a stream has none.
        task: Says what is stratified by; None for the installed one that has such targets.
    """
    if isinstance(dataset.train, Stream):
        return _split_stream(dataset, dataset.train, split, seed if shuffle else None, fold)
    given = {"validation": dataset.validation, "test": None if fold is not None else dataset.test}
    if ids is None:
        indices = _drawn(dataset, task, split, stream(seed, "split") if shuffle else None, fold)
    else:
        indices = {name: ids.get(name, torch.empty(0, dtype=torch.int64)) for name in SPLITS}
    samples: dict[str, Samples] = {}
    num_samples = len(dataset.train)
    for name in SPLITS:
        own = given.get(name)
        if own is not None:
            samples[name], indices[name] = own, torch.arange(len(own))
        elif len(indices[name]) == num_samples:
            samples[name] = dataset.train
        elif len(indices[name]):
            samples[name] = take(dataset.train, indices[name])
    if "train" not in samples:
        raise DataError(f"split {split} of {num_samples} samples leaves none for training")
    return Splits(samples=samples, indices=indices)


def _drawn(
    dataset: Dataset,
    task: TaskRuntime | None,
    split: str,
    generator: torch.Generator | None,
    fold: tuple[int, int] | None,
) -> dict[str, Tensor]:
    """The indices of each split in the dataset's train part."""
    classes, num_samples = _classes(dataset, task or task_of(dataset.targets)), len(dataset.train)
    given = [name for name in SPLITS[1:] if getattr(dataset, name) is not None]
    rest = torch.arange(num_samples)
    if fold is not None:
        rest, test = fold_parts(*fold, num_samples, classes, generator)
        given = list(dict.fromkeys((*given, "test")))
    parts = stratified_parts(
        _open_shares(split, given), len(rest), None if classes is None else classes[rest], generator
    )
    indices = dict(zip(SPLITS, (rest[part] for part in parts), strict=True))
    return indices if fold is None else {**indices, "test": test}


def _open_shares(split: str, given: Sequence[str]) -> list[float]:
    """The shares of train, validation and test, without those that are given.

    Beside a validation split that is given the rest is for training: no test split is taken out of it.
    """
    given = [*given, "test"] if "validation" in given else given
    shares = [0.0 if name in given else share for name, share in zip(SPLITS, parse_split(split), strict=True)]
    return [share / sum(shares) for share in shares]


def _split_stream(
    dataset: Dataset, train: Stream, split: str, seed: int | None, fold: tuple[int, int] | None
) -> Splits:
    """Divide a stream: each sample by a draw of its own, or, without a seed, the first ones for training."""
    if fold is not None:
        raise UsageError("a stream cannot be divided into folds, which needs the class of each sample beforehand")
    samples = {name: own for name in SPLITS[1:] if (own := getattr(dataset, name)) is not None}
    ends = list(itertools.accumulate(_sizes(_open_shares(split, list(samples)), train.num_samples)))
    for name, begin, end in zip(SPLITS, [0, *ends], ends, strict=False):
        part = train.part(begin / train.num_samples, end / train.num_samples, seed)
        if begin < end and len(part):
            samples[name] = part
    if "train" not in samples:
        raise DataError(f"split {split} of {train.num_samples} samples leaves none for training")
    return Splits(
        samples={name: samples[name] for name in SPLITS if name in samples},
        indices={name: torch.arange(len(own)) for name, own in samples.items() if not isinstance(own, Stream)},
    )
