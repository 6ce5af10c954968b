"""Serving a run's splits in batches: slices of tensors where samples are in memory, torch's DataLoader elsewhere.

A stream is read by the training process itself, in the order that it has.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from wf.errors import DataError, UsageError, unknown
from wf.runtime.data import IN_PLACE, Batch, Dataset, Samples, Splits, TensorSamples, as_default, as_float, iter_indices
from wf.runtime.random import sample_uniform, stream
from wf.runtime.streams import Stream, first, regrouped, taken


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a run knows of its data."""

    name: str
    targets: str
    input_shape: tuple[int, ...]
    num_targets: int
    mask_shape: tuple[int, ...]
    """``(H, W)`` where targets are masks, else empty."""
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] | None
    feature_names: tuple[str, ...]
    vocab_size: int | None = None
    """The tokens of the vocabulary, None where inputs are numbers."""

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None for a regression."""
        return len(self.class_names) or (2 if self.targets == "binary" else None)


class _Step(NamedTuple):
    """One of the run's transforms."""

    position: int
    transform: Any
    train_only: bool
    num_draws: int


class RunData:
    """The splits of a run, transformed and served in batches.

    Args:
        dataset: The dataset.
        splits: Its division.
        transforms: In their order: ``(transform, train_only)``; a random one is always for training alone.
        batch_size: Samples in a batch; None for all at once.
        accumulate: Batches of that size whose gradients make one update; an epoch serves them as one batch.
        seed: The run's seed; order and augmentation are functions of it.
        shuffle: Whether the train split is served in a new order each epoch.
        device: Where batches are put.
        workers: Processes that load samples which are not in memory.
        rank: This process among those that share the work.
        world_size: Their number.
        name: The dataset's name, for messages.
        ignore_index: A class index that the loss leaves out; it need not be that of a class.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Splits,
        transforms: Sequence[tuple[Any, bool]] = (),
        *,
        batch_size: int | None = 32,
        accumulate: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        name: str = "dataset",
        ignore_index: int = -100,
    ) -> None:
        self._samples = {split: _floats(samples) for split, samples in splits.samples.items()}
        self._ids = dict(splits.indices)
        self._all_transforms = [_step(*numbered) for numbered in enumerate(transforms)]
        self._transforms = list(self._all_transforms)
        self._seed, self._shuffle, self._device, self._workers = seed, shuffle, device, workers
        self._rank, self._world_size = rank, world_size
        self.splits: tuple[str, ...] = tuple(self._samples)
        self.targets: str = dataset.targets
        self.batch_size = batch_size or self.num_samples("train")
        self._update_size = self.batch_size * accumulate
        self.class_names = tuple(dataset.class_names)
        self._check_workers()
        self._check_shares()
        self._fit_transforms()
        self._transform_ahead()
        self._ignore_index = ignore_index
        self.spec = self._look(dataset, name)
        self.input_shape = self.spec.input_shape

    def num_samples(self, split: str) -> int:
        """The samples of a split."""
        return len(self.samples(split))

    def samples(self, split: str) -> Samples:
        """The samples of a split, before the transforms that are applied to each batch.

        Raises:
            UsageError: When there is no such split.
        """
        if split not in self._samples:
            raise UsageError(unknown("split", split, self.splits))
        return self._samples[split]

    @property
    def num_batches(self) -> int:
        """Batches of this process in an epoch, which are its updates."""
        return -(-self._per_process() // self._update_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The train batches of one epoch from batch `start` on, for the loop."""
        samples = self._samples["train"]
        if isinstance(samples, Stream):
            batches = self._streamed(samples, self._stream_order(samples, epoch), start, self._update_size)
        else:
            batches = self._serve("train", samples, self._order(epoch), start, self._update_size)
        return self._transformed(batches, epoch) if self._transforms else batches

    def batches(self, split: str, batch_size: int | None = None) -> Iterator[Batch]:
        """A split in order, deterministic transforms applied; this process's share where there are several.

        Args:
            split: Its name.
            batch_size: Samples in a batch; None for as many as in training.
        """
        samples, size = self.samples(split), batch_size or self.batch_size
        if isinstance(samples, Stream):
            batches = self._streamed(samples, samples.order(), 0, size)
        else:
            order = None if self._world_size == 1 else torch.arange(self._rank, len(samples), self._world_size)
            batches = self._serve(split, samples, order, 0, size)
        return self._transformed(batches, None) if self._transforms else batches

    def prepare(self, inputs: Tensor) -> Tensor:
        """Inputs that come from elsewhere, transformed as the test split is; for predictions."""
        inputs = as_default(as_float(inputs))
        for step in self._all_transforms:
            if not step.train_only:
                inputs = step.transform(inputs)
        return inputs.to(self._device)

    def first(self, split: str, num: int = 2) -> Tensor:
        """The first transformed inputs of a split."""
        return next(iter(self.batches(split))).inputs[:num]

    def _per_process(self) -> int:
        return -(-self.num_samples("train") // self._world_size)

    def _order(self, epoch: int) -> Tensor | None:
        """This process's samples in an epoch; None for all of them as they stand."""
        num_samples = self.num_samples("train")
        if not self._shuffle and self._world_size == 1:
            return None
        order = torch.arange(num_samples)
        if self._shuffle:
            order = torch.randperm(num_samples, generator=stream(self._seed, "order", epoch))
        if self._world_size == 1:
            return order
        padded = torch.cat([order, order])[: self._per_process() * self._world_size]
        return padded[self._rank :: self._world_size]

    def _stream_order(self, samples: Stream, epoch: int) -> Iterator[Tensor]:
        """The order of all processes in an epoch, padded by its beginning so that each has as many samples."""

        def order() -> Iterator[Tensor]:
            return samples.order(stream(self._seed, "order", epoch) if self._shuffle else None)

        return itertools.chain(order(), first(order(), -len(samples) % self._world_size))

    def _streamed(self, samples: Stream, order: Iterator[Tensor], start: int, size: int) -> Iterator[Batch]:
        mine = taken(order, start * size, self._rank, self._world_size)
        for inputs, targets, numbers in regrouped(samples.rows(mine), size):
            yield self._batch(inputs, targets, numbers)

    def _serve(self, split: str, samples: Samples, order: Tensor | None, start: int, size: int) -> Iterator[Batch]:
        ids = self._ids[split]
        if isinstance(samples, TensorSamples):
            return self._slices(samples, ids, order, start, size)
        return self._loaded(samples, ids, order, start, size)

    def _slices(
        self, samples: TensorSamples, ids: Tensor, order: Tensor | None, start: int, size: int
    ) -> Iterator[Batch]:
        tensors, first = (samples.inputs, samples.targets, ids), start * size
        if first >= (len(ids) if order is None else len(order)):
            return
        parts: Iterator[tuple[Tensor, ...]]
        if order is None:
            parts = zip(*(tensor[first:].split(size) for tensor in tensors), strict=True)
        else:
            parts = (tuple(tensor[chosen] for tensor in tensors) for chosen in order[first:].split(size))
        version = samples.inputs._version
        for x, y, names in parts:
            yield Batch(self._put(as_float(x)), self._put(y), names, None, len(names))
            if samples.inputs._version != version:
                raise UsageError(IN_PLACE.format("the model"))

    def _loaded(self, samples: Samples, ids: Tensor, order: Tensor | None, start: int, size: int) -> Iterator[Batch]:
        order = torch.arange(len(samples)) if order is None else order
        chunks = [order[begin:end].tolist() for begin, end in iter_indices(len(order), size, start)]
        loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
            samples,  # type: ignore[arg-type]  # ours is a protocol of the same methods
            batch_sampler=chunks,
            num_workers=self._workers,
            worker_init_fn=_outlive_a_signal,
            generator=torch.Generator(),  # so that making the iterator draws nothing from the global one
        )
        for chunk, (x, y) in zip(chunks, loader, strict=True):
            yield self._batch(x, y, ids[chunk])

    def _batch(self, inputs: Tensor, targets: Tensor, ids: Tensor) -> Batch:
        targets = self._put(as_default(targets))  # Python's floats come as float64
        targets = targets.unsqueeze(1) if self.targets == "real" and targets.ndim == 1 else targets
        return Batch(self._put(as_float(as_default(inputs))), targets, ids, None, len(ids))

    def _put(self, tensor: Tensor) -> Tensor:
        return tensor if self._device.type == "cpu" else tensor.to(self._device, non_blocking=True)

    def _transformed(self, batches: Iterator[Batch], epoch: int | None) -> Iterator[Batch]:
        """Apply what was not applied ahead; `epoch` is None outside training."""
        for batch in batches:
            inputs = batch.inputs
            for position, transform, train_only, num_draws in self._transforms:
                if epoch is None and train_only:
                    continue
                if epoch is not None and num_draws:
                    assert batch.sample_ids is not None
                    draws = sample_uniform(self._seed, epoch, batch.sample_ids, num_draws, position)
                    inputs = transform(inputs, draws.to(inputs.device))
                else:
                    inputs = transform(inputs)
            yield batch._replace(inputs=inputs)

    def _check_workers(self) -> None:
        if self._workers and any(isinstance(samples, Stream) for samples in self._samples.values()):
            raise UsageError(
                f"a stream is read in order by the training process: it has no use for {self._workers} workers\n"
                "  leave --workers out"
            )

    def _check_shares(self) -> None:
        """Every process must have a part of every split, or the others would wait for it."""
        for split in self.splits:
            if self.num_samples(split) < self._world_size:
                raise UsageError(
                    f"the {split} split has {self.num_samples(split)} samples for {self._world_size} processes\n"
                    "  start fewer processes, or change --split"
                )

    def _fit_transforms(self) -> None:
        """Fit each transform on the train inputs as the ones before it leave them."""
        fitted = [step.position for step in self._transforms if hasattr(step.transform, "fit")]
        if not fitted:
            return
        samples = self._samples["train"]
        if not isinstance(samples, TensorSamples):
            raise UsageError("a transform that is fitted on the train split needs a dataset that is held in memory")
        inputs = as_float(samples.inputs)
        for step in self._transforms[: fitted[-1] + 1]:
            if hasattr(step.transform, "fit"):
                step.transform.fit(inputs)
            if not step.train_only:
                inputs = step.transform(inputs)

    def _transform_ahead(self) -> None:
        """Apply the leading deterministic transforms once, where the samples are in memory."""
        ahead: list[Callable[[Tensor], Tensor]] = []
        if not all(isinstance(samples, TensorSamples) for samples in self._samples.values()):
            return
        while self._transforms and not self._transforms[0].train_only:
            ahead.append(self._transforms.pop(0).transform)
        for split, samples in self._samples.items() if ahead else ():
            assert isinstance(samples, TensorSamples)
            inputs = as_float(samples.inputs)
            for transform in ahead:
                inputs = transform(inputs)
            self._samples[split] = TensorSamples(inputs, samples.targets)

    def _look(self, dataset: Dataset, name: str) -> Spec:
        """Check the samples and tell what they are."""
        for split, samples in self._samples.items():
            if isinstance(samples, Stream):
                samples = TensorSamples(*next(samples.rows(samples.order()))[:2])
            if isinstance(samples, TensorSamples):
                _check_tensors(samples, dataset, f"dataset '{name}', {split} split", self._ignore_index)
        inputs = self.first("train", 1)
        _, target = self._samples["train"][0]
        target = torch.as_tensor(target)
        return Spec(
            name=name,
            targets=dataset.targets,
            input_shape=tuple(inputs.shape[1:]),
            num_targets=int(target.numel()) if dataset.targets in ("real", "multilabel", "one_hot") else 1,
            mask_shape=tuple(target.shape) if dataset.targets == "mask" else (),
            class_names=self.class_names,
            class_counts=self._class_counts(dataset),
            feature_names=tuple(dataset.feature_names),
            vocab_size=len(dataset.vocabulary) or None,
        )

    def _class_counts(self, dataset: Dataset) -> tuple[int, ...] | None:
        samples = self._samples["train"]
        if dataset.targets not in ("class_index", "binary", "mask"):
            return None
        if isinstance(samples, TensorSamples):
            classes = samples.targets
        elif dataset.target_tensor is not None:
            classes = dataset.target_tensor[self._ids["train"]]
        else:
            return None
        num_classes = max(len(self.class_names), 2)
        counted = classes[(classes >= 0) & (classes < num_classes)].to(torch.int64)
        return tuple(torch.bincount(counted, minlength=num_classes).tolist())


def _outlive_a_signal(_worker: int) -> None:
    """Let a process that loads data live on after the first SIGINT and SIGTERM; the next one ends it.

    A terminal, and many a scheduler, sends a signal to all processes of a run. The run finishes its step then and ends
    the ones that load data itself; had they died before, it would fail.
    """

    def stay(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, stay)
    signal.signal(signal.SIGTERM, stay)


def _step(position: int, transform: tuple[Any, bool]) -> _Step:
    num_draws = int(getattr(transform[0], "num_draws", 0))
    return _Step(position, transform[0], transform[1] or num_draws > 0, num_draws)


def as_dataset(value: Any, name: str) -> Dataset:
    """What a dataset component gave, as a `Dataset`: a pair of tensors or arrays is taken for one.

    Raises:
        UsageError: For anything else.
    """
    if isinstance(value, Dataset):
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return _from_pair(*value)
    raise UsageError(
        f"dataset '{name}' gave {type(value).__name__}; it must give a wf.runtime.Dataset or a pair (inputs, targets)"
    )


def _floats(samples: Samples) -> Samples:
    """Samples in memory in torch's default precision, which is that of the model."""
    if not isinstance(samples, TensorSamples):
        return samples
    return TensorSamples(as_default(samples.inputs), as_default(samples.targets))


def _from_pair(inputs: Any, targets: Any) -> Dataset:
    inputs, targets = torch.as_tensor(inputs), torch.as_tensor(targets)
    if inputs.ndim == 1:
        inputs = inputs.unsqueeze(1)
    if targets.is_floating_point():
        targets = targets.unsqueeze(1) if targets.ndim == 1 else targets
        return Dataset(train=TensorSamples(inputs, targets), targets="real")
    targets = targets.to(torch.int64)
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    if targets.ndim == 2:
        raise DataError(
            f"targets of shape {list(targets.shape)} are whole numbers: is that one class a column?\n"
            "  give floats for a regression, or wf.runtime.Dataset(..., targets='multilabel') for labels of 0 and 1"
        )
    names = [str(index) for index in range(int(targets.max()) + 1)] if len(targets) else []
    kind: Any = "class_index" if targets.ndim == 1 else "mask"
    return Dataset(train=TensorSamples(inputs, targets), targets=kind, class_names=names)


def _check_tensors(samples: TensorSamples, dataset: Dataset, where: str, ignore_index: int) -> None:
    """Refuse values that training would silently make nonsense of; once, before step 1."""
    if samples.inputs.is_floating_point() and not bool(torch.isfinite(samples.inputs).all()):
        raise DataError(f"{where}: inputs hold values that are not finite")
    _check_tokens(samples.inputs, len(dataset.vocabulary), where)
    targets = samples.targets
    shape = _SHAPES[dataset.targets]
    if targets.ndim != len(shape):
        raise DataError(
            f"{where}: {dataset.targets} targets must be [{', '.join(shape)}], not {list(targets.shape)}\n"
            "  unsqueeze(1) makes [N] to [N, 1], flatten() the other way round"
        )
    if dataset.targets == "class_index" and len(dataset.class_names) < 2:
        raise DataError(
            f"{where}: there is one class only ({', '.join(dataset.class_names)}), so nothing to tell apart"
        )
    if dataset.targets in ("class_index", "mask"):
        counted = targets[targets != ignore_index]
        if not len(counted):
            raise DataError(f"{where}: every target is {ignore_index}, which is left out")
        low, high = int(counted.min()), int(counted.max())
        if targets.dtype != torch.int64 or low < 0 or high >= len(dataset.class_names):
            raise DataError(
                f"{where}: class indices from {low} to {high} ({targets.dtype}) do not fit "
                f"{len(dataset.class_names)} classes; they must be int64 from 0 to {len(dataset.class_names) - 1}"
            )
    elif targets.is_floating_point() and not bool(torch.isfinite(targets).all()):
        raise DataError(f"{where}: targets hold values that are not finite")
    elif not targets.is_floating_point():
        raise DataError(f"{where}: {dataset.targets} targets must be floating point, not {targets.dtype}")


def _check_tokens(inputs: Tensor, vocab_size: int, where: str) -> None:
    """Refuse inputs that a vocabulary does not fit."""
    if not vocab_size:
        return
    if inputs.dtype != torch.int64 or inputs.ndim != 2:
        raise DataError(f"{where}: tokens must be int64 [N, T], not {inputs.dtype} {list(inputs.shape)}")
    low, high = int(inputs.min()), int(inputs.max())
    if low < 0 or high >= vocab_size:
        raise DataError(f"{where}: tokens from {low} to {high} do not fit a vocabulary of {vocab_size}")


_SHAPES: dict[str, tuple[str, ...]] = {
    "real": ("N", "K"),
    "class_index": ("N",),
    "binary": ("N",),
    "multilabel": ("N", "C"),
    "one_hot": ("N", "C"),
    "mask": ("N", "H", "W"),
}
