"""Encodes texts as tokens, with a maximum length."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np

from wf.errors import DataError, UsageError
from wf_text.reading.corpus import checked
from wf_text.tokenizers import Tokenizer, UnknownCharacterError

_LOG = logging.getLogger("wf")

TooLong = Literal["truncate", "error"]
"""The treatment of a text with too many tokens."""


class Encoder:
    """Encodes texts as tokens.

    Args:
        tokenizer: The run's tokenizer.
        max_tokens: The maximum number of tokens of a text, including special tokens.
        too_long: The treatment of longer texts.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, too_long: TooLong) -> None:
        self._tokenizer, self._max, self._too_long = tokenizer, max_tokens, too_long
        around: tuple[Sequence[int], Sequence[int]] = getattr(tokenizer, "around", ((), ()))
        self._before, self._behind = around
        self._num = self._num_long = 0
        if max_tokens <= len(self._before) + len(self._behind):
            raise UsageError(f"dataset option 'max_tokens' is {max_tokens}; the special tokens alone are as many")

    def text(self, text: str, where: str) -> list[int]:
        """The tokens of a text.

        Raises:
            DataError: For a text without tokens, one that the tokenizer cannot encode, or one that is too long.
        """
        try:
            found = np.asarray(self._tokenizer.encode(text))
        except UnknownCharacterError as error:
            raise error.at(where) from error
        if not len(found):
            raise DataError(f"{where}: the text {json.dumps(text[:40])} has no token")
        checked(found, self._tokenizer, where)
        return [*self._before, *self._cut(found.tolist(), where), *self._behind]

    def words(self, words: Sequence[str], where: str) -> tuple[list[int], list[bool]]:
        """The tokens of words, and a mask of the tokens that begin a word.

        Raises:
            DataError: As `text` does, also for a single word without a token.
        """
        of_words = getattr(self._tokenizer, "encode_words", None)
        try:
            pieces = of_words(words) if of_words else [list(self._tokenizer.encode(word)) for word in words]
        except UnknownCharacterError as error:
            raise error.at(where) from error
        for word, piece in zip(words, pieces, strict=True):
            if not len(piece):
                raise DataError(f"{where}: the word {json.dumps(word)} has no token")
        found = self._cut([int(token) for piece in pieces for token in piece], where)
        checked(np.asarray(found), self._tokenizer, where)
        begins = [place == 0 for piece in pieces for place in range(len(piece))][: len(found)]
        before, behind = len(self._before), len(self._behind)
        return [*self._before, *found, *self._behind], [*[False] * before, *begins, *[False] * behind]

    def tell(self) -> None:
        """Report how many texts were too long."""
        if self._num_long:
            _LOG.warning(
                "%s of %s texts are longer than %s tokens, and are truncated; "
                "--dataset.max_tokens N allows more, --dataset.too_long error refuses them",
                *(f"{number:,}" for number in (self._num_long, self._num, self._max)),
            )

    def _cut(self, tokens: list[int], where: str) -> list[int]:
        room = self._max - len(self._before) - len(self._behind)
        self._num += 1
        if len(tokens) <= room:
            return tokens
        self._num_long += 1
        if self._too_long == "error":
            raise DataError(
                f"{where}: the text has {len(tokens):,} tokens, but {room:,} are allowed\n"
                "  allow more, --dataset.max_tokens N, or truncate it: --dataset.too_long truncate"
            )
        return tokens[:room]
