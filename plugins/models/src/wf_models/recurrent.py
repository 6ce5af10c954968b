"""Recurrent networks, read at their last hidden state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf_models.checks import require, require_rate, wrong_shape


class Recurrent(nn.Module):
    """A recurrent network and a linear layer over its last hidden state, of both directions where it has two.

    Sequences ``[N, T, F]`` are read as they are, images ``[N, C, H, W]`` as H steps of C * W features, vectors
    ``[N, F]`` as F steps of one feature. Predictions are ``[N, num_outputs]``.

    Args:
        cell: ``nn.RNN`` or ``nn.LSTM`` with ``batch_first=True``.
        num_outputs: Numbers to give for one sample.
    """

    def __init__(self, cell: nn.RNN | nn.LSTM, num_outputs: int) -> None:
        super().__init__()
        self.cell = cell
        self.num_directions = 2 if cell.bidirectional else 1
        self.head = nn.Linear(self.num_directions * cell.hidden_size, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``[N, num_outputs]``."""
        _, state = self.cell(as_sequence(inputs))
        hidden = state[0] if isinstance(self.cell, nn.LSTM) else state  # [layers * directions, N, hidden_size]
        scores: Tensor = self.head(torch.cat(tuple(hidden[-self.num_directions :]), dim=1))
        return scores


def rnn(
    input_shape: tuple[int, ...],
    num_outputs: int,
    hidden_size: int = 128,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> Recurrent:
    """Elman recurrent network with tanh, read at its last hidden state by a linear layer.

    Images are read row by row, vectors number by number.

    Args:
        input_shape: Shape of one sample: ``[T, F]``, ``[C, H, W]`` or ``[F]``.
        num_outputs: Numbers to give for one sample.
        hidden_size: Width of the hidden state, in each direction.
        num_layers: Recurrent layers on top of each other.
        bidirectional: Read each sequence from both ends.
        dropout: Probability that a feature is left out between two layers; needs two layers.

    Raises:
        UsageError: For samples that are no sequence, or an option out of range.
    """
    size = _check("rnn", input_shape, hidden_size, num_layers, dropout)
    cell = nn.RNN(size, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional)
    return Recurrent(cell, num_outputs)


def lstm(
    input_shape: tuple[int, ...],
    num_outputs: int,
    hidden_size: int = 128,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> Recurrent:
    """Long short-term memory, read at its last hidden state by a linear layer.

    Images are read row by row, vectors number by number. Hochreiter and Schmidhuber 1997.

    Args:
        input_shape: Shape of one sample: ``[T, F]``, ``[C, H, W]`` or ``[F]``.
        num_outputs: Numbers to give for one sample.
        hidden_size: Width of the hidden state, in each direction.
        num_layers: Recurrent layers on top of each other.
        bidirectional: Read each sequence from both ends.
        dropout: Probability that a feature is left out between two layers; needs two layers.

    Raises:
        UsageError: For samples that are no sequence, or an option out of range.
    """
    size = _check("lstm", input_shape, hidden_size, num_layers, dropout)
    cell = nn.LSTM(size, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional)
    return Recurrent(cell, num_outputs)


def as_sequence(inputs: Tensor) -> Tensor:
    """A batch as sequences ``[N, T, F]``: images row by row, vectors number by number."""
    if inputs.dim() == 4:
        return inputs.transpose(1, 2).flatten(2)
    return inputs.unsqueeze(2) if inputs.dim() == 2 else inputs


def _check(model: str, input_shape: tuple[int, ...], hidden_size: int, num_layers: int, dropout: float) -> int:
    """Refuse what does not fit; the number of features in one step."""
    if not 1 <= len(input_shape) <= 3 or not math.prod(input_shape):
        raise wrong_shape(model, "sequences [T, F], images [C, H, W] or vectors [F]", input_shape)
    require(hidden_size >= 1, model, "hidden_size", hidden_size, "at least 1")
    require(num_layers >= 1, model, "num_layers", num_layers, "at least 1")
    require_rate(model, "dropout", dropout)
    if dropout and num_layers == 1:
        raise UsageError(
            f"model '{model}': dropout is {dropout}, but it acts between layers and num_layers is 1\n"
            f"  set num_layers to 2 or more, or dropout to 0"
        )
    return {1: 1, 2: input_shape[-1], 3: input_shape[0] * input_shape[-1]}[len(input_shape)]
