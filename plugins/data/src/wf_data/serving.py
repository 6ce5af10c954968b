"""Serves a run's splits in batches: their order, the transforms, and the places from which samples are read.

`wf_data.batches` has the order and the reading of batches, `wf_data.transforms` the transforms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wf.errors import UsageError, unknown
from wf_base import tree
from wf_base.data import Batch, Dataset, Samples, Spec, Splits, TensorSamples
from wf_base.streams import Stream, taken
from wf_base.task import TaskRuntime, task_of
from wf_base.tree import Tree
from wf_data.batches.order import Order
from wf_data.batches.places import Place, check_streams, choose_places, describe_places
from wf_data.batches.reading import BatchReader
from wf_data.batches.shares import Shares
from wf_data.checks import Checks
from wf_data.sets import check_alike, samples_of
from wf_data.spec import channels_last, missing_classes, spec_of
from wf_data.transforms.applying import Transforms
from wf_data.transforms.mixing import Mixer, Update
from wf_data.transforms.preparing import apply_ahead, fit, fit_targets, input_form, lost_digits, narrowed
from wf_data.transforms.step import Step


class RunData:
    """The splits of a run, transformed and served in batches.

    Args:
        dataset: The dataset.
        splits: Its division.
        transforms: In order: ``(transform, train_only)``, and further arguments of `wf_data.transforms.step.Step.of`;
            a random one is always for training only.
        batch_size: Batch size, of all processes together; None for all samples at once.
        accumulate: Batches of that size whose gradients make one update; an epoch serves them as one batch.
        seed: The run's seed; order and augmentation are functions of it.
        shuffle: Whether the train split is served in a new order each epoch.
        drop_last: Whether an epoch leaves out its last batch if it has fewer samples than the others.
        device: The device for batches.
        workers: The number of processes that load samples, if they are not in memory; evaluations use as many again.
        serve_from: ``auto``, ``memory``, ``device`` or ``loader``, see `wf_data.batches.places.choose_places`.
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
        self._device, self._workers, self._target_tensor = device, workers, dataset.target_tensor
        self._shares = Shares(rank, world_size)
        self._order = Order(
            self._samples,
            dataset.sampler,
            num_samples=len(dataset.train),
            batch_size=batch_size,
            accumulate=accumulate,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            shares=self._shares,
            per_process=per_process,
            name=name,
        )
        self.batch_size = self._order.batch_size
        """The samples of a batch, of all processes together."""
        self.targets = dataset.targets
        self.class_names = tuple(dataset.class_names)
        self.task = task or task_of(dataset.targets, class_names=dataset.class_names)
        """The task."""
        checks = Checks(dataset, self.task, name)
        self.collates = checks.collates
        """Whether the dataset collates its own batches, which can be neither joined nor split."""
        has_sampler = dataset.sampler is not None
        check_streams(self._samples, name, workers=workers, collates=self.collates, has_sampler=has_sampler)
        self._shares.check({split: self.num_samples(split) for split in self._samples}, self.batch_size)
        self._order.check_kept()
        vocab_size = len(dataset.vocabulary) or None
        self.inputs = input_form(self._samples, self._ids, checks, seed=seed, vocab_size=vocab_size)
        """The form of the inputs before the transforms."""
        self.steps = [step.placed(self.inputs) for step in self.steps]
        self._transforms = self._prepared(dataset, name, seed)
        self.places: dict[str, Place] = choose_places(serve_from, self._samples, device, name, collated=self.collates)
        """Where each split is served from."""
        self._reader = BatchReader(
            self._samples,
            self._ids,
            self.places,
            task=self.task,
            checks=checks,
            seed=seed,
            shares=self._shares,
            own_size=self._order.own_size,
            device=device,
            workers=workers,
        )
        self.spec = self._look(dataset, name, checks)
        self.input_shape = self.spec.input_shape

    def _prepared(self, dataset: Dataset, name: str, seed: int) -> Transforms:
        """The transforms, fitted on the train split; those that are applied in advance change the samples here."""
        steps = [step for step in self.steps if not step.of_targets]
        mixer = Mixer(steps, seed, self._shares) if any(step.mixes for step in steps) else None
        if mixer is not None and self.collates:
            mixing = next(step for step in steps if step.mixes)
            raise UsageError(
                f"{mixing.name} mixes the samples of an update, but dataset '{name}' collates its own batches, "
                "which cannot be divided into samples\n"
                "  leave it out, or mix in the dataset's collate"
            )
        keeps_size = self.task.any_size and not any(step.joint for step in self.steps)
        transforms = Transforms(steps, seed=seed, mixer=mixer, keeps_size=keeps_size)
        fit(steps, self._samples["train"])
        if not self.collates:
            apply_ahead(transforms, self._samples)
        of_targets = [step for step in self.steps if step.of_targets]
        fit_targets(of_targets, self._samples["train"], self.task, name, collates=self.collates)
        lost = lost_digits(self._samples["train"], dataset.feature_names)
        self.warnings += [f"dataset '{name}': {text}" for text in lost]
        for split, samples in self._samples.items():
            self._samples[split] = narrowed(samples)
        return transforms

    def _look(self, dataset: Dataset, name: str, checks: Checks) -> Spec:
        """Check the samples, and return their form."""
        for split, samples in self._samples.items():
            checks.split(samples, self._ids.get(split), split)
        train, found = self._samples["train"], list[str]()
        if isinstance(train, TensorSamples):
            found += self.task.warnings(train.targets)
        targets = {split: self._known_targets(dataset, split) for split in self._samples}
        found += missing_classes(targets, self.task, self.class_names, self.sets)
        batch = self._first("train", 1)
        found += channels_last(batch.inputs)
        self.warnings += [f"dataset '{name}': {text}" for text in found]
        return spec_of(dataset, name, self.task, batch, targets["train"], collates=self.collates)

    def _known_targets(self, dataset: Dataset, split: str) -> Tree:
        """The targets of a split; None if samples would have to be read."""
        samples = self._samples[split]
        if isinstance(samples, TensorSamples):
            return samples.targets
        is_own = split in self.sets or (split != "train" and getattr(dataset, split) is not None)
        return None if is_own or self._target_tensor is None else self._target_tensor[self._ids[split]]

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
        return self._order.draw_by(sampler)

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
        self._reader.close()

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, which are its updates."""
        return self._order.num_batches

    @property
    def num_kept(self) -> int:
        """The samples of all processes in an epoch."""
        return self._order.num_kept

    def num_kept_of(self, num_samples: int) -> int:
        """As `num_kept`, for a train split of `num_samples`."""
        return self._order.num_kept_of(num_samples)

    def smallest_part(self, num_samples: int | None = None) -> int:
        """The fewest samples that a model is trained on at once, of so many that are kept, or of its own."""
        num = self.num_kept if num_samples is None else num_samples
        return self._shares.smallest_part(num, self._order.update_size, self._order.own_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The train batches of one epoch from batch `start` on, for the loop."""
        samples, size = self._samples["train"], self._order.update_size
        if self._transforms.mixer is not None:
            batches = self._mixed(self._transforms.mixer, samples, epoch, start)
        elif isinstance(samples, Stream):
            order = self._shares.own(self._order.of_stream(samples, epoch), self.num_kept, size, start * size)
            batches = self._finished(
                self._reader.streamed("train", samples, order, self._shares.num(size)), "train", epoch
            )
        else:
            read = self._reader.read("train", self._order.of(epoch), start, size, epoch)
            batches = self._finished(read, "train", epoch)
        return self._shares.marked(batches, self.num_kept, size, start)

    def batches(self, split: str, batch_size: int | None = None, *, even: bool = False) -> Iterator[Batch]:
        """A split in order, with deterministic transforms applied; with several processes, this process's share.

        Args:
            split: Its name.
            batch_size: Batch size, of all processes together; None for that of training.
            even: Whether all processes get as many batches, the last one of which may count nothing: `Batch.share`.
        """
        samples, size = self.samples(split), batch_size or self.batch_size
        if isinstance(samples, Stream):
            order = self._shares.own(samples.order(), len(samples), size, even=even)
            batches = self._reader.streamed(split, samples, order, self._shares.num(size))
        else:
            whole = None if self._shares.world_size == 1 else torch.arange(len(samples))
            batches = self._reader.read(split, whole, 0, size, None, even=even)
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
        if not any(step.train_only for step in self._transforms.steps):
            batch = self._first("train", num)
            own = batch.parts[0] if batch.parts else batch
            return self._some(batch, num), tree.part(own.targets, 0, own.size if self.collates else num), {}
        batch = next(self._reader.delivered(self._first_read("train", num), "train"))
        batch = batch.parts[0] if batch.parts else batch
        num = batch.size if self.collates else num
        assert batch.sample_ids is not None
        return self._transforms.preview(
            self._some(batch, num), tree.part(batch.targets, 0, num), batch.sample_ids[:num]
        )

    def _some(self, batch: Batch, num: int) -> Tree:
        """The first inputs of a batch; a collated batch is returned whole, or in parts."""
        if self.collates:
            return batch.parts[0].inputs if batch.parts else batch.inputs
        return tree.part(batch.inputs, 0, num)

    def _first(self, split: str, num: int) -> Batch:
        """The first samples of a split, or a whole batch of them, transformed."""
        return next(self._finished(self._first_read(split, num), split, None))

    def _first_read(self, split: str, num: int) -> Iterator[Batch]:
        return self._reader.first(split, num, max(num, self.batch_size))

    def _finished(self, batches: Iterator[Batch], split: str, epoch: int | None) -> Iterator[Batch]:
        """The batches on the device, transformed; `epoch` is None outside training."""
        return self._transforms.apply(self._reader.delivered(batches, split), epoch)

    def _mixed(self, mixer: Mixer, samples: Samples, epoch: int, start: int) -> Iterator[Batch]:
        """Train batches with mixed samples: partners are read with them, and removed after mixing."""
        size, reader = self._order.update_size, self._reader
        if isinstance(samples, Stream):  # a stream is read in order, so the whole update is read
            order = taken(self._order.of_stream(samples, epoch), start * size)
            batches = reader.delivered(reader.streamed("train", samples, order, size), "train")
            for number, batch in enumerate(batches, start):
                yield self._transforms.mix(batch, torch.arange(batch.size), Update(epoch, number, batch.size))
            return
        chunks = self._order.whole(epoch).split(size)[start:]
        updates = [Update(epoch, number, len(chunk)) for number, chunk in enumerate(chunks, start)]
        if not updates:
            return
        held = [mixer.needed(update)[0] for update in updates]
        wanted = torch.cat([chunk[positions] for chunk, positions in zip(chunks, held, strict=True)])
        batches = reader.delivered(reader.read_all("train", wanted, list(map(len, held)), epoch), "train")
        for batch, positions, update in zip(batches, held, updates, strict=True):
            yield self._transforms.mix(batch, positions, update)


def _given(dataset: Dataset, splits: Splits, sets: Mapping[str, Dataset]) -> dict[str, TensorSamples]:
    """The samples of each split as the dataset holds them in memory, before any transform; shared, not copied."""
    own = {split: getattr(dataset, split, None) or dataset.train for split in splits.samples}
    found = {**own, **{split: samples_of(further) for split, further in sets.items()}}
    return {split: samples for split, samples in found.items() if isinstance(samples, TensorSamples)}


def _shapes(inputs: Tree) -> list[torch.Size]:
    return [leaf.shape for _, leaf in tree.leaves(inputs)]
