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
from wf_base import tree
from wf_base.random import sample_uniform
from wf_base.tree import Tree

Chunk = tuple[Tree, ...]
"""Trees of tensors of one length: something of each of several samples, and their numbers at last."""
AT_ONCE = 256
"""So many samples are read at once where they are not shuffled."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Samples that are read one after the other, for data that memory does not hold.

    Args:
        num_samples: How many there are.
        read: Called with the number of a sample, it yields that one and all behind it, in an order that never changes,
            as pairs of inputs ``[n, ...]`` and targets ``[n, ...]``, or of trees of them, with as many samples at a
            time as it likes. What it yields is looked through a batch at a time, before it is trained on.
        buffer: So many samples that follow each other are held in memory and shuffled among themselves.
        share: Which part of the samples this is, from 0 to 1.
        seed: Draws the members of the share; None takes samples that follow each other.
        exact: Whether `read` gives the same samples whenever it is asked. Where nobody promises that, as of an iterable
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
        """One sample; the stream is read for it from there on."""
        return _sample(next(self.rows(first(taken(self.order(), index), 1))), 0)

    def part(self, low: float, high: float, seed: int | None) -> Stream:
        """The samples between two shares; with a seed each is assigned by its number."""
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
                yield tree.select(inputs, back), tree.select(targets, back), numbers

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
        self._chunk: tuple[Tree, Tree] | None = None

    def take(self, numbers: Tensor) -> tuple[Tree, Tree]:
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
    """What `Stream.read` yielded, from the sample of a number on; None at its end."""
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
    """The same samples, `size` at a time; the last ones may be fewer."""
    held: Chunk | None = None
    for chunk in chunks:
        held = chunk if held is None else tree.cat([held, chunk])
        while len(held[-1]) >= size:
            yield tree.map_leaves(lambda leaf: leaf[:size], held)
            held = tree.map_leaves(lambda leaf: leaf[size:], held)
    if held is not None and len(held[-1]):
        yield held
