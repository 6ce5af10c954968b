"""The manifest of a checkpoint: what it holds, with the checksums of all of it and of itself."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wf.errors import DataError
from wf_durability.places import name_of
from wf_durability.snapshot import pieces
from wf_storage import files

WHOLE, SHARDED = 1, 2
"""The versions of the layout and of the manifest: of tensors in one file, and in one of each process."""

MANIFEST, STATE = "manifest.json", "state.json"

_LOG = logging.getLogger("wf")


class DamagedCheckpoint(DataError):  # noqa: N818 - named after its meaning
    """A checkpoint that does not verify."""


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint in directory `path`, its own checksum verified.

    Raises:
        DamagedCheckpoint: Describing the damage.
    """
    try:
        data = files.read(path / MANIFEST)
        manifest = {key: value for key, value in json.loads(data).items() if key != "digest"}
        if seal(manifest) != data:
            raise DamagedCheckpoint(f"{MANIFEST} does not match its checksum")
        if manifest["schema"] not in (WHOLE, SHARDED):
            readable = f"{WHOLE} and {SHARDED}"
            raise DamagedCheckpoint(f"it is written in schema {manifest['schema']}, this version reads {readable}")
        if name_of(manifest["step"]) != path.name.removeprefix(".old-"):
            raise DamagedCheckpoint(f"its manifest belongs to step {manifest['step']}")
        if not isinstance(manifest["metrics"], dict) or not isinstance(manifest.get("number", 0), int):
            raise DamagedCheckpoint(f"{MANIFEST} has no figures, or no number")
        _ = manifest["epoch"], manifest["finite"]
    except OSError as error:
        raise DamagedCheckpoint(reason(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, DamagedCheckpoint):
            raise
        raise DamagedCheckpoint(f"{MANIFEST} cannot be read") from error
    return manifest


def read_manifests(found: Mapping[str, Path], *, warn: bool) -> dict[str, dict[str, Any]]:
    """The manifests of checkpoints, those that verify, by name; with `warn` the others are named in warnings."""
    manifests = {}
    for name, path in found.items():
        try:
            manifests[name] = read_manifest(path)
        except DamagedCheckpoint as error:
            if warn:
                _LOG.warning("checkpoint %s is skipped: %s", name, error)
    return manifests


def finite_first(names: list[str], manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names in order, but checkpoints with a model that is not finite last, because no run recovers from them."""
    ordered = sorted(names, key=lambda name: name in manifests and not manifests[name]["finite"])
    for name in names[: names.index(ordered[0])] if ordered else []:
        _LOG.warning("checkpoint %s is skipped: its weights are not finite", name)
    return ordered


def summed(name: str, parts: Iterable[memoryview], sums: dict[str, dict[str, Any]]) -> Iterator[memoryview]:
    """The parts of a file as they come; after the last one its length and checksum are in `sums`."""
    digest, num_bytes = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        num_bytes += len(part)
        yield part
    sums[name] = {"bytes": num_bytes, "sha256": digest.hexdigest()}


def seal(manifest: Mapping[str, Any]) -> bytes:
    """A manifest's only valid bytes: any other ones were changed."""
    return json_bytes({**manifest, "digest": sha256_of(json_bytes(manifest))}, indent=1)


def check_file(name: str, data: bytes, manifest: Mapping[str, Any]) -> None:
    """Refuse the bytes of a file that are not those that were written.

    Raises:
        DamagedCheckpoint: Naming it.
    """
    if {"bytes": len(data), "sha256": sha256_of(data)} != manifest["files"][name]:
        raise DamagedCheckpoint(f"{name} does not match its checksum")


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """Strict JSON."""
    return json.dumps(value, allow_nan=False, indent=indent).encode("ascii") + b"\n"


def sha256_of(data: bytes | memoryview) -> str:
    """The checksum of data, computed in pieces."""
    digest = hashlib.sha256()
    for piece in pieces(memoryview(data)):
        digest.update(piece)
    return digest.hexdigest()


def reason(error: OSError) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{Path(error.filename).name} is missing"
    return str(error)
