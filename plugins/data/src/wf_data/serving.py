"""Serves a run's splits in batches: slices of tensors if samples are in memory, torch's DataLoader otherwise. A stream
is read by the training process itself, in its own order. A batch has the same bits in all cases.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, UsageError, unknown
from wf_base import tree
from wf_base.data import (
    IN_PLACE,
    Batch,
    Dataset,
    Samples,
    Spec,
    Splits,
    TensorSamples,
    as_default,
    as_float,
    floats,
    joined,
)
from wf_base.figures import lost_in_float32
from wf_base.order import shuffled
from wf_base.random import TrainStream, sample_seeds, sample_uniform, stream, stream_key
from wf_base.streams import Stream, first, regrouped, taken
from wf_base.task import TaskRuntime, task_of
from wf_base.tree import Tree
from wf_data.checks import Checks
from wf_data.inputs import Form, form_of
from wf_data.loading import Chunk, Loader, generators_kept, seed_all
from wf_data.mixing import Mixer, Update
from wf_data.places import Place, choose_places, delivered, describe_places
from wf_data.sets import check_alike, samples_of, words
from wf_data.shares import Shares
from wf_data.transforming import Step

_HELD = ("memory", "device")
"""The places of tensors, which are served as slices."""


class RunData:
    """The splits of a run, transformed and served in batches.

    Args:
        dataset: The dataset.
        splits: Its division.
        transforms: In order: ``(transform, train_only)``, and further arguments of `wf_data.transforming.Step.of`; a
            random one is always for training only.
        batch_size: Batch size, of all processes together; None for all samples at once.
        accumulate: Batches of that size whose gradients make one update; an epoch serves them as one batch.
        seed: The run's seed; order and augmentation are functions of it.
        shuffle: Whether the train split is served in a new order each epoch.
        drop_last: Whether an epoch leaves out its last batch if it has fewer samples than the others.
        device: The device for batches.
        workers: The number of processes that load samples, if they are not in memory; evaluations use as many again.
        serve_from: ``auto``, ``memory``, ``device`` or ``loader``, see `wf_data.places.choose_places`.
        rank: The rank of this process.
        world_size: Their number.
        per_process: Whether `batch_size` is that of each process, and the order of an epoch is continued by its
            beginning so that all have as many samples: the meaning in run files of format 1.
        name: The dataset's name, for messages.
        task: The task; None for the installed task with such targets.
        sets: Further validation sets by their split names, ``validation/night``, in addition to `splits`: they are
            evaluated with the transforms fitted on the train split.

    Raises:
        DataError: For a set whose form differs from the train split's.
    """

    def __init__(
        self,
        dataset: Dataset,
        splits: Splits,
        transforms: Sequence[tuple[Any, ...]] = (),
        *,
        batch_size: int | None = 32,
        accumulate: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
        workers: int = 0,
        serve_from: str = "auto",
        rank: int = 0,
        world_size: int = 1,
        per_process: bool = False,
        name: str = "dataset",
        task: TaskRuntime | None = None,
        sets: Mapping[str, Dataset] | None = None,
    ) -> None:
        self._samples = dict(splits.samples)
        self._ids = dict(splits.indices)
        self._given = _given(dataset, splits, sets or {})
        self.splits: tuple[str, ...] = tuple(self._samples)
        self.sets: tuple[str, ...] = tuple(sets or ())
        """The names of further validation sets among the splits."""
        check_alike(sets or {}, dataset, self._samples["train"])
        for split, further in (sets or {}).items():
            self._samples[split] = samples_of(further)
            self._ids[split] = torch.arange(len(self._samples[split]))
        self.own_transforms = tuple(dataset.transforms)
        """The dataset's transforms, which come before all others."""
        own = [(transform, False) for transform in self.own_transforms]
        self.steps = [Step.of(position, *given) for position, given in enumerate([*own, *transforms])]
        """Every transform, the dataset's own first."""
        self.warnings: list[str] = []
        """Warnings about the data."""
        self._seed, self._shuffle, self._device, self._workers = seed, shuffle, device, workers
        self._sampler = dataset.sampler
        self._shares, self._pads = Shares(rank, world_size), per_process
        self._num_drawn = self._look_at_sampler(len(dataset.train), name)
        self._name, self._target_tensor = name, dataset.target_tensor
        self.targets = dataset.targets
        self.batch_size = (batch_size or self.num_samples("train")) * (world_size if per_process else 1)
        """The samples of a batch, of all processes together."""
        self._own_size = self._shares.of(self.batch_size)
        self._update_size = self.batch_size * accumulate
        self._drop_last = drop_last
        self.class_names = tuple(dataset.class_names)
        self.task = task or task_of(dataset.targets, class_names=dataset.class_names)
        """The task."""
        self._checks = Checks(dataset, self.task, name)
        self._check_workers()
        self._check_streams(name)
        self._check_shares()
        self._check_kept()
        self.inputs = self._look_at_inputs(len(dataset.vocabulary) or None)
        """The form of the inputs before the transforms."""
        self.steps = [step.placed(self.inputs) for step in self.steps]
        self._transforms = [step for step in self.steps if not step.of_targets]
        self._mixer = self._look_at_mixing(name)
        self._fit_transforms()
        self._transform_ahead()
        self._fit_target_transforms(name)
        self._narrow(dataset, name)
        self.places: dict[str, Place] = choose_places(serve_from, self._samples, device, name, collated=self.collates)
        """Where each split is served from."""
        self._tensors = {split: self._held(split) for split, place in self.places.items() if place in _HELD}
        pin = device.type == "cuda"
        self._train_loader, self._loader = (Loader(self._samples, workers, self._checks, pin=pin) for _ in range(2))
        self.spec = self._look(dataset, name)
        self.input_shape = self.spec.input_shape

    def draw_by(self, sampler: Iterable[int]) -> int:
        """Use the samples and the order of a sampler in each epoch.

        Args:
            sampler: Positions in the train split; iterated anew in each epoch, with torch's global generator seeded
                for that epoch.

        Returns:
            The number of samples in an epoch.

        Raises:
            UsageError: If the dataset has its own order.
        """
        own = "is a stream" if isinstance(self._samples["train"], Stream) else "has a sampler"
        if own == "is a stream" or self._sampler is not None:
            raise UsageError(f"dataset '{self._name}' {own}, which determines the order itself\n  leave --sampler out")
        self._sampler = sampler
        self._num_drawn = len(self._sampled(0))
        self._check_kept()
        return self._num_drawn

    def train_targets(self) -> Tensor | None:
        """The targets of the train split in its order; None where they are not held in memory."""
        samples = self._samples["train"]
        if isinstance(samples, TensorSamples):
            return samples.targets if isinstance(samples.targets, Tensor) else None
        return None if self._target_tensor is None else self._target_tensor[self._ids["train"]]

    def num_samples(self, split: str) -> int:
        """The samples of a split."""
        return len(self.samples(split))

    def samples(self, split: str) -> Samples:
        """The samples of a split, before the transforms that are applied to each batch.

        Raises:
            UsageError: If there is no such split.
        """
        if split not in self._samples:
            raise UsageError(unknown("split", split, self._samples))
        return self._samples[split]

    def input_as_given(self, split: str, number: int) -> Tree:
        """The input of a sample as the dataset has it, in the units of the data: to look at.

        Where a transform in advance gave it another shape, it is the transformed one, to which targets and predictions
        belong. None of a stream.
        """
        samples = self.samples(split)
        if isinstance(samples, Stream):
            return None
        found, given = samples[number][0], self._given.get(split)
        if given is None:
            return found
        own = tree.map_leaves(lambda leaf: leaf[int(self._ids[split][number])], given.inputs)
        return own if _shapes(own) == _shapes(found) else found

    def describe(self) -> str:
        """The place from which samples are served, for messages."""
        sizes = {split: self.num_samples(split) for split in self._samples}
        return describe_places(self.places, sizes, self._device, self._workers)

    def close(self) -> None:
        """End the data-loading processes; they are restarted when needed."""
        self._train_loader.close()
        self._loader.close()

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, which are its updates."""
        return -(-self.num_kept // self._update_size)

    @property
    def num_kept(self) -> int:
        """The samples of all processes in an epoch."""
        return self.num_kept_of(self._num_drawn or self.num_samples("train"))

    def num_kept_of(self, num_samples: int) -> int:
        """As `num_kept`, for a train split of `num_samples`."""
        num = num_samples + (-num_samples % self._shares.world_size if self._pads else 0)
        return num - num % self.batch_size if self._drop_last else num

    def smallest_part(self, num_samples: int | None = None) -> int:
        """The fewest samples that a model is trained on at once, of so many that are kept, or of its own."""
        num = self.num_kept if num_samples is None else num_samples
        return self._shares.smallest_part(num, self._update_size, self._own_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The train batches of one epoch from batch `start` on, for the loop."""
        samples, size = self._samples["train"], self._update_size
        if self._mixer is not None:
            batches = self._mixed_epoch(self._mixer, samples, epoch, start)
        elif isinstance(samples, Stream):
            order = self._own(self._stream_order(samples, epoch), self.num_kept, size, start * size)
            batches = self._finished(self._streamed("train", samples, order, self._shares.num(size)), "train", epoch)
        else:
            batches = self._finished(self._serve("train", self._order(epoch), start, size, epoch), "train", epoch)
        return self._shares.marked(batches, self.num_kept, size, start)

    @property
    def collates(self) -> bool:
        """Whether the dataset collates its own batches, which can be neither joined nor split."""
        return self._checks.collates

    def batches(self, split: str, batch_size: int | None = None, *, even: bool = False) -> Iterator[Batch]:
        """A split in order, with deterministic transforms applied; with several processes, this process's share.

        Args:
            split: Its name.
            batch_size: Batch size, of all processes together; None for that of training.
            even: Whether all processes get as many batches, the last one of which may count nothing: `Batch.share`.
        """
        samples, size = self.samples(split), batch_size or self.batch_size
        if isinstance(samples, Stream):
            order = self._own(samples.order(), len(samples), size, even=even)
            batches = self._streamed(split, samples, order, self._shares.num(size))
        else:
            whole = None if self._shares.world_size == 1 else torch.arange(len(samples))
            batches = self._serve(split, whole, 0, size, None, even=even)
        return self._shares.marked(self._finished(batches, split, None), len(samples), size)

    @property
    def sample_ids(self) -> dict[str, Tensor]:
        """The indices of each split's samples in the dataset; empty for a stream, which knows its own numbers."""
        return {split: ids for split, ids in self._ids.items() if split not in self.sets}

    def first(self, split: str, num: int = 2) -> Tree:
        """The first transformed inputs of a split."""
        return self._some(self._first(split, num), num)

    def as_trained(self, num: int = 2) -> tuple[Tree, Tree, dict[int, list[int]]]:
        """The first train inputs and targets, as transformed for training.

        Returns:
            Inputs and targets, and for each train-only transform that changes the shape of a sample, by position, that
            shape.
        """
        if not any(step.train_only for step in self._transforms):
            batch = self._first("train", num)
            own = batch.parts[0] if batch.parts else batch
            return self._some(batch, num), _head(own.targets, own.size if self.collates else num), {}
        batch, shapes = next(self._delivered(self._first_read("train", num), "train")), {}
        batch = batch.parts[0] if batch.parts else batch
        num = batch.size if self.collates else num
        inputs, targets, ids = self._some(batch, num), _head(batch.targets, num), batch.sample_ids
        assert ids is not None
        random = TrainStream()
        accelerators = random.state_dict()
        with generators_kept():
            for step in self._transforms:
                own = step.transform
                apply = copy.deepcopy(own) if hasattr(own, "state_dict") else own  # it may change its own state
                before, draws = _shape(inputs), self._draws(step, ids[:num], 0, inputs)
                if step.mixes and self._mixer is not None:
                    partners, generator = self._mixer.drawn(step, Update(0, 0, tree.length(inputs)))
                    others = _rows((inputs, targets), partners)
                    inputs, targets = step.mix(inputs, targets, others, generator, draws, apply)
                else:
                    inputs, targets = step.apply(inputs, targets, draws, apply)
                if step.train_only and (after := _shape(inputs)) != before and after is not None:
                    shapes[step.position] = list(after)
        random.load_state_dict(accelerators)
        return inputs, targets, shapes

    def _some(self, batch: Batch, num: int) -> Tree:
        """The first inputs of a batch; a collated batch is returned whole, or in parts."""
        if self.collates:
            return batch.parts[0].inputs if batch.parts else batch.inputs
        return _head(batch.inputs, num)

    def _first(self, split: str, num: int) -> Batch:
        """The first samples of a split, or a whole batch of them, transformed."""
        return next(self._finished(self._first_read(split, num), split, None))

    def _first_read(self, split: str, num: int) -> Iterator[Batch]:
        """The same, before they are on the device; no processes are started for this."""
        samples, size = self._samples[split], max(num, self.batch_size)
        if isinstance(samples, Stream):
            return self._streamed(split, samples, samples.order(), size)
        if self.places[split] in _HELD:
            return self._slices(split, None, 0, size)
        order = torch.arange(min(num, len(samples)))
        return self._loaded(split, order, num, None, Loader(self._samples, 0, self._checks))

    def _order(self, epoch: int) -> Tensor | None:
        """The samples of all processes in an epoch; None for all of the split in order, in one process."""
        if self._sampler is None and not self._shuffle and self._shares.world_size == 1 and not self._drop_last:
            return None
        return self._whole_order(epoch)

    def _whole_order(self, epoch: int) -> Tensor:
        """The samples of all processes in an epoch: a function of seed and epoch."""
        num_samples = self.num_samples("train")
        order = torch.arange(num_samples)
        if self._sampler is not None:
            order = self._sampled(epoch)
        elif self._shuffle:
            order = shuffled(self._samples["train"], stream(self._seed, "order", epoch))
        return (torch.cat([order, order]) if self._pads else order)[: self.num_kept]

    def _sampled(self, epoch: int) -> Tensor:
        """The order of the dataset's sampler in an epoch, a function of seed and epoch."""
        assert self._sampler is not None
        with generators_kept():
            seed_all(stream_key(self._seed, "order", epoch))
            order = torch.as_tensor([int(number) for number in self._sampler], dtype=torch.int64)
        num, where = self.num_samples("train"), f"epoch {epoch + 1}"
        if self._num_drawn and len(order) != self._num_drawn:
            raise DataError(
                f"the sampler gave {len(order)} samples in {where}, but {self._num_drawn} in the first one: the "
                "number must be constant"
            )
        if not len(order) or int(order.min()) < 0 or int(order.max()) >= num:
            raise DataError(f"the sampler gave {_numbers(order)} in {where}; it must give numbers from 0 to {num - 1}")
        return order

    def _look_at_sampler(self, num_samples: int, name: str) -> int | None:
        """The number of samples that the dataset's sampler draws in an epoch; it draws from all train samples."""
        if self._sampler is None:
            return None
        num_train = len(self._samples["train"])
        if num_train != num_samples:
            raise UsageError(
                f"dataset '{name}' has a sampler, which draws from all of its {num_samples} samples, but only "
                f"{num_train} are left for training\n"
                "  give it its own validation split, or train on all: --split 100/0/0"
            )
        self._num_drawn = None
        return len(self._sampled(0))

    def _stream_order(self, samples: Stream, epoch: int) -> Iterator[Tensor]:
        """The order of all processes in an epoch."""

        def order() -> Iterator[Tensor]:
            return samples.order(stream(self._seed, "order", epoch) if self._shuffle else None)

        whole = itertools.chain(order(), order()) if self._pads else order()
        return first(whole, self.num_kept) if self._pads or self._drop_last else whole

    def _own(
        self, order: Iterator[Tensor], total: int, size: int, start: int = 0, *, even: bool = True
    ) -> Iterator[Tensor]:
        """This process's samples of an order of `total` samples in batches of `size`, from the sample `start` on."""
        if self._shares.world_size == 1:
            return taken(order, start)
        return taken(order, start, partial(self._shares.is_own, total=total, size=size, even=even))

    def _streamed(self, split: str, samples: Stream, order: Iterator[Tensor], size: int) -> Iterator[Batch]:
        for inputs, targets, numbers in regrouped(samples.rows(order), size):
            self._checks.batch(inputs, targets, numbers.tolist(), split)
            yield self._batch(split, inputs, targets, numbers)

    def _serve(
        self, split: str, order: Tensor | None, start: int, size: int, epoch: int | None, *, even: bool = True
    ) -> Iterator[Batch]:
        """This process's share of batches of `size` samples from batch `start` on; `epoch` is None outside training."""
        if self._shares.world_size > 1:
            assert order is not None
            order = order[self._shares.is_own(torch.arange(len(order)), len(order), size, even=even)]
            size = self._shares.num(size)
        if self.places[split] in _HELD:
            return self._slices(split, order, start * size, size)
        order = torch.arange(self.num_samples(split)) if order is None else order
        loader = self._loader if epoch is None else self._train_loader
        return self._loaded(split, order[start * size :], size, epoch, loader)

    def _mixed_epoch(self, mixer: Mixer, samples: Samples, epoch: int, start: int) -> Iterator[Batch]:
        """Train batches with mixed samples: partners are read with them, and removed after mixing."""
        size = self._update_size
        if isinstance(samples, Stream):  # a stream is read in order, so the whole update is read
            order = taken(self._stream_order(samples, epoch), start * size)
            for number, batch in enumerate(
                self._delivered(self._streamed("train", samples, order, size), "train"), start
            ):
                update = Update(epoch, number, batch.size)
                yield self._mixed(batch, torch.arange(batch.size), mixer, update)
            return
        chunks = self._whole_order(epoch).split(size)[start:]
        updates = [Update(epoch, number, len(chunk)) for number, chunk in enumerate(chunks, start)]
        if not updates:
            return
        held = [mixer.needed(update)[0] for update in updates]
        wanted = torch.cat([chunk[positions] for chunk, positions in zip(chunks, held, strict=True)])
        sizes = [len(positions) for positions in held]
        if self.places["train"] in _HELD:
            batches = self._slices("train", wanted, 0, sizes)
        else:
            batches = self._loaded("train", wanted, sizes, epoch, self._train_loader)
        for batch, positions, update in zip(self._delivered(batches, "train"), held, updates, strict=True):
            yield self._mixed(batch, positions, mixer, update)

    def _mixed(self, batch: Batch, held: Tensor, mixer: Mixer, update: Update) -> Batch:
        """The samples of this process in an update, transformed.

        Args:
            batch: The samples and their partners.
            held: The positions of its samples in the update, ascending.
            mixer: Determines the partners.
            update: The update.
        """
        inputs, targets, ids = batch.inputs, batch.targets, batch.sample_ids
        assert ids is not None
        needed = mixer.needed(update)[1:]
        for step in self._transforms:
            if not step.mixes:
                inputs, targets = step.apply(inputs, targets, self._draws(step, ids, update.epoch, inputs))
                continue
            partners, generator = mixer.drawn(step, update)
            own, *needed = needed
            others = _rows((inputs, targets), torch.searchsorted(held, partners[own]))
            if len(own) < len(held):
                inputs, targets, ids = _rows((inputs, targets, ids), torch.searchsorted(held, own))
            draws = self._draws(step, ids, update.epoch, inputs)
            inputs, targets = step.mix(inputs, targets, others, generator, draws)
            held = own
        return Batch(inputs, targets, ids, None, len(held))

    def _held(self, split: str) -> tuple[Tree, Tree, Tensor]:
        """Inputs, targets and indices of a split, in the memory from which they are served."""
        samples, ids = self._samples[split], self._ids[split]
        assert isinstance(samples, TensorSamples)
        if self.places[split] == "memory":
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
            yield from self._tree_slices((inputs, targets, ids), order, first, size, convert=convert)
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

    def _tree_slices(
        self, held: tuple[Tree, Tree, Tensor], order: Tensor | None, first: int, size: int | list[int], *, convert: bool
    ) -> Iterator[Batch]:
        """The same for trees."""
        ids = held[-1]
        if order is None:
            order = torch.arange(len(ids))
        for chosen in order[first:].to(ids.device).split(size):  # copies, so the model may change them
            inputs, targets, names = tree.select(held, chosen)
            yield Batch(floats(inputs) if convert else inputs, targets, names, None, names.numel())

    def _loaded(
        self, split: str, order: Tensor, size: int | list[int], epoch: int | None, loader: Loader
    ) -> Iterator[Batch]:
        if not len(order):
            return
        num_parts: list[int] = []
        if self.collates and epoch is not None:
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
        targets = self.task.served(tree.map_leaves(as_default, targets))  # Python floats become float64
        inputs = tree.map_leaves(as_default, inputs)
        return Batch(inputs if self._comes_from_host(split) else floats(inputs), targets, ids, None, len(ids))

    def _comes_from_host(self, split: str) -> bool:
        """Whether batches must still be moved to the device.

        uint8 is copied as bytes and converted on the device: a quarter of the traffic.
        """
        return self._device.type != "cpu" and self.places[split] != "device"

    def _finished(self, batches: Iterator[Batch], split: str, epoch: int | None) -> Iterator[Batch]:
        """The batches on the device, transformed."""
        batches = self._delivered(batches, split)
        return self._transformed(batches, epoch) if self._transforms else batches

    def _delivered(self, batches: Iterator[Batch], split: str) -> Iterator[Batch]:
        return delivered(batches, self._device) if self._comes_from_host(split) else batches

    def _transformed(self, batches: Iterator[Batch], epoch: int | None) -> Iterator[Batch]:
        """Apply the transforms that were not applied in advance; `epoch` is None outside training."""
        for batch in batches:
            if batch.parts:
                yield joined(list(self._transformed(iter(batch.parts), epoch)))
                continue
            inputs, targets = batch.inputs, batch.targets
            for step in self._transforms:
                if epoch is None and step.train_only:
                    continue
                draws = None if epoch is None else self._draws(step, batch.sample_ids, epoch, inputs)
                inputs, targets = step.apply(inputs, targets, draws)
            self._check_size(batch.inputs, inputs)
            yield batch._replace(inputs=inputs, targets=targets)

    def _draws(self, step: Step, ids: Tensor | None, epoch: int, inputs: Tree) -> Tensor | None:
        """The draws of a random transform for the samples of a batch; None for a deterministic one."""
        if not step.num_draws:
            return None
        leaf = tree.first_leaf(inputs)
        assert ids is not None
        assert leaf is not None
        return sample_uniform(self._seed, epoch, ids, step.num_draws, step.position).to(leaf.device)

    def _check_size(self, before: Tree, after: Tree) -> None:
        """Refuse transforms of images that change their size: masks would keep theirs."""
        if not self.task.any_size or any(step.joint for step in self.steps):
            return
        if isinstance(before, Tensor) and before.shape[2:] != after.shape[2:]:
            raise UsageError(
                f"the transforms make images {list(after.shape[2:])} of {list(before.shape[2:])}, masks keep theirs\n"
                "  leave out the transform that changes the size, or resize image and mask together in your own dataset"
            )

    def _check_workers(self) -> None:
        if self._workers and any(isinstance(samples, Stream) for samples in self._samples.values()):
            raise UsageError(
                f"a stream is read in order by the training process: {self._workers} workers would be unused\n"
                "  leave --workers out"
            )

    def _check_streams(self, name: str) -> None:
        """A stream yields batches itself, in its own order."""
        if not any(isinstance(samples, Stream) for samples in self._samples.values()):
            return
        for what, asked in (("collate", self.collates), ("sampler", self._sampler is not None)):
            if asked:
                raise UsageError(
                    f"dataset '{name}' is a stream, which makes its own batches in its own order: its {what} would not "
                    "be used\n"
                    "  leave it out, and let the stream yield finished samples; or give samples with len() and [i]"
                )

    def _check_shares(self) -> None:
        """Check that every process has a part of every split: otherwise the others would wait for it."""
        num = self._shares.world_size
        for split in self._samples:
            if self.num_samples(split) < num:
                raise UsageError(
                    f"the {words(split)} has {self.num_samples(split)} samples for {num} processes\n"
                    "  start fewer processes, or change --split"
                )
        if self.batch_size < num:
            raise UsageError(
                f"batches of {self.batch_size} are too small for {num} processes: each needs a sample of every batch\n"
                "  start fewer processes, or make --batch-size, which is that of all together, larger"
            )

    def _check_kept(self) -> None:
        if not self.num_kept:
            raise UsageError(
                f"drop_last leaves nothing to train on: the train split has {self.num_samples('train')} samples, "
                f"batches {self.batch_size}\n  leave --drop-last out, or make --batch-size smaller"
            )

    def _look_at_mixing(self, name: str) -> Mixer | None:
        """The transform that mixes samples, or None."""
        mixing = [step for step in self.steps if step.mixes]
        if not mixing:
            return None
        if self.collates:
            raise UsageError(
                f"{mixing[0].name} mixes the samples of an update, but dataset '{name}' collates its own batches, "
                "which cannot be divided into samples\n"
                "  leave it out, or mix in the dataset's collate"
            )
        return Mixer(self.steps, self._seed, self._shares)

    def _look_at_inputs(self, vocab_size: int | None) -> Form:
        samples = self._samples["train"]
        if isinstance(samples, TensorSamples) and not self.collates:
            return form_of(samples.inputs, vocab_size)
        if isinstance(samples, Stream):
            inputs = next(samples.rows(samples.order()))[0]
        else:
            seeds = sample_seeds(self._seed, -1, self._ids["train"][:1])
            loader = Loader(self._samples, 0, self._checks)
            inputs = next(iter(loader.batches([Chunk("train", [0], seeds.tolist())])))[0]
        return form_of(tree.map_leaves(as_default, inputs), vocab_size, any_size=self.collates)

    def _fit_transforms(self) -> None:
        """Fit each transform on the train inputs, transformed by the ones before it."""
        fitted = [step for step in self._transforms if hasattr(step.transform, "fit")]
        if not fitted:
            return
        samples = self._samples["train"]
        if not isinstance(samples, TensorSamples):
            raise UsageError(
                f"{type(fitted[0].transform).__name__} is fitted on the train split, which needs samples in memory; "
                "these are read one by one\n"
                "  for images give the numbers yourself: --transform normalize "
                "--transform.normalize.mean '[0.5, 0.5, 0.5]' --transform.normalize.std '[0.25, 0.25, 0.25]'"
            )
        inputs, targets = floats(samples.inputs), samples.targets
        for step in self._transforms[: self._transforms.index(fitted[-1]) + 1]:
            if hasattr(step.transform, "fit"):
                step.fit(inputs)
            if step.train_only:
                inputs = tree.map_leaves(as_default, inputs)
            else:
                inputs, targets = step.apply(inputs, targets)

    def _fit_target_transforms(self, name: str) -> None:
        """Fit the target transforms on the train split, and pass them to the task."""
        steps = [step for step in self.steps if step.of_targets]
        if not steps:
            return
        targets = getattr(self._samples["train"], "targets", None)
        if not isinstance(targets, Tensor) or not targets.is_floating_point() or self.collates:
            raise UsageError(
                f"{steps[0].name} needs numeric targets in one tensor in memory, which dataset '{name}' does not "
                "have\n"
                "  leave it out"
            )
        for step in steps:
            if hasattr(step.transform, "fit"):
                step.transform.fit(targets)
            targets = step.transform(targets)
        self.task.target_transforms = tuple(step.transform for step in steps)

    def _transform_ahead(self) -> None:
        """Apply the leading deterministic transforms once, if the samples are in memory."""
        ahead: list[Step] = []
        if self.collates or not all(isinstance(samples, TensorSamples) for samples in self._samples.values()):
            return
        while self._transforms and not self._transforms[0].train_only:
            ahead.append(self._transforms.pop(0))
        for split, samples in self._samples.items() if ahead else ():
            assert isinstance(samples, TensorSamples)
            inputs, targets = floats(samples.inputs), samples.targets
            for step in ahead:
                inputs, targets = step.apply(inputs, targets)
            self._check_size(samples.inputs, inputs)
            self._samples[split] = TensorSamples(inputs, targets)

    def _narrow(self, dataset: Dataset, name: str) -> None:
        """Samples in memory in torch's default precision, the model's: float64 is kept until here."""
        for split, samples in self._samples.items():
            if not isinstance(samples, TensorSamples):
                continue
            inputs = tree.map_leaves(as_default, samples.inputs)
            lone = isinstance(inputs, Tensor) and inputs.dtype == torch.float32 and split == "train"
            lost = lost_in_float32(samples.inputs) if lone else []
            if lost:
                names = ", ".join(repr(dataset.feature_names[one]) for one in lost if one < len(dataset.feature_names))
                self.warnings.append(
                    f"dataset '{name}': numbers{f' of {names}' if names else ''} are so large and close together that "
                    "float32, which the model uses, cannot distinguish them\n"
                    "  standardize them first: --transform standardize"
                )
            self._samples[split] = TensorSamples(inputs, tree.map_leaves(as_default, samples.targets))

    def _look(self, dataset: Dataset, name: str) -> Spec:
        """Check the samples and return their form."""
        for split, samples in self._samples.items():
            if isinstance(samples, Stream):
                inputs, targets, numbers = next(samples.rows(samples.order()))
                self._checks.batch(inputs, targets, numbers.tolist(), split)
            elif isinstance(samples, TensorSamples):
                self._checks.tensors(samples, self._ids[split], split)
        train = self._samples["train"]
        if isinstance(train, TensorSamples):
            self.warnings += [f"dataset '{name}': {text}" for text in self.task.warnings(train.targets)]
        self.warnings += [f"dataset '{name}': {text}" for text in self._missing_classes(dataset)]
        batch = self._first("train", 1)
        target = batch.targets[0] if isinstance(batch.targets, Tensor) else None
        shape = _shape(batch.inputs)
        if shape is not None and (hint := _channels_last(shape)):
            self.warnings.append(f"dataset '{name}': {hint}")
        return Spec(
            name=name,
            targets=dataset.targets,
            input_shape=None if shape is None or self.collates else shape,
            **{"num_targets": 1, "mask_shape": (), **({} if target is None else self.task.facts(target))},
            num_classes=self.task.num_classes,
            class_names=self.class_names,
            class_counts=self._class_counts(dataset),
            feature_names=tuple(dataset.feature_names),
            vocab_size=len(dataset.vocabulary) or None,
            facts=dict(dataset.facts),
        )

    def _missing_classes(self, dataset: Dataset) -> Iterator[str]:
        """A message for each split that lacks classes, if its targets are known without reading samples."""
        names = self.class_names or ("0", "1")
        there: dict[str, set[int]] = {}
        for split in self._samples:
            targets = self._known_targets(dataset, split)
            counts = self.task.class_counts(targets) if isinstance(targets, Tensor) else None
            if counts is not None:
                there[split] = {number for number, count in enumerate(counts) if count}
        every, train = set().union(*there.values()), there.get("train")
        for split, own in there.items():
            missing = sorted(set(range(len(names))) - own)
            if missing and split in self.splits:
                unlearned = train is not None and split == "train" and bool(every - train)
                why = ": other splits have them, and they cannot be learned" if unlearned else ""
                yield f"the {words(split)} has no sample of {_some_of([names[one] for one in missing])}{why}"
            elif split in self.sets and train is not None and (new := sorted(own - train)):
                found = _some_of([names[one] for one in new])
                yield f"the {words(split)} has samples of {found}, but the train split has none"

    def _known_targets(self, dataset: Dataset, split: str) -> Tree:
        """The targets of a split; None if samples would have to be read."""
        samples = self._samples[split]
        if isinstance(samples, TensorSamples):
            return samples.targets
        is_own = split in self.sets or (split != "train" and getattr(dataset, split) is not None)
        return None if is_own or self._target_tensor is None else self._target_tensor[self._ids[split]]

    def _class_counts(self, dataset: Dataset) -> tuple[int, ...] | None:
        samples, targets = self._samples["train"], self.train_targets()
        if isinstance(samples, TensorSamples):
            return self.task.class_counts(samples.targets)
        return None if targets is None else self.task.class_counts(targets)


def _channels_last(shape: Sequence[int]) -> str:
    """Advice for images with channels last; empty for other samples."""
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or min(shape[:2]) < 8:
        return ""
    return (
        f"samples of shape {list(shape)} look like images [height, width, channels], but are treated as [channels, "
        "height, width]\n"
        "  put the channels first: for an array of all samples x.transpose(0, 3, 1, 2)"
    )


def _in_updates(batches: Iterator[Batch], nums: Sequence[int]) -> Iterator[Batch]:
    """Batches that were collated by themselves, so many together as make each update."""
    for num in nums:
        yield joined(list(itertools.islice(batches, num)))


def _some_of(names: Sequence[str]) -> str:
    """Class names for messages: the first ones and the total number."""
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return f"{shown} and {len(names) - 5:,} more classes" if len(names) > 5 else f"class {shown}"


def _numbers(order: Tensor) -> str:
    return f"numbers from {int(order.min())} to {int(order.max())}" if len(order) else "nothing"


def _head(own: Tree, num: int) -> Tree:
    """The first samples of a tree."""
    return tree.part(own, 0, num)


def _rows(own: Tree, rows: Tensor) -> Tree:
    """Some samples of a tree whose leaves may be on different devices."""
    return tree.map_leaves(lambda leaf: leaf.index_select(0, rows.to(leaf.device)), own)


def _shape(inputs: Tree) -> tuple[int, ...] | None:
    """The shape of a sample, if inputs are a single tensor."""
    return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else None


def _given(dataset: Dataset, splits: Splits, sets: Mapping[str, Dataset]) -> dict[str, TensorSamples]:
    """The samples of each split as the dataset holds them in memory, before any transform; shared, not copied."""
    own = {split: getattr(dataset, split, None) or dataset.train for split in splits.samples}
    found = {**own, **{split: samples_of(further) for split, further in sets.items()}}
    return {split: samples for split, samples in found.items() if isinstance(samples, TensorSamples)}


def _shapes(inputs: Tree) -> list[torch.Size]:
    return [leaf.shape for _, leaf in tree.leaves(inputs)]
