"""Checkpoints as directories: each is complete and verified, or absent.

A save copies the state to host memory; the rest is done in the background, while training continues. A checkpoint is
written to a temporary directory beside its final one, every file and the directory are fsynced, the manifest comes
last, and one rename commits it. A process that dies at any point leaves earlier checkpoints intact; the next save
removes its leftovers. A run directory has one writer at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from torch import Tensor

from wf.declarations.component import FromRun
from wf.engine.figures import Monitor, best
from wf.errors import DataError, NothingSavedError, SaveError, UsageError, unknown
from wf.protocols import Strategy
from wf.typed import finite
from wf_base.shards import local
from wf_durability.background import in_background
from wf_durability.manifest import (
    SHARDED,
    DamagedCheckpoint,
    finite_first,
    read_manifest,
    read_manifests,
)
from wf_durability.places import clean, discard, name_of, replace, scan
from wf_durability.snapshot import Snapshot
from wf_durability.whole import read_whole, write_whole
from wf_state import codec
from wf_storage import files

if TYPE_CHECKING:
    from wf import Loop

_LOG = logging.getLogger("wf")


class DirectoryCheckpointer:
    """Keeps checkpoints as directories with a checksum of every file and tensor, and loads only intact ones.

    Each one is ``run_dir/checkpoints/step-00000938`` with the files ``tensors.safetensors``, ``state.json`` and
    ``manifest.json``; nothing in it is a pickle. ``latest`` is the newest that verifies; one whose model is not
    finite is passed over where there is one that is. ``best`` is the one with the best figure of the monitor among
    those that verify (of equal ones the first). The newest `keep_last`, the best one, the newest one whose model is
    finite and, where `keep_every` is given, every n-th one are kept; the others are removed once a new one is
    durable.

    Of several processes only the first may save, unless each holds a part of the tensors (strategy ``fsdp``). These
    save and load together: each process writes its parts to a file ``shard-00000-of-00002.safetensors`` and reads those
    that it needs, and ``layout.json`` says where each part is. Any number of processes can load it, one alone as well.

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
        in_background(work, lambda: self._snapshot.reserve(tensors))
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
        about, place = _about(progress, metrics), self.folder / name_of(progress["step"])
        return self._start(lambda: self._commit(place, about, document, copies, data))

    def save_shards(
        self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any], strategy: Strategy
    ) -> Future[str]:
        """As `save`, of a state of which each process holds a part: all of them call it together.

        Args:
            state: The result of `Loop.state_dict`; what is not divided is written as the first process has it.
            progress: As for `save`.
            metrics: As for `save`.
            strategy: The processes, with ``mesh`` and ``host_group``.
        """
        from wf_durability.sharded import ShardedSave, write_sharded  # which imports what few runs need

        self._wait()
        document, tensors = codec.encode(state)
        copies, _ = self._snapshot.take({name: local(one) for name, one in tensors.items()})
        about, place = _about(progress, metrics), self.folder / name_of(progress["step"])
        made = ShardedSave(
            place=place,
            document=document,
            tensors=tensors,
            copies=copies,
            about=lambda: {**about, "number": 1 + self._last_number(about["step"])},
            rank=strategy.rank,
            world_size=strategy.world_size,
            group=strategy.host_group,  # type: ignore[attr-defined]  # of one that divides the model, see its protocol
        )

        def write() -> str:
            write_sharded(made)
            if made.rank == 0:
                self._retire(about["step"])
            return str(place)

        return self._start(write)

    def _start(self, write: Callable[[], str]) -> Future[str]:
        self._work = work = Future[str]()  # set before it starts: an interrupt may come while the thread starts
        in_background(work, write)
        return work

    def is_finite(self, place: str) -> bool:
        """Whether the model in a checkpoint is finite, by its manifest; True if that cannot be read."""
        try:
            return bool(read_manifest(Path(place))["finite"])
        except DamagedCheckpoint:
            return True

    @staticmethod
    def is_empty(run_dir: Path) -> bool:
        """Whether a run has no checkpoint yet, so that its model has to look for pretrained weights."""
        return not scan(run_dir / "checkpoints")

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        """The state of the checkpoint `which`: ``latest``, ``best``, or a name such as ``step-00000938``.

        Raises:
            NothingSavedError: If there is no checkpoint.
            DataError: If there is none with that name, or no intact one.
        """
        self._wait()
        return self._newest_of(which, read_checkpoint)

    def load_shards(self, which: str, strategy: Strategy) -> Mapping[str, Any]:
        """As `load`, with the tensors divided among the processes as they are now: all of them call it together.

        Args:
            which: As for `load`.
            strategy: The processes, with ``mesh`` and ``host_group``.
        """
        self._wait()
        strategy.agree(False)  # until the first process has removed what is no longer kept
        return self._newest_of(which, lambda path: _read_shards(path, strategy))

    def _newest_of(self, which: str, read: Callable[[Path], Any]) -> Mapping[str, Any]:
        """The state of the first checkpoint for `which` that can be read."""
        skipped = []
        for name, path in self._candidates(which):
            try:
                state: Mapping[str, Any] = read(path)
                return state
            except DamagedCheckpoint as error:
                _LOG.warning("checkpoint %s is skipped: %s", name, error)
                skipped.append(f"{name}: {error}")
        raise DataError(self._nothing(which, list(scan(self.folder)), skipped))

    def _candidates(self, which: str) -> Iterator[tuple[str, Path]]:
        """The checkpoints for `which`, the first choice first."""
        found = scan(self.folder)
        if which in ("latest", "best") and not found:
            raise NothingSavedError(f"there are no checkpoints in {self.folder}: the run ended before its first one")
        if which not in ("latest", "best") and which not in found:
            raise DataError(unknown("checkpoint", which, ["latest", "best", *found], f"looked in {self.folder}"))
        names = list(reversed(found))
        if which == "best":
            self.monitor.direction("--monitor")
            names = self._best_first(read_manifests(found, warn=True))
        elif which == "latest":
            names = finite_first(names, read_manifests(found, warn=False))
        else:
            names = [which]
        return ((name, found[name]) for name in names)

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
            clean(self.folder)
            files.make_directory(temporary)
            about["number"] = 1 + self._last_number(about["step"])
            write_whole(temporary, about, document, tensors, data)
            replace(temporary, place)
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
        """The number, among all of the run, of the checkpoint before `step`."""
        manifests = read_manifests(scan(self.folder), warn=False).values()
        return max((manifest.get("number", 0) for manifest in manifests if manifest["step"] < step), default=0)

    def _retire(self, step: int) -> None:
        """Remove what is no longer kept; checkpoints of later steps, from before a rollback, are kept."""
        found = scan(self.folder)
        manifests = read_manifests(found, warn=False)
        past = [name for name, manifest in manifests.items() if manifest["step"] <= step]
        finite = [name for name in past if manifests[name]["finite"]]
        kept = {*past[-self.keep_last :], *self._best_first(manifests)[:1], *finite[-1:]}
        if self.keep_every is not None:
            kept |= {name for name in past if manifests[name].get("number", 0) % self.keep_every == 0}
        try:
            for name in past:
                if name not in kept:
                    discard(found[name])
        except OSError as error:
            _LOG.warning("old checkpoints could not be removed from %s: %s", self.folder, error.strerror or error)


def read_checkpoint(path: Path) -> Any:
    """The state of the checkpoint in directory `path`, with whole tensors; all that is read is verified.

    Raises:
        DamagedCheckpoint: Describing the damage.
    """
    if read_manifest(path)["schema"] != SHARDED:
        return read_whole(path)
    from wf_durability.sharded import ShardedCheckpoint  # which imports what few runs need

    return ShardedCheckpoint(path).read()


def _read_shards(path: Path, strategy: Strategy) -> Any:
    """The state of a checkpoint for one of several processes, which read it together.

    One with whole tensors, from a run of another strategy, is read by each of them; the parts of the run divide the
    tensors as they load them.
    """
    read: Callable[[], Any] | None = None
    failure = DamagedCheckpoint("another process could not read it")
    try:
        read = _opened(path, strategy)
    except DamagedCheckpoint as error:
        failure = error
    if strategy.agree(read is None) or read is None:
        raise failure
    return read()


def _opened(path: Path, strategy: Any) -> Callable[[], Any]:
    """A function that gives the state, which may take all processes."""
    from wf_durability.sharded import ShardedCheckpoint

    if read_manifest(path)["schema"] == SHARDED:
        return partial(ShardedCheckpoint(path).read, strategy.mesh, strategy.host_group)
    state = read_whole(path)
    return lambda: state


def _about(progress: Mapping[str, int], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of the position in the run, and of its figures."""
    about: dict[str, Any] = {key: progress[key] for key in ("step", "epoch")}
    return {**about, "progress": dict(progress), "metrics": finite(dict(metrics))}
