"""Samples of tokens that differ in length, and their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from wf_base.text import TOKENS

MASK = "attention_mask"
"""The leaf of a batch's inputs that marks tokens (1) and padding (0): int64."""
WORDS = "word_mask"
"""The leaf that marks tokens that begin a word, if targets are for words: bool."""
LEFT_OUT = -100
"""The target of an ignored token, the default of torch's losses."""


class TokenSamples:
    """Texts as tokens, held one after the other.

    Args:
        texts: The tokens of each text.
        targets: int64 ``[N]``, or one for each token.
        begins: For each text a mask of tokens that begin a word; None if targets are not for words.
    """

    draws = False

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        targets: Tensor | Sequence[Sequence[int]],
        begins: Sequence[Sequence[bool]] | None = None,
    ) -> None:
        self.lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
        """The number of tokens of each text, int64 ``[N]``, for samplers."""
        self._bounds = [0, *self.lengths.cumsum(0).tolist()]
        self._tokens = _flat(texts, torch.int64)
        self._each = None if isinstance(targets, Tensor) else _flat(targets, torch.int64)
        self._targets = targets if isinstance(targets, Tensor) else None
        self._begins = None if begins is None else _flat(begins, torch.bool)

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        begin, end = self._bounds[index], self._bounds[index + 1]
        inputs = {TOKENS: self._tokens[begin:end]}
        if self._begins is not None:
            inputs[WORDS] = self._begins[begin:end]
        if self._targets is not None:
            return inputs, self._targets[index]
        assert self._each is not None
        return inputs, self._each[begin:end]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[dict[str, Tensor], Tensor]]:
        """A batch at once; nothing is drawn."""
        return [self[index] for index in indices]

    def identity(self) -> list[Any]:
        """The data that a checksum is computed from."""
        digest = hashlib.blake2b(digest_size=16)
        for tensor in (self._tokens, self.lengths, self._targets, self._each, self._begins):
            digest.update(b"" if tensor is None else tensor.numpy().tobytes())
        return [len(self), digest.hexdigest()]


def _flat(rows: Sequence[Sequence[Any]], dtype: torch.dtype) -> Tensor:
    """Rows one after the other."""
    return torch.tensor([one for row in rows for one in row], dtype=dtype)


class Padded:
    """Makes a batch of texts, each padded at its end to the length of the longest one.

    Args:
        padding: The token of padding.
    """

    draws = False

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, samples: Sequence[tuple[dict[str, Tensor], Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs with an attention mask, and targets, -100 for padding."""
        inputs = self.inputs([inputs for inputs, _ in samples])
        targets = [target for _, target in samples]
        return inputs, padded(targets, LEFT_OUT) if targets[0].ndim else torch.stack(targets)

    def inputs(self, texts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The inputs of a batch, int64 and bool ``[N, T]``."""
        lengths = torch.tensor([len(text[TOKENS]) for text in texts])
        tokens = padded([text[TOKENS] for text in texts], self.padding)
        found = {TOKENS: tokens, MASK: (torch.arange(tokens.shape[1]) < lengths.unsqueeze(1)).to(torch.int64)}
        if WORDS in texts[0]:
            found[WORDS] = padded([text[WORDS] for text in texts], value=False)
        return found


class Masked:
    """Makes a batch of texts with masked tokens, as in BERT (Devlin et al. 2019).

    Of the selected tokens 80 % become the mask, 10 % another token, and 10 % are unchanged. At least one of each text
    is selected. The draws of a text are its own, so they do not depend on the batch that it is in.

    Args:
        mask: The token of the mask.
        vocab_size: The size of the vocabulary.
        rate: The share of selected tokens.
    """

    def __init__(self, mask: int, vocab_size: int, rate: float) -> None:
        self.mask, self.vocab_size, self.rate = mask, vocab_size, rate

    def each(self, sample: tuple[Tensor, Any]) -> tuple[Tensor, Tensor]:
        """The tokens ``[T]`` of a text with some of them masked, and targets: the selected tokens, -100 elsewhere."""
        tokens = sample[0]
        draws, kinds = torch.rand(2, *tokens.shape)
        chosen = draws < self.rate
        chosen = chosen if bool(chosen.any()) else draws == draws.min()
        others = torch.randint(self.vocab_size, tokens.shape)
        given = torch.where(chosen & (kinds < 0.8), self.mask, tokens)
        given = torch.where(chosen & (kinds >= 0.9), others, given)
        return given, torch.where(chosen, tokens, LEFT_OUT)

    def __call__(self, samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs with an attention mask, and targets, of texts from `each`."""
        tokens, targets = (torch.stack(own) for own in zip(*samples, strict=True))
        return {TOKENS: tokens, MASK: torch.ones_like(tokens)}, targets


def padded(rows: Sequence[Tensor], value: int | bool) -> Tensor:
    """Rows of any length as one tensor, padded at their ends."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def num_tokens(inputs: Any) -> Any:
    """The number of tokens of a batch, without padding: an int, or a tensor that stays on its device."""
    if isinstance(inputs, Tensor):
        return inputs.numel()
    mask = inputs.get(MASK)
    return inputs[TOKENS].numel() if mask is None else mask.sum()
