"""The samples of a shard: where each one's input stands in the tar file, and its target."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.errors import DataError
from wf_datasets.remote import TRIES, Place, tried, version_of

BLOCK = 4 << 20
"""Bytes that are read ahead: small files one after the other come in one request."""
LARGEST_TARGET = 1 << 20
"""A member with a target has at most so many bytes."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The members of a sample that are used, by their endings."""

    inputs: tuple[str, ...]
    target: str
    key: str
    """Of a JSON target: its key."""


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The samples of one shard in the order of the file."""

    url: str
    num_bytes: int
    version: str
    """What tells its contents from others in the same place: a checksum or a time, as the storage has it."""
    keys: list[str]
    """Of each sample: its name."""
    offsets: list[int]
    """Where the input of each begins."""
    sizes: list[int]
    """The bytes of each input."""
    targets: list[Any]
    """Its target: a number or a text."""

    def checksum(self) -> str:
        """What tells these samples from others, wherever the file is."""
        known = json.dumps([self.num_bytes, self.keys, self.offsets, self.sizes, self.targets])
        return hashlib.blake2b(known.encode(), digest_size=16).hexdigest()


def index_of(url: str, wanted: Wanted, folder: Path | None, tries: int = TRIES) -> ShardIndex:
    """The samples of a shard.

    Args:
        url: The shard.
        wanted: The members that are used.
        folder: Where indexes are kept, or None; with one, a shard is read for its index once.
        tries: So often a read is tried.

    Raises:
        DataError: For a shard that is missing, damaged or cut off, or lacks a member of a sample.
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
        own = file.with_suffix(f".{os.getpid()}")
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
                raise DataError(f"'{url}', sample '{key}': {label} has {members[label][1]:,} bytes; it is no target")
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
    """The samples of an open shard: the name, and where each member begins and how many bytes it has."""
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
                raise DataError(f"'{url}': the members of sample '{own}' do not stand together")
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
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps all that it has seen
            end = tar.offset
    except tarfile.TarError as error:
        raise DataError(f"'{url}' is no sound tar file: {error}\n  write or copy it again") from error
    stream.seek(end)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile ends there without a word
        raise DataError(
            f"'{url}' is damaged or cut off: after byte {end:,} of {num_bytes:,} comes neither a file nor the end of "
            "the archive\n  write or copy it again"
        )


def _member(url: str, key: str, members: dict[str, tuple[int, int]], endings: Sequence[str]) -> str:
    there = [ending for ending in endings if ending in members]
    if len(there) == 1:
        return there[0]
    found = ", ".join(members)
    if there:
        raise DataError(f"'{url}': sample '{key}' has several inputs: {', '.join(there)}\n  choose: --dataset.inputs")
    option = "--dataset.target" if len(endings) == 1 else "--dataset.inputs"
    raise DataError(
        f"'{url}': sample '{key}' has no member {' or '.join(endings)}; it has {found}\n  name another: {option}"
    )


def _target(where: str, member: str, content: bytes, key: str) -> Any:
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text of UTF-8") from error
    if member.rpartition(".")[2] != "json":
        if not text:
            raise DataError(f"{where} is empty")
        return int(text) if text.lstrip("-").isdecimal() and text.isascii() else text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where} is no JSON: {error}") from error
    if isinstance(value, dict):
        if key not in value:
            raise DataError(f"{where} has no key '{key}'; it has {', '.join(map(str, value))}\n  set --dataset.key")
        value = value[key]
    if not isinstance(value, (str, int, float)) or value != value or value in (float("inf"), float("-inf")):
        raise DataError(f"{where}: the target is {json.dumps(value)}; it must be a number or a text")
    return value
