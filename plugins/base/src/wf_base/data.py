"""Samples, datasets, splits and batches: the path of data from a dataset component to the model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from wf.engine.figures import SPLITS
from wf.errors import DataError, UsageError
from wf.splits import parse_split
from wf_base import tree
from wf_base.random import stream
from wf_base.reading import Reader
from wf_base.streams import Stream
from wf_base.task import TaskRuntime, task_of
from wf_base.tree import Tree

IN_PLACE = (
    "{} changes its inputs in place, which changes the samples themselves\n"
    "  write x = x - 1 rather than x -= 1, or let it begin with x = x.clone()"
)
"""Appended to the message of an error caused by in-place changes: batches are views of samples held in memory."""


class Batch(NamedTuple):
    """The batch that trainers and evaluators get."""

    inputs: Tree
    """A tensor ``[N, ...]``, or a dict, tuple or list of such trees; a model is called by `wf_base.tree.call`."""
    targets: Tree
    """``[N, ...]``, see `wf.traits`, or a tree; None for samples without targets."""
    sample_ids: Tensor | None
    """int64 ``[N]``: the index of each sample in its dataset."""
    mask: Tensor | None
    """bool ``[N]``: which samples count; None: all."""
    size: int
    """N, the number of samples."""
    parts: tuple[Batch, ...] = ()
    """If the dataset's `collate` made the batches: the batches of one update. `inputs` and `targets` are then
    tuples."""
    share: float = 1.0
    """With several processes: how much of the whole batch's mean these samples are, times the number of processes. 0:
    the whole batch has fewer samples than there are processes, and this one, of another process, keeps step alone."""
    whole_size: int = 0
    """The samples of all processes in it; 0 where these are all."""

    def split(self, size: int) -> Iterator[Batch]:
        """The batch in parts of `size` samples; the last one may be smaller."""
        if self.parts:
            yield from self.parts
            return
        ids = itertools.repeat(None) if self.sample_ids is None else self.sample_ids.split(size)
        targets = itertools.repeat(self.targets) if self.targets is None else tree.split(self.targets, size)
        begin = 0
        for inputs, wanted, own in zip(tree.split(self.inputs, size), targets, ids, strict=False):
            num = min(size, self.size - begin)
            yield Batch(inputs, wanted, own, None if self.mask is None else self.mask[begin : begin + num], num)
            begin += num

    def changed(self, inputs: Callable[[Tree], Tree], targets: Callable[[Tree], Tree]) -> Batch:
        """The batch, and each of its parts, with other inputs and targets."""
        if self.parts:
            return joined([part.changed(inputs, targets) for part in self.parts])
        return self._replace(inputs=inputs(self.inputs), targets=targets(self.targets))


def joined(parts: Sequence[Batch]) -> Batch:
    """Join several batches that a dataset's `collate` made; a single one is returned unchanged."""
    if len(parts) == 1:
        return parts[0]
    inputs, targets = tuple(part.inputs for part in parts), tuple(part.targets for part in parts)
    ids = [part.sample_ids for part in parts if part.sample_ids is not None]
    size = sum(part.size for part in parts)
    return Batch(inputs, targets, torch.cat(ids) if ids else None, None, size, tuple(parts))


class Samples(Protocol):
    """A map-style dataset: ``len()`` and ``[i] -> (input, target)``, as `torch.utils.data.Dataset` has them.

    Input and target are trees: a tensor, array or number, or a dict, tuple or list of trees. Unless the dataset has a
    `collate`, the samples of a batch are stacked leaf by leaf. `TensorSamples` and `Stream` are handled separately.
    While a sample is read the global generators are seeded for it; a class that draws nothing says ``draws = False``,
    which saves that, and so does a `collate`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples held in memory; they are served as slices.

    Args:
        inputs: ``[N, ...]``, or a dict, tuple or list of such trees. uint8 images are served as float32 divided by 255,
            a batch at a time; in a tree, only leaves ``[N, C, H, W]`` are images.
        targets: ``[N, ...]``, see `wf.traits`, or a tree; None for samples without targets.

    Raises:
        DataError: When two leaves differ in length.
    """

    inputs: Tree
    targets: Tree

    def __post_init__(self) -> None:
        if isinstance(self.inputs, Tensor) and isinstance(self.targets, Tensor):
            if len(self.inputs) != len(self.targets):
                raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")
            return
        _check_lengths(self.inputs, self.targets)

    def __len__(self) -> int:
        first = self.inputs if isinstance(self.inputs, Tensor) else tree.first_leaf(self.inputs)
        assert first is not None
        return len(first)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        inputs, targets = (tree.map_leaves(lambda leaf: leaf[index], own) for own in (self.inputs, self.targets))
        lone = isinstance(inputs, Tensor)
        return tree.map_leaves(lambda leaf: as_float(leaf) if lone or leaf.ndim > 2 else leaf, inputs), targets

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(leaf.nbytes for _, leaf in tree.leaves((self.inputs, self.targets)))


def _check_lengths(inputs: Tree, targets: Tree) -> None:
    """Refuse samples whose leaves differ in length, or that have no leaves."""
    found = dict(tree.leaves({"inputs": inputs, "targets": targets}))
    if not any(path == "inputs" or path.startswith("inputs/") for path in found):
        raise DataError(f"the samples have no input tensors: inputs are {tree.words(inputs)}")
    lengths = {path: len(leaf) if leaf.ndim else None for path, leaf in found.items()}
    (first, length), *others = lengths.items()
    for path, own in ((first, length), *others):
        if own is None:
            raise DataError(f"{path} is a tensor without dimensions; its first must be the samples")
        if own != length:
            raise DataError(
                f"{first} has {length} samples, {path} has {own}: the first axis of every leaf is the samples"
            )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The result of a dataset component. A pair of tensors ``(inputs, targets)`` is accepted, too.

    Raises:
        DataError: When the train split is empty.
    """

    train: Samples
    """All samples, or those for training where `test` is given."""
    targets: str | None = None
    """The form of its targets, see ``wf list tasks``. None for any other form, of which wf knows nothing and checks
    little: the run must name its loss, and metrics get the model outputs."""
    task: str | None = None
    """Its task; None for the task that has such targets."""
    validation: Samples | None = None
    test: Samples | None = None
    class_names: Sequence[str] = ()
    """One per class; required for class_index, one_hot, multilabel and mask."""
    feature_names: Sequence[str] = ()
    """One per input column, where inputs are vectors."""
    vocabulary: Sequence[str] = ()
    """One per token, where inputs are tokens: int64 ``[N, T]``, padded with 0 at their ends, or a dict with such a leaf
    ``input_ids``; see `wf_base.text`."""
    target_names: Sequence[str] = ()
    """One per target column of a regression."""
    target_tensor: Tensor | None = field(default=None, repr=False)
    """int64 ``[N]``: the class of each train sample where `train` holds no tensors, for stratified splits."""
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Further facts about its samples, as JSON values: the run value `dataset_facts`, which the run keeps for
    predictions. They are for models and metrics that know this kind of dataset."""
    reader: Reader | None = field(default=None, repr=False)
    """The reader of the inputs, if they came from files; it also reads the files given to ``wf predict``."""
    transforms: Sequence[Any] = field(default=(), repr=False)
    """Transforms that its inputs need before all others, in training and in prediction; they are fitted on the train
    split. For predictions the reader's method ``transforms()`` makes them again, and their saved state is loaded."""
    collate: Callable[[list[Any]], Any] | None = field(default=None, repr=False)
    """Makes ``(inputs, targets)`` of a list of samples that cannot be stacked: it pads them, or keeps lists.

    It is called once per batch, in the process that read the samples. Its draws from the global generators of torch,
    Python or NumPy are determined by the seed, the epoch and the samples."""
    sampler: Iterable[int] | None = field(default=None, repr=False)
    """The order of an epoch, if it is neither sequential nor random: the numbers of train samples. It is iterated anew
    in each epoch, with torch's global generator seeded for that epoch."""

    def __post_init__(self) -> None:
        if len(self.train) == 0:
            raise DataError("the dataset has no samples")

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None for a regression."""
        return len(self.class_names) or None


def as_float(inputs: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1], the arithmetic of torchvision's ToTensor; everything else is unchanged.

    Dividing by a Python number on CUDA would multiply by the reciprocal, which gives other bits; this does not.
    """
    if inputs.dtype != torch.uint8:
        return inputs
    whole = 255 if inputs.device.type == "cpu" else torch.full((), 255.0, device=inputs.device)
    return inputs.to(torch.float32).div_(whole)


def floats(inputs: Tree) -> Tree:
    """Inputs as the model takes them: uint8 images as floats.

    In a tree, only leaves ``[N, C, H, W]`` are images, and in its `Rows` only ``[C, H, W]``.
    """
    if isinstance(inputs, Tensor):
        return as_float(inputs)
    if isinstance(inputs, tree.Rows):
        return tree.Rows(floats(row) if isinstance(row, Tensor) else _images(row, 3) for row in inputs)
    return _images(inputs, 4)


def _images(inputs: Tree, dims: int) -> Tree:
    """A tree in which uint8 leaves with at least `dims` dimensions are images."""
    if isinstance(inputs, tree.Rows):
        return tree.Rows(_images(row, dims - 1) for row in inputs)
    if isinstance(inputs, Mapping):
        return {key: _images(one, dims) for key, one in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tree.like(inputs, [_images(one, dims) for one in inputs])
    return as_float(inputs) if isinstance(inputs, Tensor) and inputs.ndim >= dims else inputs


def as_default(tensor: Tensor) -> Tensor:
    """float64 tensors, as made from NumPy arrays and Python numbers, in torch's default precision; everything else is
    unchanged."""
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def class_index(labels: Sequence[Any]) -> tuple[Tensor, list[str]]:
    """Labels of any kind as class indices.

    Args:
        labels: One per sample: strings or numbers.

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
        classes: int64 ``[N]``; None treats all samples as one class.
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
    """The samples at `indices`; in memory if `samples` are."""
    if isinstance(samples, TensorSamples):
        return TensorSamples(tree.select(samples.inputs, indices), tree.select(samples.targets, indices))
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
    """int64; empty for a stream, which knows its own numbers."""


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
    for validation, the last ones for test. A split that the dataset provides itself stays unchanged.

    Args:
        dataset: The dataset to split.
        split: As `parse_split` reads it; shares of splits that the dataset provides itself are ignored.
        seed: The run's seed.
        shuffle: Whether members are drawn.
        fold: ``(k, K)``: the test split is the k-th of K folds, and train and validation share the rest.
        ids: The samples of each split, if the run has divided them before; a stream has none.
        task: Determines the classes for stratification; None for the installed task that has such targets.
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
        open_shares(split, given), len(rest), None if classes is None else classes[rest], generator
    )
    indices = dict(zip(SPLITS, (rest[part] for part in parts), strict=True))
    return indices if fold is None else {**indices, "test": test}


def open_shares(split: str, given: Sequence[str]) -> list[float]:
    """The shares of train, validation and test, without those that are given.

    If a validation split is given, the rest is for training: no test split is taken from it.
    """
    given = [*given, "test"] if "validation" in given else given
    shares = [0.0 if name in given else share for name, share in zip(SPLITS, parse_split(split), strict=True)]
    return [share / sum(shares) for share in shares]


def _split_stream(
    dataset: Dataset, train: Stream, split: str, seed: int | None, fold: tuple[int, int] | None
) -> Splits:
    """Divide a stream: each sample by its own draw, or, without a seed, the first ones for training."""
    if fold is not None:
        raise UsageError("a stream cannot be divided into folds, which needs the class of each sample beforehand")
    samples = {name: own for name in SPLITS[1:] if (own := getattr(dataset, name)) is not None}
    ends = list(itertools.accumulate(_sizes(open_shares(split, list(samples)), train.num_samples)))
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


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The facts that a run knows about its data."""

    name: str
    targets: str | None
    input_shape: tuple[int, ...] | None
    """The shape of a sample; None if inputs are a tree."""
    num_targets: int
    mask_shape: tuple[int, ...]
    """``(H, W)`` where targets are masks, else empty."""
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] | None
    feature_names: tuple[str, ...]
    vocab_size: int | None = None
    """The tokens of the vocabulary, None where inputs are numbers."""
    num_classes: int | None = None
    """The number of classes, None for a regression."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further facts about the samples, see `Dataset.facts`."""

    def values(self) -> dict[str, Any]:
        """The facts as run values."""
        shape = self.input_shape
        values: dict[str, Any] = {
            "dataset_targets": self.targets,
            "input_shape": shape,
            "num_features": None if shape is None else math.prod(shape),
            "num_channels": shape[0] if shape is not None and len(shape) == 3 else None,
            "num_classes": self.num_classes,
            "class_names": list(self.class_names) or None,
            "class_counts": list(self.class_counts) if self.class_counts else None,
            "feature_names": list(self.feature_names) or None,
            "vocab_size": self.vocab_size,
            "dataset_facts": dict(self.facts) or None,
        }
        return {name: value for name, value in values.items() if value is not None}


class ServedData(Protocol):
    """The data of a run, the run value `data`: the splits, transformed and served in batches."""

    spec: Spec
    batch_size: int
    task: TaskRuntime
    splits: tuple[str, ...]
    """The names of the available splits."""

    @property
    def collates(self) -> bool:
        """Whether the dataset or its task makes the batches."""

    def num_samples(self, split: str) -> int:
        """The samples of a split."""

    def samples(self, split: str) -> Samples:
        """The samples of a split, before the transforms that are applied to each batch.

        Raises:
            UsageError: If there is no such split.
        """

    def batches(self, split: str, batch_size: int | None = None, *, even: bool = False) -> Iterator[Batch]:
        """A split in order, deterministic transforms applied; this process's share where there are several.

        Args:
            split: Its name.
            batch_size: Batch size, of all processes together; None for that of training.
            even: Whether all processes get as many batches, the last one of which may count nothing: `Batch.share`.
        """
