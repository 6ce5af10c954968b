"""Predictions in bulk: inputs from files, folders and standard input, in parts, and records written to a file."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wf.errors import DataError, UsageError, unknown
from wf.typed import finite
from wf_base import tree
from wf_base.tree import Tree
from wf_data import arrays
from wf_run.using.raw import RECORDS, STDIN, standard_input, takes_rows
from wf_run.using.trained import Trained
from wf_storage.remote import copied, has_pattern, listed, url_of

OUTPUTS = ("csv", "jsonl", "parquet")
"""The formats of predictions in files, by ending."""
ON_ERROR = ("stop", "skip")
"""The policies for an input that cannot be read: stop, or name it and leave it out."""
_TABLES = (".csv", ".tsv", *RECORDS, *arrays.ENDINGS)
"""Files of many samples; all others have one or a few, and several of them are predicted together."""
_FEW = 16
"""The number of files read before their samples are predicted together."""


@dataclass(frozen=True)
class Source:
    """A file of inputs, or standard input."""

    path: Path
    stream: Any = None
    url: str | None = None
    """The URL that the file at `path` is a copy of."""

    @property
    def name(self) -> str:
        """Its name in predictions."""
        return STDIN if self.stream is not None else self.url or str(self.path)

    @property
    def is_one(self) -> bool:
        """Whether it is a sample, as an image is, or a few, as the lines of a text."""
        return self.path.suffix.lower() not in _TABLES


@dataclass(frozen=True)
class Place:
    """The location of a sample."""

    source: Source
    row: int
    """Its number in the file, from 1."""
    alone: bool = False
    """Whether it is the only one of its file."""

    @property
    def words(self) -> str:
        """``photo.jpg``, or ``table.csv:3``."""
        return self.source.name if self.alone else f"{self.source.name}:{self.row}"


@dataclass(frozen=True)
class Predicted:
    """Predictions for some samples."""

    places: Sequence[Place]
    inputs: Tree
    outputs: Tree


@dataclass
class Predicting:
    """Predicts for inputs, one part after the other.

    Args:
        trained: The model.
        on_error: One of `ON_ERROR`.
        failed: Called with each input that cannot be read and the error, before the next one is read.
    """

    trained: Trained
    on_error: str
    failed: Callable[[Source, DataError], None]
    num_failed: int = field(default=0, init=False)

    def __call__(self, sources: Sequence[Source]) -> Iterator[Predicted]:
        """The predictions in the order of the inputs.

        Raises:
            DataError: For an input that cannot be read, with the policy ``stop``.
        """
        waiting: list[tuple[list[Place], Tree]] = []
        for source in sources:
            try:
                for part in self.trained.parts(source.path, source.stream):
                    num = tree.length(part.inputs)
                    alone = source.is_one and num == 1
                    places = [Place(source, part.first + row, alone) for row in range(num)]
                    if source.is_one:
                        waiting.append((places, part.inputs))
                    else:
                        yield from self._predicted(waiting)
                        yield from self._predicted([(places, part.inputs)])
            except DataError as error:
                if self.on_error == "stop":
                    raise
                yield from self._predicted(waiting)
                self.num_failed += 1
                self.failed(source, error)
            if len(waiting) >= _FEW:
                yield from self._predicted(waiting)
        yield from self._predicted(waiting)

    def _predicted(self, waiting: list[tuple[list[Place], Tree]]) -> Iterator[Predicted]:
        """Predict for the waiting samples, together if they have one form, and clear them."""
        found, waiting[:] = list(waiting), []
        groups: list[list[tuple[list[Place], Tree]]] = []
        for one in found:
            if groups and _form(groups[-1][-1][1]) == _form(one[1]):
                groups[-1].append(one)
            else:
                groups.append([one])
        for group in groups:
            inputs = tree.cat([one for _, one in group])
            yield Predicted([place for places, _ in group for place in places], inputs, self.trained.predict(inputs))


def _form(inputs: Tree) -> Any:
    if isinstance(inputs, tree.Rows):
        return "rows"
    return [(path, leaf.shape[1:], leaf.dtype) for path, leaf in tree.leaves(inputs)]


def sources_of(inputs: Sequence[str], trained: Trained, tell: Callable[[str], None]) -> list[Source]:
    """The sources that inputs name: files, the files in folders that the run reads, and ``-``.

    Args:
        inputs: Paths and URLs, and ``-`` for standard input.
        trained: The model; it determines which files can be read.
        tell: Called with a message about skipped files.

    Raises:
        DataError: For a folder without such files.
        UsageError: If standard input is named twice.
    """
    if inputs.count(STDIN) > 1:
        raise UsageError("standard input, -, can be read only once")
    found = []
    for text in inputs:
        if text == STDIN:
            found.append(Source(*standard_input(trained.reader)))
        else:
            found += _at(text, trained, tell)
    return found


def _at(text: str, trained: Trained, tell: Callable[[str], None]) -> Iterator[Source]:
    """The files at a path or a URL; those at a URL are copied to this machine."""
    url = url_of(text)
    if url is not None and has_pattern(url):
        for one in listed(url):
            yield from _at(one, trained, tell)
        return
    path = Path(text) if url is None else copied(url)
    if not path.is_dir():
        yield Source(path, url=url)
        return
    for file in _below(path, endings_of(trained), tell):
        yield Source(file, url=None if url is None else f"{url.rstrip('/')}/{file.relative_to(path)}")


def endings_of(trained: Trained) -> list[str]:
    """The endings of the files that a run reads."""
    reader = trained.reader
    own = list(getattr(reader, "endings", ()))
    rows = RECORDS if takes_rows(trained.description.inputs, reader) else ()
    return list(dict.fromkeys([*own, *rows, *arrays.ENDINGS]))


def _below(folder: Path, endings: Sequence[str], tell: Callable[[str], None]) -> Iterator[Path]:
    passed: Counter[str] = Counter()
    num = 0
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            ending = Path(name).suffix.lower()
            if ending in endings and not name.startswith("."):
                num += 1
                yield Path(base) / name
            else:
                passed[ending or "without an ending"] += 1
    if not num:
        raise DataError(f"no file in '{folder}' can be read by this run: {', '.join(endings)}")
    if passed:
        kinds = ", ".join(sorted(passed))
        num = passed.total()
        tell(f"warning: {folder}: skipped {num:,} file{'' if num == 1 else 's'} that this run does not read ({kinds})")


class Writer(Protocol):
    """Writes predictions."""

    def write(self, places: Sequence[Place], records: Sequence[Mapping[str, Any]]) -> None:
        """Write records."""

    def fail(self, source: Source, error: DataError) -> None:
        """Write that an input could not be read."""

    def close(self) -> None:
        """Finish writing."""


Write = Callable[[str], None]


class JsonLines:
    """One JSON object per line: ``input``, ``row``, and the record; ``error`` if an input could not be read.

    Args:
        write: Writes a line.
    """

    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, places: Sequence[Place], records: Sequence[Mapping[str, Any]]) -> None:
        """Write records."""
        for place, record in zip(places, records, strict=True):
            line = {"input": place.source.name, "row": place.row, **record}
            self._write(json.dumps(finite(line), ensure_ascii=False))

    def fail(self, source: Source, error: DataError) -> None:
        """Write that an input could not be read."""
        self._write(json.dumps({"input": source.name, "error": str(error)}, ensure_ascii=False))

    def close(self) -> None:
        """Nothing to write."""


class Csv:
    """A table with ``input``, ``row``, ``label``, ``probability`` of the label, and a column per class or number.

    Args:
        write: Writes a line.
        errors: Whether it has a column ``error``.
    """

    def __init__(self, write: Write, *, errors: bool) -> None:
        self._write, self._errors = write, errors
        self._header: list[str] = []
        self._held: list[dict[str, str]] = []
        """Inputs that could not be read, before the columns are known."""

    def write(self, places: Sequence[Place], records: Sequence[Mapping[str, Any]]) -> None:
        """Write records."""
        for place, record in zip(places, records, strict=True):
            row = {"input": place.source.name, "row": place.row, **flat(record)}
            if not self._header:
                self._begin(list(row))
            self._line([row.get(name, "") for name in self._header])

    def fail(self, source: Source, error: DataError) -> None:
        """Write that an input could not be read."""
        self._held.append({"input": source.name, "error": str(error)})
        if self._header:
            self._write_held()

    def close(self) -> None:
        """Write the remaining errors, if nothing could be read."""
        if not self._header:
            self._begin(["input"])

    def _begin(self, names: list[str]) -> None:
        self._header = [*names, *(["error"] if self._errors else [])]
        self._line(self._header)
        self._write_held()

    def _write_held(self) -> None:
        for row in self._held:
            self._line([row.get(name, "") for name in self._header])
        self._held.clear()

    def _line(self, cells: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(cells)
        self._write(text.getvalue())


class Parquet:
    """The columns of `Csv` in a parquet file.

    Args:
        file: The temporary file.
        name: Its name in messages.
        errors: Whether it has a column ``error``.
    """

    def __init__(self, file: Path, name: Path, *, errors: bool) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise UsageError(
                f"{name}: parquet files are written with pyarrow, which is not installed\n"
                "  pip install pyarrow, or write .csv or .jsonl"
            ) from error
        self._arrow, self._parquet = pyarrow, parquet
        self._file, self._errors = file, errors
        self._writer: Any = None
        self._failed: list[dict[str, Any]] = []

    def write(self, places: Sequence[Place], records: Sequence[Mapping[str, Any]]) -> None:
        """Write records."""
        rows = [
            {"input": place.source.name, "row": place.row, **flat(record), **({"error": None} if self._errors else {})}
            for place, record in zip(places, records, strict=True)
        ]
        if self._writer is None:
            schema = self._arrow.Table.from_pylist(rows).schema
            if self._errors:
                schema = schema.set(schema.get_field_index("error"), self._arrow.field("error", self._arrow.string()))
            self._writer = self._parquet.ParquetWriter(self._file, schema)
        self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._writer.schema))

    def fail(self, source: Source, error: DataError) -> None:
        """Record that an input could not be read; these rows come last."""
        self._failed.append({"input": source.name, "error": str(error)})

    def close(self) -> None:
        """Write the rest."""
        if self._writer is None:
            fields = [(name, self._arrow.string()) for name in ("input", "error")]
            self._writer = self._parquet.ParquetWriter(self._file, self._arrow.schema(fields))
        if self._failed:
            self._writer.write_table(self._arrow.Table.from_pylist(self._failed, schema=self._writer.schema))
        self._writer.close()


def flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of `Trained.answers` as the cells of a table."""
    label, chances = record.get("label"), record.get("probabilities")
    found: dict[str, Any] = {}
    if label is not None:
        plain = isinstance(label, list) and all(isinstance(one, str) for one in label)
        found["label"] = ", ".join(label) if plain else label if isinstance(label, str) else json.dumps(label)
        if isinstance(label, str) and chances is not None:
            found["probability"] = chances[label]
        elif plain and isinstance(chances, list):
            found["probability"] = ", ".join(f"{one[name]:.4g}" for name, one in zip(label, chances, strict=True))
            return found
    if chances is not None:
        found |= {f"p({name})": value for name, value in chances.items()}
    if "values" in record:
        return {**found, **record["values"]}
    if label is None:
        output = record["output"]
        cells = output if isinstance(output, list) else [output]
        if all(isinstance(one, (int, float)) for one in cells):
            names = ["output"] if len(cells) == 1 else [f"output {number}" for number in range(len(cells))]
            return {**found, **dict(zip(names, cells, strict=True))}
        found["output"] = json.dumps(finite(output))
    return found


def format_of(file: Path | None, given: str | None) -> str | None:
    """The format of predictions: as given, else by the file's ending; None to print labels.

    Raises:
        UsageError: For an unknown ending.
    """
    if given is not None or file is None:
        return given
    ending = file.suffix.lower().removeprefix(".")
    if ending not in OUTPUTS:
        raise UsageError(unknown("ending of --output", file.suffix, [f".{one}" for one in OUTPUTS], "or say --format"))
    return ending


class Output:
    """A file of predictions that appears only when it is complete.

    Args:
        file: The path.
        format: One of `OUTPUTS`.
        errors: Whether inputs that cannot be read are recorded.
    """

    def __init__(self, file: Path, format: str, *, errors: bool) -> None:
        self.file = file
        self._temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        self._stream: Any = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.is_dir():
                raise DataError(f"cannot write {file}: it is a folder")
            if format != "parquet":
                self._stream = self._temporary.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise DataError(f"cannot write {file}: {error.strerror or error}") from error
        self.writer: Writer = (
            Parquet(self._temporary, file, errors=errors)
            if format == "parquet"
            else writer_of(format, lambda line: self._stream.write(f"{line}\n"), errors=errors)
        )

    def commit(self) -> None:
        """Rename the file to its final name.

        Raises:
            DataError: If it cannot be written.
        """
        try:
            self.writer.close()
            if self._stream is not None:
                self._stream.close()
            os.replace(self._temporary, self.file)
        except OSError as error:
            raise DataError(f"cannot write {self.file}: {error.strerror or error}") from error

    def discard(self) -> None:
        """Remove what was written."""
        if self._stream is not None:
            self._stream.close()
        self._temporary.unlink(missing_ok=True)


def writer_of(format: str, write: Write, *, errors: bool) -> Writer:
    """The writer of lines in a format: ``csv`` or ``jsonl``."""
    return Csv(write, errors=errors) if format == "csv" else JsonLines(write)
