"""Rows of named numbers to inputs, for datasets without a reader."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from wf.errors import DataError, lacking

_BLOCK = 4096


class NamedReader:
    """Reads the numbers of rows by their names: CSV with commas, and rows as dicts.

    Args:
        names: The numbers of a sample in their order.
        dtype: The dtype of the samples.
    """

    endings: tuple[str, ...] = (".csv",)

    def __init__(self, names: Sequence[str], dtype: torch.dtype) -> None:
        self.names, self.dtype = tuple(names), dtype

    def description(self) -> Mapping[str, Any]:
        """The names; the dtype comes from the samples."""
        return {"names": list(self.names)}

    def fields(self) -> list[dict[str, Any]]:
        """One column per number."""
        return [{"name": name, "type": "number", "missing": "error"} for name in self.names]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The numbers of rows ``[N, F]``.

        Raises:
            DataError: For a row with a missing or invalid number.
        """
        rows = [
            [self._number(record, name, f"{where}, row {first + row}") for name in self.names]
            for row, record in enumerate(records)
        ]
        return torch.tensor(rows, dtype=self.dtype)

    def read(self, path: Path) -> Tensor:
        """The numbers in a CSV file ``[N, F]``.

        Raises:
            DataError: As `from_records`, and for a file that is missing or empty.
        """
        return torch.cat(list(self.parts(path)))

    def parts(self, path: Path, stream: BinaryIO | None = None) -> Iterator[Tensor]:
        """The numbers in a CSV file, some thousands of rows at a time."""
        try:
            with path.open("rb") if stream is None else nullcontext(stream) as opened:
                rows = csv.DictReader(io.TextIOWrapper(opened, encoding="utf-8-sig", newline=""), strict=True)
                yield from self._blocks(rows, path, rows.fieldnames)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read: {error}") from error

    def _blocks(self, rows: Iterable[Mapping[str, Any]], path: Path, header: Sequence[str] | None) -> Iterator[Tensor]:
        if not header:
            raise DataError(f"{path} is empty; its first line must name the columns")
        for name in self.names:
            if name not in header:
                raise DataError(f"{path}: {lacking('column', name, header)}")
        block: list[Mapping[str, Any]] = []
        first = 1
        for row in rows:
            if None in row or None in row.values():
                raise DataError(f"{path}, row {first + len(block)}: the first line names {len(header)} columns")
            block.append(row)
            if len(block) == _BLOCK:
                yield self.from_records(block, str(path), first)
                first, block = first + len(block), []
        if block or first == 1:
            if not block:
                raise DataError(f"{path} has column names but no rows")
            yield self.from_records(block, str(path), first)

    def _number(self, record: Mapping[str, Any], name: str, where: str) -> float:
        if name not in record:
            raise DataError(f"{where}: {lacking('column', name, record)}")
        value = record[name]
        try:
            found = math.nan if value is None or value == "" else float(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}, column '{name}': {value!r} is not a number") from error
        if not math.isfinite(found):
            raise DataError(f"{where}, column '{name}': the value is {'missing' if math.isnan(found) else 'infinite'}")
        return found
