"""How the samples of a batch are divided among the processes of a run.

A batch is a stretch of an order that is the same for every number of processes. Process r of W has the samples at the
positions r, r + W, and so on of it, so that shares differ by one sample at most and each sample is there once. Where a
batch has fewer samples than there are processes, those without one are given another's, which counts nothing: all
processes must make each step together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base.data import Batch
from wf_base.streams import taken
from wf_data.sets import words


@dataclass(frozen=True)
class Shares:
    """The share of one process.

    Args:
        rank: Its rank.
        world_size: The number of processes.
    """

    rank: int = 0
    world_size: int = 1

    def of(self, size: int) -> int:
        """The most samples that a process has of a batch of `size`."""
        return -(-size // self.world_size)

    def num(self, size: int) -> int:
        """The samples of this process in a batch of `size`; 0 if it only keeps step."""
        return len(range(self.rank, size, self.world_size))

    def is_own(self, positions: Tensor, total: int, size: int, *, even: bool = True) -> Tensor:
        """Which positions of an order this process takes, bool ``[N]``.

        Args:
            positions: int64 ``[N]``.
            total: The samples of the order.
            size: Those of a batch; the last one may have fewer.
            even: Whether a process without a sample in the last batch is given another's.
        """
        places, rest = positions % size, total % size
        own = places % self.world_size == self.rank
        if even and 0 < rest < self.world_size:
            own = torch.where(positions >= total - rest, places == self.rank % rest, own)
        return own

    def own(
        self, order: Iterator[Tensor], total: int, size: int, start: int = 0, *, even: bool = True
    ) -> Iterator[Tensor]:
        """This process's samples of the order of a stream, from the sample `start` on.

        Args:
            order: The samples of all processes, in pieces.
            total: Their number.
            size: The samples of a batch.
            start: The first sample.
            even: Whether a process without a sample in the last batch is given another's.
        """
        if self.world_size == 1:
            return taken(order, start)
        return taken(order, start, partial(self.is_own, total=total, size=size, even=even))

    def check(self, num_samples: Mapping[str, int], batch_size: int) -> None:
        """Check that every process has a part of every split: otherwise the others would wait for it.

        Args:
            num_samples: The samples of each split.
            batch_size: The samples of a batch, of all processes together.

        Raises:
            UsageError: If a process would have nothing to do.
        """
        for split, num in num_samples.items():
            if num < self.world_size:
                raise UsageError(
                    f"the {words(split)} has {num} samples for {self.world_size} processes\n"
                    "  start fewer processes, or change --split"
                )
        if batch_size < self.world_size:
            raise UsageError(
                f"batches of {batch_size} are too small for {self.world_size} processes: each needs a sample of every "
                "batch\n"
                "  start fewer processes, or make --batch-size, which is that of all together, larger"
            )

    def smallest_part(self, total: int, update: int, part: int) -> int:
        """The fewest samples that any process computes at once in an epoch.

        Args:
            total: The samples of the epoch.
            update: Those of an update.
            part: The most that a process computes at once.
        """
        sizes = {min(total, update), total % update or update}
        shares = {share for size in sizes for share in (self.of(size), max(1, size // self.world_size))}
        return min(share % part or part for share in shares)

    def marked(self, batches: Iterator[Batch], total: int, size: int, start: int = 0) -> Iterator[Batch]:
        """Batches that know how much they count, from batch `start` of an order on."""
        return batches if self.world_size == 1 else self._marked(batches, total, size, start)

    def _marked(self, batches: Iterator[Batch], total: int, size: int, start: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches, start):
            whole = min(size, total - number * size)
            yield batch._replace(share=self.world_size * self.num(whole) / whole, whole_size=whole)
