"""Delimited text files as chunks of text, and as rows of cells."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from wf.errors import DataError, UsageError
from wf_base.reading import compression_of, unpacking

DELIMITERS = (",", ";", "\t", "|")
"""The delimiters that ``auto`` chooses from."""
CHUNK = 1 << 18
"""The number of bytes read at once."""


def text_chunks(path: Path, given: BinaryIO | None = None) -> Iterator[tuple[int, str]]:
    """The text of a file in parts that end at line ends, each with the number of its first line."""
    line, parts, first = 1, [b""], True
    try:
        with path.open("rb") if given is None else nullcontext(given) as stream:
            while block := stream.read(CHUNK):
                end = block.rfind(b"\n") + 1
                if not end:
                    parts.append(block)
                    continue
                data, parts = b"".join([*parts, block[:end]]), [block[end:]]
                yield line, _decode(path, data, line, first=first)
                line, first = line + num_breaks(data), False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if data := b"".join(parts):
        yield line, _decode(path, data, line, first=first)


def _decode(path: Path, data: bytes, line: int, *, first: bool) -> str:
    if first and (packed := compression_of(data)) is not None:
        raise DataError(f"{path} is compressed ({packed})\n  {unpacking(path.name, packed)}")
    utf16 = first and data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in data and not utf16:
        line += data.count(b"\n", 0, data.index(b"\0"))
        raise DataError(
            f"{path}, line {line}: it holds a byte 0x00, as UTF-16 and binary files do\n"
            f"  convert the file first, for example: {_iconv(path, 'utf-16le')}"
        )
    try:
        return data.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        what = ", but as UTF-16 begins" if utf16 else ""
        raise DataError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8{what}\n"
            f"  convert the file first, for example: {_iconv(path, 'utf-16' if utf16 else 'latin1')}"
        ) from error


def _iconv(path: Path, encoding: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {path.name} > utf8-{path.name}"


def delimiter_of(text: str, delimiter: str, wanted: Sequence[str]) -> str:
    """The character between the fields of a file that begins with this text; see `TableFile`."""
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if delimiter != "auto" and (len(delimiter) != 1 or delimiter in '\r\n"\0'):
        raise UsageError(f"csv: delimiter '{delimiter}' is not one character; use ',', ';', '\\t', '|' or auto")
    if delimiter != "auto":
        return delimiter
    fields = {one: _first_row(text.lstrip("\r\n"), one) for one in DELIMITERS}
    fitting = [one for one, row in fields.items() if wanted and set(wanted) <= set(row)]
    return next(iter(fitting), max(DELIMITERS, key=lambda one: len(fields[one])))


def _first_row(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))]
    except (csv.Error, StopIteration):
        return []


class UnendedError(Exception):
    """The text ends within a quoted cell."""

    def __init__(self, told: DataError) -> None:
        super().__init__(str(told))
        self.told = told


def rows_of(path: Path, stream: io.StringIO, delimiter: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of its first line."""
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    start = line
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if len(cells) > 1 or any(cells):
                yield start, cells
            start = line + reader.line_num
    except csv.Error as error:
        told = DataError(f"{path}: the row that starts in line {start} cannot be read: {error}")
        if "unexpected end of data" in str(error):
            raise UnendedError(told) from error
        raise told from error


def num_breaks(data: bytes) -> int:
    r"""The number of line ends, with ``\n``, ``\r\n`` or ``\r``."""
    num = data.count(b"\n")
    return num + data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else num
