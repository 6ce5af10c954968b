"""A run's predictions as plots get them: one split, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from wf_base.tree import Tree


class Predicted(NamedTuple):
    """A batch of a split with the model outputs, passed to the method ``update`` of a plot. All tensors are on the
    CPU."""

    split: str
    size: int
    """N, the number of samples."""
    outputs: Tree
    """The model outputs, ``[N, ...]``, in the units of the dataset's targets."""
    targets: Tree
    """``[N, ...]``, as the dataset has them."""
    sample_ids: Tensor | None
    """int64 ``[N]``: the number of each sample in its dataset."""
    input_of: Callable[[int], Tree]
    """The input of the i-th sample of the batch as the dataset's samples hold it, before all transforms that leave its
    shape as it is; None where samples are a stream."""

    def name_of(self, index: int) -> str:
        """A sample in words: ``sample 12``, by its number in the dataset."""
        return "a sample" if self.sample_ids is None else f"sample {int(self.sample_ids[index])}"
