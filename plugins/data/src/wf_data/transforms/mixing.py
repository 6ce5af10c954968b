"""Mixing the samples of an update: the partner of each sample, and the samples that each process has to read.

An update has the samples of all its parts and of all processes, in the order of the epoch: process r of W has the
positions r, r + W, and so on. Partners are positions in that order. So they depend neither on the division of an
update into parts nor on the number of workers or processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wf_base.random import stream
from wf_data.batches.shares import Shares
from wf_data.transforms.step import Step


class Update(NamedTuple):
    """One update of an epoch."""

    epoch: int
    number: int
    """The index of the update in its epoch."""
    size: int
    """The number of samples of all processes."""


class Mixer:
    """The transforms of a run that mix samples.

    Args:
        steps: The run's transforms.
        seed: The run's seed.
        shares: Which samples of an update are those of this process.
    """

    def __init__(self, steps: Sequence[Step], seed: int, shares: Shares) -> None:
        self._steps = [step for step in steps if step.mixes]
        self._seed, self._shares = seed, shares

    def needed(self, update: Update) -> list[Tensor]:
        """The positions whose samples this process needs before each transform, and after the last.

        They are ascending. After the last transform they are the process's own; before each transform their partners
        are added.
        """
        own = torch.arange(update.size)
        own = own[self._shares.is_own(own, update.size, update.size + 1)]
        if self._shares.world_size == 1:
            return [own] * (len(self._steps) + 1)
        found = [own]
        for step in reversed(self._steps):
            partners, _ = self.drawn(step, update)
            found.insert(0, torch.unique(torch.cat([found[0], partners[found[0]]])))
        return found

    def drawn(self, step: Step, update: Update) -> tuple[Tensor, torch.Generator]:
        """The partner of each position in an update, a permutation, and the generator of a transform."""
        generator = stream(self._seed, "mix", update.epoch, update.number, step.position)
        return torch.randperm(update.size, generator=generator), generator
