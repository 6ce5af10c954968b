"""Streams of samples: divided, shuffled and started at any sample, in constant memory.

The samples of an epoch and their order are computed from sample numbers alone; nothing is read for that. So a run
resumed in the middle of an epoch has the same order as an uninterrupted one, and reads only what it still needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError
from wf_base import tree
from wf_base.random import sample_uniform
from wf_base.tree import Tree

Chunk = tuple[Tree, ...]
"""Trees of tensors with one length, such as inputs and targets; the last one holds the samples' numbers."""
AT_ONCE = 256
"""The number of samples read at once if they are not shuffled."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Samples that are read one after the other, for data larger than memory.

    Args:
        num_samples: The number of samples.
        read: Called with the number of a sample, it yields this sample and all that follow, in an order that never
            changes, as pairs of inputs ``[n, ...]`` and targets ``[n, ...]``, or trees of them, with any number n at a
            time. Each batch is checked before it is trained on.
        buffer: The number of consecutive samples that are held in memory and shuffled among themselves.
        share: The part of the samples in this stream: an interval from 0 to 1.
        seed: Draws the members of the share; None takes consecutive samples.
        exact: Whether `read` gives the same samples on every call. If that is not guaranteed, as for an iterable
            dataset of torch, which is read from its beginning, a resumed run may get other samples.
    """

    num_samples: int
    read: Callable[[int], Iterator[tuple[Tree, Tree]]]
    buffer: int = 1000
    share: tuple[float, float] = (0.0, 1.0)
    seed: int | None = None
    exact: bool = True

    def __len__(self) -> int:
        return self._num_members

    def __iter__(self) -> Iterator[tuple[Tree, Tree]]:
        for chunk in self.rows(self.order()):
            yield from (_sample(chunk, row) for row in range(len(chunk[-1])))

    def __getitem__(self, index: int) -> tuple[Tree, Tree]:
        """One sample; the stream is opened at that sample to read it."""
        return _sample(next(self.rows(first(taken(self.order(), index), 1))), 0)

    def part(self, low: float, high: float, seed: int | None) -> Stream:
        """The samples between two shares; with a seed each is assigned by its number."""
        return replace(self, share=(low, high), seed=seed)

    def order(self, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """The numbers of the samples in the order of an epoch, int64, in chunks that are read at once.

        Args:
            generator: Draws the order within each buffer, and the end of the first buffer, so that different samples
                share a buffer in the next epoch; None keeps the order of the samples.
        """
        if generator is None:
            yield from self._numbers(AT_ONCE, AT_ONCE)
            return
        begin = self.buffer
        if self.buffer < self.num_samples:
            begin = int(torch.randint(1, self.buffer + 1, (), generator=generator))
        for numbers in self._numbers(begin, self.buffer):
            yield numbers[torch.randperm(len(numbers), generator=generator)]

    def rows(self, order: Iterable[Tensor]) -> Iterator[Chunk]:
        """Inputs, targets and numbers of samples; the stream is read from the first needed sample on.

        Raises:
            DataError: When the stream ends too early.
        """
        reader = _Reader(self)
        for numbers in order:
            if len(numbers):
                ascending, place = numbers.sort()
                inputs, targets = reader.take(ascending)
                back = place.argsort()
                yield tree.select(inputs, back), tree.select(targets, back), numbers

    @cached_property
    def _num_members(self) -> int:
        if self.share == (0.0, 1.0):
            return self.num_samples
        return sum(len(numbers) for numbers in self._numbers(1 << 20, 1 << 20))

    def _numbers(self, first: int, size: int) -> Iterator[Tensor]:
        """The members of the share among the first `first` samples, then among each further `size` samples."""
        begin, end = 0, first
        while begin < self.num_samples:
            yield self._members(begin, min(end, self.num_samples))
            begin, end = end, end + size

    def _members(self, begin: int, end: int) -> Tensor:
        numbers = torch.arange(begin, end)
        if self.share == (0.0, 1.0):
            return numbers
        draws = numbers.to(torch.float64) / self.num_samples
        if self.seed is not None:
            draws = sample_uniform(self.seed, 0, numbers, 1, name="split").flatten().to(torch.float64)
        return numbers[(draws >= self.share[0]) & (draws < self.share[1])]


class _Reader:
    """A position in a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._begin = self._end = 0
        self._chunk: tuple[Tree, Tree] | None = None

    def take(self, numbers: Tensor) -> tuple[Tree, Tree]:
        """Inputs and targets of the samples with these ascending numbers."""
        if self._chunk is None or numbers[0] < self._begin:
            self._begin = self._end = int(numbers[0])
            self._chunks = self._stream.read(self._begin)
        parts = []
        while len(numbers):
            if numbers[0] >= self._end:
                self._next()
                continue
            assert self._chunk is not None
            inside = numbers[numbers < self._end] - self._begin
            parts.append(tree.select(self._chunk, inside))
            numbers = numbers[len(inside) :]
        inputs, targets = tree.cat(parts)
        return inputs, targets

    def _next(self) -> None:
        before, self._chunk = self._chunk, _pair(next(self._chunks, None), self._end)
        if self._chunk is None:
            raise DataError(
                f"the stream ended after {self._end:,} samples, and {self._stream.num_samples:,} were counted\n"
                "  has a file been changed since then?"
            )
        if before is not None and _like(self._chunk) != _like(before):
            raise DataError(
                f"the stream's samples are not alike: from sample {self._end:,} on it yields {_like(self._chunk)}, and "
                f"before it was {_like(before)}"
            )
        self._begin, self._end = self._end, self._end + _length(self._chunk)


def _pair(chunk: Any, number: int) -> tuple[Tree, Tree] | None:
    """The next pair from `Stream.read`, checked; None at the end."""
    if chunk is None:
        return None
    where = f"from sample {number:,} on it"
    if not isinstance(chunk, (tuple, list)) or len(chunk) != 2 or tree.first_leaf(chunk[0]) is None:
        kinds = ", ".join(type(one).__name__ for one in (chunk if isinstance(chunk, (tuple, list)) else [chunk]))
        raise DataError(f"the stream must yield pairs of tensors, and {where} yields {kinds}")
    if any(not leaf.ndim for _, leaf in tree.leaves(chunk)) or len({len(leaf) for _, leaf in tree.leaves(chunk)}) > 1:
        forms = " and ".join(map(_form, chunk))
        raise DataError(f"the stream must yield as many targets as inputs, and {where} has {forms}")
    return chunk[0], chunk[1]


def _form(one: Tree) -> str:
    return str(list(one.shape)) if isinstance(one, Tensor) else tree.words(one)


def _length(chunk: tuple[Tree, Tree]) -> int:
    first = tree.first_leaf(chunk)
    assert first is not None
    return len(first)


def _sample(chunk: Chunk, row: int) -> tuple[Tree, Tree]:
    inputs, targets = tree.map_leaves(lambda leaf: leaf[row], (chunk[0], chunk[1]))
    return inputs, targets


def _like(chunk: tuple[Tree, Tree]) -> str:
    found = {path: f"{leaf.dtype} {list(leaf.shape[1:])}" for path, leaf in tree.leaves(chunk)}
    return " and ".join(words if path in ("0", "1") else f"{path[2:]} {words}" for path, words in found.items())


def taken(order: Iterable[Tensor], start: int, own: Callable[[Tensor], Tensor] | None = None) -> Iterator[Tensor]:
    """An order from its `start`-th sample on.

    Args:
        order: Numbers of samples.
        start: The position of the first one.
        own: Says of positions in the order whether they are taken, bool ``[N]``; None takes all.
    """
    position = 0
    for numbers in order:
        skipped = min(max(0, start - position), len(numbers))
        places = torch.arange(position + skipped, position + len(numbers))
        position += len(numbers)
        yield numbers[skipped:] if own is None else numbers[skipped:][own(places)]


def first(order: Iterable[Tensor], num: int) -> Iterator[Tensor]:
    """The first `num` of an order."""
    for numbers in order:
        if num <= 0:
            return
        yield numbers[:num]
        num -= len(numbers)


def regrouped(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """The same samples, `size` at a time; the last chunk may be smaller."""
    held: Chunk | None = None
    for chunk in chunks:
        held = chunk if held is None else tree.cat([held, chunk])
        while len(held[-1]) >= size:
            yield tree.map_leaves(lambda leaf: leaf[:size], held)
            held = tree.map_leaves(lambda leaf: leaf[size:], held)
    if held is not None and len(held[-1]):
        yield held
