"""Reads the batches of a run's splits, before their transforms: slices of tensors if samples are in memory, torch's
DataLoader otherwise. A stream is read by the training process itself, in its own order. A batch has the same bits in
all cases.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import tree
from wf_base.data import IN_PLACE, Batch, Samples, TensorSamples, as_default, as_float, floats, joined
from wf_base.random import sample_seeds
from wf_base.streams import Stream, regrouped
from wf_base.task import TaskRuntime
from wf_base.tree import Tree
from wf_data.batches.loading import Chunk, Loader
from wf_data.batches.places import HELD, Place, delivered
from wf_data.batches.shares import Shares
from wf_data.checks import Checks


class BatchReader:
    """Reads batches of the splits.

    Args:
        samples: The splits.
        ids: The number of each sample in the dataset, by split.
        places: Where each split is served from.
        task: The task, which converts targets.
        checks: Makes batches of samples that are read one by one, and checks them.
        seed: The run's seed, for what samples draw as they are read.
        shares: The division of a batch among the processes.
        own_size: The most samples that this process has of a batch in training.
        device: The device for batches.
        workers: The number of processes that load samples; evaluations use as many again.
    """

    def __init__(
        self,
        samples: Mapping[str, Samples],
        ids: Mapping[str, Tensor],
        places: Mapping[str, Place],
        *,
        task: TaskRuntime,
        checks: Checks,
        seed: int,
        shares: Shares,
        own_size: int,
        device: torch.device,
        workers: int,
    ) -> None:
        self._samples, self._ids, self._places = samples, ids, places
        self._task, self._checks, self._seed = task, checks, seed
        self._shares, self._own_size, self._device = shares, own_size, device
        self._tensors = {split: self._held(split) for split, place in places.items() if place in HELD}
        pin = device.type == "cuda"
        self._train_loader, self._loader = (Loader(samples, workers, checks, pin=pin) for _ in range(2))

    def close(self) -> None:
        """End the data-loading processes; they are restarted when needed."""
        self._train_loader.close()
        self._loader.close()

    def read(
        self, split: str, order: Tensor | None, start: int, size: int, epoch: int | None, *, even: bool = True
    ) -> Iterator[Batch]:
        """This process's share of batches of `size` samples from batch `start` on.

        Args:
            split: The name of the split.
            order: The samples of all processes, int64 ``[N]``; None for all of the split in order, in one process.
            start: The first batch.
            size: The samples of a batch, of all processes together.
            epoch: The epoch; None outside training.
            even: Whether all processes get as many batches.
        """
        if self._shares.world_size > 1:
            assert order is not None
            order = order[self._shares.is_own(torch.arange(len(order)), len(order), size, even=even)]
            size = self._shares.num(size)
        if self._places[split] in HELD:
            return self._slices(split, order, start * size, size)
        order = torch.arange(len(self._samples[split])) if order is None else order
        loader = self._loader if epoch is None else self._train_loader
        return self._loaded(split, order[start * size :], size, epoch, loader)

    def read_all(self, split: str, order: Tensor, sizes: list[int], epoch: int) -> Iterator[Batch]:
        """The samples of an order in training batches of the given sizes, all of them for this process."""
        if self._places[split] in HELD:
            return self._slices(split, order, 0, sizes)
        return self._loaded(split, order, sizes, epoch, self._train_loader)

    def streamed(self, split: str, samples: Stream, order: Iterator[Tensor], size: int) -> Iterator[Batch]:
        """Batches of `size` samples of a stream."""
        for inputs, targets, numbers in regrouped(samples.rows(order), size):
            self._checks.batch(inputs, targets, numbers.tolist(), split)
            yield self._batch(split, inputs, targets, numbers)

    def first(self, split: str, num: int, size: int) -> Iterator[Batch]:
        """The first samples of a split, or a whole batch of at most `size`; no processes are started for this."""
        samples = self._samples[split]
        if isinstance(samples, Stream):
            return self.streamed(split, samples, samples.order(), size)
        if self._places[split] in HELD:
            return self._slices(split, None, 0, size)
        order = torch.arange(min(num, len(samples)))
        return self._loaded(split, order, num, None, Loader(self._samples, 0, self._checks))

    def delivered(self, batches: Iterator[Batch], split: str) -> Iterator[Batch]:
        """The batches of a split on the device."""
        return delivered(batches, self._device) if self._comes_from_host(split) else batches

    def _held(self, split: str) -> tuple[Tree, Tree, Tensor]:
        """Inputs, targets and indices of a split, in the memory from which they are served."""
        samples, ids = self._samples[split], self._ids[split]
        assert isinstance(samples, TensorSamples)
        if self._places[split] == "memory":
            return samples.inputs, samples.targets, ids
        device = self._device
        return tree.to(samples.inputs, device), tree.to(samples.targets, device), ids.to(device)

    def _slices(self, split: str, order: Tensor | None, first: int, size: int | list[int]) -> Iterator[Batch]:
        """Batches of `size` samples, or of the given sizes, from the sample `first` of the order on."""
        inputs, targets, ids = self._tensors[split]
        convert = not self._comes_from_host(split)
        if first >= len(ids if order is None else order):
            return
        if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
            yield from _tree_slices((inputs, targets, ids), order, first, size, convert=convert)
            return
        parts: Iterator[tuple[Tensor, Tensor, Tensor]]
        if order is None:
            parts = zip(*(tensor[first:].split(size) for tensor in (inputs, targets, ids)), strict=True)
        else:
            chunks = order[first:].to(inputs.device).split(size)
            parts = (  # indexing bytes takes 17 times as long
                (inputs.index_select(0, chosen), targets.index_select(0, chosen), ids.index_select(0, chosen))
                for chosen in chunks
            )
        version = inputs._version
        for x, y, names in parts:
            yield Batch(as_float(x) if convert else x, y, names, None, names.numel())
            if inputs._version != version:
                raise UsageError(IN_PLACE.format("the model"))

    def _loaded(
        self, split: str, order: Tensor, size: int | list[int], epoch: int | None, loader: Loader
    ) -> Iterator[Batch]:
        """Batches of samples that are read one by one."""
        if not len(order):
            return
        num_parts: list[int] = []
        if self._checks.collates and epoch is not None:
            parts = [update.split(self._own_size) for update in order.split(size)]
            num_parts, size = [len(own) for own in parts], [len(part) for own in parts for part in own]
        ids = self._ids[split][order]
        seeds = sample_seeds(self._seed, -1 if epoch is None else epoch, ids)
        names = ids.split(size)
        chunks = (
            Chunk(split, indices.tolist(), own.tolist())
            for indices, own in zip(order.split(size), seeds.split(size), strict=True)
        )
        batches = (
            self._batch(split, x, y, chosen) for (x, y), chosen in zip(loader.batches(chunks), names, strict=True)
        )
        yield from _in_updates(batches, num_parts) if num_parts else batches

    def _batch(self, split: str, inputs: Tree, targets: Tree, ids: Tensor) -> Batch:
        """A batch in host memory, from read samples."""
        targets = self._task.served(tree.map_leaves(as_default, targets))  # Python floats become float64
        inputs = tree.map_leaves(as_default, inputs)
        return Batch(inputs if self._comes_from_host(split) else floats(inputs), targets, ids, None, len(ids))

    def _comes_from_host(self, split: str) -> bool:
        """Whether batches must still be moved to the device.

        uint8 is copied as bytes and converted on the device: a quarter of the traffic.
        """
        return self._device.type != "cpu" and self._places[split] != "device"


def _tree_slices(
    held: tuple[Tree, Tree, Tensor], order: Tensor | None, first: int, size: int | list[int], *, convert: bool
) -> Iterator[Batch]:
    """As `BatchReader._slices`, for inputs and targets that are trees."""
    ids = held[-1]
    if order is None:
        order = torch.arange(len(ids))
    for chosen in order[first:].to(ids.device).split(size):  # copies, so the model may change them
        inputs, targets, names = tree.select(held, chosen)
        yield Batch(floats(inputs) if convert else inputs, targets, names, None, names.numel())


def _in_updates(batches: Iterator[Batch], nums: Sequence[int]) -> Iterator[Batch]:
    """Batches that were collated by themselves, so many together as make each update."""
    for num in nums:
        yield joined(list(itertools.islice(batches, num)))
