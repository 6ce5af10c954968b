"""Checkpoints of several processes: the first one saves, and all hear how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from wf.errors import SaveError
from wf.protocols import Checkpointer, Strategy


class _RankZero:
    """A checkpointer of several processes: the first one saves, and all hear together how it ended."""

    def __init__(self, checkpointer: Checkpointer, strategy: Strategy) -> None:
        self._checkpointer, self._strategy = checkpointer, strategy

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> Future[str]:
        saved: str | Future[str] | None = None
        if self._strategy.rank == 0:
            try:
                saved = self._checkpointer.save(state, progress, metrics)
            except Exception as error:  # the others wait for this process, and must hear of it
                saved = Future()
                saved.set_exception(error)
        return _SavedByOne(saved, self._strategy.agree)

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        self._strategy.agree(False)
        return self._checkpointer.load(which)


class _SavedByOne(Future[str]):
    """What several processes know of a checkpoint that the first one writes; all must ask for the result together.

    Args:
        saved: The place, or the future of it; None in the other processes, where it never looks done.
        agree: See `Strategy.agree`.
    """

    def __init__(self, saved: str | Future[str] | None, agree: Callable[[bool], bool]) -> None:
        super().__init__()
        self._saved, self._agree = saved, agree

    def done(self) -> bool:
        return self._saved.done() if isinstance(self._saved, Future) else self._saved is not None

    def result(self, timeout: float | None = None) -> str:
        failure = self._saved.exception(timeout) if isinstance(self._saved, Future) else None
        failed = self._agree(failure is not None)
        if failure is not None:
            raise failure
        if failed:
            raise SaveError("process 0 could not save the checkpoint; its own message says why")
        return self._saved.result() if isinstance(self._saved, Future) else self._saved or ""


def collective(checkpointer: Checkpointer | None, strategy: Strategy) -> Checkpointer | None:
    """The checkpointer as all processes of a strategy use it together."""
    return checkpointer if checkpointer is None or strategy.world_size == 1 else _RankZero(checkpointer, strategy)
