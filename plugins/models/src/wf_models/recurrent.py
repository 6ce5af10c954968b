"""Recurrent networks, read at their last hidden state."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from wf import FromRun
from wf.errors import UsageError
from wf_models.checks import require, require_rate, wrong_shape


class Recurrent(nn.Module):
    """A recurrent network and a linear layer over its last hidden state (of both directions, if bidirectional).

    Sequences ``[N, T, F]`` are read as they are, images ``[N, C, H, W]`` as H steps of C * W features, vectors
    ``[N, F]`` as F steps of one feature. With an embedding, inputs are tokens, int64 ``[N, T]``; zeros at
    the end are padding and are skipped. Predictions are ``[N, num_outputs]``.

    Args:
        cell: ``nn.RNN`` or ``nn.LSTM`` with ``batch_first=True``.
        num_outputs: Number of outputs per sample.
        embedding: Token embedding, as wide as the cell's input; None for numeric inputs.
    """

    def __init__(self, cell: nn.RNN | nn.LSTM, num_outputs: int, embedding: nn.Embedding | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self.cell = cell
        self.num_directions = 2 if cell.bidirectional else 1
        self.head = nn.Linear(self.num_directions * cell.hidden_size, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``[N, num_outputs]``."""
        _, state = self.cell(as_sequence(inputs) if self.embedding is None else self._packed(inputs))
        hidden = state[0] if isinstance(self.cell, nn.LSTM) else state  # [layers * directions, N, hidden_size]
        scores: Tensor = self.head(torch.cat(tuple(hidden[-self.num_directions :]), dim=1))
        return scores

    def _packed(self, tokens: Tensor) -> PackedSequence:
        """The tokens embedded, without the padding; the lengths make the host wait for the device."""
        assert self.embedding is not None
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        lengths = (places * (tokens != 0)).amax(1).clamp(min=1)  # torch refuses an empty sequence
        return pack_padded_sequence(self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False)


def rnn(
    input_shape: tuple[int, ...],
    num_outputs: int,
    vocab_size: Annotated[int | None, FromRun("vocab_size")] = None,
    hidden_size: int = 128,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    embedding_size: int = 64,
) -> Recurrent:
    """Elman recurrent network with tanh, read at its last hidden state by a linear layer.

    Images are read row by row, vectors number by number, tokens one by one up to the padding.

    Args:
        input_shape: Shape of one sample: ``[T, F]``, ``[C, H, W]`` or ``[F]``.
        num_outputs: Number of outputs per sample.
        vocab_size: Size of the vocabulary, if samples are tokens ``[T]``.
        hidden_size: Width of the hidden state, in each direction.
        num_layers: Number of stacked recurrent layers.
        bidirectional: Read each sequence from both ends.
        dropout: Probability of dropping a feature between two layers; needs two layers.
        embedding_size: Width of the token embedding, if samples are tokens.

    Raises:
        UsageError: For samples that are not sequences, or an option out of range.
    """
    size = _check("rnn", input_shape, hidden_size, num_layers, dropout)
    embedding = _embedding("rnn", input_shape, vocab_size, embedding_size)
    size = size if embedding is None else embedding_size
    cell = nn.RNN(size, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional)
    return Recurrent(cell, num_outputs, embedding)


def lstm(
    input_shape: tuple[int, ...],
    num_outputs: int,
    vocab_size: Annotated[int | None, FromRun("vocab_size")] = None,
    hidden_size: int = 128,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    embedding_size: int = 64,
) -> Recurrent:
    """Long short-term memory, read at its last hidden state by a linear layer.

    Images are read row by row, vectors number by number, tokens one by one up to the padding. Hochreiter and
    Schmidhuber 1997.

    Args:
        input_shape: Shape of one sample: ``[T, F]``, ``[C, H, W]`` or ``[F]``.
        num_outputs: Number of outputs per sample.
        vocab_size: Size of the vocabulary, if samples are tokens ``[T]``.
        hidden_size: Width of the hidden state, in each direction.
        num_layers: Number of stacked recurrent layers.
        bidirectional: Read each sequence from both ends.
        dropout: Probability of dropping a feature between two layers; needs two layers.
        embedding_size: Width of the token embedding, if samples are tokens.

    Raises:
        UsageError: For samples that are not sequences, or an option out of range.
    """
    size = _check("lstm", input_shape, hidden_size, num_layers, dropout)
    embedding = _embedding("lstm", input_shape, vocab_size, embedding_size)
    size = size if embedding is None else embedding_size
    cell = nn.LSTM(size, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional)
    return Recurrent(cell, num_outputs, embedding)


def as_sequence(inputs: Tensor) -> Tensor:
    """A batch as sequences ``[N, T, F]``: images row by row, vectors number by number."""
    if inputs.dim() == 4:
        return inputs.transpose(1, 2).flatten(2)
    return inputs.unsqueeze(2) if inputs.dim() == 2 else inputs


def _embedding(model: str, input_shape: tuple[int, ...], vocab_size: int | None, size: int) -> nn.Embedding | None:
    """The token embedding; None for numeric samples."""
    if vocab_size is None:
        return None
    if len(input_shape) != 1:
        raise wrong_shape(model, "tokens [T]", input_shape)
    require(size >= 1, model, "embedding_size", size, "at least 1")
    return nn.Embedding(vocab_size, size, padding_idx=0)


def _check(model: str, input_shape: tuple[int, ...], hidden_size: int, num_layers: int, dropout: float) -> int:
    """Check shape and options; returns the number of features per step, for numeric samples."""
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
