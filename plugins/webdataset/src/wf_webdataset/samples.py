"""Samples of shards, read in batches, in an order that reads few shards at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf_base.order import Ordered
from wf_datasets.images.mask_folder import check_sizes
from wf_storage.remote import TRIES, Place, copied, ranges, tried
from wf_webdataset.index import ShardIndex

GAP = 64 << 10
"""Two byte ranges of a file with at most this many bytes between them are read as one."""
AT_ONCE = 256
"""The number of samples read together where all are read."""


Decode = Callable[[bytes, str], Any]
"""Makes an input or a target from the bytes of a member, and its name for messages."""


class Shards(Ordered, torch.utils.data.Dataset[tuple[Any, Any]]):
    """The samples of shards, numbered shard by shard.

    Args:
        indexes: The indexes of the shards.
        decode: Makes inputs; if there are no targets at all, pairs of input and target.
        targets: The target of each sample ``[N, ...]``; or what makes them from their members.
        buffer: Number of consecutive samples of a lane that are shuffled together.
        lanes: Number of parts of an epoch that are read side by side.
        cache: A folder for copies of whole shards, or None to read each member from its shard.
        tries: Number of attempts to read.
    """

    draws = False

    def __init__(
        self,
        indexes: Sequence[ShardIndex],
        decode: Decode,
        targets: Tensor | Decode | None,
        *,
        buffer: int,
        lanes: int,
        cache: Path | None = None,
        tries: int = TRIES,
    ) -> None:
        self._urls = [index.url for index in indexes]
        self._versions = [f"{index.num_bytes} {index.version}" for index in indexes]
        self._sums = [[_name(index.url), len(index.keys), index.checksum()] for index in indexes]
        self._starts = np.cumsum([0, *(len(index.keys) for index in indexes)]).tolist()
        # arrays, because worker processes share their memory; each process would copy a long list of strings
        self._keys = np.array([key.encode() for index in indexes for key in index.keys])
        self._offsets = [np.array([offset for index in indexes for offset in index.offsets])]
        self._sizes = [np.array([size for index in indexes for size in index.sizes])]
        if callable(targets):
            self._offsets.append(np.array([offset for index in indexes for offset in index.target_offsets]))
            self._sizes.append(np.array([size for index in indexes for size in index.target_sizes]))
        self._decode, self._targets = decode, targets
        self._buffer, self._lanes, self._cache, self._tries = buffer, lanes, cache, tries

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Inputs and targets.

        Raises:
            DataError: If a shard cannot be read, or a member is damaged.
        """
        contents = self._contents(sorted(set(indices)))
        return [self._sample(index, contents[index]) for index in indices]

    def members(self, part: int = 0) -> Iterator[tuple[bytes, str]]:
        """All inputs (0) or large targets (1) in order, each with its name for messages."""
        for begin in range(0, len(self), AT_ONCE):
            indices = range(begin, min(begin + AT_ONCE, len(self)))
            contents = self._contents(indices)
            for index in indices:
                yield contents[index][part], self._where(index)

    def _sample(self, index: int, contents: Sequence[bytes]) -> tuple[Any, Any]:
        where = self._where(index)
        if callable(self._targets):
            check_sizes(BytesIO(contents[0]), BytesIO(contents[1]), where)
            return self._decode(contents[0], where), self._targets(contents[1], where)
        if self._targets is None:
            inputs, targets = self._decode(contents[0], where)
            return inputs, targets
        return self._decode(contents[0], where), self._targets[index]

    def identity(self) -> list[Any]:
        """The file name, number of samples and index checksum of each shard, independent of their location."""
        return self._sums

    def epoch_order(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """Shards in a random order, divided into lanes of equal length, each shuffled within a buffer.

        The sample at position p of the order belongs to lane ``p % lanes``. So processes read different shards if their
        number divides the number of lanes.
        """
        shard = torch.searchsorted(torch.tensor(self._starts[1:]), members, right=True)
        places = torch.randperm(len(self._urls), generator=generator).argsort()
        row = members[torch.sort(places[shard], stable=True).indices]
        lanes = [_shuffled(lane, self._buffer, generator) for lane in row.tensor_split(self._lanes)]
        side_by_side = torch.full((len(lanes[0]), self._lanes), -1)
        for number, lane in enumerate(lanes):
            side_by_side[: len(lane), number] = lane
        order = side_by_side.flatten()
        return order[order >= 0]

    def _contents(self, indices: Sequence[int]) -> dict[int, list[bytes]]:
        """The members of samples that are read in training; indices are ascending."""
        found: dict[int, list[bytes]] = {index: [b""] * len(self._sizes) for index in indices}
        for shard, own in self._by_shard(indices):
            url, stretches = self._urls[shard], self._stretches(own)
            place = Place(url)
            if self._cache is not None and not place.is_local:
                place = Place(str(copied(url, self._cache, self._tries, self._versions[shard])))
            starts, ends = [start for start, _, _ in stretches], [end for _, end, _ in stretches]
            read = tried(url, partial(ranges, place, [place.path] * len(starts), starts, ends), self._tries)
            for (start, _, inside), content in zip(stretches, read, strict=True):
                for index, part in inside:
                    begin = int(self._offsets[part][index]) - start
                    found[index][part] = content[begin : begin + int(self._sizes[part][index])]
        return found

    def _by_shard(self, indices: Sequence[int]) -> list[tuple[int, list[int]]]:
        found: dict[int, list[int]] = {}
        for index in indices:
            found.setdefault(bisect_right(self._starts, index) - 1, []).append(index)
        return list(found.items())

    def _stretches(self, indices: Sequence[int]) -> list[tuple[int, int, list[tuple[int, int]]]]:
        """The byte ranges to read: start, end, and the members in each, as samples and their parts."""
        members = sorted(
            (int(offsets[index]), int(sizes[index]), index, part)
            for part, (offsets, sizes) in enumerate(zip(self._offsets, self._sizes, strict=True))
            for index in indices
        )
        found: list[tuple[int, int, list[tuple[int, int]]]] = []
        for start, size, index, part in members:
            if found and start - found[-1][1] <= GAP:
                found[-1] = (found[-1][0], max(start + size, found[-1][1]), [*found[-1][2], (index, part)])
            else:
                found.append((start, start + size, [(index, part)]))
        return found

    def _where(self, index: int) -> str:
        return f"{self._keys[index].decode()} in {self._urls[bisect_right(self._starts, index) - 1]}"


def _name(url: str) -> str:
    return url.rpartition("/")[2]


def _shuffled(lane: Tensor, buffer: int, generator: torch.Generator) -> Tensor:
    """Shuffle each buffer of consecutive samples.

    The length of the first buffer is random, so that each epoch divides the samples into other buffers.
    """
    begin = buffer if buffer >= len(lane) else int(torch.randint(1, buffer + 1, (), generator=generator))
    parts = [lane[:begin], *lane[begin:].split(buffer)]
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts])
