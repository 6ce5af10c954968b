"""A vector a sample, near to those of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from wf.errors import UsageError
from wf_tasks.classification import Classification

EMBEDDING_SIZE = 64
"""Numbers of an embedding, unless the model's own option says otherwise."""


class Embedding(Classification):
    """A vector a sample, near to those of its class: no class can be read from it."""

    def fitted(self, given: str | None, gives: str, wanted: str | None) -> Self:
        """Whatever the model gives are embeddings."""
        made = super().fitted(given, gives, wanted)
        made.predictions = "embeddings"
        return made

    def num_outputs(self, spec: Any) -> int | None:
        """As many as are usual."""
        return EMBEDDING_SIZE

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Refuse what is no row a sample; it may have any length."""
        if not isinstance(outputs, Tensor):
            raise UsageError(f"model '{names['model']}' gives {type(outputs).__name__}, not a tensor")
        got = list(outputs.shape)
        if len(got) != 2 or got[0] != num:
            raise UsageError(
                f"model '{names['model']}' gives shape {got} for {num} samples\n"
                "  the loss wants embeddings, one row a sample"
            )
        return got[1]

    def read(self, predictions: Tensor, form: str) -> Tensor:
        """The embeddings themselves."""
        return predictions

    def right(self, targets: Tensor) -> Tensor:
        """A vector of its own for each class."""
        return 20.0 * functional.one_hot(targets, 8).to(torch.get_default_dtype()) - 10.0

    def constants(self, train: Tensor, spec: Any) -> list[Tensor]:
        """None: no vector stands for the shares of classes."""
        return []

    def names(self, predictions: Tensor, class_names: Sequence[str]) -> list[Any] | None:
        """None: no class can be read from them."""
        return None
