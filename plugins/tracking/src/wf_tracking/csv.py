"""The records of a run as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wf import Loop
from wf.protocols import Strategy
from wf_storage import files
from wf_storage.logger import Logger
from wf_storage.records import Record

FILE = "metrics.csv"


class Csv(Logger):
    """Writes the run's records to ``metrics.csv`` in the run directory, for spreadsheets and data frames.

    One row per record: ``event``, ``split``, ``epoch`` (from 0 on), ``step``, and a column per figure. Cells are empty
    for figures that a record does not have, or that are not finite; lists are written as JSON. Without a run directory
    nothing is written.

    Args:
        run_dir: The run directory, or None.
        strategy: Only the first process writes.
    """

    def __init__(self, run_dir: Path | None, strategy: Strategy) -> None:
        super().__init__(run_dir, strategy)
        self._columns: list[str] = []
        self._stream: io.FileIO | None = None

    def begin(self, run: Loop, records: Sequence[Record]) -> int:
        """Write the file with the records so far."""
        self._columns = ["event", "split", "epoch", "step"]
        self._write_anew([_row(record) for record in records])
        return len(records)

    def log(self, record: Record) -> None:
        """Append a row."""
        row = _row(record)
        if set(row) <= set(self._columns):
            assert self._stream is not None
            files.write(self._stream, self._text([row]))
        else:
            with open(self._file, newline="", encoding="utf-8") as stream:
                self._write_anew([*csv.DictReader(stream), row])

    def end(self, run: Loop, error: BaseException | None) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @property
    def _file(self) -> Path:
        assert self.run_dir is not None
        return self.run_dir / FILE

    def _write_anew(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all rows, with a column for each of their figures."""
        if self._stream is not None:
            self._stream.close()
        self._columns = list(dict.fromkeys([*self._columns, *(name for row in rows for name in row)]))
        header = {name: name for name in self._columns}
        files.write_atomically(self._file, self._text([header, *rows]))
        self._stream = files.append(self._file)

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


def _row(record: Record) -> dict[str, Any]:
    """The cells of a record by column."""
    cells = {name: json.dumps(value) if isinstance(value, list) else value for name, value in record.figures.items()}
    return {"event": record.event, "split": record.split, "epoch": record.epoch, "step": record.step, **cells}
