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
"""The files beside it that name its special tokens."""
USUAL = {"pad_token": ("[PAD]", "<pad>", "<|padding|>", "<|pad|>"), "mask_token": ("[MASK]", "<mask>", "<|mask|>")}
"""The usual names of these tokens, if no file names them."""


class HuggingFaceTokenizer:
    """A tokenizer in a file ``tokenizer.json``. The special tokens that it adds around a text are used only for
    classification.

    Args:
        path: The file, or a folder that contains it.
        end: A token appended to each text of a language model, such as ``<|endoftext|>``; None for none.
        padding: The padding token; by default the one named in a file beside it (``tokenizer_config.json``), or
            ``[PAD]`` or ``<pad>``.
        mask: The mask token; by default as for `padding`.

    Raises:
        DataError: For a file that is missing or not a tokenizer.
        UsageError: For an `end`, `padding` or `mask` that is not one of its tokens.
    """

    def __init__(self, path: Path, end: str | None = None, padding: str | None = None, mask: str | None = None) -> None:
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise DataError(f"there is no file '{file}'\n  tokenizers writes one: tokenizer.save('{FILE}')")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise DataError(f"'{file}' is not a tokenizer: {error}") from error
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
        """The padding token.

        Raises:
            UsageError: If the tokenizer has no padding token.
        """
        return self._there(self._padding, "padding")

    @property
    def mask(self) -> int:
        """The mask token.

        Raises:
            UsageError: If the tokenizer has no mask token.
        """
        return self._there(self._mask, "mask")

    @property
    def around(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after a text."""
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
        """The text of tokens, without special ones such as `end`."""
        return str(self._tokenizer.decode(list(tokens)))

    def _token(self, name: str | None, kind: str = "", beside: Mapping[str, Any] = {}, said: Any = None) -> int | None:
        """The token with a name, or else the token of a kind by its declared or usual name; None without one.

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
                f"the tokenizer has no {what} token according to its files\n"
                f"  name one of its tokens: --tokenizer.{what} '<token>'"
            )
        return token


def _said_beside(file: Path) -> dict[str, Any]:
    """The names of special tokens in the files beside a tokenizer.

    Raises:
        DataError: For a file that is not JSON.
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
