"""The order of the samples in each epoch: a function of the run's seed and the epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base.data import Samples
from wf_base.order import shuffled
from wf_base.random import stream, stream_key
from wf_base.streams import Stream, first
from wf_data.batches.loading import generators_kept, seed_all
from wf_data.batches.shares import Shares


class Order:
    """The order of the train split in each epoch.

    Args:
        samples: The splits, as they are at the time of an epoch.
        sampler: Gives positions in the train split, anew for each epoch; None for all samples.
        num_samples: The samples of the dataset from which its sampler draws.
        batch_size: Batch size, of all processes together; None for all samples at once.
        accumulate: Batches whose gradients make one update.
        seed: The run's seed.
        shuffle: Whether each epoch has a new order.
        drop_last: Whether an epoch leaves out its last batch if it has fewer samples than the others.
        shares: The division of a batch among the processes.
        per_process: Whether `batch_size` is that of each process, and the order of an epoch is continued by its
            beginning so that all have as many samples: the meaning in run files of format 1.
        name: The dataset's name, for messages.

    Raises:
        UsageError: If the sampler draws from other samples than the train split's.
        DataError: If it gives other numbers than positions.
    """

    def __init__(
        self,
        samples: Mapping[str, Samples],
        sampler: Iterable[int] | None,
        *,
        num_samples: int,
        batch_size: int | None,
        accumulate: int,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        shares: Shares,
        per_process: bool,
        name: str,
    ) -> None:
        self._splits, self._sampler, self._name = samples, sampler, name
        self._seed, self._shuffle, self._drop_last = seed, shuffle, drop_last
        self._shares, self._pads = shares, per_process
        if sampler is not None and len(self._samples) != num_samples:
            raise UsageError(
                f"dataset '{name}' has a sampler, which draws from all of its {num_samples} samples, but only "
                f"{len(self._samples)} are left for training\n"
                "  give it its own validation split, or train on all: --split 100/0/0"
            )
        self._num_drawn: int | None = None
        if sampler is not None:
            self._num_drawn = len(self._sampled(0))
        self.batch_size = (batch_size or len(self._samples)) * (shares.world_size if per_process else 1)
        """The samples of a batch, of all processes together."""
        self.own_size = shares.of(self.batch_size)
        """The most samples that this process has of a batch."""
        self.update_size = self.batch_size * accumulate
        """The samples of an update, of all processes together."""

    @property
    def _samples(self) -> Samples:
        return self._splits["train"]

    def draw_by(self, sampler: Iterable[int]) -> int:
        """Use the samples and the order of a sampler in each epoch.

        Returns:
            The number of samples in an epoch.

        Raises:
            UsageError: If the dataset has its own order.
        """
        own = "is a stream" if isinstance(self._samples, Stream) else "has a sampler"
        if own == "is a stream" or self._sampler is not None:
            raise UsageError(f"dataset '{self._name}' {own}, which determines the order itself\n  leave --sampler out")
        self._sampler = sampler
        self._num_drawn = len(self._sampled(0))
        self.check_kept()
        return self._num_drawn

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, which are its updates."""
        return -(-self.num_kept // self.update_size)

    @property
    def num_kept(self) -> int:
        """The samples of all processes in an epoch."""
        return self.num_kept_of(self._num_drawn or len(self._samples))

    def num_kept_of(self, num_samples: int) -> int:
        """As `num_kept`, for a train split of `num_samples`."""
        num = num_samples + (-num_samples % self._shares.world_size if self._pads else 0)
        return num - num % self.batch_size if self._drop_last else num

    def check_kept(self) -> None:
        """Refuse an epoch without samples.

        Raises:
            UsageError: If leaving out the last batch leaves none.
        """
        if not self.num_kept:
            raise UsageError(
                f"drop_last leaves nothing to train on: the train split has {len(self._samples)} samples, "
                f"batches {self.batch_size}\n  leave --drop-last out, or make --batch-size smaller"
            )

    def of(self, epoch: int) -> Tensor | None:
        """The samples of all processes in an epoch; None for all of the split in order, in one process."""
        if self._sampler is None and not self._shuffle and self._shares.world_size == 1 and not self._drop_last:
            return None
        return self.whole(epoch)

    def whole(self, epoch: int) -> Tensor:
        """The samples of all processes in an epoch, int64 ``[N]``."""
        order = torch.arange(len(self._samples))
        if self._sampler is not None:
            order = self._sampled(epoch)
        elif self._shuffle:
            order = shuffled(self._samples, stream(self._seed, "order", epoch))
        return (torch.cat([order, order]) if self._pads else order)[: self.num_kept]

    def of_stream(self, samples: Stream, epoch: int) -> Iterator[Tensor]:
        """The samples of all processes in an epoch of a train split that is a stream."""

        def order() -> Iterator[Tensor]:
            return samples.order(stream(self._seed, "order", epoch) if self._shuffle else None)

        whole = itertools.chain(order(), order()) if self._pads else order()
        return first(whole, self.num_kept) if self._pads or self._drop_last else whole

    def _sampled(self, epoch: int) -> Tensor:
        """The order of the sampler in an epoch."""
        assert self._sampler is not None
        with generators_kept():
            seed_all(stream_key(self._seed, "order", epoch))
            order = torch.as_tensor([int(number) for number in self._sampler], dtype=torch.int64)
        num, where = len(self._samples), f"epoch {epoch + 1}"
        if self._num_drawn and len(order) != self._num_drawn:
            raise DataError(
                f"the sampler gave {len(order)} samples in {where}, but {self._num_drawn} in the first one: the "
                "number must be constant"
            )
        if not len(order) or int(order.min()) < 0 or int(order.max()) >= num:
            raise DataError(f"the sampler gave {_numbers(order)} in {where}; it must give numbers from 0 to {num - 1}")
        return order


def _numbers(order: Tensor) -> str:
    return f"numbers from {int(order.min())} to {int(order.max())}" if len(order) else "nothing"
