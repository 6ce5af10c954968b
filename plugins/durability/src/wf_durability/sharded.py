"""A checkpoint of tensors that are divided among processes: each writes its parts, and reads those that it needs.

`torch.distributed.checkpoint` plans who writes and who reads which parts, and lets all hear of an error of one. The
bytes are written and read here: into one file of each process, none of it a pickle, committed in one rename.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem, SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save as save_together
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, zeros
from torch.futures import Future

from wf.errors import SaveError
from wf_base.shards import is_sharded
from wf_durability.layout import LAYOUT, Chunk, Stored, read_layout, shard_name, write_layout
from wf_durability.manifest import (
    MANIFEST,
    SHARDED,
    STATE,
    DamagedCheckpoint,
    check_file,
    json_bytes,
    read_manifest,
    reason,
    seal,
    sha256_of,
    summed,
)
from wf_durability.places import clean
from wf_durability.places import replace as put_into_place
from wf_durability.snapshot import pieces, raw, safetensors_header
from wf_durability.whole import is_finite, model_of
from wf_state import codec
from wf_storage import files


@dataclass(frozen=True, kw_only=True)
class ShardedSave:
    """What one of the processes has for a checkpoint, copied to host memory."""

    place: Path
    document: dict[str, Any]
    """The state as `wf_state.codec.encode` gives it; that of the first process is written."""
    tensors: Mapping[str, Tensor]
    copies: Mapping[str, Tensor]
    """By the names of `tensors`, the parts that this process holds."""
    about: Callable[[], Mapping[str, Any]]
    """What else the manifest says, asked of the first process when the writing begins."""
    rank: int
    world_size: int
    group: Any
    """The process group by which they agree; this is done in a thread beside the training, so it is one of its own."""


def write_sharded(save: ShardedSave) -> None:
    """Write a checkpoint; all processes call it together. The first one commits it when all have written their parts.

    Raises:
        SaveError: In all processes, when one of them could not write; the checkpoints before are as they were.
    """
    first = save.rank == 0
    asked = {name: one for name, one in save.tensors.items() if first or is_sharded(one)}
    writer = _Writer(save)
    try:
        save_together(asked, storage_writer=writer, planner=_SavePlanner(save.copies), process_group=save.group)
    except CheckpointException as error:
        raise _save_error(save, error) from error
    finally:
        if first:
            writer.clear()


class ShardedCheckpoint:
    """A checkpoint to be read; its manifest, layout and document are verified.

    Args:
        path: Its directory.

    Raises:
        DamagedCheckpoint: Describing the damage.
    """

    def __init__(self, path: Path) -> None:
        self._path, manifest = path, read_manifest(path)
        try:
            found = {name: files.read(path / name) for name in (LAYOUT, STATE)}
            for name, data in found.items():
                check_file(name, data, manifest)
            self.stored = read_layout(json.loads(found[LAYOUT]), manifest["files"])
            self._document = json.loads(found[STATE])
        except OSError as error:
            raise DamagedCheckpoint(reason(error)) from error
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, DamagedCheckpoint):
                raise
            raise DamagedCheckpoint(f"it cannot be read: {error}") from error

    def read(self, mesh: DeviceMesh | None = None, group: Any = None) -> Any:
        """The state; only those bytes are read and verified that make it up.

        Args:
            mesh: The processes among which the tensors are divided anew, however many have written them; all of them
                call this together. None gives whole tensors.
            group: The process group by which they agree.

        Raises:
            DamagedCheckpoint: In all processes, naming the file and the tensor.
        """
        tensors = {name: _room(one, mesh) for name, one in self.stored.items()}
        planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # alone: that is meant
                reader = _Reader(self._path, self.stored)
                load(tensors, storage_reader=reader, planner=planner, process_group=group, no_dist=mesh is None)
        except CheckpointException as error:
            failures = dict.fromkeys(_words(one) for _, one in _failures(error))
            raise DamagedCheckpoint("; ".join(failures)) from error
        try:
            return codec.decode(self._document, tensors)
        except codec.CodecError as error:
            raise DamagedCheckpoint(f"it cannot be read: {error}") from error


def _room(stored: Stored, mesh: DeviceMesh | None) -> Tensor:
    """The tensor into which a stored one is read."""
    if mesh is None or stored.placement is None:
        return torch.zeros(stored.shape, dtype=stored.dtype)
    placement = Replicate() if stored.dim is None else Shard(stored.dim)
    return zeros(stored.shape, dtype=stored.dtype, device_mesh=mesh, placements=[placement])


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What a process has written."""

    file: str
    sums: dict[str, Any]
    chunks: Mapping[str, Chunk]
    finite: bool


class _SavePlanner(DefaultSavePlanner):
    """Plans the writing of tensors.

    Args:
        copies: The part of each tensor that this process holds.
    """

    def __init__(self, copies: Mapping[str, Tensor]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._copies = copies

    def create_local_plan(self) -> SavePlan:
        """The parts of this process, without those that are empty; a tensor without elements is the first one's."""
        plan = super().create_local_plan()
        items = [item for item in plan.items if self.is_coordinator or self._copies[item.index.fqn].numel()]
        return replace(plan, items=items)


class _Writer(StorageWriter):
    """Writes the file of this process, and in the first one the rest of the checkpoint."""

    def __init__(self, save: ShardedSave) -> None:
        self._save, self._about = save, dict[str, Any]()
        self._temporary = save.place.with_name(f".tmp-{save.place.name}-shards")

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept from one checkpoint to the next."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """As it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Make the directory, in the first process, before any other writes into it."""
        folder = self._temporary.parent
        files.make_own_folder(folder)
        files.sync_directory(folder.parent)
        clean(folder)
        files.make_directory(self._temporary)
        self._about = dict(self._save.about())
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the file of this process; what it holds is the result."""
        save, sums = self._save, dict[str, Any]()
        name = shard_name(save.rank, save.world_size)
        parts = {item.index.fqn: save.copies[item.index.fqn] for item in plan.items}
        chunks, header = {}, safetensors_header(parts)
        begin = len(header)
        for item in plan.items:
            assert item.tensor_data is not None
            part, where = parts[item.index.fqn], item.tensor_data.chunk
            chunks[item.index.fqn] = Chunk(
                offsets=tuple(where.offsets),
                shape=tuple(where.sizes),
                file=name,
                begin=begin,
                sha256=sha256_of(raw(part)),
            )
            begin += part.nbytes
        files.write_file(self._temporary / name, summed(name, _content(header, parts.values()), sums))
        finite = is_finite(model_of(save.document, save.copies))
        written = _Written(file=name, sums=sums[name], chunks=chunks, finite=finite)
        result: Future[list[WriteResult]] = Future()
        result.set_result([WriteResult(MetadataIndex(name), begin, written)])
        return result

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write what describes the parts, and commit: all processes have written theirs."""
        save, sums = self._save, dict[str, Any]()
        written: list[_Written] = [one.storage_data for several in results for one in several]
        layout = json_bytes(write_layout(_stored(save.tensors, written)))
        for name, data in ((LAYOUT, layout), (STATE, json_bytes(save.document))):
            files.write_file(self._temporary / name, summed(name, [memoryview(data)], sums))
        manifest = {
            "schema": SHARDED,
            **self._about,
            "finite": all(one.finite for one in written),
            "files": {**sums, **{one.file: one.sums for one in written}},
        }
        files.write_file(self._temporary / MANIFEST, [seal(manifest)])
        files.sync_directory(self._temporary)
        put_into_place(self._temporary, save.place)

    def clear(self) -> None:
        """Remove what is left of a checkpoint that was not committed."""
        with suppress(OSError):
            if self._temporary.exists():
                files.remove_tree(self._temporary)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """It is not chosen by an address."""
        return False


class _Reader(StorageReader):
    """Reads parts of tensors, each verified as a whole."""

    def __init__(self, path: Path, stored: Mapping[str, Stored]) -> None:
        self._path, self._stored = path, stored

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The layout as the planner knows it."""
        return Metadata(
            {
                name: TensorStorageMetadata(
                    TensorProperties(dtype=one.dtype),
                    torch.Size(one.shape),
                    [ChunkStorageMetadata(torch.Size(part.offsets), torch.Size(part.shape)) for part in one.chunks],
                )
                for name, one in self._stored.items()
            }
        )

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """As it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """As they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy parts into the tensors that the planner gives."""
        wanted: dict[MetadataIndex, list[ReadItem]] = {}
        for item in plan.items:
            wanted.setdefault(item.storage_index, []).append(item)
        for index, items in wanted.items():
            part = self._part(index)
            for item in items:
                slices = tuple(
                    slice(begin, begin + length)
                    for begin, length in zip(item.storage_offsets, item.lengths, strict=True)
                )
                target = planner.resolve_tensor(item).detach()
                target.copy_(part[slices])
                planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _part(self, index: MetadataIndex) -> Tensor:
        """A part, its bytes verified."""
        stored = self._stored[index.fqn]
        chunk = next(one for one in stored.chunks if one.offsets == tuple(index.offset or ()))
        data = bytearray(chunk.numel * stored.dtype.itemsize)
        with FileIO(self._path / chunk.file, "r", opener=files.open_plain) as stream:
            stream.seek(chunk.begin)
            num = _read_into(stream, memoryview(data))
        if num < len(data) or sha256_of(memoryview(data)) != chunk.sha256:
            raise DamagedCheckpoint(f"{chunk.file}: tensor {index.fqn} does not match its checksum")
        if not data:
            return torch.empty(chunk.shape, dtype=stored.dtype)
        return torch.frombuffer(data, dtype=stored.dtype).view(chunk.shape)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """It is not chosen by an address."""
        return False


def _read_into(stream: FileIO, data: memoryview) -> int:
    num = 0
    while num < len(data) and (read := stream.readinto(data[num:])):
        num += read
    return num


def _content(header: memoryview, parts: Any) -> Iterator[memoryview]:
    yield header
    for part in parts:
        yield from pieces(raw(part))


def _stored(tensors: Mapping[str, Tensor], written: Sequence[_Written]) -> dict[str, Stored]:
    """The layout of the tensors that the processes have written."""
    return {
        name: Stored(
            dtype=tensor.dtype,
            shape=tuple(tensor.shape),
            placement=_placement(tensor),
            chunks=tuple(one.chunks[name] for one in written if name in one.chunks),
        )
        for name, tensor in tensors.items()
    }


def _placement(tensor: Tensor) -> str | None:
    if not isinstance(tensor, DTensor):
        return None
    (placement,) = tensor.placements
    return f"shard {placement.dim}" if isinstance(placement, Shard) else "replicate"


def _failures(error: CheckpointException) -> list[tuple[int, BaseException]]:
    return [(rank, failure) for rank, (failure, _) in sorted(error.failures.items())]


def _words(error: BaseException) -> str:
    if isinstance(error, DamagedCheckpoint):
        return str(error)
    return reason(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _save_error(save: ShardedSave, error: CheckpointException) -> BaseException:
    """The error with which a process hears that a checkpoint was not written."""
    failures = _failures(error)
    if broken := next((one for _, one in failures if not isinstance(one, OSError)), None):
        return broken
    if save.rank not in (0, *(rank for rank, _ in failures)):
        return SaveError(f"the checkpoint {save.place.name} was not saved; the message of process 0 says why")
    lines = [f"process {rank}: {getattr(one, 'strerror', None) or one}" for rank, one in failures]
    return SaveError(
        "\n  ".join(
            [
                f"the checkpoint {save.place.name} could not be written to {save.place.parent}",
                *lines,
                "the checkpoints before it are as they were; see whether the disk is full or the directory read-only",
            ]
        )
    )
