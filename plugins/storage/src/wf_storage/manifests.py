"""Validates manifests and records once, when they are read.

A run directory may be damaged, or come from somebody else; readers need not check again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

from wf.errors import DataError
from wf_storage import files

MAX_MANIFEST = 1 << 26
"""The maximum size of a manifest, in bytes."""
MAX_DEPTH = 64
"""The maximum depth of nested values."""

Check = Callable[[Any], bool]


def parse(data: bytes) -> Any:
    """JSON that is nested no deeper than `MAX_DEPTH`.

    Raises:
        ValueError: For anything else, with a readable message.
    """
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:  # checking each value takes as long as parsing
        return value
    level = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            break
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError("it is nested too deeply")
    return value


def wrong_in_manifest(manifest: Any) -> str:
    """The error in a manifest, for messages; "" if it is valid. Unknown keys may hold anything."""
    return _wrong(manifest, FIELDS)


def wrong_in_record(record: Any) -> str:
    """As `wrong_in_manifest`, for a line of ``metrics.jsonl`` or ``timings.jsonl``."""
    return _wrong(record, RECORD) or next(
        (f"'{key}' must be a figure" for key, value in record.items() if not _figure(value)), ""
    )


def _wrong(found: Any, fields: Mapping[str, tuple[Check, str]]) -> str:
    if not isinstance(found, dict):
        return f"it must be a table, not {type(found).__name__}"
    for key in fields.keys() & found.keys():
        check, words = fields[key]
        if not check(found[key]):
            return f"'{key}' must be {words}, not {str(found[key])[:40]!r}"
    return ""


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _date(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value).astimezone())
    except (ValueError, OverflowError, OSError):
        return False


def _figure(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_figure, value))
    if isinstance(value, int):
        return abs(value) < 1 << 1000  # within the range of a float
    return value is None or isinstance(value, (float, str))


def _any_table(value: Any) -> bool:
    return isinstance(value, dict)


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _table(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _having(**checks: Check) -> Check:
    """A table with at least these keys."""
    return lambda value: (
        isinstance(value, dict) and all(key in value and check(value[key]) for key, check in checks.items())
    )


def _folder(value: Any) -> bool:
    """The name of a subfolder."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & {*value}


_FIGURES = _table(_figure)
_COMPONENT = _having(kind=_text, name=_text, target=_text, distribution=_or_null(_text), version=_or_null(_text))
_CODE = _having(file=_text, sha256=_text)
_WORDS = (_list(_text), "a list of names")
_TABLES = (_list(_any_table), "a list of tables")

FIELDS: dict[str, tuple[Check, str]] = {
    "status": (_text, "a word"),
    "reason": (_or_null(_text), "a text"),
    "kind": (_or_null(_text), "a word"),
    "resumed_by": (_text, "a command"),
    "started": (_or_null(_date), "a date"),
    "ended": (_or_null(_date), "a date"),
    "epochs": (_or_null(_count), "a whole number"),
    "steps": (_or_null(_count), "a whole number"),
    "total_steps": (_or_null(_count), "a whole number"),
    "follow_length": _WORDS,
    "metrics": (_or_null(_FIGURES), "a table of figures"),
    "recorded": (_or_null(_FIGURES), "a table of figures"),
    "samples": (_or_null(_table(_count)), "a table of whole numbers"),
    "notes": (_or_null(_any_table), "a table"),
    "repeatable": (_flag, "true or false"),
    "components": (_list(_COMPONENT), "a list of tables with kind, name, target, distribution and version"),
    "versions": (_table(_or_null(_text)), "a table of versions"),
    "device": (_text, "a device"),
    "code": (lambda value: _list(_CODE)(value) or _table(_text)(value), "a list of files with their checksums"),
    "run_file": (_any_table, "a table"),
    "dataset": (_any_table, "a table"),
    "drift": _TABLES,
    "disabled_hooks": _TABLES,
    "failed_saves": _TABLES,
    "folds": (lambda value: _count(value) or _list(_FIGURES)(value), "a number, or a list of figures"),
    "rows": (_list(_having(name=_text, folder=_folder, settings=_any_table)), "a list of rows with name and folder"),
    "repeats": _TABLES,
    "failures": (_table(_having(reason=_text, exit_code=_count)), "a table of failures"),
    "digest": (_text, "a checksum"),
    "figures": _WORDS,
    "by": (_or_null(_text), "a name"),
    "jobs": (_count, "a whole number"),
    "plugins": _WORDS,
    "only_builtin": (_flag, "true or false"),
    "folders": _WORDS,
}
"""The keys of a manifest that wf reads, for a run, folds or a comparison, and their allowed values."""

RECORD: dict[str, tuple[Check, str]] = {
    "event": (_text, "a word"),
    "split": (_text, "a word"),
    "epoch": (_count, "a whole number"),
    "step": (_count, "a whole number"),
}


def read_manifest(file: Path) -> dict[str, Any]:
    """The manifest in a file.

    Raises:
        DataError: If it cannot be read, or is invalid.
    """
    try:
        found = parse(files.read(file, MAX_MANIFEST))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{file} cannot be read: {why}") from error
    if wrong := wrong_in_manifest(found):
        raise DataError(f"{file} cannot be read: {wrong}")
    return dict(found)


def read_records(file: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON-lines file; an incomplete last line is skipped.

    Raises:
        DataError: If the file cannot be read, or has invalid lines.
    """
    if not file.exists():
        return
    try:
        with BufferedReader(FileIO(file, "r", opener=files.open_plain)) as stream:
            for number, line in enumerate(stream, 1):
                if line == b"\n":
                    continue
                try:
                    record = parse(line)
                except ValueError:
                    return
                if wrong := wrong_in_record(record):
                    raise DataError(f"{file} is damaged, line {number}: {wrong}")
                yield record
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
