"""Requests that wait at the same time are processed in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from wf_base import tree
from wf_base.tree import Tree
from wf_serve.limits import Limits


@dataclass
class _Waiting:
    inputs: Tree
    size: int
    answer: asyncio.Future[list[Any]]


class Batcher:
    """Collects the inputs of requests into batches, and processes these in sequence in a separate thread.

    Args:
        answer: Returns a list with one answer per sample of inputs ``[N, ...]``.
        limits: The maximum number of samples in a batch, and how long the first one waits for others.
    """

    def __init__(self, answer: Callable[[Tree], list[Any]], limits: Limits) -> None:
        self._answer, self._limits = answer, limits
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        """The number of processed batches."""

    def start(self) -> None:
        """Start; the event loop must be running."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop after the present batch."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=True)

    async def prepare(self, make: Callable[[], Tree]) -> Tree:
        """Make inputs in the model's thread: reading images would block other requests."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, make)

    async def predict(self, inputs: Tree) -> list[Any]:
        """The answers for the inputs of one request."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Waiting(inputs, tree.length(inputs), answer))
        return await answer

    async def _work(self) -> None:
        held: _Waiting | None = None
        while True:
            batch = [held or await self._queue.get()]
            held = await self._fill(batch)
            await self._run(batch)

    async def _fill(self, batch: list[_Waiting]) -> _Waiting | None:
        """Add waiting requests that fit; returns one that does not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.batch_wait_sec
        size = batch[0].size
        while size < self._limits.batch_size:
            try:
                one = await asyncio.wait_for(self._queue.get(), max(0.0, end - loop.time()))
            except TimeoutError:
                return None
            if size + one.size > self._limits.batch_size or not _together(batch[0].inputs, one.inputs):
                return one
            batch.append(one)
            size += one.size
        return None

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        self.batches += 1
        inputs = batch[0].inputs if len(batch) == 1 else tree.cat([one.inputs for one in batch])
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, inputs)
        except Exception as error:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        begin = 0
        for one in batch:
            if not one.answer.done():  # its client may have disconnected
                one.answer.set_result(answers[begin : begin + one.size])
            begin += one.size


def _together(one: Tree, other: Tree) -> bool:
    """Whether inputs can be put into one batch."""
    own, theirs = list(tree.leaves(one)), list(tree.leaves(other))
    return [(path, leaf.shape[1:], leaf.dtype) for path, leaf in own] == [
        (path, leaf.shape[1:], leaf.dtype) for path, leaf in theirs
    ]
