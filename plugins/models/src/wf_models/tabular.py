"""A multilayer perceptron over the columns of a table: numbers, and embeddings of categories."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from wf import FromRun
from wf.errors import UsageError
from wf_models.checks import require, require_rate
from wf_models.mlp import mlp


class Tabular(nn.Module):
    """A multilayer perceptron over numbers, concatenated with embeddings of categories.

    Inputs are ``numbers``, float ``[N, F]``, and ``categories``, int64 ``[N, C]``, or one of them alone. Category 0
    stands for categories that are not in the training data: its embedding stays zero. Guo and Berkhahn 2016.

    Args:
        num_outputs: Number of outputs per sample.
        dataset_facts: The facts of a dataset with categories: ``numbers``, the names of numeric columns, and
            ``categories``, the categories by column name. None if inputs are numbers only.
        input_shape: Shape of one sample if inputs are numbers only, any.
        hidden: Width of each hidden layer, first to last.
        embedding_size: Width of the embeddings; None for ``1.6 * n ** 0.56`` with the number n of categories of the
            column, at most 600.
        activation: Function after each hidden layer.
        dropout: Probability of dropping a hidden unit in training.
        embedding_dropout: Probability of dropping an embedding value in training.

    Raises:
        UsageError: For samples of several tensors without facts from the dataset, or an option out of range.
    """

    def __init__(
        self,
        num_outputs: int,
        dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
        input_shape: Annotated[tuple[int, ...] | None, FromRun("input_shape")] = None,
        hidden: list[int] = [512, 512],  # noqa: B006 - only read; a list is what users write
        embedding_size: int | None = None,
        activation: Literal["relu", "tanh", "gelu", "sigmoid"] = "relu",
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_rate("tabular", "dropout", dropout)
        require_rate("tabular", "embedding_dropout", embedding_dropout)
        require(all(width >= 1 for width in hidden), "tabular", "hidden", hidden, "a list of widths of at least 1")
        if embedding_size is not None:
            require(embedding_size >= 1, "tabular", "embedding_size", embedding_size, "at least 1")
        sizes, width = _columns(dataset_facts, input_shape)
        widths = [embedding_size or _usual_size(size) for size in sizes]
        pairs = zip(sizes, widths, strict=True)
        self.embeddings = nn.ModuleList(nn.Embedding(size, own, padding_idx=0) for size, own in pairs)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.layers = mlp((width + sum(widths),), num_outputs, hidden, activation, dropout)

    def forward(self, numbers: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Scores ``[N, num_outputs]``."""
        parts = [] if numbers is None else [numbers]
        if categories is not None:
            columns = zip(self.embeddings, categories.unbind(1), strict=True)
            parts.append(self.embedding_dropout(torch.cat([embed(column) for embed, column in columns], dim=1)))
        scores: Tensor = self.layers(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
        return scores


def _columns(facts: Mapping[str, Any] | None, input_shape: tuple[int, ...] | None) -> tuple[list[int], int]:
    """The number of categories per column, and the number of numeric columns."""
    if facts is not None and isinstance(facts.get("categories"), Mapping):
        return [int(size) for size in facts["categories"].values()], len(facts.get("numbers", ()))
    if input_shape is None:
        raise UsageError(
            "model 'tabular' takes numbers, or numbers and categories of which the dataset says how many there are "
            "(its facts: numbers, categories)\n  the csv dataset says it: --dataset.embed '[\"COLUMN\"]'"
        )
    return [], math.prod(input_shape)


def _usual_size(num_categories: int) -> int:
    """The rule of fastai."""
    return min(600, round(1.6 * math.pow(num_categories, 0.56)))
