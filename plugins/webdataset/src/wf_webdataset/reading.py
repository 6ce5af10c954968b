"""The shards of a dataset: their options, their indexes, and their samples."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wf.errors import UsageError
from wf_webdataset.index import ShardIndex, Wanted, index_of
from wf_webdataset.names import shards_of
from wf_webdataset.samples import Decode, Shards

AT_ONCE = 16
"""The number of shards at URLs that are read at once for their index."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options about reading, see `wf_webdataset.dataset.webdataset`."""

    name: str
    """The dataset, for messages."""
    shuffle_buffer: int
    lanes: int
    cache: Path | None
    tries: int

    def __post_init__(self) -> None:
        for option in ("shuffle_buffer", "lanes", "tries"):
            if (number := getattr(self, option)) < 1:
                raise UsageError(f"{self.name}: {option} is {number}; it must be at least 1")

    def indexes(
        self, wanted: Wanted, train: str, validation: str | None, test: str | None
    ) -> dict[str, list[ShardIndex]]:
        """The indexes of the shards of each split.

        Raises:
            DataError: If a shard is missing or damaged, or a sample lacks a member.
            UsageError: If a shard is in two splits.
        """
        patterns = {"train": train, "validation": validation, "test": test}
        found = {
            split: _indexes(pattern, wanted, self.cache, self.tries)
            for split, pattern in patterns.items()
            if pattern is not None
        }
        _check_apart(found)
        return found

    def samples(self, indexes: Sequence[ShardIndex], decode: Decode, targets: Tensor | Decode | None) -> Shards:
        """The samples of a split."""
        return Shards(
            indexes,
            decode,
            targets,
            buffer=self.shuffle_buffer,
            lanes=self.lanes,
            cache=self.cache,
            tries=self.tries,
        )


def endings_of(text: str) -> tuple[str, ...]:
    """The extensions in a text with semicolons between them."""
    return tuple(ending.strip().lstrip(".").lower() for ending in text.split(";") if ending.strip())


def _indexes(pattern: str, wanted: Wanted, cache: Path | None, tries: int) -> list[ShardIndex]:
    urls = shards_of(pattern)
    if not any("://" in url for url in urls):
        return [index_of(url, wanted, cache, tries) for url in urls]
    shards = "1 shard" if len(urls) == 1 else f"{len(urls):,} shards"
    print(f"dataset '{pattern}': reading {shards} to build the index", file=sys.stderr)
    with ThreadPoolExecutor(min(AT_ONCE, len(urls))) as pool:
        found = [pool.submit(index_of, url, wanted, cache, tries) for url in urls]
        try:
            return [one.result() for one in found]
        except BaseException:
            for one in found:
                one.cancel()
            raise


def _check_apart(indexes: Mapping[str, Sequence[ShardIndex]]) -> None:
    seen: dict[str, str] = {}
    for split, own in indexes.items():
        for index in own:
            other = seen.setdefault(index.url, split)
            if other != split:
                raise UsageError(f"shard '{index.url}' is in both {other} and {split}\n  give it to one split")
