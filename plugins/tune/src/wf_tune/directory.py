"""The directory of a search: its definition, the runs of its trials, and the final comparison.

::

    tune-digits-optimizer.lr-1f3a9c02/
                manifest.json        the definition, the machine's settings, the progress
                search.toml          the run file of the search; each trial adds its settings
                search.db            the trials (SQLite), unless --storage names another database
                trial-0/             a run directory; with --repeats a folder with a run directory for each seed
                trial-0.log          the trial's screen output, if any
                final-50/            the comparison of the best of the first 50 trials with the defaults
                best.toml            the run file of the winner
                search.json          the output of `wf tune --json`

The directory appears by one rename, complete except for the trials.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Self

from wf.discovery.modules import is_path
from wf.errors import DataError
from wf_compare.study import hashes_of
from wf_run.directory.group import RunGroup
from wf_run.runfiles.runfile import RunFile, folders_of, load
from wf_storage.files import write_atomically
from wf_tune.space import Dimension, Space, parse
from wf_tune.trials import Trials, of_file, without_password

DEFINED = {
    "document",
    "space",
    "only",
    "by",
    "larger_is_better",
    "searcher",
    "pruner",
    "repeats",
    "seed",
    "digest",
    "code",
}
"""Required fields of a definition."""
FILE = "search.db"
"""The SQLite file."""
BASE = "search.toml"
"""The run file of the search."""
RESULT = "search.json"
"""The output of ``wf tune --json``."""


class Directory(RunGroup):
    """The directory of a search.

    Args:
        path: The directory, with a manifest.
    """

    KIND = "search"
    RESUMED_BY = "wf tune --resume"
    NEEDED = {"definition", "study", "storage", "worker", "home", "jobs", "finalists", "final_repeats", "trials"} | {
        "plugins",
        "only_builtin",
        "folders",
    }

    @classmethod
    def create(cls, path: Path, definition: Mapping[str, Any], *, storage: str | None, **fields: Any) -> Self:
        """Create the directory of a new search, or of a search that this machine joins.

        Args:
            path: The directory; it must not exist.
            definition: See `definition_of`.
            storage: The URL of the database; None for a file in the directory.
            fields: Further fields of the manifest.

        Raises:
            DataError: If the directory cannot be written.
        """
        return cls.begin(
            path,
            lambda directory: write_atomically(directory / BASE, definition["document"]),
            status="new",
            definition=dict(definition),
            storage=None if storage is None else without_password(storage),
            worker=f"{socket.gethostname()}:{path.absolute()}",
            **fields,
        )

    def missing(self, manifest: dict[str, Any]) -> Set[str]:
        """The required fields that are missing in a manifest or its definition."""
        definition = manifest.get("definition")
        return super().missing(manifest) or (DEFINED - (definition.keys() if isinstance(definition, dict) else set()))

    @property
    def definition(self) -> dict[str, Any]:
        """The definition of the search; see `definition_of`."""
        return dict(self.manifest["definition"])

    @property
    def document(self) -> RunFile:
        """The run file of the search.

        Raises:
            DataError: If it is missing.
        """
        if not (file := self.path / BASE).is_file():
            raise DataError(f"{file} is missing, so the search cannot be continued\n  start a new search: --name NAME")
        return load(file)

    @property
    def folders(self) -> list[Path]:
        """The folders in which relative paths of the run file are looked up."""
        return [*folders_of(self.path / BASE), *map(Path, self.manifest["folders"])]

    @property
    def space(self) -> Space:
        """The search space."""
        return space_of(self.definition)

    def trials(self, storage: str | None = None) -> Trials:
        """The trials.

        Args:
            storage: The URL of the database with its password, which the manifest does not hold.

        Raises:
            DataError: If the database is missing or cannot be reached.
        """
        manifest = self.manifest
        if manifest["storage"] is not None:
            return Trials(storage or manifest["storage"], manifest["study"])
        file, is_new = self.path / FILE, manifest["status"] == "new"
        if not is_new and not self.has_trials:
            raise DataError(f"{file} is missing: {self.lost}")
        if is_new:  # or an earlier start was interrupted before the first trial
            file.write_bytes(b"")
        return Trials(of_file(file), manifest["study"])

    @property
    def has_trials(self) -> bool:
        """Whether the file of the trials is there, or they are elsewhere."""
        return self.manifest["storage"] is not None or (self.path / FILE).is_file()

    @property
    def lost(self) -> str:
        """Advice where the file of the trials is gone."""
        return (
            "the settings and figures of the trials are lost\n"
            f"  the runs are still there: wf runs {self.path}\n  start a new search: --name NAME"
        )

    def place(self, number: int) -> Path:
        """The run directory of a trial, or the folder of its repeats."""
        return self.path / f"trial-{number}"

    def runs(self, number: int) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The run directories of a trial, each with the run-file changes of that repeat (its seed)."""
        definition = self.definition
        if definition["repeats"] == 1:
            yield self.place(number), {}
            return
        for seed in range(definition["seed"], definition["seed"] + definition["repeats"]):
            yield self.place(number) / f"seed-{seed}", {"seed": seed}

    def write(self, record: Mapping[str, Any]) -> None:
        """Write ``search.json``."""
        write_atomically(self.path / RESULT, json.dumps(record, indent=2, allow_nan=False) + "\n")


def definition_of(
    document: str,
    plans: Sequence[Mapping[str, Any]],
    space: Space,
    *,
    conditions: Mapping[str, Any],
    **fields: Any,
) -> dict[str, Any]:
    """The definition of a search: everything that another machine needs to join it. It never changes.

    Args:
        document: The run file as TOML.
        plans: Prepared run files of points that together use every component of the space.
        space: The search space.
        conditions: Versions and checksums of the code, from `wf_tune.code.warm_up`; no part of the digest.
        fields: `by`, `larger_is_better`, `searcher`, `pruner`, `repeats` and `seed`.
    """
    own = {
        "document": document,
        "space": [list(one) for one in space.texts],
        "only": {key: [owner, sorted(names)] for key, (owner, names) in space.conditions.items()},
        **fields,
    }
    code = hashes_of(plans)
    said = {**own, "document": tomllib.loads(document)}  # parsed, because the order of its keys varies
    text = json.dumps([list(plans), said, code], sort_keys=True, default=str)
    return {**own, "code": code, "conditions": dict(conditions), "digest": hashlib.sha256(text.encode()).hexdigest()}


def space_of(definition: Mapping[str, Any]) -> Space:
    """The search space of a definition."""
    dimensions: list[Dimension] = [parse(f"{key}={text}") for key, text in definition["space"]]
    only = {key: (owner, frozenset(names)) for key, (owner, names) in definition["only"].items()}
    return Space.known(dimensions, only)


def default_name(plan: Mapping[str, Any], space: Space, digest: str) -> str:
    """The default name of a search, such as ``tune-digits-lr-1f3a9c02``; equal searches get equal names."""
    data = str(plan.get("dataset", plan["trainer"])["use"])
    keys = sorted(one.key.rpartition(".")[2] for one in space.dimensions)
    words = [re.sub(r"[^\w.]+", "-", Path(word).stem if is_path(word) else word).strip("-") for word in (data, *keys)]
    return "-".join(("tune", *words))[:80].rstrip("-") + f"-{digest[:8]}"
