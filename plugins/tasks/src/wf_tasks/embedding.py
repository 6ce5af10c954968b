"""Embeddings: one vector per sample, close to the vectors of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from wf.errors import UsageError
from wf_tasks.classification import Classification

EMBEDDING_SIZE = 64
"""Default size of an embedding, unless set by the model's own option."""


class Embedding(Classification):
    """One vector per sample, close to the vectors of its class; it does not determine a class."""

    def fitted(self, given: str | None, gives: str, wanted: str | None) -> Self:
        """Any model outputs are embeddings."""
        made = super().fitted(given, gives, wanted)
        made.predictions = "embeddings"
        return made

    def num_outputs(self, spec: Any) -> int | None:
        """The default size."""
        return EMBEDDING_SIZE

    def check_outputs(
        self, outputs: Any, num: int, shape: Sequence[int | None], names: Mapping[str, str]
    ) -> int | None:
        """Require one row per sample, of any length."""
        if not isinstance(outputs, Tensor):
            raise UsageError(f"model '{names['model']}' returns {type(outputs).__name__}, not a tensor")
        got = list(outputs.shape)
        if len(got) != 2 or got[0] != num:
            raise UsageError(
                f"model '{names['model']}' gives shape {got} for {num} samples\n"
                "  the loss expects embeddings, one row per sample"
            )
        return got[1]

    def read(self, predictions: Tensor, form: str) -> Tensor:
        """The embeddings themselves."""
        return predictions

    def right(self, targets: Tensor) -> Tensor:
        """One vector per class."""
        return 20.0 * functional.one_hot(targets, 8).to(torch.get_default_dtype()) - 10.0

    def constants(self, train: Tensor, spec: Any) -> list[Tensor]:
        """None: no vector represents class frequencies."""
        return []

    def names(self, predictions: Tensor, class_names: Sequence[str]) -> list[Any] | None:
        """None: classes cannot be read from embeddings."""
        return None
