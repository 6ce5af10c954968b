"""The index of a shard: the offset of each sample's input in the tar file, and its target."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.errors import DataError
from wf_storage.remote import TRIES, Place, tried, version_of

BLOCK = 4 << 20
"""Size of the read-ahead in bytes, so that one request reads many small files."""
LARGEST_TARGET = 1 << 20
"""Maximum size of a target member in bytes."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Extensions of the members to read from each sample."""

    inputs: tuple[str, ...]
    target: str
    key: str
    """The key of the target in a JSON member."""


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
    """The target of each sample: a number or a text."""

    def checksum(self) -> str:
        """A checksum of the index that does not depend on the location of the file."""
        known = json.dumps([self.num_bytes, self.keys, self.offsets, self.sizes, self.targets])
        return hashlib.blake2b(known.encode(), digest_size=16).hexdigest()


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
    known = [url, num_bytes, version, wanted.inputs, wanted.target, wanted.key]
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
        for key, members in _samples(url, stream, num_bytes):
            given = _member(url, key, members, wanted.inputs)
            label = _member(url, key, members, (wanted.target,))
            if members[label][1] > LARGEST_TARGET:
                raise DataError(
                    f"'{url}', sample '{key}': {label} has {members[label][1]:,} bytes; too large for a target"
                )
            found.keys.append(key)
            found.offsets.append(members[given][0])
            found.sizes.append(members[given][1])
            stream.seek(members[label][0])
            content = stream.read(members[label][1])
            found.targets.append(_target(f"'{url}', sample '{key}', member {label}", label, content, wanted.key))
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


def _member(url: str, key: str, members: dict[str, tuple[int, int]], endings: Sequence[str]) -> str:
    there = [ending for ending in endings if ending in members]
    if len(there) == 1:
        return there[0]
    found = ", ".join(members)
    if there:
        raise DataError(
            f"'{url}': sample '{key}' has several inputs: {', '.join(there)}\n  choose one: --dataset.inputs"
        )
    option = "--dataset.target" if len(endings) == 1 else "--dataset.inputs"
    raise DataError(
        f"'{url}': sample '{key}' has no member {' or '.join(endings)}; it has {found}\n  name another: {option}"
    )


def _target(where: str, member: str, content: bytes, key: str) -> Any:
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text") from error
    if member.rpartition(".")[2] != "json":
        if not text:
            raise DataError(f"{where} is empty")
        return int(text) if text.lstrip("-").isdecimal() and text.isascii() else text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is not valid JSON: {error}") from error
    if isinstance(value, dict):
        if key not in value:
            raise DataError(f"{where} has no key '{key}'; it has {', '.join(map(str, value))}\n  set --dataset.key")
        value = value[key]
    if not isinstance(value, (str, int, float)) or value != value or value in (float("inf"), float("-inf")):
        raise DataError(f"{where}: the target is {json.dumps(value)}; it must be a number or a text")
    return value
