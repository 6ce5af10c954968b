"""Applies a run's transforms to its batches: those that were not applied in advance."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import tree
from wf_base.data import Batch, joined
from wf_base.random import TrainStream, sample_uniform
from wf_base.tree import Tree
from wf_data.batches.loading import generators_kept
from wf_data.transforms.mixing import Mixer, Update
from wf_data.transforms.step import Step


class Transforms:
    """The transforms that are applied to each batch.

    Args:
        steps: Those of the inputs, in order.
        seed: The run's seed.
        mixer: Determines the partners of samples that are mixed; None if none are.
        keeps_size: Whether images must keep their size.
    """

    def __init__(self, steps: Sequence[Step], *, seed: int, mixer: Mixer | None, keeps_size: bool) -> None:
        self.steps = list(steps)
        """What is left of them for each batch."""
        self.mixer = mixer
        self._seed, self._keeps_size = seed, keeps_size

    def apply(self, batches: Iterator[Batch], epoch: int | None) -> Iterator[Batch]:
        """Transformed batches; `epoch` is None outside training."""
        return self._applied(batches, epoch) if self.steps else batches

    def check_size(self, before: Tree, after: Tree) -> None:
        """Refuse transforms of images that change their size: masks would keep theirs.

        Raises:
            UsageError: If the inputs have another size than before.
        """
        if self._keeps_size and isinstance(before, Tensor) and before.shape[2:] != after.shape[2:]:
            raise UsageError(
                f"the transforms make images {list(after.shape[2:])} of {list(before.shape[2:])}, masks keep theirs\n"
                "  leave out the transform that changes the size, or resize image and mask together in your own dataset"
            )

    def mix(self, batch: Batch, held: Tensor, update: Update) -> Batch:
        """The samples of this process in an update, transformed.

        Args:
            batch: The samples and their partners.
            held: The positions of its samples in the update, ascending.
            update: The update.
        """
        inputs, targets, ids, mixer = batch.inputs, batch.targets, batch.sample_ids, self.mixer
        assert ids is not None
        assert mixer is not None
        needed = mixer.needed(update)[1:]
        for step in self.steps:
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

    def preview(self, inputs: Tree, targets: Tree, ids: Tensor) -> tuple[Tree, Tree, dict[int, list[int]]]:
        """Some samples as transformed for training, without a trace: no generator and no transform is changed.

        Args:
            inputs: ``[N, ...]``.
            targets: ``[N, ...]``.
            ids: The numbers of the samples in the dataset, int64 ``[N]``.

        Returns:
            Inputs and targets, and for each train-only transform that changes the shape of a sample, by position, that
            shape.
        """
        shapes: dict[int, list[int]] = {}
        random = TrainStream()
        accelerators = random.state_dict()
        with generators_kept():
            for step in self.steps:
                own = step.transform
                apply = copy.deepcopy(own) if hasattr(own, "state_dict") else own  # it may change its own state
                before, draws = shape_of(inputs), self._draws(step, ids, 0, inputs)
                if step.mixes and self.mixer is not None:
                    partners, generator = self.mixer.drawn(step, Update(0, 0, tree.length(inputs)))
                    others = _rows((inputs, targets), partners)
                    inputs, targets = step.mix(inputs, targets, others, generator, draws, apply)
                else:
                    inputs, targets = step.apply(inputs, targets, draws, apply)
                if step.train_only and (after := shape_of(inputs)) != before and after is not None:
                    shapes[step.position] = list(after)
        random.load_state_dict(accelerators)
        return inputs, targets, shapes

    def _applied(self, batches: Iterator[Batch], epoch: int | None) -> Iterator[Batch]:
        for batch in batches:
            if batch.parts:
                yield joined(list(self._applied(iter(batch.parts), epoch)))
                continue
            inputs, targets = batch.inputs, batch.targets
            for step in self.steps:
                if epoch is None and step.train_only:
                    continue
                draws = None if epoch is None else self._draws(step, batch.sample_ids, epoch, inputs)
                inputs, targets = step.apply(inputs, targets, draws)
            self.check_size(batch.inputs, inputs)
            yield batch._replace(inputs=inputs, targets=targets)

    def _draws(self, step: Step, ids: Tensor | None, epoch: int, inputs: Tree) -> Tensor | None:
        """The draws of a random transform for the samples of a batch; None for a deterministic one."""
        if not step.num_draws:
            return None
        leaf = tree.first_leaf(inputs)
        assert ids is not None
        assert leaf is not None
        return sample_uniform(self._seed, epoch, ids, step.num_draws, step.position).to(leaf.device)


def shape_of(inputs: Tree) -> tuple[int, ...] | None:
    """The shape of a sample, if inputs are a single tensor."""
    return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else None


def _rows(own: Tree, rows: Tensor) -> Tree:
    """Some samples of a tree whose leaves may be on different devices."""
    return tree.map_leaves(lambda leaf: leaf.index_select(0, rows.to(leaf.device)), own)
