"""The directory of a comparison: its rows, one run directory per cell, and the table.

::

    compare-digits-optimizer-1f3a9c02/
                manifest.json        the rows, the repeats, the progress
                table.json           the output of `wf compare --json`
                adam/run.toml        the row's run file; each of its runs changes the seed
                adam/seed-42/        a run directory
                adam/seed-42.log     screen output of that run, if any

It is created by one rename, complete except for the runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from wf.declarations.kinds import KINDS
from wf.discovery.modules import is_path
from wf.errors import DataError
from wf.registry import Registry
from wf_compare.grid import folder_names
from wf_compare.results import Row, read_run
from wf_compare.tables.table import Table
from wf_run.directory.group import RunGroup
from wf_run.resuming.sources import with_neighbours
from wf_run.runfiles.runfile import RunFile, folders_of, load
from wf_run.trust.code import Source
from wf_storage.files import write_atomically

OVER = ("done", "diverged", "failed")
"""Its statuses once every run is over, from best to worst."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a comparison."""

    row: int
    name: str
    """The name of its row."""
    repeat: str
    """``seed 42``."""
    changes: Mapping[str, Any]
    """The changes of the repeat to the row's run file."""
    run_file: Path
    place: Path
    """Its run directory."""


class Study(RunGroup):
    """A comparison's directory.

    Args:
        path: The directory, which has a manifest.
    """

    KIND = "comparison"
    RESUMED_BY = "wf compare --resume"
    NEEDED = {"rows", "repeats", "failures", "figures", "by", "jobs", "digest", "versions", "code"} | {
        "plugins",
        "only_builtin",
        "folders",
    }

    @classmethod
    def create(cls, path: Path, rows: Sequence[tuple[str, Mapping[str, Any], str]], **fields: Any) -> Self:
        """Create the directory of a new comparison.

        Args:
            path: The directory, which must not exist.
            rows: For each its name, its distinguishing settings, and its resolved run file as TOML.
            fields: Further fields of the manifest.

        Raises:
            DataError: If it cannot be written.
        """
        folders = folder_names(name for name, _, _ in rows)

        def write(directory: Path) -> None:
            for (_, _, text), folder in zip(rows, folders, strict=True):
                (directory / folder).mkdir()
                write_atomically(directory / folder / "run.toml", text)

        listed = [
            {"name": name, "settings": dict(settings), "folder": folder}
            for (name, settings, _), folder in zip(rows, folders, strict=True)
        ]
        return cls.begin(path, write, status="running", rows=listed, failures={}, **fields)

    @property
    def instead(self) -> str:
        """Advice where the directory cannot be used."""
        return f"compare its runs: wf compare {self.path}/*/   or start a new comparison: --name NAME"

    def cells(self, repeats: Sequence[Mapping[str, Any]] | None = None) -> Iterator[Cell]:
        """Every run, repeat by repeat, so that an unfinished comparison has complete repeats.

        Args:
            repeats: Replacements for its own repeats.
        """
        manifest = self.manifest
        for repeat in manifest["repeats"] if repeats is None else repeats:
            for number, row in enumerate(manifest["rows"]):
                name = name_of_repeat(repeat)
                folder = self.path / row["folder"]
                yield Cell(
                    row=number,
                    name=row["name"],
                    repeat=name,
                    changes=repeat,
                    run_file=folder / "run.toml",
                    place=folder / re.sub(r"\W+", "-", name),
                )

    def documents(self) -> list[RunFile]:
        """The rows' resolved run files.

        Raises:
            DataError: If one is missing.
        """
        for row in self.manifest["rows"]:
            if not (file := self.path / row["folder"] / "run.toml").is_file():
                raise DataError(
                    f"{file} is missing, so the settings of row '{row['name']}' are unknown\n  {self.instead}"
                )
        return [load(self.path / row["folder"] / "run.toml") for row in self.manifest["rows"]]

    def folders(self) -> list[Path]:
        """The rows' folders."""
        return [self.path / row["folder"] for row in self.manifest["rows"]]

    def sources(self) -> list[Source]:
        """The rows' resolved run files, and the folders in which their relative paths are looked up."""
        elsewhere = [Path(folder) for folder in self.manifest["folders"]]
        places = [[*folders_of(folder / "run.toml"), *elsewhere] for folder in self.folders()]
        return list(zip(self.documents(), places, strict=True))

    def rows(self) -> list[Row]:
        """The rows with their runs in the current state."""
        manifest, cells = self.manifest, list(self.cells())
        failures = manifest["failures"]
        return [
            Row(
                name=row["name"],
                settings=row["settings"],
                document=document,
                runs=tuple(
                    read_run(cell.place, cell.repeat, failures.get(self.key(cell)), over=manifest["status"] in OVER)
                    for cell in cells
                    if cell.row == number
                ),
            )
            for number, (row, document) in enumerate(zip(manifest["rows"], self.documents(), strict=True))
        ]

    def key(self, cell: Cell) -> str:
        """The name of a cell in the manifest: ``adam/seed-42``."""
        return cell.place.relative_to(self.path).as_posix()

    def write_table(self, table: Table) -> None:
        """Write ``table.json``."""
        text = json.dumps({**table.record(), "status": self.manifest["status"]}, indent=2, allow_nan=False)
        write_atomically(self.path / "table.json", text + "\n")


def repeats_of(seed: int, num_repeats: int, num_folds: int | None) -> list[dict[str, Any]]:
    """The changes of each repeat: the seed, starting at the run file's, and the fold if there are folds."""
    folds = [] if num_folds is None else [{"fold": f"{fold}/{num_folds}"} for fold in range(1, num_folds + 1)]
    return [{"seed": seed + number, **fold} for number in range(num_repeats) for fold in folds or [{}]]


def name_of_repeat(changes: Mapping[str, Any]) -> str:
    """``seed 42``, ``seed 42 fold 1/5``."""
    return " ".join(f"{key} {value}" for key, value in changes.items())


def default_name(plans: Sequence[Mapping[str, Any]], varied: Sequence[str], digest: str) -> str:
    """``compare-digits-optimizer-1f3a9c02``: the same comparison has the same name."""
    data = plans[0].get("dataset", plans[0]["trainer"])  # without a dataset, the trainer makes the samples
    dataset = str(data["use"])
    words = [re.sub(r"[^\w.]+", "-", word).strip("-") for word in (dataset, *varied)]
    return "-".join(("compare", *words, digest[:8]))[:100]


def digest_of(plans: Sequence[Mapping[str, Any]]) -> str:
    """A hash of the comparison: the rows' run files before they are built, and the user's own code."""
    text = json.dumps([list(plans), hashes_of(plans)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hashes_of(plans: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The SHA-256 of the user's own files that rows name, ``net.py`` in ``net.py:Net`` and plugin files, and of the
    modules beside them that these import."""
    texts = {text for plan in plans for text in plan["plugins"]}
    texts |= {name.rpartition(":")[0] for plan in plans for name in _names(plan) if ":" in name}
    named = [path for text in texts if is_path(text) and (path := Path(text).expanduser()).is_file()]
    files = {
        beside if (beside := path.parent / one.name).is_file() else one  # unless `path` is a link
        for path in named
        for one in with_neighbours([path.resolve()])
    }
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted({*named, *files})}


def versions_of(plans: Sequence[Mapping[str, Any]], registry: Registry) -> dict[str, str]:
    """The versions of wf, torch and the distributions of the rows' components."""
    found = {name: version(name) for name in ("wf-core", "torch")}
    for plan in plans:
        for kind in KINDS.keys() & plan.keys():
            for table in plan[kind] if kind in KINDS.several else [plan[kind]]:
                use = table.get("use") if isinstance(table, Mapping) else None
                if isinstance(use, str) and registry.has(kind, use.partition("@")[0]):
                    plugin = registry.find(kind, use).plugin
                    if plugin and plugin.distribution:
                        found[plugin.distribution] = str(plugin.version)
    return dict(sorted(found.items()))


def _names(value: Any) -> Iterator[str]:
    """Every ``use`` in a run file, nested components included."""
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        if key == "use" and isinstance(item, str):
            yield item
        elif isinstance(item, (Mapping, list)):
            yield from _names(item)
