"""Streams of samples: divided, shuffled and begun anywhere by the numbers of their samples, in constant memory.

What an epoch takes, and in which order, is arithmetic on numbers alone; nothing is read for it. So a run that goes on
in the middle of an epoch has the same order as one that never stopped, and reads what it still needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError
from wf.runtime.random import sample_uniform

Chunk = tuple[Tensor, ...]
"""Tensors of one length: something of each of several samples."""
AT_ONCE = 256
"""So many samples are read at once where they are not shuffled."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Samples that are read one after the other, for data that memory does not hold.

    Args:
        num_samples: How many there are.
        read: Called with the number of a sample, it yields that one and all behind it, in an order that never changes,
            as pairs of inputs ``[n, ...]`` and targets ``[n, ...]`` with as many samples at a time as it likes. What it
            yields is looked through a batch at a time, before it is trained on.
        buffer: So many samples that follow each other are held in memory and shuffled among themselves.
        share: Which part of the samples this is, from 0 to 1.
        seed: Draws the members of the share; None takes samples that follow each other.
    """

    num_samples: int
    read: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    buffer: int = 1000
    share: tuple[float, float] = (0.0, 1.0)
    seed: int | None = None

    def __len__(self) -> int:
        return self._num_members

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets, _ in self.rows(self.order()):
            yield from zip(inputs, targets, strict=True)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One sample; the stream is read for it from there on."""
        inputs, targets, _ = next(self.rows(first(taken(self.order(), index), 1)))
        return inputs[0], targets[0]

    def part(self, low: float, high: float, seed: int | None) -> Stream:
        """The samples from one share to another; those of a seed are drawn, each by its number."""
        return replace(self, share=(low, high), seed=seed)

    def order(self, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """The numbers of the samples in the order of an epoch, int64, as many at a time as are to be read at once.

        Args:
            generator: Draws the order within each buffer, and where the first one ends, so that other samples meet in
                the next epoch; None leaves the samples as they stand.
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
        """Inputs, targets and numbers of samples; the stream is read from the first one on that is needed.

        Raises:
            DataError: When the stream ends too early.
        """
        reader = _Reader(self)
        for numbers in order:
            if len(numbers):
                ascending, place = numbers.sort()
                inputs, targets = reader.take(ascending)
                back = place.argsort()
                yield inputs[back], targets[back], numbers

    @cached_property
    def _num_members(self) -> int:
        if self.share == (0.0, 1.0):
            return self.num_samples
        return sum(len(numbers) for numbers in self._numbers(1 << 20, 1 << 20))

    def _numbers(self, first: int, size: int) -> Iterator[Tensor]:
        """The members among the first samples, and among as many as `size` each time after that."""
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
    """A place in a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._begin = self._end = 0
        self._chunk: tuple[Tensor, Tensor] | None = None

    def take(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the samples with these numbers, which ascend."""
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
            parts.append([tensor[inside] for tensor in self._chunk])
            numbers = numbers[len(inside) :]
        inputs, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
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
        self._begin, self._end = self._end, self._end + len(self._chunk[0])


def _pair(chunk: Any, number: int) -> tuple[Tensor, Tensor] | None:
    """What `Stream.read` yielded, from the sample of a number on; None at its end."""
    if chunk is None:
        return None
    if not isinstance(chunk, (tuple, list)) or len(chunk) != 2 or not all(isinstance(one, Tensor) for one in chunk):
        kinds = ", ".join(type(one).__name__ for one in (chunk if isinstance(chunk, (tuple, list)) else [chunk]))
        raise DataError(f"the stream must yield pairs of tensors, and from sample {number:,} on it yields {kinds}")
    inputs, targets = chunk
    if not (inputs.ndim and targets.ndim) or len(inputs) != len(targets):
        shapes = f"{list(inputs.shape)} and {list(targets.shape)}"
        raise DataError(
            f"the stream must yield as many targets as inputs, and from sample {number:,} on it has {shapes}"
        )
    return inputs, targets


def _like(chunk: tuple[Tensor, Tensor]) -> str:
    return " and ".join(f"{tensor.dtype} {list(tensor.shape[1:])}" for tensor in chunk)


def taken(order: Iterable[Tensor], start: int, rank: int = 0, world_size: int = 1) -> Iterator[Tensor]:
    """What one of several processes takes of an order, from its `start`-th sample on."""
    position = 0
    for numbers in order:
        mine = numbers[(rank - position) % world_size :: world_size]
        position += len(numbers)
        yield mine[start:]
        start = max(0, start - len(mine))


def first(order: Iterable[Tensor], num: int) -> Iterator[Tensor]:
    """The first `num` of an order."""
    for numbers in order:
        if num <= 0:
            return
        yield numbers[:num]
        num -= len(numbers)


def regrouped(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """The same samples, `size` at a time; the last ones may be fewer."""
    held: Chunk | None = None
    for chunk in chunks:
        held = chunk if held is None else tuple(torch.cat(pair) for pair in zip(held, chunk, strict=True))
        while len(held[0]) >= size:
            yield tuple(tensor[:size] for tensor in held)
            held = tuple(tensor[size:] for tensor in held)
    if held is not None and len(held[0]):
        yield held
