"""Samples that have an order of their own where an epoch is shuffled, because some orders are slow to read."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.utils.data import Subset

from wf_base.data import Samples


class Ordered(ABC):
    """Samples, with ``len()`` and ``[i]``, that say in which order a shuffled epoch takes them.

    Others are taken in any order. Files that hold many samples are read faster when those of one file come together.
    """

    @abstractmethod
    def epoch_order(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """The samples of an epoch in their order.

        Args:
            members: The numbers of those in the split, int64 ``[N]``, each once.
            generator: What the order is drawn from: a function of the run's seed and the epoch. The order must follow
                from it and the members alone.

        Returns:
            The same numbers, each once.
        """


def shuffled(samples: Samples, generator: torch.Generator) -> Tensor:
    """The positions of samples in the order of a shuffled epoch, int64 ``[N]``."""
    whole, members = samples, torch.arange(len(samples))
    while isinstance(whole, Subset):
        members, whole = torch.as_tensor(whole.indices)[members], whole.dataset  # type: ignore[assignment]  # protocol
    if not isinstance(whole, Ordered):
        return torch.randperm(len(samples), generator=generator)
    ascending, places = members.sort()
    order = whole.epoch_order(members, generator)
    return places[torch.searchsorted(ascending, order)]
