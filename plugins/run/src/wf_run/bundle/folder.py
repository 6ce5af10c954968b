"""The files of a bundle: written as a whole, and read only if every checksum matches. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.errors import DataError, SaveError, UsageError
from wf_run.directory.kept import KEPT
from wf_storage import files, manifests

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""The version of the folder's format; a reader refuses a newer one."""
NAME, MANIFEST, CARD, RUN_FILE = "bundle", "bundle.json", "README.md", "run.toml"
"""The folder in a run directory, its manifest, its model card, and the run file for rebuilding the model."""
WEIGHTS, STATE, STATE_TENSORS, DATA, GRAPH = (
    "weights.safetensors",
    "state.json",
    "state.safetensors",
    "data.json",
    "graph.pt2",
)
"""The model's state_dict; the fitted transforms' states as a document and its tensors; the description of the data; an
exported graph."""
_DIGEST = "sha256"


class BundleFolder:
    """A bundle on disk, with its manifest read and its files verified.

    Args:
        path: The folder.
        manifest: The content of ``bundle.json``.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def find(cls, place: str | os.PathLike[str], checkpoint: str = KEPT) -> BundleFolder | None:
        """The bundle at a path, or at a path below ``runs/``; None if there is none.

        Args:
            place: The path.
            checkpoint: The wanted weights; a bundle has only one set.

        Raises:
            DataError: If it is damaged, or from a newer wf.
            UsageError: If another checkpoint is requested.
        """
        path = path_of(place)
        if path is None:
            return None
        if checkpoint != KEPT:
            raise UsageError(
                f"{path} is a bundle: it has the weights that its run keeps, and no checkpoint '{checkpoint}'\n"
                "  leave out --checkpoint, or name the run directory"
            )
        return cls(path, _verified(path))

    @property
    def rebuild(self) -> str:
        """How the model is rebuilt, see `wf_run.bundle.rebuild`."""
        return str(self.manifest["rebuild"]["by"])

    @property
    def graph(self) -> str | None:
        """The checksum of its exported graph; None without one."""
        listed = self.manifest["files"].get(GRAPH)
        return None if listed is None else str(listed[_DIGEST])

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of a safetensors file."""
        from safetensors import SafetensorError  # finding a bundle must not import torch
        from safetensors.torch import load

        try:
            return load(files.read(self.path / name))
        except (OSError, ValueError, SafetensorError) as error:
            raise DataError(f"{self.path / name} cannot be read: {error}") from error

    def json(self, name: str) -> Any:
        """The content of a JSON file."""
        try:
            return manifests.parse(files.read(self.path / name))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name} cannot be read: {error}") from error


def path_of(place: str | os.PathLike[str]) -> Path | None:
    """The folder of a bundle: a path, or one below ``runs/``; None if there is none."""
    path = Path(place)
    return next((one for one in (path, Path("runs") / path) if os.path.isfile(one / MANIFEST)), None)


def refuse_bundle(place: str | os.PathLike[str]) -> None:
    """Refuse a bundle where a run directory is needed: to resume, to replay, to open the data of a run.

    Raises:
        UsageError: With advice.
    """
    path = path_of(place)
    if path is not None:
        raise UsageError(
            f"{path} is a bundle, but this needs a run directory: a bundle has no state of optimizer and data"
            f"\n  train on from its weights: wf run --init-from {path} ..."
            "\n  or name the run directory that it came from"
        )


def write(folder: Path, manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    """Write a bundle, replacing an existing one; at any time a reader finds the old one, the new one, or none.

    Args:
        folder: The bundle's folder.
        manifest: The content of ``bundle.json``, without the checksums.
        contents: The files by their paths below the folder.

    Raises:
        SaveError: When it cannot be written.
    """
    temporary, old = (folder.with_name(f".{folder.name}.{end}") for end in ("tmp", "old"))
    listed = {name: {"bytes": len(data), _DIGEST: hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    listed.pop(CARD, None)  # people may edit it
    found = {"format": FORMAT, **manifest, "files": listed}
    text = json.dumps({**found, _DIGEST: _digest(found)}, indent=2, allow_nan=False) + "\n"
    try:
        for left in (temporary, old):
            if os.path.lexists(left):
                files.remove_tree(left)
        files.make_directory(temporary)
        for name, data in {**contents, MANIFEST: text.encode()}.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            files.write_file(temporary / name, [data])
        files.sync_directory(temporary)
        if os.path.lexists(folder):
            files.rename(folder, old)
        files.rename(temporary, folder)
        files.sync_directory(folder.parent)
        if os.path.lexists(old):
            files.remove_tree(old)
    except OSError as error:
        raise SaveError(f"cannot write {folder}: {error.strerror or error}") from error


def _verified(path: Path) -> dict[str, Any]:
    """The manifest of a bundle, after a check that all its files are unchanged."""
    file = path / MANIFEST
    try:
        found = manifests.parse(files.read(file, manifests.MAX_MANIFEST))
        version = found["format"]
        if isinstance(version, int) and version > FORMAT:
            raise DataError(
                f"{path} is a bundle of format {version}, and this wf reads up to {FORMAT}\n"
                f"  install a newer wf: it was made with wf {found.get('versions', {}).get('wf', '(unknown)')}"
            )
        if found[_DIGEST] != _digest({key: value for key, value in found.items() if key != _DIGEST}):
            raise ValueError("it was changed: its checksum does not agree")
        listed = {str(name): (int(one["bytes"]), str(one[_DIGEST])) for name, one in found["files"].items()}
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
        raise _damaged(path, f"{MANIFEST}: {why}") from error
    for name, (size, digest) in listed.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise _damaged(path, f"{MANIFEST} lists '{name}', which is not below it")
        _check(path, name, size, digest)
    return dict(found)


def _check(path: Path, name: str, size: int, digest: str) -> None:
    found = hashlib.sha256()
    try:
        num = 0
        for block in files.blocks(path / name):
            found.update(block)
            num += len(block)
    except OSError as error:
        raise _damaged(path, f"{name}: {error.strerror or error}") from error
    if num != size:
        raise _damaged(path, f"{name} is not as it was written: it has {num:,} bytes instead of {size:,}")
    if found.hexdigest() != digest:
        raise _damaged(path, f"{name} is not as it was written: its size is right, but its checksum differs")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"bundle {path} is damaged: {why}\n  copy it again from its source, or make it again: wf run")


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
