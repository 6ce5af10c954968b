"""The layout of a sharded checkpoint: for each tensor, its parts, in which file each one is, and its checksum.

It takes the place of the pickled metadata of `torch.distributed.checkpoint`, and is checked as it is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from wf_durability.manifest import DamagedCheckpoint
from wf_durability.snapshot import DTYPES
from wf_state.memory import dtype_name

LAYOUT = "layout.json"
_SHARD = re.compile(r"shard-\d{5,}-of-\d{5,}\.safetensors")
_DTYPES = {dtype_name(dtype): dtype for dtype in DTYPES}


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A part of a tensor in a file."""

    offsets: tuple[int, ...]
    """Where it begins in the tensor."""
    shape: tuple[int, ...]
    file: str
    begin: int
    """Its first byte in the file."""
    sha256: str

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor of a sharded checkpoint."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    placement: str | None
    """``shard 0``: divided along its first dimension; ``replicate``: on every process; None for an ordinary tensor."""
    chunks: tuple[Chunk, ...]

    @property
    def dim(self) -> int | None:
        """The dimension along which it is divided."""
        return int(self.placement.removeprefix("shard ")) if self.placement not in (None, "replicate") else None


def shard_name(rank: int, world_size: int) -> str:
    """The file of a process."""
    return f"shard-{rank:05d}-of-{world_size:05d}.safetensors"


def write_layout(tensors: Mapping[str, Stored]) -> dict[str, Any]:
    """The layout as JSON."""
    return {"tensors": {name: {**asdict(one), "dtype": dtype_name(one.dtype)} for name, one in tensors.items()}}


def read_layout(document: Any, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Stored]:
    """The tensors of a checkpoint by name.

    Args:
        document: What `write_layout` gave.
        files: The files of the manifest, with their lengths.

    Raises:
        DamagedCheckpoint: When it is of another form, or the parts of a tensor are not the whole tensor.
    """
    found = {}
    for name, table in document["tensors"].items():
        chunks = tuple(_chunk(one) for one in table["chunks"])
        shape, placement = _sizes(table["shape"]), table["placement"]
        if placement not in (None, "replicate", *(f"shard {dim}" for dim in range(len(shape)))):
            raise DamagedCheckpoint(f"{LAYOUT}: tensor {name} is placed as {placement!r:.40}")
        stored = Stored(dtype=_DTYPES[table["dtype"]], shape=shape, placement=placement, chunks=chunks)
        if not _is_complete(stored):
            raise DamagedCheckpoint(f"{LAYOUT}: the parts of tensor {name} are not all of it")
        for chunk in chunks:
            end = chunk.begin + chunk.numel * stored.dtype.itemsize
            if _SHARD.fullmatch(chunk.file) is None or end > files[chunk.file]["bytes"]:
                raise DamagedCheckpoint(f"{LAYOUT}: tensor {name} is not in {chunk.file!r:.60}")
        found[name] = stored
    return found


def _chunk(table: Mapping[str, Any]) -> Chunk:
    (begin,) = _sizes([table["begin"]])
    offsets, shape = _sizes(table["offsets"]), _sizes(table["shape"])
    return Chunk(offsets=offsets, shape=shape, file=str(table["file"]), begin=begin, sha256=str(table["sha256"]))


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one < 1 << 62 for one in value):
        raise DamagedCheckpoint(f"{LAYOUT}: {str(value)[:40]} is no shape")
    return tuple(value)


def _is_complete(stored: Stored) -> bool:
    """Whether the parts are slices of the tensor, side by side, and together all of it."""
    dim, end = stored.dim, 0
    if dim is None:
        return [(one.offsets, one.shape) for one in stored.chunks] == [((0,) * len(stored.shape), stored.shape)]
    for chunk in sorted(stored.chunks, key=lambda one: one.offsets[dim : dim + 1]):
        offsets = tuple(end if place == dim else 0 for place in range(len(stored.shape)))
        shape = tuple(chunk.shape[dim] if place == dim else size for place, size in enumerate(stored.shape))
        if (chunk.offsets, chunk.shape) != (offsets, shape):
            return False
        end += chunk.shape[dim]
    return end == stored.shape[dim]
