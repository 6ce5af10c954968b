"""Checkpoints as directories: each is complete and verified, or absent.

A save copies the state to host memory; the rest is done in the background, while training continues. A checkpoint is
written to a temporary directory beside its final one, every file and the directory are fsynced, the manifest comes
last, and one rename commits it. A process that dies at any point leaves earlier checkpoints intact; the next save
removes its leftovers. A run directory has one writer at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from wf.declarations.component import FromRun
from wf.engine.figures import Monitor, best
from wf.errors import DataError, NothingSavedError, SaveError, UsageError, unknown
from wf_durability.snapshot import Snapshot, pieces, raw, safetensors_file
from wf_state import codec
from wf_storage import files

if TYPE_CHECKING:
    from wf import Loop

SCHEMA = 1
"""The version of the layout and of the manifest."""

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"

_LOG = logging.getLogger("wf")
_PLACE = re.compile(r"(?:\.old-)?(step-\d{8,})")


class DamagedCheckpoint(DataError):  # noqa: N818 - named after its meaning
    """A checkpoint whose checksums do not match, or that cannot be read."""


class DirectoryCheckpointer:
    """Keeps checkpoints as directories with a checksum of every file and tensor, and loads only intact ones.

    Each one is ``run_dir/checkpoints/step-00000938`` with the files ``tensors.safetensors``, ``state.json`` and
    ``manifest.json``; nothing in it is a pickle. ``latest`` is the newest intact checkpoint; one with a model that is
    not finite is skipped if there is a finite one. ``best`` is the intact checkpoint with the best monitored figure
    (the first of equal ones). The newest `keep_last`, the best, the newest with a finite model and, with `keep_every`,
    every n-th checkpoint are kept; the others are removed once a new one is durable. Of several processes only the
    first may save.

    The copy of the state stays in host memory from one save to the next, as large as the tensors of a checkpoint.

    Args:
        run_dir: The run directory.
        monitor: The figure that selects the best one, such as ``validation/loss``.
        directions: Whether a larger figure is better, by name without the split.
        keep_last: The number of newest checkpoints to keep, 1 or more.
        keep_checkpoints: The same, from the run's general key; it takes precedence over `keep_last`.
        keep_every: Keep every n-th checkpoint of the run for good: 10 keeps the 10th, the 20th and so on. None keeps
            no further ones.

    Raises:
        UsageError: Without a run directory, or with `keep_last` or `keep_every` below 1.
    """

    figures: ClassVar[dict[str, bool | None]] = {}
    """It listens to records, but adds no figures."""

    def __init__(
        self,
        run_dir: Path | None,
        monitor: str,
        directions: dict[str, bool],
        keep_last: int = 2,
        keep_every: int | None = None,
        keep_checkpoints: Annotated[int | None, FromRun("keep_checkpoints")] = None,
    ) -> None:
        if run_dir is None:
            raise UsageError("checkpoints need a run directory, but this run writes none")
        if keep_checkpoints is not None and keep_checkpoints < 1:
            raise UsageError(f"keep_checkpoints is {keep_checkpoints}; at least 1 checkpoint is kept")
        keep_last = keep_last if keep_checkpoints is None else keep_checkpoints
        if keep_last < 1:
            raise UsageError(f"keep_last is {keep_last}; at least 1 checkpoint is kept")
        if keep_every is not None and keep_every < 1:
            raise UsageError(f"keep_every is {keep_every}; 1 keeps every checkpoint, 2 every second one")
        self.folder = Path(run_dir) / "checkpoints"
        self.monitor, self.keep_last, self.keep_every = Monitor.read(monitor, directions), keep_last, keep_every
        self._snapshot = Snapshot()
        self._work: Future[Any] | None = None

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Reserve memory for the copy of the state at the first record: after a step, so that the optimizer's state
        exists."""
        if self._work is None:
            with suppress(SaveError):  # a save raises it again
                self.reserve(run.state_dict())

    def reserve(self, state: Mapping[str, Any]) -> Future[None]:
        """Start reserving memory for the copy of a state like this one."""
        self._wait()
        _, tensors = codec.encode(state)
        self._work = work = Future[None]()
        _in_background(work, lambda: self._snapshot.reserve(tensors))
        return work

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> Future[str]:
        """Copy `state` and start committing it as the checkpoint of ``progress["step"]``.

        Only one is written at a time: this waits for the previous one. The state may change as soon as this returns.

        Args:
            state: The result of `Loop.state_dict`.
            progress: The position in the run, with ``step`` and ``epoch``.
            metrics: The last figures, numbers or lists of numbers.

        Returns:
            A future of the checkpoint's directory, done once it is durable; it raises `SaveError` if it could not be
            written, and then earlier checkpoints are intact.

        Raises:
            CodecError: For a state with a value that cannot be saved.
        """
        self._wait()
        document, tensors = codec.encode(state)
        copies, data = self._snapshot.take(tensors)
        about = {**{key: progress[key] for key in ("step", "epoch")}, "progress": dict(progress)}
        about["metrics"] = _plain(metrics)
        place = self.folder / _name(progress["step"])
        self._work = work = Future[str]()  # set before it starts: an interrupt may come while the thread starts
        _in_background(work, lambda: self._commit(place, about, document, copies, data))
        return work

    def is_finite(self, place: str) -> bool:
        """Whether the model in a checkpoint is finite, by its manifest; True if that cannot be read."""
        try:
            return bool(read_manifest(Path(place))["finite"])
        except DamagedCheckpoint:
            return True

    @staticmethod
    def is_empty(run_dir: Path) -> bool:
        """Whether a run has no checkpoint yet, so that its model must load pretrained weights."""
        return not _scan(run_dir / "checkpoints")

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """The state of the checkpoint `which`: ``latest``, ``best``, or a name such as ``step-00000938``.

        Raises:
            NothingSavedError: If there is no checkpoint.
            DataError: If there is none with that name, or no intact one.
        """
        self._wait()
        found = _scan(self.folder)
        if which in ("latest", "best") and not found:
            raise NothingSavedError(f"there are no checkpoints in {self.folder}: the run ended before its first one")
        if which not in ("latest", "best") and which not in found:
            raise DataError(unknown("checkpoint", which, ["latest", "best", *found], f"looked in {self.folder}"))
        names = list(reversed(found))
        if which == "best":
            self.monitor.direction("--monitor")
            names = self._best_first(_manifests(found, warn=True))
        elif which == "latest":
            names = _finite_first(names, _manifests(found, warn=False))
        else:
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
            lines.append(f"none of them has a number for the monitor '{self.monitor.figure}'")
        return "\n  ".join([*lines, *(skipped or [f"there: {', '.join(names)}"])])

    def _best_first(self, manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """The names of the checkpoints that have the figure, the best first; empty if its direction is unknown."""
        larger, figure = self.monitor.larger_is_better, self.monitor.figure
        figures = {name: manifest["metrics"].get(figure) for name, manifest in manifests.items()}
        return [] if larger is None else best(figures, larger_is_better=larger)

    def _wait(self) -> None:
        """Wait for the running write; its result is for the holder of the future."""
        if self._work is not None and not self._work.cancelled():
            wait([self._work])

    def _commit(
        self,
        place: Path,
        about: dict[str, Any],
        document: dict[str, Any],
        tensors: Mapping[str, Tensor],
        data: memoryview,
    ) -> str:
        temporary = place.with_name(f".tmp-{place.name}-{os.getpid()}")
        try:
            files.make_own_folder(self.folder)
            files.sync_directory(self.folder.parent)
            _clean(self.folder)
            files.make_directory(temporary)
            about["number"] = 1 + self._last_number(about["step"])
            _write_files(temporary, about, document, tensors, data)
            _replace(temporary, place)
        except OSError as error:
            raise SaveError(
                f"the checkpoint {place.name} could not be written to {self.folder}: {error.strerror or error}\n"
                "  earlier checkpoints are intact; check whether the disk is full or the directory read-only"
            ) from error
        finally:
            with suppress(OSError):
                if temporary.exists():  # it does not exist after a commit
                    files.remove_tree(temporary)
        self._retire(about["step"])
        return str(place)

    def _last_number(self, step: int) -> int:
        """The running number of the last checkpoint before `step`."""
        manifests = _manifests(_scan(self.folder), warn=False).values()
        return max((manifest.get("number", 0) for manifest in manifests if manifest["step"] < step), default=0)

    def _retire(self, step: int) -> None:
        """Remove checkpoints that are no longer kept; those of later steps, from before a rollback, stay."""
        found = _scan(self.folder)
        manifests = _manifests(found, warn=False)
        past = [name for name, manifest in manifests.items() if manifest["step"] <= step]
        finite = [name for name in past if manifests[name]["finite"]]
        kept = {*past[-self.keep_last :], *self._best_first(manifests)[:1], *finite[-1:]}
        if self.keep_every is not None:
            kept |= {name for name in past if manifests[name].get("number", 0) % self.keep_every == 0}
        try:
            for name in past:
                if name not in kept:
                    _discard(found[name])
        except OSError as error:
            _LOG.warning("old checkpoints could not be removed from %s: %s", self.folder, error.strerror or error)


def list_checkpoints(run_dir: Path) -> list[dict[str, Any]]:
    """The checkpoints of a run directory, oldest first, from manifests only: tensors are not read or verified.

    Returns:
        For each one ``name``, ``step``, ``epoch``, ``metrics``, ``finite`` and ``path``.
    """
    found = _scan(run_dir / "checkpoints")
    return [
        {"name": name, "path": found[name], **{key: manifest[key] for key in ("step", "epoch", "metrics", "finite")}}
        for name, manifest in _manifests(found, warn=True).items()
    ]


def read_checkpoint(path: Path) -> Any:
    """The state of the checkpoint in directory `path`, with all checksums verified. The state is built from exactly
    the verified bytes.

    Raises:
        DamagedCheckpoint: Describing the damage.
    """
    manifest = read_manifest(path)
    try:
        found = {name: files.read(path / name) for name in (TENSORS, STATE)}
        for name, data in found.items():
            if {"bytes": len(data), "sha256": _sha256(data)} != manifest["files"][name]:
                raise DamagedCheckpoint(f"{name} does not match its checksum")
        tensors = safetensors.torch.load(found[TENSORS])
        if {name: _sha256(raw(tensor)) for name, tensor in tensors.items()} != manifest["tensors"]:
            raise DamagedCheckpoint(f"the tensors in {TENSORS} do not match their checksums")
        return codec.decode(json.loads(found[STATE]), tensors)
    except OSError as error:
        raise DamagedCheckpoint(_reason(error)) from error
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        if isinstance(error, DamagedCheckpoint):
            raise
        raise DamagedCheckpoint(f"it cannot be read: {error}") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the checkpoint in directory `path`, its own checksum verified.

    Raises:
        DamagedCheckpoint: Describing the damage.
    """
    try:
        data = files.read(path / MANIFEST)
        manifest = {key: value for key, value in json.loads(data).items() if key != "digest"}
        if _seal(manifest) != data:
            raise DamagedCheckpoint(f"{MANIFEST} does not match its checksum")
        if manifest["schema"] != SCHEMA:
            raise DamagedCheckpoint(f"it is written in schema {manifest['schema']}, this version reads {SCHEMA}")
        if _name(manifest["step"]) != path.name.removeprefix(".old-"):
            raise DamagedCheckpoint(f"its manifest belongs to step {manifest['step']}")
        if not isinstance(manifest["metrics"], dict) or not isinstance(manifest.get("number", 0), int):
            raise DamagedCheckpoint(f"{MANIFEST} has no figures, or no number")
        _ = manifest["epoch"], manifest["finite"]
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


def _in_background(future: Future[Any], work: Callable[[], Any]) -> None:
    """Start `work` in a separate thread; a normal exit waits for it.

    An interrupt that comes before it has begun cancels it.
    """

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="wf-checkpoint").start()
    except BaseException:
        future.cancel()
        raise


def _write_files(
    folder: Path, about: Mapping[str, Any], document: dict[str, Any], tensors: Mapping[str, Tensor], data: memoryview
) -> None:
    """Write the files of a checkpoint, the manifest last."""
    sums: dict[str, dict[str, Any]] = {}
    files.write_file(folder / TENSORS, _summed(TENSORS, safetensors_file(tensors, data), sums))
    files.write_file(folder / STATE, _summed(STATE, [memoryview(_json(document))], sums))
    manifest = {
        "schema": SCHEMA,
        **about,
        "finite": _is_finite(_model(document, tensors)),
        "files": sums,
        "tensors": {name: _sha256(raw(tensor)) for name, tensor in tensors.items()},
    }
    files.write_file(folder / MANIFEST, [_seal(manifest)])
    files.sync_directory(folder)


def _summed(name: str, parts: Iterable[memoryview], sums: dict[str, dict[str, Any]]) -> Iterator[memoryview]:
    """The parts of a file as they come; after the last one its length and checksum are in `sums`."""
    digest, num_bytes = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        num_bytes += len(part)
        yield part
    sums[name] = {"bytes": num_bytes, "sha256": digest.hexdigest()}


def _model(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Iterable[Any]:
    """The values of the model's state in an encoded state."""
    node: Any = document["value"].get("parts", {}).get("model", {})
    model: Mapping[str, Any] = codec.decode({**document, "value": node}, tensors)
    return model.values()


def _is_finite(values: Iterable[Any]) -> bool:
    """Whether all floating-point tensors are finite."""
    return all(_all_finite(value) for value in values if isinstance(value, Tensor))


def _all_finite(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    wide = tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor
    if torch.isfinite(wide.sum()):  # one pass: no sum with a term that is not finite is finite
        return True
    return bool(torch.isfinite(wide).all())


def _plain(value: Any) -> Any:
    """Figures as strict JSON; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seal(manifest: Mapping[str, Any]) -> bytes:
    """The only valid bytes of a manifest: any difference is damage."""
    return _json({**manifest, "digest": _sha256(_json(manifest))}, indent=1)


def _json(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, allow_nan=False, indent=indent).encode("ascii") + b"\n"


def _sha256(data: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for piece in pieces(memoryview(data)):
        digest.update(piece)
    return digest.hexdigest()


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _scan(folder: Path) -> dict[str, Path]:
    """The directories of the checkpoints by name, oldest first.

    A directory that was moved aside by a process that died before moving the new one into place still counts.
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


def _finite_first(names: list[str], manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names in order, with checkpoints of a model that is not finite last: no run recovers from these."""
    ordered = sorted(names, key=lambda name: name in manifests and not manifests[name]["finite"])
    for name in names[: names.index(ordered[0])] if ordered else []:
        _LOG.warning("checkpoint %s is skipped: its weights are not finite", name)
    return ordered


def _replace(new: Path, place: Path) -> None:
    """Move a finished directory into place; an existing one is removed once the new one is durable."""
    old = place.with_name(f".old-{place.name}")
    moved = place.exists()
    if moved:
        files.rename(place, old)
    try:
        files.rename(new, place)
    except OSError:
        if moved:
            files.rename(old, place)
        raise
    files.sync_directory(place.parent)
    if moved:
        with suppress(OSError):  # the next save cleans it
            files.remove_tree(old)


def _clean(folder: Path) -> None:
    """Remove or restore the leftovers of a dead process."""
    for path in sorted(folder.glob(".old-*")):
        place = folder / path.name.removeprefix(".old-")
        if place.exists():
            files.sync_directory(folder)
            files.remove_tree(path)
        else:
            files.rename(path, place)
    for path in sorted(folder.glob(".tmp-*")):
        files.remove_tree(path)


def _discard(path: Path) -> None:
    """Remove a checkpoint so that a process killed in between leaves nothing that looks damaged."""
    doomed = path.with_name(f".tmp-{path.name}-gone")
    files.rename(path, doomed)
    files.sync_directory(path.parent)
    files.remove_tree(doomed)
