"""Texts in blocks of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, Samples, TensorSamples
from wf_base.text import PADDING
from wf_text.plugin import MASKED, NEXT
from wf_text.reading import corpus
from wf_text.reading.corpus import Array, TokenFile
from wf_text.reading.readers import MaskedReader, TextReader
from wf_text.reading.samples import Masked
from wf_text.tokenizers import MASK_NAME, Tokenizer, with_token

OPTICKS = Path(__file__).parents[1] / "opticks.txt"
IN_MEMORY_MB = 256.0
"""Larger texts are read from a token file."""


def text(
    path: Path,
    tokenizer: Tokenizer,
    data_dir: Path,
    block: int = 128,
    validation: float = 0.1,
    test: float = 0.1,
    pattern: str = "*.txt",
    in_memory_mb: float = IN_MEMORY_MB,
) -> Dataset:
    """The texts in a file, or in all files of a folder, in consecutive blocks.

    The target of each token is the next one. The splits are consecutive parts of the text, with the test split at its
    end. A remainder too short for a block at the end of a split is left out.

    Args:
        path: A file, or a folder, whose files are read in the order of their names.
        tokenizer: The run's tokenizer.
        data_dir: The folder for the token files of large texts.
        block: The number of tokens of a sample.
        validation: The share of the text that is the validation split.
        test: The share that is the test split.
        pattern: The pattern for files of a folder.
        in_memory_mb: A text of more megabytes is written to the data folder as tokens and memory-mapped, so that it
            may be larger than memory.

    Raises:
        DataError: For texts that are missing, empty, shorter than a block, not UTF-8, or that the tokenizer cannot
            encode.
        UsageError: For invalid sizes and shares.
    """
    splits = _splits(path, tokenizer, data_dir, block, validation, test, pattern, in_memory_mb)
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=NEXT,
        task="causal-lm",
        vocabulary=tuple(tokenizer.vocabulary),
        reader=TextReader(tokenizer, block),
    )


def masked_text(
    path: Path,
    tokenizer: Tokenizer,
    data_dir: Path,
    block: int = 128,
    mask_rate: float = 0.15,
    validation: float = 0.1,
    test: float = 0.1,
    pattern: str = "*.txt",
    in_memory_mb: float = IN_MEMORY_MB,
) -> Dataset:
    """The texts of a file or folder in blocks, as for `text`, in which some tokens are masked and must be predicted.

    Of the selected tokens 80 % become the mask, 10 % another token, and 10 % are unchanged. At least one token of each
    block is selected. In training the selection changes in each epoch, in evaluations it is fixed.

    Args:
        path: A file, or a folder, whose files are read in the order of their names.
        tokenizer: The run's tokenizer; a mask is added to its tokens if it has none.
        data_dir: The folder for the token files of large texts.
        block: The number of tokens of a sample.
        mask_rate: The share of selected tokens.
        validation: The share of the text that is the validation split.
        test: The share that is the test split.
        pattern: The pattern for files of a folder.
        in_memory_mb: As for `text`.

    Raises:
        DataError: As for `text`.
        UsageError: For invalid sizes and shares.
    """
    if not 0 < mask_rate <= 1:
        raise UsageError(f"dataset option 'mask_rate' is {mask_rate}; it must be a share above 0")
    splits = _splits(path, tokenizer, data_dir, block, validation, test, pattern, in_memory_mb)
    vocabulary, mask = with_token(tokenizer.vocabulary, getattr(tokenizer, "mask", None), MASK_NAME)
    vocabulary, padding = with_token(vocabulary, getattr(tokenizer, "padding", None), PADDING)
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=MASKED,
        task="masked-lm",
        vocabulary=vocabulary,
        facts={"padding": padding, "max_tokens": block},
        collate=Masked(mask, len(tokenizer.vocabulary), mask_rate),
        reader=MaskedReader(tokenizer, block, mask, padding, mask_rate),
    )


def _splits(
    path: Path,
    tokenizer: Tokenizer,
    data_dir: Path,
    block: int,
    validation: float,
    test: float,
    pattern: str,
    in_memory_mb: float,
) -> dict[str, Samples]:
    """The blocks of each split, with the next token of each as targets."""
    if block < 1:
        raise UsageError(f"dataset option 'block' is {block}; it must be at least 1")
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise UsageError(
            f"dataset options 'validation' and 'test' are {validation} and {test}; they must be shares that leave "
            "something to train on"
        )
    files = corpus.find_files(path, pattern)
    corpus.learn(files, tokenizer)
    if sum(file.stat().st_size for file in files) <= in_memory_mb * 1e6:
        held: Array | TokenFile = (tokens := corpus.in_memory(files, tokenizer))
        num = len(tokens)
    else:
        held = mapped = corpus.on_disk(files, tokenizer, data_dir / "tokens")
        num = mapped.num
    ends = [0, round((1 - validation - test) * num), round((1 - test) * num), num]
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    return {
        name: _blocks(held, begin, end, block, f"the {name} split of '{path}'")
        for (name, share), begin, end in zip(shares.items(), ends[:-1], ends[1:], strict=True)
        if share
    }


def opticks(
    tokenizer: Tokenizer, data_dir: Path, block: int = 128, validation: float = 0.1, test: float = 0.1
) -> Dataset:
    """The First Book of Opticks by Isaac Newton, London 1730, 249,000 characters; in the public domain.

    Args:
        tokenizer: The run's tokenizer.
        data_dir: As for `text`.
        block: The number of tokens of a sample.
        validation: The share of the text that is the validation split.
        test: The share that is the test split.
    """
    return text(OPTICKS, tokenizer, data_dir, block, validation, test)


def _blocks(held: Array | TokenFile, begin: int, end: int, block: int, where: str) -> Samples:
    """The blocks of a part of the tokens.

    Raises:
        DataError: If the part is too short for one block.
    """
    num = (end - begin - 1) // block
    if num < 1:
        raise DataError(
            f"{where} has {end - begin:,} tokens, but a block needs {block:,} and one more\n"
            "  make --dataset.block smaller, or the split larger: --dataset.validation, --dataset.test (0 for none)"
        )
    if isinstance(held, TokenFile):
        return MappedBlocks(held, begin, num, block)
    tokens = torch.from_numpy(held[begin : begin + num * block + 1])
    return TensorSamples(tokens[:-1].view(num, block), tokens[1:].view(num, block))


class MappedBlocks:
    """Blocks of a token file, each read when it is needed.

    Args:
        file: The token file.
        begin: The index of the first token.
        num: The number of blocks.
        block: The number of tokens of a block.
    """

    draws = False

    def __init__(self, file: TokenFile, begin: int, num: int, block: int) -> None:
        self._file, self._begin, self._num, self._block = file, begin, num, block
        self._tokens: Array | None = None

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """A batch at once."""
        if self._tokens is None:  # each process maps the file itself
            self._tokens = self._file.open()
        if not all(0 <= index < self._num for index in indices):
            raise IndexError(f"block {max(indices)} of {self._num}")
        begins = self._begin + np.asarray(indices) * self._block
        rows = torch.from_numpy(self._tokens[begins[:, None] + np.arange(self._block + 1)].astype(np.int64))
        return [(row[:-1], row[1:]) for row in rows]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tokens": None}

    def identity(self) -> list[Any]:
        """The data that a checksum is computed from."""
        return [self._file.digest, self._begin, self._num, self._block]
