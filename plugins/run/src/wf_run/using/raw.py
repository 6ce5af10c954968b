"""Converts raw inputs to the inputs of a trained model: rows, arrays, images, texts, files."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import tree
from wf_base.reading import COMMANDS, PartReader, RecordReader, compression_of
from wf_base.tree import Tree
from wf_data import arrays
from wf_data.inputs import Form, check_form
from wf_data.nested import LONE, from_nested, takes_nested

RECORDS = (".jsonl", ".ndjson", ".parquet")
"""Endings of files whose rows are read as dicts by column, whatever the format of the training data."""
STDIN = "-"
TEXT = ".txt"
WORDS = {
    ".csv": "CSV",
    ".jsonl": "JSON lines",
    TEXT: "a text",
    ".parquet": "parquet",
    ".npy": "an array of NumPy",
    ".npz": "arrays of NumPy",
}
"""The forms of standard input."""
MAGIC = {
    b"PAR1": ".parquet",
    b"\x93NUMPY": ".npy",
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n": ".png",
    b"GIF8": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"BM": ".bmp",
}
"""The first bytes of files, and the endings of these."""
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has."""
BLOCK = 1024
"""The number of rows read at once."""


@dataclass(frozen=True)
class Part:
    """Some samples of a file."""

    inputs: Tree
    first: int
    """The number of the first one, from 1."""


def inputs_of(given: Any, form: Form, reader: Any, columns: Sequence[str], where: str = "rows") -> Tree:
    """Inputs ``[N, ...]`` for raw ones.

    Args:
        given: A tensor or a tree of tensors as the dataset's samples hold them; a NumPy array; a dict by column or a
            list of such; a pandas table; a list of rows in the columns' order; Pillow images, bytes or paths.
        form: The form of the samples.
        reader: The dataset's reader; None without one.
        columns: The columns in their order.
        where: Their origin, for messages.

    Raises:
        DataError: For inputs of another form.
        UsageError: If the run cannot read such inputs.
    """
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        given = given.to_dict("records")
    if isinstance(given, np.ndarray):
        if given.dtype.kind in "biuf":
            given = torch.from_numpy(np.ascontiguousarray(given))
        else:
            given = given.tolist()
    if isinstance(given, Mapping) and tree.first_leaf(given) is None:
        given = [given]
    if isinstance(given, (Tensor, Mapping, tuple)) or tree.first_leaf(given) is not None:
        return given
    if isinstance(given, str | Path | bytes) or hasattr(given, "convert"):
        given = [given]
    rows = list(given)
    if not rows:
        raise DataError(f"{where}: there are no samples")
    return from_rows([_as_row(row, number, columns, where) for number, row in enumerate(rows, 1)], form, reader, where)


def takes_rows(form: Form, reader: Any) -> bool:
    """Whether a run reads rows given as dicts: by its reader, or as nested lists of numbers."""
    return isinstance(reader, RecordReader) or takes_nested(form)


def from_rows(rows: Sequence[Mapping[str, Any]], form: Form, reader: Any, where: str = "rows", first: int = 1) -> Tree:
    """Inputs ``[N, ...]`` from rows given as dicts by column.

    Raises:
        DataError: For rows of another form.
        UsageError: If the run cannot read rows.
    """
    if not takes_rows(form, reader):
        raise UsageError(
            f"{where}: rows cannot be read: the run's dataset has no reader of rows\n"
            f"  give tensors as its samples hold them, or a file: {_endings(reader)}"
        )
    if isinstance(reader, RecordReader):
        found = reader.from_records(rows, where, first)
    else:
        gaps = bool(getattr(reader, "transforms", tuple)())
        found = from_nested(rows, form, getattr(reader, "key", LONE), where, first, gaps=gaps)
    check_form(form, found, where)
    return found


def _as_row(row: Any, number: int, columns: Sequence[str], where: str) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if isinstance(row, (list, tuple, np.ndarray)):
        if not columns:
            return {LONE: row}
        if len(row) != len(columns):
            raise DataError(
                f"{where}, row {number}: it has {len(row)} values; the model takes {len(columns)}"
                f", in this order: {', '.join(columns)}"
            )
        return dict(zip(columns, row, strict=True))
    if len(columns) == 1:
        return {columns[0]: row}
    if not columns:
        raise DataError(
            f"{where}, row {number}: a {type(row).__name__} is not a sample\n  give its numbers as nested lists"
        )
    raise DataError(
        f"{where}, row {number}: a {type(row).__name__} is not a row\n  give a dict by column: {', '.join(columns)}"
    )


def parts_of(
    path: Path,
    form: Form,
    reader: Any,
    read: Callable[[Path], Tree],
    stream: BinaryIO | None = None,
) -> Iterator[Part]:
    """The samples of a file, some thousands at a time where that is possible.

    Args:
        path: The file; its ending determines the format.
        form: The form of the samples.
        reader: The dataset's reader, if any.
        read: Reads other files as a whole.
        stream: Read instead of the file.

    Raises:
        DataError: As the reader, raised when the samples are reached.
    """
    ending, first = path.suffix.lower(), 1
    found: Iterator[Tree]
    if isinstance(reader, PartReader) and ending in reader.endings:
        if stream is None and not path.is_file():
            read(path)  # raises, suggesting similar names
        found = reader.parts(path, stream)
    elif ending in RECORDS and takes_rows(form, reader) and (stream is not None or path.is_file()):
        found = _of_records(path, form, reader, stream)
    elif stream is not None and ending in (*getattr(reader, "endings", ()), *arrays.ENDINGS):
        found = iter([_spooled(path, stream, read)])
    elif stream is not None:
        what = WORDS.get(ending, f"an image ({ending})")
        raise UsageError(
            f"{path}: standard input is read as {what}, and this run does not read it\n"
            f"  give a file: {_endings(reader)}"
        )
    else:
        found = iter([read(path)])
    for inputs in found:
        check_form(form, inputs, str(path))
        yield Part(inputs, first)
        first += tree.length(inputs)


def records_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of CSV with commas, JSON lines or parquet, as dicts by column."""
    if path.suffix.lower() != ".csv":
        return _parquet(path) if path.suffix.lower() == ".parquet" else _lines(path, None)
    return _csv(path)


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            twice = next((name for name in header if header.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{path}: two columns are called '{twice}'")
            for row in rows:
                if row and len(row) != len(header):
                    raise DataError(
                        f"{path}, line {rows.line_num}: {len(row)} fields, but the first line names {len(header)}"
                    )
                if row:
                    yield dict(zip(header, row, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _of_records(path: Path, form: Form, reader: Any, stream: BinaryIO | None) -> Iterator[Tree]:
    records = _parquet(path, stream) if path.suffix.lower() == ".parquet" else _lines(path, stream)
    first = 1
    while block := list(itertools.islice(records, BLOCK)):
        yield from_rows(block, form, reader, str(path), first)
        first += len(block)
    if first == 1:
        raise DataError(f"{path} has no rows")


def _lines(path: Path, stream: BinaryIO | None) -> Iterator[Mapping[str, Any]]:
    """The objects of JSON lines; blank lines are skipped."""
    try:
        with path.open("rb") if stream is None else stream as opened:
            for number, line in enumerate(opened, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: it is not JSON: {getattr(error, 'msg', error)}") from error
                if not isinstance(record, dict):
                    raise DataError(
                        f"{path}, line {number}: a {type(record).__name__}, not an object\n"
                        '  JSON lines have one object per line: {"column": value, ...}'
                    )
                yield record
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _parquet(path: Path, stream: BinaryIO | None = None) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: parquet files are read with pyarrow, which is not installed\n"
            "  pip install pyarrow, or give CSV or JSON lines"
        ) from error
    try:
        with ExitStack() as opened:
            source: Any = path
            if stream is not None:  # its columns are listed at its end
                source = opened.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(stream, source)
            file = opened.enter_context(parquet.ParquetFile(source))
            for batch in file.iter_batches(BLOCK):
                yield from batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def standard_input(reader: Any) -> tuple[Path, BinaryIO]:
    """Standard input, and a name whose ending says what is in it.

    Parquet, arrays and images are recognised by their first bytes. JSON lines begin with ``{``. Where the reader reads
    texts, all else is a text, but for a table of which the first line names the columns of the reader; for other
    readers it is CSV.

    Raises:
        DataError: For compressed or other binary data.
    """
    stream = sys.stdin.buffer
    assert isinstance(stream, io.BufferedReader)
    beginning = stream.peek(4096)
    return Path(f"stdin{_ending(beginning, reader)}"), stream


def _ending(beginning: bytes, reader: Any) -> str:
    """The ending of a file that begins with some bytes.

    Raises:
        DataError: As `standard_input`.
    """
    text = beginning.lstrip()
    is_binary = _CONTROLS.search(beginning) is not None
    if is_binary and (ending := _of_binary(beginning)) is not None:
        return ending
    if text[:1] == b"{":
        return ".jsonl"
    if TEXT in getattr(reader, "endings", ()):
        header = {cell.strip(' "') for cell in re.split(r"[,;|\t]", _first_line(text))}
        columns = {str(one["name"]) for one in reader.fields()} if isinstance(reader, RecordReader) else set()
        return ".csv" if ".csv" in reader.endings and columns and columns <= header else TEXT
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("standard input is text in UTF-16\n  convert it: iconv -f utf-16 -t utf-8 FILE | wf ...")
    if is_binary:
        raise DataError("standard input is binary, in an unknown format\n  give the file by its name")
    return ".csv"


def _of_binary(beginning: bytes) -> str | None:
    """The ending of a binary file; None if its format is unknown.

    Raises:
        DataError: For a compressed file, or an archive other than ``.npz``.
    """
    packed = compression_of(beginning)
    if packed not in (None, "zip"):
        raise DataError(f"standard input is compressed ({packed})\n  unpack it: {COMMANDS[packed]} FILE | wf ...")
    if packed == "zip":
        name = beginning[30 : 30 + int.from_bytes(beginning[26:28], "little")].decode("utf-8", errors="replace")
        if name.endswith(".npy"):
            return ".npz"
        raise DataError(
            f"standard input is a zip archive that begins with '{name}'; of these only .npz is read\n"
            "  unpack it, or save the table as CSV"
        )
    if beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        return ".webp"
    return next((ending for magic, ending in MAGIC.items() if beginning.startswith(magic)), None)


def _first_line(beginning: bytes) -> str:
    return beginning.decode("utf-8-sig", errors="replace").partition("\n")[0].rstrip("\r")


def _spooled(path: Path, stream: BinaryIO, read: Callable[[Path], Tree]) -> Tree:
    """The inputs in a stream, for a reader of files."""
    with spooled(path, stream) as file:
        return read(file)


@contextmanager
def spooled(path: Path, stream: BinaryIO) -> Iterator[Path]:
    """A file with the content of a stream, for readers of files; `path` is its name in messages."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, path.name)
        with file.open("wb") as written:
            shutil.copyfileobj(stream, written)
        try:
            yield file
        except (DataError, UsageError) as error:
            raise type(error)(str(error).replace(str(file), str(path))) from error


def _endings(reader: Any) -> str:
    """The files that a run reads, in words."""
    return ", ".join([*getattr(reader, "endings", ()), *(one for one in arrays.ENDINGS)])
