"""Divides a dataset into train, validation and test, or into folds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wf.engine.figures import SPLITS
from wf.errors import DataError, UsageError
from wf.splits import parse_split
from wf_base import tree
from wf_base.data.samples import Dataset, Samples, TensorSamples
from wf_base.random import stream
from wf_base.streams import Stream
from wf_base.task import TaskRuntime, task_of


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
