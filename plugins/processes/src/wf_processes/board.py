"""A message board that all processes of a run read and write: which ones are present, and why one ended.

It uses the store through which torch's processes find each other, so it works before they can communicate otherwise,
and while one of them hangs in a collective.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it without saying so
from torch.distributed.distributed_c10d import PrefixStore

from wf.discovery.modules import message_of
from wf.errors import InterruptedRun, OtherFailedError, UsageError, WfError
from wf_processes.failures import reason_of, status_of
from wf_processes.signals import INTERRUPTED
from wf_processes.watching import collective_of

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""The variables that torchrun sets for each process."""
WORD_SEC = 3.0
"""How long a process whose collective failed waits for the message of the process that caused it."""
CONNECT_SEC = 20.0
"""How long a process that fails before it has met the others tries to reach them."""
_GONE = "ended without a message: it was killed, or its machine is gone"
_TAKEN = re.compile(r"EADDRINUSE|address already in use", re.IGNORECASE)
_BROKEN = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|tcpstore", re.IGNORECASE)

_board: Board | None = None


class Board:
    """The messages between the processes.

    Args:
        patience_sec: How long to wait for the process that holds it.

    Raises:
        UsageError: If another program has the port.
        OtherFailedError: If the process that holds it cannot be reached.
    """

    def __init__(self, patience_sec: float) -> None:
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._holds_it = not _is_held_by_agent() and self.rank == 0
        self._place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            store = TCPStore(
                *self._place,
                is_master=self._holds_it,
                wait_for_workers=False,
                timeout=timedelta(seconds=patience_sec),
            )
        except distributed.DistError as error:
            raise self._unreachable(error, patience_sec) from error
        self._all, self._number, self._meetings = store, 0, 0
        self._begin()

    def _unreachable(self, error: Exception, patience_sec: float) -> WfError:
        host, port = self._place
        if self._holds_it and _TAKEN.search(str(error)):
            return UsageError(
                f"port {port} of this machine, at which the processes of the run meet, is taken by another program\n"
                "  set MASTER_PORT to a free one, or use wf run --processes N or torchrun --standalone, which find one"
            )
        return OtherFailedError(
            f"process {self.rank} cannot reach the others at {host}:{port} (MASTER_ADDR and MASTER_PORT) within "
            f"{patience_sec:g} s\n  check whether process 0 was started there and what it prints"
        )

    def _begin(self) -> None:
        """Begin without messages. All processes of a failed run do so, and so have the same number of failures."""
        self.is_over = False
        """Whether this process knows that the run failed, so that its next one begins with an empty board."""
        self._number += 1
        self._prefix = f"wf/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{self._number}"
        self._store = PrefixStore(self._prefix, self._all)

    def another(self) -> PrefixStore:
        """Another connection to the same board, for another thread."""
        timeout = timedelta(seconds=CONNECT_SEC)
        return PrefixStore(self._prefix, TCPStore(*self._place, is_master=False, timeout=timeout))

    def meet(self, patience_sec: float) -> Any:
        """Wait until all processes are here; returns a store for their process group.

        Raises:
            OtherFailedError: If one of them ends first or does not come in time; names its rank.
        """
        if self.is_over:
            self._begin()
        self._meetings += 1
        here = [f"here/{self._meetings}/{rank}" for rank in range(self.world_size)]
        self._store.set(here[self.rank], "here")
        until = time.monotonic() + patience_sec
        while not self._store.check(here):
            if told := self.read():
                raise told
            if time.monotonic() > until:
                missing = [rank for rank, key in enumerate(here) if not self._store.check([key])]
                raise OtherFailedError(
                    f"{_processes(missing)} of {self.world_size} did not come within {patience_sec:g} s\n"
                    "  check whether it was started and what it prints; --strategy.wait_sec waits longer"
                )
            time.sleep(0.05)
        return PrefixStore(f"group/{self._meetings}", self._store)

    def write(self, error: BaseException) -> None:
        """Post why this process ends, unless another process has already done so."""
        error = _bare(error)
        said = {"rank": self.rank, "text": _words(error), "code": _code(error), "status": status_of(error)}
        first = json.loads(self._store.compare_set("failed", "", json.dumps(said)))
        if first["rank"] != self.rank and first["text"] == said["text"]:
            error.is_told = True  # type: ignore[attr-defined]  # see `wf_processes.together.is_told`
        if self._holds_it:  # the store ends with this process
            keys = [f"heard/{rank}" for rank in range(1, self.world_size)]
            until = time.monotonic() + WORD_SEC
            while not self._store.check(keys) and time.monotonic() < until:
                time.sleep(0.05)

    def read(self) -> OtherFailedError | None:
        """Why another process ended, if one did."""
        if not self._store.check(["failed"]):
            return None
        said = json.loads(self._store.get("failed"))
        self._store.set(f"heard/{self.rank}", "heard")
        if said["rank"] == self.rank:
            return None
        told = OtherFailedError(f"process {said['rank']} {said['text']}", said["code"], said["status"])
        told.is_told = True  # type: ignore[attr-defined]  # see `wf_processes.together.is_told`
        return told

    def cause_of_broken(self, failure: BaseException) -> OtherFailedError | None:
        """Why a collective failed: the message of another process, or the ranks that died or did not join."""
        self._store.set(f"broken/{self.rank}", "broken")
        until = time.monotonic() + WORD_SEC
        while time.monotonic() < until:
            if told := self.read():
                return told
            time.sleep(0.05)
        gone = [rank for rank in range(self.world_size) if not self._store.check([f"broken/{rank}"])]
        if not gone:
            return None
        if (places := self._places_of(gone)) and "timed out" in str(failure).lower():
            words = "\n  ".join(
                [
                    f"{_processes(list(places))} did not come to the {collective_of(failure)} in time",
                    *(f"process {rank} is at {place}" for rank, place in places.items()),
                    "--strategy.timeout_sec waits longer",
                ]
            )
            said = {"rank": gone[0], "text": f"failed: {words}", "code": 1, "status": "failed"}
            self._store.compare_set("failed", "", json.dumps(said))  # it ends, too
        else:
            words = f"{_processes(gone)} {_GONE}"
        error = OtherFailedError(words)
        error.is_told = (  # type: ignore[attr-defined]  # see `wf_processes.together.is_told`
            int(self._store.compare_set("speaks", "", str(self.rank))) != self.rank
        )
        return error

    def _places_of(self, ranks: list[int]) -> dict[int, str]:
        """The position in the code of each process that answers, by rank."""
        self._store.set("who", "")
        until = time.monotonic() + WORD_SEC
        while not self._store.check([f"at/{rank}" for rank in ranks]) and time.monotonic() < until:
            time.sleep(0.05)
        return {rank: self._store.get(f"at/{rank}").decode() for rank in ranks if self._store.check([f"at/{rank}"])}


def board(patience_sec: float = CONNECT_SEC) -> Board:
    """The board of this process's run."""
    global _board
    if _board is None:
        _board = Board(patience_sec)
    return _board


def explained(error: BaseException) -> BaseException:
    """The error that this process should end with.

    The process posts its own error for the others. An error of a collective, which most often means that another
    process has ended, is replaced by that process's message.
    """
    if _board is not None:
        _board.is_over = True
    if isinstance(error, (InterruptedRun, OtherFailedError, GeneratorExit)) or any(
        name not in os.environ for name in VARIABLES
    ):
        return error
    if isinstance(_bare(error), KeyboardInterrupt) and _board is None:
        return error  # nobody waits for it yet
    if not is_of_collective(error):
        with suppress(Exception):  # the board is gone if the process that holds it has ended
            board().write(error)
        return error
    try:
        return board().cause_of_broken(error) or error
    except Exception:
        holder = "the process that started this one" if _is_held_by_agent() else _processes([0])
        return OtherFailedError(f"{holder} {_GONE}")


def _is_held_by_agent() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def is_of_collective(error: BaseException) -> bool:
    """Whether communication failed, which is rarely the fault of the reporting process."""
    if isinstance(error, distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and not isinstance(error, WfError) and bool(_BROKEN.search(str(error)))


def _bare(error: BaseException) -> BaseException:
    """The error itself, without the one that carries it past click."""
    inner = getattr(error, "error", None)
    return inner if isinstance(inner, BaseException) else error


def _words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted"
    if isinstance(error, WfError):
        return f"failed: {message_of(error)}"
    explain = getattr(error, "format_message", None)  # click's
    return f"failed: {explain() if explain else reason_of(error)}"


def _code(error: BaseException) -> int:
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else int(getattr(error, "exit_code", 1))


def _processes(ranks: list[int]) -> str:
    return f"process{'es' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
