"""Checkpoints as directories: each one is whole and verified, or it is not there.

A checkpoint is written to a temporary directory beside its place, every file and the directory are fsynced, the
manifest comes last, and one rename commits it. A process that dies at any point leaves the checkpoints before it as
they were; what it leaves behind is cleaned by the next save. A run directory has one writer at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from wf.errors import DataError, UsageError, unknown
from wf.runtime import codec

SCHEMA = 1
"""The version of the layout and of the manifest."""

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"

_LOG = logging.getLogger("wf")
_PLACE = re.compile(r"(?:\.old-)?(step-\d{8,})")


class DamagedCheckpoint(DataError):  # noqa: N818 - named for what it is
    """A checkpoint that does not verify."""


class DirectoryCheckpointer:
    """Keeps checkpoints as directories with a checksum of every file and tensor, and loads only what verifies.

    Each one is ``run_dir/checkpoints/step-00000938`` with the files ``tensors.safetensors``, ``state.json`` and
    ``manifest.json``; nothing in it is a pickle. ``latest`` is the newest that verifies, ``best`` the one with the best
    figure of the monitor among those that verify (of equal ones the first). The newest `keep_last`, the best one and
    the newest one whose model is finite are kept; older ones are removed once a new one is durable.
    Of several processes only the first may save.

    Args:
        run_dir: The run directory.
        monitor: The figure that decides what is best, as ``validation/loss``.
        directions: Whether a larger figure is better, by name without the split.
        keep_last: How many of the newest checkpoints are kept, 1 or more.

    Raises:
        UsageError: Without a run directory, or with `keep_last` below 1.
    """

    def __init__(self, run_dir: Path | None, monitor: str, directions: dict[str, bool], keep_last: int = 2) -> None:
        if run_dir is None:
            raise UsageError("checkpoints need a run directory, and this run writes none")
        if keep_last < 1:
            raise UsageError(f"keep_last is {keep_last}; at least 1 checkpoint is kept")
        self.folder = Path(run_dir) / "checkpoints"
        self.monitor, self.keep_last = monitor, keep_last
        self.larger_is_better = directions.get(monitor.partition("/")[2], False)

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        """Commit `state` as the checkpoint of ``progress["step"]``; when it returns the checkpoint is durable.

        Args:
            state: What `Loop.state_dict` gives.
            progress: The position in the run, with ``step`` and ``epoch``.
            metrics: The last figures, numbers or lists of numbers.

        Returns:
            The checkpoint's directory.

        Raises:
            DataError: When it could not be written. The checkpoints before it are as they were.
            CodecError: For a state that holds something that cannot be saved.
        """
        place = self.folder / _name(progress["step"])
        self._commit(place, _pack(state, progress, metrics))
        self._retire(progress["step"])
        return str(place)

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """The state of the checkpoint `which`: ``latest``, ``best``, or a name such as ``step-00000938``.

        Raises:
            DataError: When there is none of that name, or none that verifies.
        """
        found = _scan(self.folder)
        if which not in ("latest", "best") and which not in found:
            raise DataError(unknown("checkpoint", which, ["latest", "best", *found], f"looked in {self.folder}"))
        names = list(reversed(found))
        if which == "best":
            names = _by_figure(_manifests(found, warn=True), self.monitor, self.larger_is_better)
        elif which != "latest":
            names = [which]
        skipped = []
        for name in names:
            try:
                state: Mapping[str, Any] = read_checkpoint(found[name])
                return state
            except DamagedCheckpoint as error:
                _LOG.warning("checkpoint %s is skipped: %s", name, error)
                skipped.append(f"{name}: {error}")
        raise DataError(self._nothing(which, list(found), skipped))

    def _nothing(self, which: str, names: list[str], skipped: list[str]) -> str:
        lines = [f"no usable checkpoint for '{which}' in {self.folder}"]
        if which == "best" and not skipped:
            lines.append(f"none of them has a number for the monitor '{self.monitor}'")
        return "\n  ".join([*lines, *(skipped or [f"there: {', '.join(names) or 'nothing'}"])])

    def _commit(self, place: Path, files: Mapping[str, bytes]) -> None:
        temporary = place.with_name(f".tmp-{place.name}-{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _sync_directory(self.folder.parent)
            _clean(self.folder)
            _write_directory(temporary, files)
            _replace(temporary, place)
        except OSError as error:
            raise DataError(
                f"the checkpoint {place.name} could not be written to {self.folder}: {error.strerror or error}\n"
                "  the checkpoints before it are as they were; see whether the disk is full or the directory read-only"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # it is gone after a commit

    def _retire(self, step: int) -> None:
        """Remove what is no longer kept; checkpoints of later steps, from before a run went back, are left alone."""
        found = _scan(self.folder)
        manifests = _manifests(found, warn=False)
        past = [name for name, manifest in manifests.items() if manifest["step"] <= step]
        finite = [name for name in past if manifests[name]["finite"]]
        best = _by_figure(manifests, self.monitor, self.larger_is_better)
        kept = {*past[-self.keep_last :], *best[:1], *finite[-1:]}
        try:
            for name in past:
                if name not in kept:
                    _discard(found[name])
        except OSError as error:
            _LOG.warning("old checkpoints could not be removed from %s: %s", self.folder, error.strerror or error)


def list_checkpoints(run_dir: Path) -> list[dict[str, Any]]:
    """What a run directory has, oldest first, by the manifests alone: tensors are not read or verified.

    Returns:
        For each one ``name``, ``step``, ``epoch``, ``metrics``, ``finite`` and ``path``.
    """
    found = _scan(run_dir / "checkpoints")
    return [
        {"name": name, "path": found[name], **{key: manifest[key] for key in ("step", "epoch", "metrics", "finite")}}
        for name, manifest in _manifests(found, warn=True).items()
    ]


def read_checkpoint(path: Path) -> Any:
    """The state of the checkpoint in directory `path`, all of its checksums verified.

    What is verified are the very bytes that the state is made from.

    Raises:
        DamagedCheckpoint: Saying what is wrong with it.
    """
    manifest = read_manifest(path)
    try:
        files = {name: (path / name).read_bytes() for name in (TENSORS, STATE)}
        for name, data in files.items():
            if {"bytes": len(data), "sha256": _sha256(data)} != manifest["files"][name]:
                raise DamagedCheckpoint(f"{name} does not match its checksum")
        tensors = safetensors.torch.load(files[TENSORS])
        if {name: _sha256(_bytes(tensor)) for name, tensor in tensors.items()} != manifest["tensors"]:
            raise DamagedCheckpoint(f"the tensors in {TENSORS} do not match their checksums")
        return codec.decode(json.loads(files[STATE]), tensors)
    except OSError as error:
        raise DamagedCheckpoint(_reason(error)) from error
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        if isinstance(error, DamagedCheckpoint):
            raise
        raise DamagedCheckpoint(f"it cannot be read: {error}") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint in directory `path`, its own checksum verified.

    Raises:
        DamagedCheckpoint: Saying what is wrong with it.
    """
    try:
        data = (path / MANIFEST).read_bytes()
        manifest = {key: value for key, value in json.loads(data).items() if key != "digest"}
        if _seal(manifest) != data:
            raise DamagedCheckpoint(f"{MANIFEST} does not match its checksum")
        if manifest["schema"] != SCHEMA:
            raise DamagedCheckpoint(f"it is written in schema {manifest['schema']}, this version reads {SCHEMA}")
        if _name(manifest["step"]) != path.name.removeprefix(".old-"):
            raise DamagedCheckpoint(f"its manifest is that of step {manifest['step']}")
    except OSError as error:
        raise DamagedCheckpoint(_reason(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, DamagedCheckpoint):
            raise
        raise DamagedCheckpoint(f"{MANIFEST} cannot be read") from error
    return manifest


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"{Path(error.filename).name} is missing"
    return str(error)


def _pack(state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """The contents of a checkpoint's files, the manifest last."""
    document, tensors = codec.encode(state)
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    files = {TENSORS: safetensors.torch.save(tensors), STATE: _json(document)}
    manifest = {
        "schema": SCHEMA,
        "step": progress["step"],
        "epoch": progress["epoch"],
        "progress": dict(progress),
        "metrics": _plain(metrics),
        "finite": _is_finite(state.get("parts", {}).get("model", {}).values()),
        "files": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()},
        "tensors": {name: _sha256(_bytes(tensor)) for name, tensor in tensors.items()},
    }
    return {**files, MANIFEST: _seal(manifest)}


def _is_finite(values: Iterable[Any]) -> bool:
    """Whether all floating tensors are; a device is waited for once."""
    checks: dict[torch.device, list[Tensor]] = {}
    for value in values:
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
            wide = value.float() if value.is_floating_point() and value.dtype.itemsize == 1 else value
            checks.setdefault(value.device, []).append(torch.isfinite(wide).all())
    return all(bool(torch.stack(on_device).all()) for on_device in checks.values())


def _plain(value: Any) -> Any:
    """Figures as strict JSON has them; one that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seal(manifest: Mapping[str, Any]) -> bytes:
    """A manifest's only valid bytes: any other ones were changed."""
    return _json({**manifest, "digest": _sha256(_json(manifest))}, indent=1)


def _json(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, allow_nan=False, indent=indent).encode("ascii") + b"\n"


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.as_strided((tensor.numel(),), (1,))  # a contiguous tensor of one element may have any stride
    return flat.view(torch.uint8).numpy().data


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _scan(folder: Path) -> dict[str, Path]:
    """The directories of the checkpoints by name, oldest first.

    One that was moved aside by a process that died before its replacement took its place still counts.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():  # ".old-" comes before "step-"
        if match := _PLACE.fullmatch(path.name):
            found[match[1]] = path
    return dict(sorted(found.items(), key=lambda item: int(item[0].removeprefix("step-"))))


def _manifests(found: Mapping[str, Path], *, warn: bool) -> dict[str, dict[str, Any]]:
    manifests = {}
    for name, path in found.items():
        try:
            manifests[name] = read_manifest(path)
        except DamagedCheckpoint as error:
            if warn:
                _LOG.warning("checkpoint %s is skipped: %s", name, error)
    return manifests


def _by_figure(manifests: Mapping[str, Mapping[str, Any]], monitor: str, larger_is_better: bool) -> list[str]:
    """The names of those that have the figure, best first and of equal ones the older first."""
    figures = {name: manifest["metrics"].get(monitor) for name, manifest in manifests.items()}
    names = [name for name, figure in figures.items() if isinstance(figure, int | float)]
    return sorted(names, key=lambda name: -figures[name] if larger_is_better else figures[name])


def _write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    path.mkdir()
    for name, data in files.items():
        with open(path / name, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync_directory(path)


def _replace(new: Path, place: Path) -> None:
    """Put a finished directory in its place; what was there is removed when the new one is durable."""
    old = place.with_name(f".old-{place.name}")
    moved = place.exists()
    if moved:
        os.rename(place, old)
    try:
        os.rename(new, place)
    except OSError:
        if moved:
            os.rename(old, place)
        raise
    _sync_directory(place.parent)
    if moved:
        shutil.rmtree(old, ignore_errors=True)


def _clean(folder: Path) -> None:
    """Remove or put back what a process that died left behind."""
    for path in folder.glob(".old-*"):
        place = folder / path.name.removeprefix(".old-")
        if place.exists():
            _sync_directory(folder)
            shutil.rmtree(path)
        else:
            os.rename(path, place)
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path)


def _discard(path: Path) -> None:
    """Remove a checkpoint so that one killed half way leaves none that looks damaged."""
    doomed = path.with_name(f".tmp-{path.name}-gone")
    os.rename(path, doomed)
    shutil.rmtree(doomed)


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there, and a rename is durable without
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
