"""Reading text for ``wf predict``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError
from wf_text import corpus
from wf_text.tokenizers import Tokenizer

_LOG = logging.getLogger("wf")


class TextReader:
    """Reads a file of text as the samples were: int64 ``[N, block]``.

    Args:
        tokenizer: The run's.
        block: Tokens of a sample.
    """

    endings: tuple[str, ...] = (".txt",)

    def __init__(self, tokenizer: Tokenizer, block: int) -> None:
        self._tokenizer, self._block = tokenizer, block

    def description(self) -> Mapping[str, Any]:
        """The length of a block; the tokenizer is made again by its own name."""
        return {"block": self._block}

    def read(self, path: Path) -> Tensor:
        """The blocks of a text, in their order.

        Raises:
            DataError: For a text shorter than a block, or one that training could not have read either.
        """
        tokens = torch.from_numpy(corpus.in_memory(corpus.find_files(path), self._tokenizer))
        num, rest = divmod(len(tokens), self._block)
        if not num:
            raise DataError(f"'{path}' has {rest:,} tokens, and the run takes blocks of {self._block:,}")
        if rest:
            _LOG.warning("'%s': the last %s tokens do not fill a block, and are left out", path, f"{rest:,}")
        return tokens[: num * self._block].view(num, self._block)
