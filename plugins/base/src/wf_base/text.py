"""Text as tokens: words and punctuation, a vocabulary, and index sequences of one length.

A dataset of texts makes ``tokens = [tokenize(text) for text in texts]``, a vocabulary with `make_vocabulary`, and its
inputs with `encode`; `Dataset.vocabulary` tells models how many tokens there are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

PADDING, UNKNOWN = "<padding>", "<unknown>"
"""The first two tokens of every vocabulary: padding, and the unknown token."""
TOKENS = "input_ids"
"""The key of the tokens, if inputs are a dict: int64 ``[N, T]``, indices of the dataset's vocabulary."""

_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


def tokenize(text: str) -> list[str]:
    """Words in lower case (``don't`` is one) and single punctuation characters."""
    return _TOKEN.findall(text.lower())


def make_vocabulary(texts: Iterable[Sequence[str]], max_size: int, min_count: int = 1) -> list[str]:
    """The most frequent tokens, after `PADDING` and `UNKNOWN`.

    Args:
        texts: The tokens of each text.
        max_size: The maximum number of tokens, those two included.
        min_count: The minimum number of occurrences of a token.

    Returns:
        The most frequent first, equally frequent ones in alphabetical order.
    """
    return most_frequent(Counter(token for tokens in texts for token in tokens), max_size, min_count)


def most_frequent(counts: Mapping[str, int], max_size: int, min_count: int = 1) -> list[str]:
    """As `make_vocabulary`, from counted tokens."""
    ranked = sorted((token for token, count in counts.items() if count >= min_count), key=lambda t: (-counts[t], t))
    return [PADDING, UNKNOWN, *ranked[: max(max_size - 2, 0)]]


def encode(texts: Sequence[Sequence[str]], vocabulary: Sequence[str], length: int) -> Tensor:
    """The index of each token in the vocabulary.

    Args:
        texts: The tokens of each text.
        vocabulary: From `make_vocabulary`.
        length: T. Longer texts are truncated, shorter ones padded at the end.

    Returns:
        int64 ``[N, T]``: 0 is `PADDING`, 1 is `UNKNOWN`.
    """
    index = {token: place for place, token in enumerate(vocabulary)}
    encoded = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, tokens in zip(encoded, texts, strict=True):
        places = [index.get(token, 1) for token in tokens[:length]]
        row[: len(places)] = torch.tensor(places, dtype=torch.int64)
    return encoded
