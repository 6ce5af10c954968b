"""Samples that determine their own order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from wf_base import TensorSamples
from wf_base.order import Ordered, shuffled


class Backwards(Ordered, torch.utils.data.Dataset[Any]):
    """Ten samples from last to first, turned by a draw."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, index

    def epoch_order(self, members: Tensor, generator: torch.Generator) -> Tensor:
        turn = int(torch.randint(len(members), (), generator=generator))
        return members.sort(descending=True).values.roll(turn)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_samples_without_an_order_are_shuffled() -> None:
    samples = TensorSamples(torch.arange(7), torch.arange(7))
    assert shuffled(samples, generator()).tolist() == torch.randperm(7, generator=generator()).tolist()


def test_subsets_follow_the_order_of_the_whole() -> None:
    whole = Backwards()
    assert shuffled(whole, generator()).tolist() == whole.epoch_order(torch.arange(10), generator()).tolist()
    part = Subset(whole, [7, 1, 4, 9])
    inner = Subset(part, [3, 0, 1])
    for samples, numbers in ((part, [7, 1, 4, 9]), (inner, [9, 7, 1])):
        order = shuffled(samples, generator(3))
        found = [numbers[place] for place in order.tolist()]
        assert found == whole.epoch_order(torch.tensor(numbers), generator(3)).tolist()
