"""The dataset `webdataset-rows`: rows of a table as JSON in tar files."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from wf import FromRun
from wf.errors import DataError
from wf_base import Dataset
from wf_datasets.tables.csv_file import csv_file
from wf_datasets.tables.dates import Feature
from wf_datasets.tables.roles import Task
from wf_datasets.tables.table_reader import Missing, Unseen
from wf_storage.remote import TRIES
from wf_webdataset.index import ShardIndex, Wanted
from wf_webdataset.reading import Reading

_LINE = re.compile(r"line (\d+)")


def webdataset_rows(
    path: str,
    target: str | list[str],
    inputs: str = "json",
    ignore: str | tuple[str, ...] = (),
    categorical: str | tuple[str, ...] = (),
    missing: Missing = "error",
    task: Task = "auto",
    date: str | tuple[str, ...] = (),
    date_format: str = "auto",
    date_features: tuple[Feature, ...] = ("cyclic", "age"),
    embed: str | tuple[str, ...] = (),
    unseen: Unseen = "warn",
    infer: bool = False,
    cache: Path | None = None,
    tries: int = TRIES,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Rows of a table in tar files in the WebDataset format: each sample has an object with a value for each column.

    The rows of all shards are one table in memory, which is read as by `csv`: null and missing keys are missing values.
    Other members of a sample are not read. ``--split`` divides the rows; other shards can only be a validation set
    (``--validation.NAME.path``).

    Args:
        path: The shards, as for `webdataset`.
        target: The column to predict, or several, as for `csv`.
        inputs: Extension of the members with a row.
        ignore: Columns to leave out.
        categorical: Columns to one-hot encode.
        missing: The treatment of missing values, as for `csv`.
        task: ``auto``, ``classification`` or ``regression``, as for `csv`.
        date: Columns of dates.
        date_format: The format of dates, as for `csv`.
        date_features: The numbers that a date becomes, as for `csv`.
        embed: Categorical columns passed as integers, for embeddings, as for `csv`.
        unseen: The treatment of categories unseen in training, as for `csv`.
        infer: Whether to infer categories and dates from the first 1,000 rows, as for `csv`.
        cache: A folder for the rows, so that the next run reads them from there.
        tries: As for `webdataset`.
        learned: For a resumed run: its description of the rows, by which they are read.

    Returns:
        Inputs and targets as `csv` gives them.

    Raises:
        DataError: If a shard is missing, damaged or cannot be read, or a row is invalid; the message names the sample.
        UsageError: For options that contradict each other.
    """
    ending = inputs.lstrip(".").lower()
    reading = Reading(name="webdataset-rows", shuffle_buffer=1, lanes=1, cache=cache, tries=tries)
    wanted = Wanted(inputs=(ending,), target=ending, key=None)
    indexes = reading.indexes(wanted, path, None, None)["train"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.csv")
        lines = _write(file, indexes)
        try:
            return csv_file(
                file, target, ignore, categorical, missing, task, "auto", ".",
                date, date_format, date_features, embed, unseen, infer, learned,
            )  # fmt: skip
        except DataError as error:
            raise DataError(_told(str(error).replace(str(file), path), lines, indexes)) from error


def _write(file: Path, indexes: Sequence[ShardIndex]) -> list[int]:
    """Write the rows as a table; returns the number of the first line of each."""
    names = list(dict.fromkeys(name for index in indexes for row in index.targets for name in row))
    lines, line = [], 1 + sum(name.count("\n") for name in names) + 1
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for index in indexes:
            for key, row in zip(index.keys, index.targets, strict=True):
                cells = [_cell(row.get(name), f"'{index.url}', sample '{key}', column '{name}'") for name in names]
                lines.append(line)
                line += 1 + sum(cell.count("\n") for cell in cells)
                writer.writerow(cells)
    return lines


def _cell(value: Any, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, (bool, int, float)):
        raise DataError(f"{where}: {json.dumps(value)[:60]} is neither a text nor a number")
    return json.dumps(value)


def _told(message: str, lines: Sequence[int], indexes: Sequence[ShardIndex]) -> str:
    """A message with the names of samples in place of the lines of the table."""
    keys = [f"sample '{key}' of '{index.url}'" for index in indexes for key in index.keys]
    return _LINE.sub(lambda found: keys[max(0, bisect_right(lines, int(found[1])) - 1)], message)
