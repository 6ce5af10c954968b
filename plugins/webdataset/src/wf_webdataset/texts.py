"""The datasets `webdataset-texts` and `webdataset-tokens`: texts and blocks of tokens in tar files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_base.text import PADDING, TOKENS
from wf_storage.remote import TRIES
from wf_text.plugin import NEXT
from wf_text.reading.encoding import Encoder, TooLong
from wf_text.reading.readers import LabelledReader, TextReader
from wf_text.reading.samples import Padded
from wf_text.tokenizers import Tokenizer, with_token
from wf_webdataset.index import Wanted, array_in, json_in, text_in
from wf_webdataset.reading import Reading, endings_of
from wf_webdataset.targets import Targets


def webdataset_texts(
    path: str,
    tokenizer: Tokenizer,
    validation: str | None = None,
    test: str | None = None,
    inputs: str = "txt",
    text: str = "text",
    target: str = "cls",
    key: str = "label",
    class_names: list[str] | None = None,
    max_tokens: int = 512,
    too_long: TooLong = "truncate",
    shuffle_buffer: int = 1000,
    lanes: int = 8,
    cache: Path | None = None,
    tries: int = TRIES,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Texts and their classes in tar files in the WebDataset format, for text classification.

    The shards are read as by `webdataset`: a text ``0001.txt`` is followed by its class ``0001.cls``; or text and class
    are in an object ``0001.json``. A tokenizer that learns its vocabulary takes it from all texts of `path`, which are
    read once more for it. Batches are padded to their longest text.

    Args:
        path: The shards for training, as for `webdataset`.
        tokenizer: The run's tokenizer.
        validation: The shards for validation. By default a part of the train samples.
        test: The shards for testing. By default a part of the train samples.
        inputs: Extensions of the members with a text, ``txt`` or ``json``, separated by semicolons; each sample must
            have exactly one of them.
        text: The key of the text in a ``json`` member.
        target: Extension of the target member. Its text is a class name or a class number; in a ``json`` member it is
            the value of `key`.
        key: The key of the target in a ``json`` member.
        class_names: The names of the classes, for targets that are numbers from 0 on. By default the classes are the
            distinct targets of the train shards.
        max_tokens: The maximum number of tokens of a text.
        too_long: The treatment of a longer text: ``truncate`` keeps its beginning, ``error`` refuses it.
        shuffle_buffer: As for `webdataset`.
        lanes: As for `webdataset`.
        cache: As for `webdataset`.
        tries: As for `webdataset`.
        learned: The values that the run derived from its data at its start; they determine the classes.

    Returns:
        Inputs a dict of int64 ``[N, T]``: tokens and their mask; targets ``class_index``.

    Raises:
        DataError: If a shard is missing, damaged or cannot be read, a sample lacks a member, or a text has no token.
        UsageError: If an option is out of range.
    """
    reading = Reading(name="webdataset-texts", shuffle_buffer=shuffle_buffer, lanes=lanes, cache=cache, tries=tries)
    if max_tokens < 1:
        raise UsageError(f"webdataset-texts: max_tokens is {max_tokens}; it must be at least 1")
    wanted = Wanted(inputs=endings_of(inputs), target=target.lstrip(".").lower(), key=key)
    indexes = reading.indexes(wanted, path, validation, test)
    targets = Targets.of(indexes, class_names, learned, is_real=False)
    decode = _Texts(Encoder(tokenizer, max_tokens, too_long), text, inputs.strip().lower())
    splits = {split: reading.samples(own, decode, targets.tensors[split]) for split, own in indexes.items()}
    if not tokenizer.vocabulary and hasattr(tokenizer, "learn"):
        tokenizer.learn(decode.text(content, where) for content, where in splits["train"].members())
    vocabulary, padding = with_token(tokenizer.vocabulary, getattr(tokenizer, "padding", None), PADDING)
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=targets.kind,
        task="text-classification",
        class_names=targets.class_names,
        target_tensor=targets.tensors["train"],
        vocabulary=vocabulary,
        facts={"padding": padding, "max_tokens": max_tokens},
        collate=Padded(padding),
        reader=LabelledReader(tokenizer, text, max_tokens, too_long, padding, "auto", key),
    )


@dataclass(frozen=True)
class _Texts:
    """Makes inputs of texts."""

    encoder: Encoder
    key: str
    """The key of the text in an object."""
    endings: str

    def __call__(self, content: bytes, where: str) -> dict[str, Tensor]:
        return {TOKENS: torch.tensor(self.encoder.text(self.text(content, where), where))}

    def text(self, content: bytes, where: str) -> str:
        """The text of a member."""
        if "json" not in self.endings or ("txt" in self.endings and not content.lstrip().startswith(b"{")):
            return text_in(content, where)
        found = json_in(content, where)
        if not isinstance(found, dict) or not isinstance(found.get(self.key), str):
            keys = ", ".join(found) if isinstance(found, dict) else type(found).__name__
            raise DataError(f"{where} has no text at '{self.key}'; it has {keys}\n  set --dataset.text")
        return str(found[self.key])


def webdataset_tokens(
    path: str,
    tokenizer: Tokenizer,
    validation: str | None = None,
    test: str | None = None,
    inputs: str = "npy",
    shuffle_buffer: int = 1000,
    lanes: int = 8,
    cache: Path | None = None,
    tries: int = TRIES,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Blocks of tokens in tar files in the WebDataset format, for language models.

    The shards are read as by `webdataset`. Each sample is an array of whole numbers, all of one length: the tokens of a
    block, and the one that follows it. The target of each token is the next one.

    Args:
        path: The shards for training, as for `webdataset`.
        tokenizer: The tokenizer that made the tokens; its vocabulary must be known, as that of ``bytes``.
        validation: The shards for validation. By default a part of the train samples.
        test: The shards for testing. By default a part of the train samples.
        inputs: Extensions of the members with tokens, separated by semicolons; each sample must have exactly one.
        shuffle_buffer: As for `webdataset`.
        lanes: As for `webdataset`.
        cache: As for `webdataset`.
        tries: As for `webdataset`.
        learned: The values that the run derived from its data at its start; they determine the length of a block.

    Returns:
        Inputs int64 ``[block]``; targets ``next_token``.

    Raises:
        DataError: If a shard is missing, damaged or cannot be read, or a sample lacks a member or has another length.
        UsageError: If an option is out of range, or the vocabulary is unknown.
    """
    reading = Reading(name="webdataset-tokens", shuffle_buffer=shuffle_buffer, lanes=lanes, cache=cache, tries=tries)
    if not tokenizer.vocabulary:
        raise UsageError(
            "webdataset-tokens: the tokenizer learns its vocabulary from texts, but shards have tokens\n"
            "  name the tokenizer that made them, such as --tokenizer bytes"
        )
    wanted = Wanted(inputs=endings_of(inputs), target=None, key=None)
    indexes = reading.indexes(wanted, path, validation, test)
    block = None if learned is None else (learned.get("reader") or {}).get("block")
    if block is None:
        content, where = next(reading.samples(indexes["train"], _Blocks(0), None).members())
        block = len(_Blocks(0).tokens(content, where)) - 1
    splits = {split: reading.samples(own, _Blocks(int(block)), None) for split, own in indexes.items()}
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=NEXT,
        task="causal-lm",
        vocabulary=tuple(tokenizer.vocabulary),
        reader=TextReader(tokenizer, int(block)),
    )


@dataclass(frozen=True)
class _Blocks:
    """Makes inputs and targets of blocks."""

    block: int

    def __call__(self, content: bytes, where: str) -> tuple[Tensor, Tensor]:
        found = self.tokens(content, where)
        if len(found) != self.block + 1:
            raise DataError(
                f"{where} has {len(found):,} tokens, but the first sample has {self.block + 1:,}: a block, and the "
                "next token\n  cut the texts into blocks of one length"
            )
        return found[:-1], found[1:]

    def tokens(self, content: bytes, where: str) -> Tensor:
        """The tokens of a member."""
        found = array_in(content, where)
        if found.ndim != 1 or found.dtype.kind not in "iu" or len(found) < 2:
            raise DataError(
                f"{where} is {found.dtype} {list(found.shape)}; tokens are at least two whole numbers in a row"
            )
        return torch.from_numpy(found.astype("int64"))
