"""The index of a shard: the offset of each sample's input in the tar file, and its target."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from wf.errors import DataError
from wf_base.reading import compression_of, unpacking
from wf_storage.remote import TRIES, Place, tried, version_of

BLOCK = 4 << 20
"""Size of the read-ahead in bytes, so that one request reads many small files."""
LARGEST_TARGET = 1 << 20
"""Maximum size of a target member in bytes."""


KINDS = (
    "images are read by webdataset and webdataset-masks, texts by webdataset-texts, arrays by webdataset-arrays, "
    "tokens by webdataset-tokens, JSON rows by webdataset-rows"
)
"""The datasets of this package, for messages."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Extensions of the members to read from each sample."""

    inputs: tuple[str, ...]
    target: str | None
    """None if the input is all there is."""
    key: str | None
    """The key of the target in a JSON member; None for the whole object."""
    is_large: bool = False
    """Whether targets are read with the inputs, in training, rather than for the index."""


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The samples of one shard in the order of the file."""

    url: str
    num_bytes: int
    version: str
    """The storage's checksum or modification time of the file, which changes with its contents."""
    keys: list[str]
    """The name of each sample."""
    offsets: list[int]
    """The offset of each input in the file, in bytes."""
    sizes: list[int]
    """The size of each input in bytes."""
    targets: list[Any]
    """The target of each sample: a number or a text, or a list or dict of these; empty for large ones."""
    target_offsets: list[int] = field(default_factory=list)
    """The offset of each large target in the file, in bytes."""
    target_sizes: list[int] = field(default_factory=list)
    """The size of each large target in bytes."""

    def checksum(self) -> str:
        """A checksum of the index that does not depend on the location of the file."""
        known = [self.num_bytes, self.keys, self.offsets, self.sizes, self.targets]
        known += [self.target_offsets, self.target_sizes] if self.target_offsets else []
        return hashlib.blake2b(json.dumps(known).encode(), digest_size=16).hexdigest()


def index_of(url: str, wanted: Wanted, folder: Path | None, tries: int = TRIES) -> ShardIndex:
    """The index of a shard.

    Args:
        url: The shard.
        wanted: The members to read.
        folder: Folder in which the index is saved for later runs, or None.
        tries: Number of attempts to read.

    Raises:
        DataError: If the shard is missing, damaged or truncated, or a sample lacks a member.
    """
    num_bytes, version = version_of(url, tries)
    known = [url, num_bytes, version, wanted.inputs, wanted.target, wanted.key, wanted.is_large]
    name = hashlib.blake2b(json.dumps(known).encode(), digest_size=12).hexdigest()
    file = None if folder is None else folder / f"{name}.index.json"
    if file is not None and file.exists():
        return ShardIndex(**json.loads(file.read_text(encoding="utf-8")))
    found = tried(url, lambda: _read(url, num_bytes, version, wanted), tries)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        own = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        own.write_text(json.dumps(vars(found)), encoding="utf-8")
        own.rename(file)
    return found


def _read(url: str, num_bytes: int, version: str, wanted: Wanted) -> ShardIndex:
    place = Place(url)
    found = ShardIndex(url=url, num_bytes=num_bytes, version=version, keys=[], offsets=[], sizes=[], targets=[])
    with place.fs.open(place.path, "rb", block_size=BLOCK, cache_type="readahead") as stream:
        if (packed := compression_of(stream.read(16))) is not None:
            raise DataError(
                f"'{url}' is compressed ({packed}); samples are read from plain tar files\n"
                f"  {unpacking(url.rpartition('/')[2], packed)}"
            )
        stream.seek(0)
        for key, members in _samples(url, stream, num_bytes):
            given = _member(url, key, members, wanted.inputs, "inputs")
            found.keys.append(key)
            found.offsets.append(members[given][0])
            found.sizes.append(members[given][1])
            if wanted.target is None:
                continue
            label = _member(url, key, members, (wanted.target,), "target")
            offset, size = members[label]
            if wanted.is_large:
                found.target_offsets.append(offset)
                found.target_sizes.append(size)
                continue
            where = f"'{url}', sample '{key}', member {label}"
            if size > LARGEST_TARGET:
                raise DataError(f"{where} has {size:,} bytes; too large for a target")
            stream.seek(offset)
            found.targets.append(_target(where, label, stream.read(size), wanted.key))
    if not found.keys:
        raise DataError(f"'{url}' has no samples")
    return found


def _samples(url: str, stream: Any, num_bytes: int) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """The samples of an open shard: the name, and the offset and size in bytes of each member by extension."""
    key, members, seen = None, dict[str, tuple[int, int]](), set[str]()
    for info in _members(url, stream, num_bytes):
        folder, _, name = info.name.rpartition("/")
        stem, _, ending = name.partition(".")
        own = f"{folder}/{stem}" if folder else stem
        if not info.isreg() or not stem or (stem.startswith("__") and stem.endswith("__")):
            continue
        if own != key:
            if key is not None:
                yield key, members
            if own in seen:
                raise DataError(f"'{url}': the members of sample '{own}' do not follow each other")
            key, members = own, {}
            seen.add(own)
        members[ending.lower()] = (info.offset_data, info.size)
    if key is not None:
        yield key, members


def _members(url: str, stream: Any, num_bytes: int) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for info in tar:
                yield info
                tar.members.clear()  # type: ignore[attr-defined]  # otherwise tarfile keeps every member
            end = tar.offset
    except tarfile.TarError as error:
        raise DataError(f"'{url}' is not a valid tar file: {error}\n  write or copy it again") from error
    stream.seek(end)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile does not report it
        raise DataError(
            f"'{url}' is damaged or truncated: after byte {end:,} of {num_bytes:,} there is neither a file nor the end "
            "of the archive\n  write or copy it again"
        )


def _member(url: str, key: str, members: dict[str, tuple[int, int]], endings: Sequence[str], option: str) -> str:
    there = [ending for ending in endings if ending in members]
    if len(there) == 1:
        return there[0]
    found = ", ".join(members)
    if there:
        raise DataError(
            f"'{url}': sample '{key}' has several inputs: {', '.join(there)}\n  choose one: --dataset.inputs"
        )
    raise DataError(
        f"'{url}': sample '{key}' has no member {' or '.join(endings)}; it has {found}\n"
        f"  name another: --dataset.{option}; {KINDS}"
    )


def _target(where: str, member: str, content: bytes, key: str | None) -> Any:
    ending = member.rpartition(".")[2]
    if ending == "npy":
        array = array_in(content, where)
        if array.ndim > 1:
            raise DataError(f"{where}: the target has shape {list(array.shape)}; it must be a number, or a row of them")
        return _checked(where, array.tolist())
    text = text_in(content, where)
    if ending != "json":
        if not text.strip():
            raise DataError(f"{where} is empty")
        text = text.strip()
        return int(text) if text.lstrip("-").isdecimal() and text.isascii() else text
    value = json_in(content, where)
    if key is None:
        if not isinstance(value, dict):
            raise DataError(f"{where} is {_json_type(value)}, not an object with a value for each column")
        return value
    if isinstance(value, dict):
        if key not in value:
            raise DataError(f"{where} has no key '{key}'; it has {', '.join(map(str, value))}\n  set --dataset.key")
        value = value[key]
    return _checked(where, value)


def _checked(where: str, value: Any) -> Any:
    """A target: a number, a text, or a list of numbers."""
    numbers = value if isinstance(value, list) and value else [value]
    texts = isinstance(value, str)
    if not texts and not all(isinstance(one, (int, float)) and math.isfinite(one) for one in numbers):
        shown = json.dumps(value)
        shown = shown if len(shown) < 60 else f"{shown[:57]}..."
        raise DataError(f"{where}: the target is {shown}; it must be a number, a text, or a list of numbers")
    return value


def text_in(content: bytes, where: str) -> str:
    """The text of a member, without a byte order mark.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text: byte 0x{content[error.start]:02x} at {error.start:,}") from error


def json_in(content: bytes, where: str) -> Any:
    """The value of a JSON member.

    Raises:
        DataError: If it is not valid JSON.
    """
    try:
        return json.loads(text_in(content, where))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON: {error}") from error


def array_in(content: bytes, where: str) -> np.ndarray[Any, np.dtype[Any]]:
    """The array of a member in NumPy's format; nothing is unpickled.

    Raises:
        DataError: If it is damaged, or holds anything but numbers.
    """
    try:
        found = np.load(BytesIO(content), allow_pickle=False)
    except Exception as error:  # a damaged file can raise anything, even MemoryError for a false size
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{where} is not a valid .npy array: {reason}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
        raise DataError(f"{where} holds {getattr(found, 'dtype', 'several arrays')}, not numbers")
    return found


def _json_type(value: Any) -> str:
    return "null" if value is None else type(value).__name__
