"""Checkpoints of several processes: the first one saves, also the states that differ in the others; all hear how it
ended. Processes of which each holds a part of the tensors save and load together.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from wf.errors import SaveError, UsageError
from wf.protocols import Checkpointer, Strategy
from wf_base.random import TrainStream
from wf_base.shards import holds_shards
from wf_state import codec
from wf_state.differences import differences

SHARED = ("model", "optimizer", "modes")
"""Parts whose state is the same in all processes."""


class _RankZero:
    """A checkpointer of several processes: the first one saves, and all get the result together.

    ``parts`` in a checkpoint is the state of the first process. ``ranks`` has for each other process the parts that
    differ from the first, such as its random generators.
    """

    def __init__(self, checkpointer: Checkpointer, strategy: Strategy) -> None:
        self._checkpointer, self._strategy = checkpointer, strategy

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> Future[str]:
        saved: str | Future[str] | None = None
        ranks = _of_others(state["parts"], self._strategy)
        if self._strategy.rank == 0:
            try:
                saved = self._checkpointer.save({**state, "ranks": ranks}, progress, metrics)
            except Exception as error:  # the others wait for this process, and must be told
                saved = Future()
                saved.set_exception(error)
        return _SavedByOne(saved, self._strategy.agree)

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        self._strategy.agree(False)
        return _as_of_rank(self._checkpointer.load(which), self._strategy)

    def is_finite(self, place: str) -> bool:
        """The model's part of the checkpoint that the first process reads; the others have no checkpoint."""
        is_finite = getattr(self._checkpointer, "is_finite", None)
        return not place or is_finite is None or bool(is_finite(place))


class _Divided:
    """A checkpointer of processes of which each holds a part of the tensors: all of them save and load together.

    ``parts`` and ``ranks`` are as for `_RankZero`.
    """

    def __init__(self, checkpointer: Checkpointer, strategy: Strategy) -> None:
        self._checkpointer: Any = checkpointer
        self._strategy = strategy

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> Future[str]:
        ranks = _of_others(state["parts"], self._strategy)
        saved: Future[str] = self._checkpointer.save_shards(
            {**state, "ranks": ranks}, progress, metrics, self._strategy
        )
        return saved

    def load(self, which: str = "latest") -> Mapping[str, Any]:
        return _as_of_rank(self._checkpointer.load_shards(which, self._strategy), self._strategy)

    def is_finite(self, place: str) -> bool:
        """As the manifest says, which all processes read."""
        is_finite = getattr(self._checkpointer, "is_finite", None)
        return is_finite is None or bool(is_finite(place))


def _of_others(parts: Mapping[str, Any], strategy: Strategy) -> list[dict[str, Any]]:
    """In the first process the differences of each other one from it; all of them must call it together."""
    own = {name: part for name, part in parts.items() if name not in SHARED and not holds_shards(part)}
    sent = _to_bytes(own)
    lengths = strategy.gather(torch.tensor([len(sent)])).tolist()
    _, *others = strategy.gather(sent).split(lengths)
    return [_apart(_from_bytes(one), own) for one in others] if strategy.rank == 0 else []


def _as_of_rank(state: Mapping[str, Any], strategy: Strategy) -> Mapping[str, Any]:
    """The state of a process, with its own parts where they are not as in the first one."""
    others: Sequence[Mapping[str, Any]] = state.get("ranks", ())  # which older checkpoints do not have
    rank = strategy.rank
    if rank == 0:
        return state
    own = others[rank - 1] if rank <= len(others) else {"random": TrainStream().state_dict()}
    if len(others) + 1 != strategy.world_size:  # hooks, losses and the like go on as in the first one
        own = {name: part for name, part in own.items() if name == "random"}
    return {**state, "parts": {**state["parts"], **own}}


def check_processes(state: Mapping[str, Any], num: int) -> None:
    """Refuse to go on with another number of processes where each has samples or transforms with a state of its own.

    Args:
        state: The state of a checkpoint.
        num: The processes of now.

    Raises:
        UsageError: With the parts.
    """
    others: Sequence[Mapping[str, Any]] = state.get("ranks", ())
    own = {name for part in others for name in part if name not in ("random", "loss") and not name.startswith("hook/")}
    if own and len(others) + 1 != num:
        raise UsageError(
            f"the checkpoint has a state for each of {len(others) + 1} processes, which cannot be divided among {num}: "
            f"{', '.join(sorted(own))}\n  start as many processes as before"
        )


def _apart(state: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a state that differ from the first one."""
    return {name: part for name, part in state.items() if name not in first or any(differences(first[name], part))}


def _to_bytes(state: Mapping[str, Any]) -> torch.Tensor:
    """A state as uint8 ``[N]``, for other processes of this run."""
    document, tensors = codec.encode(state)
    stream = io.BytesIO()
    torch.save({"document": document, "tensors": {name: one.cpu() for name, one in tensors.items()}}, stream)
    return torch.frombuffer(stream.getbuffer(), dtype=torch.uint8).clone()


def _from_bytes(data: torch.Tensor) -> dict[str, Any]:
    received = torch.load(io.BytesIO(data.cpu().numpy().tobytes()), weights_only=True)
    state: dict[str, Any] = codec.decode(received["document"], received["tensors"])
    return state


class _SavedByOne(Future[str]):
    """The result of a checkpoint that the first process writes, for all processes; all must ask for it together.

    Args:
        saved: The place, or a future of it; None in the other processes, where it never appears done.
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
    """The checkpointer as all processes of a strategy use it together.

    Raises:
        UsageError: For one that cannot save what is divided among processes.
    """
    if checkpointer is None:
        return None
    if getattr(strategy, "mesh", None) is None:
        return checkpointer if strategy.world_size == 1 else _RankZero(checkpointer, strategy)
    if not hasattr(checkpointer, "save_shards"):
        raise UsageError(
            f"{type(checkpointer).__name__} saves whole tensors, and this strategy divides them among processes\n"
            "  use --checkpointer directory, or --strategy ddp"
        )
    return _Divided(checkpointer, strategy)
