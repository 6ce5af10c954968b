"""Batches: what trainers and evaluators get."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wf_base import tree
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
