"""A checkpoint whose tensors are in one file, which one process writes and reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from wf_base.tensors import all_finite
from wf_durability.manifest import (
    MANIFEST,
    STATE,
    WHOLE,
    DamagedCheckpoint,
    check_file,
    json_bytes,
    read_manifest,
    reason,
    seal,
    sha256_of,
    summed,
)
from wf_durability.snapshot import raw, safetensors_file
from wf_state import codec
from wf_storage import files

TENSORS = "tensors.safetensors"


def read_whole(path: Path) -> Any:
    """The state of the checkpoint in directory `path`, all of its checksums verified.

    The verified bytes are the very bytes that the state is built from.

    Raises:
        DamagedCheckpoint: Describing the damage.
    """
    manifest = read_manifest(path)
    try:
        found = {name: files.read(path / name) for name in (TENSORS, STATE)}
        for name, data in found.items():
            check_file(name, data, manifest)
        tensors = safetensors.torch.load(found[TENSORS])
        if {name: sha256_of(raw(tensor)) for name, tensor in tensors.items()} != manifest["tensors"]:
            raise DamagedCheckpoint(f"the tensors in {TENSORS} do not match their checksums")
        return codec.decode(json.loads(found[STATE]), tensors)
    except OSError as error:
        raise DamagedCheckpoint(reason(error)) from error
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        if isinstance(error, DamagedCheckpoint):
            raise
        raise DamagedCheckpoint(f"it cannot be read: {error}") from error


def write_whole(
    folder: Path, about: Mapping[str, Any], document: dict[str, Any], tensors: Mapping[str, Tensor], data: memoryview
) -> None:
    """Write the files of a checkpoint, the manifest last."""
    sums: dict[str, dict[str, Any]] = {}
    files.write_file(folder / TENSORS, summed(TENSORS, safetensors_file(tensors, data), sums))
    files.write_file(folder / STATE, summed(STATE, [memoryview(json_bytes(document))], sums))
    manifest = {
        "schema": WHOLE,
        **about,
        "finite": is_finite(model_of(document, tensors)),
        "files": sums,
        "tensors": {name: sha256_of(raw(tensor)) for name, tensor in tensors.items()},
    }
    files.write_file(folder / MANIFEST, [seal(manifest)])
    files.sync_directory(folder)


def model_of(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Iterable[Any]:
    """The values of the model's state in an encoded state."""
    node: Any = document["value"].get("parts", {}).get("model", {})
    model: Mapping[str, Any] = codec.decode({**document, "value": node}, tensors)
    return model.values()


def is_finite(values: Iterable[Any]) -> bool:
    """Whether all floating tensors are."""
    return all(all_finite(value) for value in values if isinstance(value, Tensor))
