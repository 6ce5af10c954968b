"""Samples of shards, read in batches, in an order that reads few shards at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf_base.order import Ordered
from wf_datasets.images.image_reader import Form, read_image
from wf_storage.remote import TRIES, Place, copied, ranges, tried
from wf_webdataset.index import ShardIndex

GAP = 64 << 10
"""Two byte ranges of a file with at most this many bytes between them are read as one."""


class Shards(Ordered, torch.utils.data.Dataset[tuple[Tensor, Any]]):
    """The samples of shards, numbered shard by shard.

    Args:
        indexes: The indexes of the shards.
        targets: The target of each sample: int64 ``[N]``, or float32 ``[N, 1]``.
        form: Size, channels and fit of the images.
        buffer: Number of consecutive samples of a lane that are shuffled together.
        lanes: Number of parts of an epoch that are read side by side.
        cache: A folder for copies of whole shards, or None to read each image from its shard.
        tries: Number of attempts to read.
    """

    def __init__(
        self,
        indexes: Sequence[ShardIndex],
        targets: Tensor,
        form: Form,
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
        self._offsets = np.array([offset for index in indexes for offset in index.offsets])
        self._sizes = np.array([size for index in indexes for size in index.sizes])
        self._targets, self._form, self._buffer, self._lanes, self._cache = targets, form, buffer, lanes, cache
        self._tries = tries

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Any]]:
        """Images float32 ``[C, H, W]`` from 0 to 1, and targets.

        Raises:
            DataError: If a shard cannot be read, or an image is damaged.
        """
        contents = self._contents(sorted(set(indices)))
        return [
            (read_image(BytesIO(contents[index]), self._form, self._where(index)), self._targets[index])
            for index in indices
        ]

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

    def _contents(self, indices: Sequence[int]) -> dict[int, bytes]:
        """The image files of samples, given in ascending order."""
        found: dict[int, bytes] = {}
        for shard, own in self._by_shard(indices):
            url, stretches = self._urls[shard], self._stretches(own)
            place = Place(url)
            if self._cache is not None and not place.is_local:
                place = Place(str(copied(url, self._cache, self._tries, self._versions[shard])))
            starts, ends = [start for start, _, _ in stretches], [end for _, end, _ in stretches]
            read = tried(url, partial(ranges, place, [place.path] * len(starts), starts, ends), self._tries)
            for (start, _, inside), content in zip(stretches, read, strict=True):
                for index in inside:
                    begin = int(self._offsets[index]) - start
                    found[index] = content[begin : begin + int(self._sizes[index])]
        return found

    def _by_shard(self, indices: Sequence[int]) -> list[tuple[int, list[int]]]:
        found: dict[int, list[int]] = {}
        for index in indices:
            found.setdefault(bisect_right(self._starts, index) - 1, []).append(index)
        return list(found.items())

    def _stretches(self, indices: Sequence[int]) -> list[tuple[int, int, list[int]]]:
        """The byte ranges to read: start, end, and the samples in each."""
        found: list[tuple[int, int, list[int]]] = []
        for index in indices:
            start = int(self._offsets[index])
            end = start + int(self._sizes[index])
            if found and start - found[-1][1] <= GAP:
                found[-1] = (found[-1][0], end, [*found[-1][2], index])
            else:
                found.append((start, end, [index]))
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
