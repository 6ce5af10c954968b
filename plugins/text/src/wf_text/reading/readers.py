"""Reads texts for ``wf predict`` in the way the run's texts were read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.text import TOKENS
from wf_text.plugin import MASKED, NEXT
from wf_text.reading import corpus
from wf_text.reading.encoding import Encoder, TooLong
from wf_text.reading.rows import LINES, TABLES, rows, sentences, text_of, whole_rows
from wf_text.reading.samples import WORDS, Masked, Padded
from wf_text.tokenizers import MASK_NAME, Tokenizer

_LOG = logging.getLogger("wf")
AT_ONCE = 1024
"""The number of texts that are evaluated at once."""


class TextReader:
    """Reads a text file like the samples: int64 ``[N, block]``.

    Args:
        tokenizer: The run's tokenizer.
        block: The number of tokens of a sample.
    """

    endings: tuple[str, ...] = (".txt",)
    dataset_endings: tuple[str, ...] = (".txt", ".md")

    def __init__(self, tokenizer: Tokenizer, block: int) -> None:
        self._tokenizer, self._block = tokenizer, block

    def description(self) -> Mapping[str, Any]:
        """The length of a block; the tokenizer is rebuilt by its own name."""
        return {"block": self._block}

    def read(self, path: Path) -> Tensor:
        """The blocks of a text, in their order.

        Raises:
            DataError: For a text shorter than a block, or one that training would have refused, too.
        """
        tokens = torch.from_numpy(corpus.in_memory(corpus.find_files(path), self._tokenizer))
        num, rest = divmod(len(tokens), self._block)
        if not num:
            raise DataError(f"'{path}' has {rest:,} tokens, but the run takes blocks of {self._block:,}")
        if rest:
            _LOG.warning("'%s': the last %s tokens do not fill a block, and are left out", path, f"{rest:,}")
        return tokens[: num * self._block].view(num, self._block)

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The blocks of a text, each with the next token of each token.

        Raises:
            DataError: For a text shorter than a block and one more token, or that the tokenizer cannot encode.
        """
        samples = blocks_of(path, self._tokenizer, self._block)
        return Dataset(train=samples, targets=NEXT, task="causal-lm", vocabulary=learned["vocabulary"])

    def fields(self) -> Sequence[Mapping[str, Any]]:
        """The only column of a row."""
        return [{"name": "text", "type": "text"}]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The last block of the text of each row.

        Raises:
            DataError: For a text that is shorter than a block, or that the tokenizer cannot encode.
        """
        encoder, found = Encoder(self._tokenizer, 1 << 60, "error"), []
        for text, place in texts_of(records, "text", where, first):
            tokens = encoder.text(text, place)[-self._block :]
            if len(tokens) < self._block:
                raise DataError(
                    f"{place}: the text has {len(tokens)} tokens, but the run takes blocks of {self._block}\n"
                    "  wf generate RUN --prompt TEXT takes shorter ones"
                )
            found.append(torch.tensor(tokens))
        return torch.stack(found)


class MaskedReader:
    """Reads the lines of a text, in which ``<mask>`` marks a token to predict.

    Args:
        tokenizer: The run's tokenizer.
        block: The maximum number of tokens of a line; longer ones are truncated.
        mask: The token of the mask.
        padding: The token of padding.
        mask_rate: The share of tokens that are selected in evaluations.
    """

    endings: tuple[str, ...] = (".txt",)
    dataset_endings: tuple[str, ...] = (".txt", ".md")

    def __init__(self, tokenizer: Tokenizer, block: int, mask: int, padding: int, mask_rate: float = 0.15) -> None:
        self._tokenizer, self._block, self._mask, self._padding = tokenizer, block, mask, padding
        self._rate = mask_rate

    def description(self) -> Mapping[str, Any]:
        """Everything except the tokenizer, which is rebuilt by its own name."""
        return {"block": self._block, "mask": self._mask, "padding": self._padding, "mask_rate": self._rate}

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The blocks of a text, some tokens of which are masked.

        Raises:
            DataError: For a text shorter than a block and one more token, or that the tokenizer cannot encode.
        """
        return Dataset(
            train=blocks_of(path, self._tokenizer, self._block),
            targets=MASKED,
            task="masked-lm",
            vocabulary=learned["vocabulary"],
            collate=Masked(self._mask, len(self._tokenizer.vocabulary), self._rate),
        )

    def read(self, path: Path) -> dict[str, Tensor]:
        """The lines, padded to the longest of them.

        Raises:
            DataError: For an empty line, or text that the tokenizer cannot encode.
        """
        return self._encoded(lines_of(path), str(path))

    def fields(self) -> Sequence[Mapping[str, Any]]:
        """The only column of a row."""
        return [{"name": "text", "type": "text"}]

    def from_records(
        self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1
    ) -> dict[str, Tensor]:
        """The texts of rows that are given as dicts, with masks.

        Raises:
            DataError: As `read`.
        """
        return self._encoded(texts_of(records, "text", where, first), where)

    def _encoded(self, texts: Iterable[tuple[str, str]], name: str) -> dict[str, Tensor]:
        encoder, found, num_long = Encoder(self._tokenizer, 1 << 60, "error"), [], 0
        for line, where in texts:
            tokens: list[int] = []
            for number, part in enumerate(line.split(MASK_NAME)):
                tokens += [self._mask] if number else []
                tokens += encoder.text(part, where) if part.strip() else []
            num_long += len(tokens) > self._block
            found.append({TOKENS: torch.tensor(tokens[: self._block])})
        if num_long:
            _LOG.warning("'%s': %s lines are longer than %s tokens, and are truncated", name, num_long, self._block)
        return Padded(self._padding).inputs(found)


class LabelledReader:
    """Reads texts: one per line of a ``.txt`` file, or a column of a table or of JSON lines.

    Args:
        tokenizer: The run's tokenizer.
        text: The column of the texts.
        max_tokens: The maximum number of tokens of a text.
        too_long: The treatment of longer ones.
        padding: The token of padding.
        delimiter: The character between the fields of a table, or ``auto``.
        label: The column of the labels; None if it is unknown.
    """

    endings: tuple[str, ...] = (".txt", *TABLES, *LINES)

    def __init__(
        self,
        tokenizer: Tokenizer,
        text: str,
        max_tokens: int,
        too_long: TooLong,
        padding: int,
        delimiter: str,
        label: str | None = None,
    ) -> None:
        self._encoder = Encoder(tokenizer, max_tokens, too_long)
        self._text, self._delimiter, self._padding, self._label = text, delimiter, padding, label
        self._limits = {"max_tokens": max_tokens, "too_long": too_long}

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The column of the labels, for evaluations."""
        return () if self._label is None else (self._label,)

    def description(self) -> Mapping[str, Any]:
        """Everything except the tokenizer, which is rebuilt by its own name."""
        own = {"text": self._text, "delimiter": self._delimiter, "padding": self._padding, "label": self._label}
        return {**own, **self._limits}

    def fields(self) -> Sequence[Mapping[str, Any]]:
        """The only column of a row."""
        return [{"name": self._text, "type": "text"}]

    def read(self, path: Path) -> dict[str, Tensor]:
        """The texts of a file, padded to the longest of them.

        Raises:
            DataError: For a text that is missing, or that training would have refused, too.
        """
        if path.suffix.lower() not in (*TABLES, *LINES):
            return self._encoded(lines_of(path))
        found = rows(path, (self._text,), delimiter=self._delimiter)
        return self._encoded((_text_in(row.fields, self._text, row.where), row.where) for row in found)

    def from_records(
        self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1
    ) -> dict[str, Tensor]:
        """The texts of rows given as dicts.

        Raises:
            DataError: As `read`.
        """
        return self._encoded(texts_of(records, self._text, where, first))

    def labelled(
        self, path: Path, choose: Callable[[Sequence[str]], Sequence[str]]
    ) -> Iterator[tuple[dict[str, Tensor], Mapping[str, Sequence[Any]]]]:
        """The texts of a table or of JSON lines, with the cells of the target columns.

        Raises:
            DataError: As `read`.
        """
        if path.suffix.lower() not in (*TABLES, *LINES):
            raise UsageError(f"'{path}' has no labels\n  give a table or JSON lines: {', '.join((*TABLES, *LINES))}")
        known = [self._text, *self.target_columns]
        found = whole_rows(path, known, self._delimiter)
        names = choose(list(dict.fromkeys(name for row in found for name in row.fields)))
        for begin in range(0, len(found), AT_ONCE):
            part = found[begin : begin + AT_ONCE]
            inputs = self._encoded((_text_in(row.fields, self._text, row.where), row.where) for row in part)
            yield inputs, {name: [row.fields.get(name) for row in part] for name in names}

    def _encoded(self, texts: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
        found = [self._encoder.text(text, where) for text, where in texts]
        self._encoder.tell()
        return Padded(self._padding).inputs([{TOKENS: torch.tensor(tokens)} for tokens in found])


class TaggedReader:
    """Reads sentences as words: one per line of a ``.txt`` file with blanks between the words, columns, or JSON lines.

    Args:
        tokenizer: The run's tokenizer.
        tokens: The words, in JSON lines.
        token_column: The column of the words.
        max_tokens: The maximum number of tokens of a sentence.
        too_long: The treatment of longer ones.
        padding: The token of padding.
        tags: The tags of the words, in JSON lines.
        tag_column: The column of the tags.
    """

    endings: tuple[str, ...] = (".txt", ".conll", *LINES)
    dataset_endings: tuple[str, ...] = endings

    def __init__(
        self,
        tokenizer: Tokenizer,
        tokens: str,
        token_column: int,
        max_tokens: int,
        too_long: TooLong,
        padding: int,
        tags: str = "tags",
        tag_column: int = -1,
    ) -> None:
        self._encoder, self._tokenizer = Encoder(tokenizer, max_tokens, too_long), tokenizer
        self._tokens, self._column, self._padding = tokens, token_column, padding
        self._tags, self._tag_column = tags, tag_column
        self._max_tokens, self._too_long = max_tokens, too_long

    def description(self) -> Mapping[str, Any]:
        """Everything except the tokenizer, which is rebuilt by its own name."""
        return {
            "tokens": self._tokens,
            "token_column": self._column,
            "padding": self._padding,
            "max_tokens": self._max_tokens,
            "too_long": self._too_long,
            "tags": self._tags,
            "tag_column": self._tag_column,
        }

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The sentences of a file with their tags, in columns or as JSON lines.

        Raises:
            DataError: As dataset `tagged`.
        """
        from wf_text.reading.labelled import tagged  # which makes this reader

        return tagged(
            path,
            self._tokenizer,
            self._tokens,
            self._tags,
            self._column,
            self._tag_column,
            max_tokens=self._max_tokens,
            too_long=self._too_long,
            learned=learned,
        )

    def read(self, path: Path) -> dict[str, Tensor]:
        """The sentences of a file, padded to the longest of them.

        Raises:
            DataError: For a sentence that training would have refused, too.
        """
        return self._encoded(self._sentences(path))

    def fields(self) -> Sequence[Mapping[str, Any]]:
        """The one column of a row: the words, as a list or with blanks between them."""
        return [{"name": self._tokens, "type": "text"}]

    def from_records(
        self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1
    ) -> dict[str, Tensor]:
        """The sentences of rows that are given as dicts.

        Raises:
            DataError: As `read`.
        """
        places = [f"{where}, row {number}" for number in range(first, first + len(records))]
        return self._encoded(
            (self._words_in(record, place), place) for record, place in zip(records, places, strict=True)
        )

    def _words_in(self, fields: Mapping[str, Any], where: str) -> Sequence[str]:
        words = fields.get(self._tokens)
        words = words.split() if isinstance(words, str) else words
        if not isinstance(words, list) or not words or not all(isinstance(one, str) for one in words):
            raise DataError(f"{where}: '{self._tokens}' must be a list of at least one string")
        return words

    def _encoded(self, texts: Iterable[tuple[Sequence[str], str]]) -> dict[str, Tensor]:
        found = [self._encoder.words(words, where) for words, where in texts]
        self._encoder.tell()
        samples = [{TOKENS: torch.tensor(tokens), WORDS: torch.tensor(begins)} for tokens, begins in found]
        return Padded(self._padding).inputs(samples)

    def _sentences(self, path: Path) -> Iterator[tuple[Sequence[str], str]]:
        ending = path.suffix.lower()
        if ending in LINES:
            for row in rows(path, (self._tokens,)):
                yield self._words_in(row.fields, row.where), row.where
        elif ending == ".conll":
            for begin, found in sentences(path):
                for number, cells in enumerate(found, begin):
                    if not -len(cells) <= self._column < len(cells):
                        raise DataError(
                            f"'{path}', line {number} has {len(cells)} columns: no word is in {self._column}"
                        )
                yield [cells[self._column] for cells in found], f"'{path}', line {begin}"
        else:
            for text, where in lines_of(path):
                yield text.split(), where


def blocks_of(path: Path, tokenizer: Tokenizer, block: int) -> TensorSamples:
    """The blocks of a text, each with the next token of each token.

    Raises:
        DataError: For a text shorter than a block and one more token, or that the tokenizer cannot encode.
    """
    tokens = torch.from_numpy(corpus.in_memory(corpus.find_files(path), tokenizer))
    num, rest = divmod(len(tokens) - 1, block)
    if num < 1:
        raise DataError(
            f"'{path}' has {len(tokens):,} tokens, but the run takes blocks of {block:,} and the next token"
        )
    if rest:
        _LOG.warning("'%s': the last %s tokens do not fill a block, and are left out", path, f"{rest:,}")
    return TensorSamples(*(tokens[begin : begin + num * block].view(num, block) for begin in (0, 1)))


def texts_of(records: Sequence[Mapping[str, Any]], name: str, where: str, first: int) -> Iterator[tuple[str, str]]:
    """The texts of a column of rows that are given as dicts, each with its place in words.

    Raises:
        DataError: For one that is missing, or no text.
    """
    for number, record in enumerate(records, first):
        place = f"{where}, row {number}"
        yield _text_in(record, name, place), place


def _text_in(fields: Mapping[str, Any], name: str, where: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str):
        what = "missing" if text is None else f"{type(text).__name__}, not a text"
        raise DataError(f"{where}: '{name}' is {what}")
    return text


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text, each with its position for messages; empty lines at the end are ignored.

    Raises:
        DataError: For an empty line before the last, for which nothing could be predicted.
    """
    for number, line in enumerate(text_of(path).rstrip().split("\n"), 1):
        if not line.strip():
            raise DataError(f"'{path}', line {number} is empty: each line is a text")
        yield line.rstrip("\r"), f"'{path}', line {number}"
