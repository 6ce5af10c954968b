"""Tokenizers of Hugging Face, from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from wf.errors import DataError, UsageError, unknown

FILE = "tokenizer.json"
SAYING = ("tokenizer_config.json", "special_tokens_map.json")
"""The files beside it that say which of its tokens is which."""
USUAL = {"pad_token": ("[PAD]", "<pad>", "<|padding|>", "<|pad|>"), "mask_token": ("[MASK]", "<mask>", "<|mask|>")}
"""What these tokens are called where no file says it."""


class HuggingFaceTokenizer:
    """A tokenizer in a file ``tokenizer.json``. The special tokens that it adds around a text are for texts that are
    classified alone.

    Args:
        path: The file, or a folder that has it.
        end: A token that stands behind each text of a language model, such as ``<|endoftext|>``; None for none.
        padding: The token that fills up texts in a batch; by default the one that a file beside it says
            (``tokenizer_config.json``), or that is called ``[PAD]`` or ``<pad>``.
        mask: The token in place of one that is to be guessed; by default as for `padding`.

    Raises:
        DataError: For a file that is not there, or is no tokenizer.
        UsageError: For an `end`, `padding` or `mask` that is no token of it.
    """

    def __init__(self, path: Path, end: str | None = None, padding: str | None = None, mask: str | None = None) -> None:
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise DataError(f"there is no file '{file}'\n  tokenizers writes one: tokenizer.save('{FILE}')")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises this very class
            raise DataError(f"'{file}' is no tokenizer: {error}") from error
        said = self._tokenizer.padding or {}
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        num = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.vocabulary: Sequence[str] = tuple(self._tokenizer.id_to_token(number) or "" for number in range(num))
        self.end = self._token(end)
        beside = _said_beside(file)
        self._padding = self._token(padding, "pad_token", beside, said.get("pad_token"))
        self._mask = self._token(mask, "mask_token", beside)

    @property
    def padding(self) -> int:
        """The token that fills up texts.

        Raises:
            UsageError: When there is none.
        """
        return self._there(self._padding, "padding")

    @property
    def mask(self) -> int:
        """The token in place of one that is to be guessed.

        Raises:
            UsageError: When there is none.
        """
        return self._there(self._mask, "mask")

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind a text."""
        found = self._tokenizer.encode("a", add_special_tokens=True)
        own = [place for place, special in enumerate(found.special_tokens_mask) if not special]
        begin, end = (own[0], own[-1] + 1) if own else (len(found.ids), len(found.ids))
        return list(found.ids[:begin]), list(found.ids[end:])

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The tokens of each word."""
        found = self._tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        pieces: list[list[int]] = [[] for _ in words]
        for token, word in zip(found.ids, found.word_ids, strict=True):
            pieces[word or 0].append(token)
        return pieces

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; special ones, as `end`, are left out."""
        return str(self._tokenizer.decode(list(tokens)))

    def _token(self, name: str | None, kind: str = "", beside: Mapping[str, Any] = {}, said: Any = None) -> int | None:
        """The token with a name, or else one of a kind by the name that is usual or said; None where there is none.

        Raises:
            UsageError: For a name that no token has.
        """
        if name is not None:
            found: int | None = self._tokenizer.token_to_id(name)
            if found is None:
                raise UsageError(unknown("token", name, self.vocabulary[:1000]))
            return found
        names = [one for one in (beside.get(kind), said, *USUAL.get(kind, ())) if one]
        return next((token for one in names if (token := self._tokenizer.token_to_id(one)) is not None), None)

    def _there(self, token: int | None, what: str) -> int:
        if token is None:
            raise UsageError(
                f"the tokenizer has no token of {what}, as far as its files say it\n"
                f"  name one of its tokens: --tokenizer.{what} '<token>'"
            )
        return token


def _said_beside(file: Path) -> dict[str, Any]:
    """The names of special tokens that the files beside a tokenizer say.

    Raises:
        DataError: For one that is no JSON.
    """
    found: dict[str, Any] = {}
    for name in SAYING:
        other = file.with_name(name)
        if not other.is_file():
            continue
        try:
            said = json.loads(other.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"'{other}' cannot be read: {error}") from error
        for kind in USUAL:
            value = said.get(kind) if isinstance(said, dict) else None
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                found.setdefault(kind, value)
    return found
