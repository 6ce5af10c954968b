"""Texts with a label each, and words with a tag each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_base.text import PADDING
from wf_text.plugin import TAGS
from wf_text.reading.encoding import Encoder, TooLong
from wf_text.reading.readers import LabelledReader, TaggedReader
from wf_text.reading.rows import LINES, Row, rows, sentences
from wf_text.reading.samples import LEFT_OUT, Padded, TokenSamples
from wf_text.tokenizers import Tokenizer, with_token

_LOG = logging.getLogger("wf")

Missing = Literal["error", "drop"]
FEW = 3
"""A class with fewer samples than this is missing in some splits."""


def texts(
    path: Path,
    tokenizer: Tokenizer,
    text: str = "text",
    label: str = "label",
    validation: Path | None = None,
    test: Path | None = None,
    max_tokens: int = 512,
    too_long: TooLong = "truncate",
    missing: Missing = "error",
    delimiter: str = "auto",
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Texts with a label each, in a UTF-8 table (.csv, .tsv) or in JSON lines (.jsonl).

    The first line of a table names its columns; a line of JSON is an object. An empty field, NaN and null are missing.
    A tokenizer that learns its vocabulary takes it from all texts of `path`. Batches are padded to their longest text.

    Args:
        path: The texts to train on; validation and test are split off unless they have their own files.
        tokenizer: The run's tokenizer.
        text: The column of the texts.
        label: The column of the labels.
        validation: A file for the validation split.
        test: A file for the test split.
        max_tokens: The maximum number of tokens of a text.
        too_long: The treatment of a longer text: ``truncate`` keeps its beginning, ``error`` refuses it.
        missing: The treatment of a row with a missing text or label: ``error`` refuses it, ``drop`` leaves it out.
        delimiter: The character between the fields of a table, or ``auto``: the one of ``,`` ``;`` tab ``|`` that
            divides the first line into these columns.
        learned: For a resumed run: its description, which keeps the order of labels.

    Raises:
        DataError: For a missing or damaged file, a missing text or label, a label of `validation` or `test`
            that `path` does not have, or a text without a token; the message names file and line.
        UsageError: For invalid options.
    """
    _check_max_tokens(max_tokens)
    files = {"train": path, "validation": validation, "test": test}
    found = {split: _labelled(file, text, label, missing, delimiter) for split, file in files.items() if file}
    if not tokenizer.vocabulary and hasattr(tokenizer, "learn"):
        tokenizer.learn(one.words for one in found["train"])
    names = _names(found, learned, "label")
    vocabulary, padding = with_token(tokenizer.vocabulary, getattr(tokenizer, "padding", None), PADDING)
    encoder = Encoder(tokenizer, max_tokens, too_long)
    places = {name: place for place, name in enumerate(names)}
    targets = {split: torch.tensor([places[one.label] for one in own]) for split, own in found.items()}
    splits = {
        split: TokenSamples([encoder.text(one.words, one.where) for one in own], targets[split])
        for split, own in found.items()
    }
    encoder.tell()
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets="class_index",
        task="text-classification",
        class_names=names,
        target_tensor=targets["train"],
        vocabulary=vocabulary,
        facts={"padding": padding, "max_tokens": max_tokens},
        collate=Padded(padding),
        reader=LabelledReader(tokenizer, text, max_tokens, too_long, padding, delimiter, label),
    )


def tagged(
    path: Path,
    tokenizer: Tokenizer,
    tokens: str = "tokens",
    tags: str = "tags",
    token_column: int = 0,
    tag_column: int = -1,
    validation: Path | None = None,
    test: Path | None = None,
    max_tokens: int = 512,
    too_long: TooLong = "truncate",
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Sentences with a tag for each word, such as names or parts of speech, in CoNLL columns or JSON lines.

    In columns each line is a word with fields separated by blanks or tabs; an empty line ends a sentence, and lines
    that begin with ``-DOCSTART-`` are skipped. A line of JSON is an object with a list of words and a list of tags.
    The tag of a word with several tokens is at its first token.

    Args:
        path: The sentences to train on; validation and test are split off unless they have their own files.
        tokenizer: The run's tokenizer.
        tokens: The words, in JSON lines (``.jsonl``).
        tags: Their tags, in JSON lines.
        token_column: The column of the words, from 0; a negative number counts from the last.
        tag_column: The column of their tags.
        validation: A file for the validation split.
        test: A file for the test split.
        max_tokens: The maximum number of tokens of a sentence.
        too_long: The treatment of a longer one: ``truncate`` keeps its beginning, ``error`` refuses it.
        learned: For a resumed run: its description, which keeps the order of tags.

    Raises:
        DataError: For a missing or damaged file, a word without a tag, a tag of `validation` or `test` that
            `path` does not have, or a word without a token; the message names file and line.
        UsageError: For invalid options.
    """
    _check_max_tokens(max_tokens)
    files = {"train": path, "validation": validation, "test": test}
    found = {
        split: _of_json(file, tokens, tags)
        if file.suffix.lower() in LINES
        else _of_columns(file, token_column, tag_column)
        for split, file in files.items()
        if file
    }
    if not tokenizer.vocabulary and hasattr(tokenizer, "learn"):
        whole = hasattr(tokenizer, "encode_words")
        tokenizer.learn(one.words if whole else " ".join(one.words) for one in found["train"])
    names = _names(found, learned, "tag")
    vocabulary, padding = with_token(tokenizer.vocabulary, getattr(tokenizer, "padding", None), PADDING)
    encoder = Encoder(tokenizer, max_tokens, too_long)
    places = {name: place for place, name in enumerate(names)}
    splits = {}
    for split, own in found.items():
        encoded = [encoder.words(one.words, one.where) for one in own]
        targets = [
            _at_words(begins, [places[tag] for tag in one.label]) for one, (_, begins) in zip(own, encoded, strict=True)
        ]
        splits[split] = TokenSamples([text for text, _ in encoded], targets, [begins for _, begins in encoded])
    encoder.tell()
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=TAGS,
        task="token-classification",
        class_names=names,
        vocabulary=vocabulary,
        facts={"padding": padding, "max_tokens": max_tokens},
        collate=Padded(padding),
        reader=TaggedReader(tokenizer, tokens, token_column, max_tokens, too_long, padding, tags, tag_column),
    )


@dataclass(frozen=True)
class Labelled:
    """A text or a sentence with its labels."""

    where: str
    """File and line, for messages."""
    words: Any
    label: Any

    @property
    def labels(self) -> Sequence[str]:
        """The label, or the tags."""
        return [self.label] if isinstance(self.label, str) else self.label


def _labelled(path: Path, text: str, label: str, missing: Missing, delimiter: str) -> list[Labelled]:
    """The texts of a file.

    Raises:
        DataError: For a row without text or label.
    """
    found, left_out = [], 0
    for row in rows(path, (text, label), delimiter=delimiter):
        lacks = next((name for name in (text, label) if row.fields[name] is None), None)
        if lacks is None:
            found.append(Labelled(row.where, _text(row, text), _label(row, label)))
        elif missing == "drop":
            left_out += 1
        else:
            raise DataError(
                f"{row.where}: '{lacks}' is missing\n  fill it in, or leave such rows out: --dataset.missing drop"
            )
    if left_out:
        _LOG.warning("'%s': %s rows are left out, because their text or label is missing", path, f"{left_out:,}")
    if not found:
        raise DataError(f"'{path}': every row lacks its text or label")
    return found


def _text(row: Row, name: str) -> str:
    value = row.fields[name]
    if not isinstance(value, str):
        raise DataError(f"{row.where}: '{name}' is {type(value).__name__}, not a text")
    return value


def _label(row: Row, name: str) -> str:
    value = row.fields[name]
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (str, int)):
        raise DataError(f"{row.where}: '{name}' is {type(value).__name__}, not a label: a string or an integer")
    return str(value).strip()


def _of_json(path: Path, tokens: str, tags: str) -> list[Labelled]:
    """The sentences of JSON lines."""
    found = []
    for row in rows(path, (tokens, tags)):
        words, own = row.fields[tokens], row.fields[tags]
        for name, value in ((tokens, words), (tags, own)):
            if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
                raise DataError(f"{row.where}: '{name}' must be a list of at least one string")
        if len(words) != len(own):
            raise DataError(f"{row.where}: {len(words)} {tokens} and {len(own)} {tags}: each word needs its tag")
        found.append(Labelled(row.where, words, own))
    return found


def _of_columns(path: Path, token_column: int, tag_column: int) -> list[Labelled]:
    """The sentences of a file in columns."""
    found = []
    for begin, lines in sentences(path):
        for column in (token_column, tag_column):
            for number, cells in enumerate(lines, begin):
                if not -len(cells) <= column < len(cells) or len(cells) == 1:
                    raise DataError(
                        f"'{path}', line {number} has {len(cells)} columns: '{' '.join(cells)}'; a word needs its tag\n"
                        "  an empty line ends a sentence; other columns: --dataset.token_column, --dataset.tag_column"
                    )
        words, tags = ([cells[column] for cells in lines] for column in (token_column, tag_column))
        found.append(Labelled(f"'{path}', line {begin}", words, tags))
    return found


def _names(found: Mapping[str, Sequence[Labelled]], learned: Mapping[str, Any] | None, what: str) -> list[str]:
    """The labels in order: the train file's, sorted, or as the run learned them.

    Raises:
        DataError: For a label that is missing in the train split.
    """
    counts = {split: Counter(name for one in own for name in one.labels) for split, own in found.items()}
    names = sorted(counts["train"])
    known = [*names] if learned is None else [str(one) for one in learned["class_names"]]
    for split, own in found.items():
        for one in own:
            wrong = next((name for name in one.labels if name not in known), None)
            if wrong is not None:
                shown = ", ".join(known[:10])
                raise DataError(
                    f"{one.where}: the {what} '{wrong}' is in the {split} split, but not in the train split"
                    f"\n  available: {shown}{', ...' if len(known) > 10 else ''}"
                )
        lacks = [name for name in known if name not in counts[split]]
        if lacks:
            _LOG.warning("the %s split has no text with %s %s", split, what, ", ".join(map(repr, lacks[:10])))
    few = [name for name in names if counts["train"][name] < FEW]
    if few and "validation" not in found:
        _LOG.warning(
            "fewer than %d texts have the %s %s: not every split has one", FEW, what, ", ".join(map(repr, few[:10]))
        )
    return known


def _at_words(begins: Sequence[bool], tags: Sequence[int]) -> list[int]:
    """A target for each token: the tag at the first token of each word, -100 elsewhere."""
    rest = iter(tags)
    return [next(rest) if begin else LEFT_OUT for begin in begins]


def _check_max_tokens(max_tokens: int) -> None:
    if max_tokens < 1:
        raise UsageError(f"dataset option 'max_tokens' is {max_tokens}; it must be at least 1")
