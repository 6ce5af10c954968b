"""Tokenizers of Hugging Face, from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from wf.errors import DataError, UsageError, unknown

FILE = "tokenizer.json"


class HuggingFaceTokenizer:
    """A tokenizer in a file ``tokenizer.json``, without the special tokens that it would add around a text.

    Args:
        path: The file, or a folder that has it.
        end: A token that stands behind each text, such as ``<|endoftext|>``; None for none.

    Raises:
        DataError: For a file that is not there, or is no tokenizer.
        UsageError: For an `end` that is no token of it.
    """

    def __init__(self, path: Path, end: str | None = None) -> None:
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise DataError(f"there is no file '{file}'\n  tokenizers writes one: tokenizer.save('{FILE}')")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises this very class
            raise DataError(f"'{file}' is no tokenizer: {error}") from error
        num = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.vocabulary: Sequence[str] = tuple(self._tokenizer.id_to_token(number) or "" for number in range(num))
        self.end: int | None = None
        if end is not None:
            self.end = self._tokenizer.token_to_id(end)
            if self.end is None:
                raise UsageError(unknown("token", end, self.vocabulary[:1000]))

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; special ones, as `end`, are left out."""
        return str(self._tokenizer.decode(list(tokens)))
