"""Rows from existing runs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wf.declarations.kinds import KINDS
from wf.errors import DataError, UsageError
from wf_compare.results import Row, read_run, same_but_for_metrics, what_trains
from wf_compare.study import name_of_repeat
from wf_run.directory.finding import MAX_DEPTH, is_run, runs_below
from wf_run.directory.rundir import RunDirectory
from wf_run.runfiles.runfile import RunFile, load

_LOG = logging.getLogger("wf")

REPEATED = ("seed", "fold")
"""Keys that may differ between the runs of one row."""

Found = tuple[Path, RunFile]


def rows_of(places: Sequence[str]) -> list[Row]:
    """Group runs into rows: runs that differ only in seed or fold are repeats of one row.

    Args:
        places: Run directories, or folders with several, such as a cross-validation; also names below ``runs/``.

    Raises:
        DataError: If there is no run, or only parts of one.
        UsageError: For a run that is given twice, and for rows that would be trained identically.
    """
    groups: dict[str, list[Found]] = {}
    trained: dict[str, tuple[str, Path]] = {}
    for path in (path for place in places for path in _runs_at(place)):
        document, code = _document(path), RunDirectory(path).manifest.get("code")
        key, same = (_key(_without(kept, REPEATED), code) for kept in (document, what_trains(document)))
        groups.setdefault(key, []).append((path, document))
        other, first = trained.setdefault(same, (key, path))
        if other != key:
            raise same_but_for_metrics(f"{first} and {path}")
    documents = [members[0][1] for members in groups.values()]
    return [
        Row(
            name=name,
            settings=settings,
            document=members[0][1],
            runs=tuple(read_run(path, repeat) for repeat, path in _by_repeat(members).items()),
        )
        for (name, settings), members in zip(_names(documents), groups.values(), strict=True)
    ]


def _runs_at(place: str) -> Iterator[Path]:
    """The runs in a directory: the directory itself, or those below it."""
    path = next((path for path in (Path(place), Path("runs") / place) if os.path.isdir(path)), None)
    if path is None:
        RunDirectory.open(place)  # raises, suggesting the closest name
        return
    if is_run(path):
        yield path.resolve() if path.is_symlink() else path
        return
    unreadable: dict[str, str] = {}
    found = list(_single_runs(path, unreadable))
    for folder, why in unreadable.items():
        _LOG.warning("%s is skipped: %s", folder, why)
    if not found:
        raise DataError(f"there are no runs in {path}\n  runs are searched in it and {MAX_DEPTH - 1} levels below")
    yield from found


def _single_runs(path: Path, unreadable: dict[str, str]) -> Iterator[Path]:
    """The runs below a folder, including the single runs of comparisons and cross-validations."""
    for found in runs_below(path, unreadable):
        if is_run(found):
            if not found.is_symlink():
                yield found
        else:
            yield from _single_runs(found, unreadable)


def _document(path: Path) -> RunFile:
    """The run file of a run.

    Raises:
        DataError: If it is missing, or not as written by a run.
    """
    if not (path / "run.toml").is_file():
        raise DataError(f"{path / 'run.toml'} is missing, so its settings are unknown\n  leave the run out")
    document = load(path / "run.toml")
    if missing := sorted({"model", "trainer"} - document.keys()):
        raise DataError(f"{path / 'run.toml'} lacks the key {missing[0]}, which every run writes\n  leave the run out")
    return document


def _key(document: Mapping[str, Any], code: Any) -> str:
    return json.dumps([document, code], sort_keys=True, default=str)


def _by_repeat(members: Sequence[Found]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path, document in members:
        repeat = name_of_repeat({key: document[key] for key in REPEATED if document.get(key) is not None})
        if repeat in found:
            raise UsageError(f"{found[repeat]} and {path} are the same run ({repeat}): leave one of them out")
        found[repeat] = path
    divisions = {str(document.get("fold") or "").partition("/")[2]: path for path, document in members}
    if len(divisions) > 1:
        said = [f"{path} ({f'a fold of {num}' if num else 'no fold'})" for num, path in divisions.items()]
        raise UsageError(
            f"{' and '.join(said)} are runs of one row with different divisions of the data: there is no common mean\n"
            "  compare runs of the same number of folds, or runs without folds"
        )
    return found


def _names(documents: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The distinguishing settings of each row, also as text."""
    flat = [dict(_flatten(_without(document, REPEATED))) for document in documents]
    keys = dict.fromkeys(key for row in flat for key in row)
    varying = [key for key in keys if len({json.dumps(row.get(key), default=str) for row in flat}) > 1]
    varying.sort(key=_rank)
    found = []
    for row in flat:
        settings = {key: row[key] for key in varying if key in row and _matters(key, row, flat)}
        last = ("loss", "optimizer" if "optimizer" in row else "trainer")
        words = [_words(key, value) for key, value in settings.items()]
        found.append((", ".join(words) or ", ".join(str(row[key]) for key in last if key in row), settings))
    return found


def _rank(key: str) -> int:
    """Sort key: components first, in the order of the kinds, each followed by its options."""
    kind = key.partition(".")[0]
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def _words(key: str, value: Any) -> str:
    """``adam``, ``no transform``, ``lr 0.1``."""
    if key in KINDS:
        return str(value) or f"no {key}"
    return f"{key.rpartition('.')[2]} {value}"


def _matters(key: str, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a key distinguishes this row from others; an option does so only among rows with the same component."""
    kind, dot, _ = key.partition(".")
    return not dot or any(other.get(kind) == row.get(kind) and other.get(key) != row[key] for other in rows)


def _flatten(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """``optimizer`` and ``optimizer.lr``, ``hook`` and ``hook.early-stopping.patience``, and the general keys."""
    for key, value in document.items():
        if key not in KINDS:
            yield key, value
            continue
        tables = value if key in KINDS.several else [value]
        yield key, ", ".join(str(table["use"]) for table in tables)
        for table in tables:
            head = f"{key}.{table['use']}" if key in KINDS.several else key
            yield from ((f"{head}.{name}", option) for name, option in table.items() if name != "use")


def _without(document: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}
