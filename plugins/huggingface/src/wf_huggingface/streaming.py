"""Reads a dataset as a stream: once to learn about it, then as often as a run needs it."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, Stream
from wf_base.figures import lost_in_float32
from wf_base.text import encode, most_frequent, tokenize
from wf_huggingface.before import Before
from wf_huggingface.columns import Columns, choose
from wf_huggingface.inputs import Images, both_sides, check_missing, numbers, plain
from wf_huggingface.reader import FileReader
from wf_huggingface.reading import readable
from wf_huggingface.targets import Labels, Task, read_targets, settled, task_of

_log = logging.getLogger(__name__)

ROWS, IMAGES = 1000, 32
"""The number of rows, or rows with an image, that are read at once."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The user's options."""

    path: Path
    inputs: str | list[str] | None
    target: str | list[str] | None
    task: Task
    image_size: int | tuple[int, int] | None
    channels: int
    vocabulary_size: int
    max_tokens: int
    buffer: int
    before: Before | None = None
    """The description of the run's data; None for a new run."""


@dataclass
class Learned:
    """The result of one pass over the rows."""

    num_samples: dict[str, int] = field(default_factory=dict)
    classes: Counter[Any] = field(default_factory=Counter)
    """The values of the target, if it holds classes."""
    tokens: Counter[str] = field(default_factory=Counter)
    longest: int = 1
    """The number of tokens of the longest text."""
    first_rows: Any = None
    """The first chunk of the train split, kept rather than read again: Arrow may abort a process that ends while it
    reads."""


def stream_dataset(tables: Mapping[str, Any], wanted: Wanted) -> Dataset:
    """A dataset with streams as splits.

    Args:
        tables: The splits, each a `datasets.IterableDataset`.
        wanted: The user's options.

    Raises:
        DataError: For missing or invalid values; all rows are checked.
        UsageError: For an unknown column, or an option out of range.
    """
    reader = _Reader(tables, wanted)
    labels = reader.labels("train", reader.learned.first_rows, 0)
    columns, num_samples = reader.columns, reader.learned.num_samples
    streams = {split: reader.stream(split, num, wanted.buffer) for split, num in num_samples.items()}
    return Dataset(
        train=streams["train"],
        validation=streams.get("validation"),
        test=streams.get("test"),
        targets=labels.kind,
        class_names=labels.class_names,
        target_names=columns.targets if labels.kind == "real" else (),
        feature_names=columns.inputs if columns.kind == "numbers" and len(columns.inputs) > 1 else (),
        vocabulary=reader.vocabulary,
        reader=FileReader(
            columns.inputs,
            columns.kind,
            image_size=both_sides(wanted.image_size),
            channels=wanted.channels,
            vocabulary=reader.vocabulary,
            length=reader.length if reader.vocabulary else 1,
        ),
    )


class _Reader:
    """Turns rows into samples, using facts learned from all of them."""

    def __init__(self, tables: Mapping[str, Any], wanted: Wanted) -> None:
        self._tables, self._wanted = tables, wanted
        features = _features(tables["train"], wanted.path)
        before = self._before = wanted.before
        self.columns: Columns = (
            before.columns(features, wanted.target, wanted.path)
            if before
            else choose(features, wanted.inputs, wanted.target, wanted.path)
        )
        self._features = datasets.Features({name: features[name] for name in self._used()})
        self._size = both_sides(wanted.image_size)
        if self.columns.kind == "image" and self._size is None:
            raise UsageError("a stream of images must know their size before it reads them: --dataset.image_size 64")
        self._named = isinstance(features[self.columns.targets[0]], datasets.ClassLabel)
        self._classes: list[Any] | None = list(before.class_names) if before else None
        self._task = before.task if before else wanted.task
        self.vocabulary: list[str] = before.reader.vocabulary if before else []
        self.learned = self._learn()
        self.length = before.reader.length if before else min(wanted.max_tokens, self.learned.longest)

    def stream(self, split: str, num_samples: int, buffer: int) -> Stream:
        """The samples of a split."""

        def read(start: int) -> Iterator[tuple[Tensor, Tensor]]:
            for first, rows in self.chunks(split, start):
                yield self._inputs(split, rows, first), self.labels(split, rows, first).tensors[split]

        return Stream(num_samples=num_samples, read=read, buffer=buffer)

    def chunks(self, split: str, start: int = 0) -> Iterator[tuple[int, Any]]:
        """Rows of a split from a number on, as pairs of the first row's number and an Arrow table."""
        table = self._tables[split].select_columns(self._used())
        rows = IMAGES if self.columns.kind == "image" else ROWS
        read = iter((table.skip(start) if start else table).with_format("arrow").iter(batch_size=rows))
        while True:
            with readable(str(self._wanted.path)):
                found = next(read, None)
                if found is None:
                    return
                found = datasets.table.table_cast(found, self._features.arrow_schema)
            yield start, found
            start += len(found)

    def labels(self, split: str, rows: Any, first: int) -> Labels:
        """The targets of rows; `first` is the number of the first row."""
        return read_targets({split: rows}, self.columns, self._task, self._classes, first)

    def _used(self) -> list[str]:
        return [*self.columns.inputs, *self.columns.targets]

    def _inputs(self, split: str, rows: Any, first: int) -> Tensor:
        names = self.columns.inputs
        if self.columns.kind == "text":
            texts = [tokenize(text) for text in plain(rows, names[0])]
            return encode(texts, self.vocabulary, self.length)
        if self.columns.kind == "image":
            table = datasets.Dataset(rows, info=datasets.DatasetInfo(features=self._features))
            images = Images(table, names[0], self._size, self._wanted.channels, first)
            return torch.stack([images.pixels(row) for row in range(len(rows))])
        return numbers(rows, names, split, first)

    def _learn(self) -> Learned:
        """Read every row once; for images only their targets."""
        path = self._wanted.path
        print(f"dataset '{path}': reading it once as a stream, to count samples and classes", file=sys.stderr)
        learned = Learned()
        for split in self._tables:
            learned.num_samples[split] = sum(len(rows) for rows in self._looked_at(split, learned))
            if not learned.num_samples[split]:
                raise DataError(f"'{path}': the {split} split has no samples")
            if split == "train" and self._before is None:
                self._classes = sorted(learned.classes) or None
                self._task = settled(self.columns, self._task, learned.classes, path)
                self.vocabulary = most_frequent(learned.tokens, self._wanted.vocabulary_size) if learned.tokens else []
        return learned

    def _looked_at(self, split: str, learned: Learned) -> Iterator[Any]:
        columns, train = self.columns, split == "train"
        find_classes = (
            train and self._before is None and not self._named and task_of(columns, self._task) == "classification"
        )
        for first, rows in self.chunks(split):
            if train and first == 0:
                learned.first_rows = rows
            if columns.kind == "text":
                check_missing(rows, columns.inputs[0], split, first)
                texts = [tokenize(text) for text in plain(rows, columns.inputs[0])] if train else []
                learned.longest = max(learned.longest, *map(len, texts), 0)
                learned.tokens.update(token for text in texts for token in text)
            elif columns.kind != "image":
                found = numbers(rows, columns.inputs, split, first, double=True)
                if train and first == 0 and lost_in_float32(found):
                    _log.warning(
                        "dataset '%s': numbers are so large and close together that float32, which a stream uses, "
                        "cannot distinguish them\n"
                        "  read them without --dataset.streaming, and standardize them: "
                        "--transform standardize",
                        self._wanted.path,
                    )
            if find_classes:
                check_missing(rows, columns.targets[0], split, first)
                learned.classes.update(plain(rows, columns.targets[0]))
            else:
                self.labels(split, rows, first)
            yield rows


def _features(table: Any, path: Path) -> Any:
    """The columns of a split; for CSV the library knows them only after reading."""
    if table.features is not None:
        return table.features
    with readable(str(path)):
        first = next(iter(table.with_format("arrow").iter(batch_size=ROWS)), None)
    if first is None:
        raise DataError(f"'{path}' has no samples")
    return datasets.Features.from_arrow_schema(first.schema)
