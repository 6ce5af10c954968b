"""The content of a report: runs, and folders of several runs."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wf.errors import DataError
from wf.registry import Registry
from wf_run.directory.finding import is_run, runs_below
from wf_run.directory.rundir import RunDirectory
from wf_storage.manifests import read_records


@dataclass(frozen=True)
class ReportedRun:
    """A run directory, which may be damaged or unfinished."""

    path: Path
    name: str
    """Its name on the page, which is unique."""
    is_named: bool
    """Whether the user named this run itself, rather than a folder that contains it."""

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """Its ``manifest.json``, with the status ``killed`` if its process is gone, or ``damaged`` and a reason if it
        cannot be read."""
        try:
            return RunDirectory(self.path).state
        except DataError as error:
            return {"status": "damaged", "reason": str(error)}

    @cached_property
    def run_file(self) -> Mapping[str, Any]:
        """Its resolved run file; empty if it cannot be read."""
        try:
            return tomllib.loads(self.run_text)
        except tomllib.TOMLDecodeError:
            return {}

    @cached_property
    def run_text(self) -> str:
        """The text of ``run.toml``; empty if it cannot be read."""
        try:
            return (self.path / "run.toml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    @cached_property
    def records(self) -> Sequence[Mapping[str, Any]]:
        """The records of ``metrics.jsonl``."""
        try:
            return list(read_records(self.path / "metrics.jsonl"))
        except (OSError, DataError):
            return ()

    @property
    def seconds(self) -> float | None:
        """The time that training took, evaluations included, without pauses between resumed parts."""
        total, last = 0.0, None
        try:
            for record in read_records(self.path / "timings.jsonl"):
                now = record.get("elapsed_sec")
                if isinstance(now, (int, float)):
                    total += last if last is not None and now < last else 0.0
                    last = now
        except (OSError, DataError):
            return None
        return None if last is None else total + last

    def use(self, kind: str) -> str:
        """The names of its components of a kind."""
        found = self.run_file.get(kind, [])
        tables = found if isinstance(found, list) else [found]
        return ", ".join(str(table.get("use", "")) for table in tables if isinstance(table, Mapping))


@dataclass(frozen=True, kw_only=True)
class Content:
    """The input of the sections of a report."""

    runs: Sequence[ReportedRun]
    folders: Sequence[Path]
    """The folders that the user named, with several runs each: comparisons, cross-validations, ..."""
    registry: Registry
    by: str | None = None
    """The figure to compare by, if the user named one."""
    draw: Callable[[ReportedRun | Path], Any] = field(repr=False)
    """Draws a run, or a directory of several: `wf_run.views.choosing.Drawn`."""

    @property
    def named(self) -> Sequence[ReportedRun]:
        """The runs that the user named, and the run of a folder with only one."""
        return self.runs if len(self.runs) == 1 else [run for run in self.runs if run.is_named]


def find_runs(places: Sequence[str]) -> tuple[list[ReportedRun], list[Path]]:
    """The runs in several places, without duplicates, and the places that contain several runs.

    Raises:
        DataError: For a place that is not a run and contains none.
    """
    found: dict[Path, bool] = {}
    folders = []
    for place in places:
        path = next((one for one in (Path(place), Path("runs") / place) if os.path.isdir(one)), None)
        if path is None:
            path = RunDirectory.open(place).path  # raises, suggesting the closest names
        if is_run(path):
            found[path.resolve() if path.is_symlink() else path] = True
            continue
        inside = list(_single_runs(path))
        if not inside:
            RunDirectory.open(place)
            raise DataError(f"there are no runs in {path}")
        folders.append(path)
        for one in inside:
            found.setdefault(one, False)
    names = _short_names(list(found))
    return [ReportedRun(path, name, named) for (path, named), name in zip(found.items(), names, strict=True)], folders


def _single_runs(path: Path) -> Iterator[Path]:
    for found in runs_below(path, {}):
        if is_run(found):
            if not found.is_symlink():
                yield found
        else:
            yield from _single_runs(found)


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without their common parent folders."""
    if not paths:
        return []
    absolute = [path.absolute() for path in paths]
    common = Path(os.path.commonpath([path.parent for path in absolute]))
    return [path.relative_to(common).as_posix() for path in absolute]
