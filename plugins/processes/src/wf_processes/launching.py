"""Starts the processes of a run on this machine, by torch's elastic launcher, and ends them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch  # noqa: F401 - before its parts, which it sets up
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from wf_processes.signals import INTERRUPTED, STOPPING, heeded, held_back
from wf_processes.together import LAUNCH, place_in, resume_command

FINAL = (2, 3, 4, 5, 6, *(128 + number for number in STOPPING), *(-number for number in STOPPING))
"""Exit codes without a restart: it would fail the same way, or somebody stopped the run."""
END_SEC = 30
"""Seconds that a process has to end after another one failed."""


def launch(
    words: Sequence[str],
    num: int,
    max_restarts: int,
    tell: Callable[[str], None],
    module: str = "wf_cli",
    lost: Callable[[Path, str, str], None] = lambda *_: None,
) -> int:
    """Run ``wf`` in several processes until all have ended; returns the exit code.

    The first signal of `STOPPING` goes to each of them, which then save and end; a second SIGINT kills them and the
    processes that they have started.

    Args:
        words: The command line after ``wf``.
        num: The number of processes.
        max_restarts: How often they are started again after one of them was lost.
        tell: Called with messages for the user.
        module: Run instead of ``wf``.
        lost: Called with run directory, status and reason after they ended with an error, which the first of them may
            not have recorded.
    """
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the processes say themselves why they end
    with tempfile.TemporaryDirectory(prefix="wf-launch-") as folder:
        changed = {LAUNCH: folder, "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGQUIT", **_threads(num)}
        with _environment(changed):
            agent = _agent(module, words, num, max_restarts, tell)
            with _forwarding(agent):
                result = agent.run()
        place, died = place_in(Path(folder)), _died(agent.codes())
    if agent.is_killed:
        tell("interrupted" if place is None else f"interrupted\n  {resume_command(_shown(place), num)}")
    elif died and not agent.received:
        tell(died)  # none of them could
    if place is not None and result is not None and result.is_failed():
        first = min(result.failures.items(), key=lambda item: item[1].timestamp)
        reason = f"process {first[0]} {_ended(first[1].exitcode)}"
        if agent.is_killed:
            lost(place, "interrupted", "a second signal ended the run at once")
        else:
            lost(place, "interrupted" if agent.received else "failed", reason)
    return INTERRUPTED if agent.is_killed else _code(result, agent.received)


def _agent(module: str, words: Sequence[str], num: int, max_restarts: int, tell: Callable[[str], None]) -> _Agent:
    rendezvous = RendezvousParameters(
        "c10d", "localhost:0", f"wf-{os.getpid()}-{time.time_ns()}", 1, 1, local_addr="localhost", is_host=True
    )
    spec = WorkerSpec(
        role="wf",
        local_world_size=num,
        entrypoint=sys.executable,
        args=("-P", "-m", module, *(word.replace("$", "$$") for word in words)),  # torch puts the rank into $...
        rdzv_handler=get_rendezvous_handler(rendezvous),
        max_restarts=max_restarts,
        monitor_interval=0.1,
        local_addr="localhost",
    )
    return _Agent(spec, tell)


class _Agent(LocalElasticAgent):
    """Torch's agent, which starts processes again only where that may help.

    Args:
        spec: The processes.
        tell: Called with messages for the user.
    """

    def __init__(self, spec: WorkerSpec, tell: Callable[[str], None]) -> None:
        super().__init__(spec, DefaultLogsSpecs(), shutdown_timeout=END_SEC)
        self._tell = tell
        self.received: list[int] = []
        """The signals that have come."""
        self.is_killed = False
        """Whether a second SIGINT has killed the processes."""

    def forward(self, number: int) -> None:
        """Send a signal to each running process; a second SIGINT kills them."""
        self.received.append(number)
        if number == signal.SIGINT and len(self.received) > 1:
            self.is_killed = True
            self._send(signal.SIGKILL, os.killpg)  # each is the leader of a group with the processes that it started
        else:
            self._send(number)

    def codes(self) -> dict[int, int | None]:
        """The exit code of each process by rank; None if it still runs."""
        handlers = getattr(self._pcontext, "subprocess_handlers", {})
        return {rank: handler.proc.poll() for rank, handler in handlers.items()}

    def _send(self, number: int, to: Callable[[int, int], None] = os.kill) -> None:
        context = self._pcontext
        for pid in context.pids().values() if context is not None else ():
            with suppress(ProcessLookupError):  # it has ended
                to(pid, number)

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        with held_back():
            started: dict[int, Any] = super()._start_workers(worker_group)
        if self.received:  # before any process was running
            self._send(self.received[0])
        return started

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.is_failed():
            codes = {rank: failure.exitcode for rank, failure in result.failures.items()}
            if self.received or any(code in FINAL for code in codes.values()):
                self._remaining_restarts = 0
            elif self._remaining_restarts:
                words = " and ".join(f"process {rank} {_ended(code)}" for rank, code in sorted(codes.items()))
                number = worker_group.spec.max_restarts - self._remaining_restarts + 1
                self._tell(
                    f"warning: {words}; all are started again and go on from the newest checkpoint "
                    f"({number} of {worker_group.spec.max_restarts})"
                )
        return result


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _died(codes: Mapping[int, int | None]) -> str:
    """How the processes ended, if every one was killed by a signal."""
    if not codes or any(code is None or code >= 0 for code in codes.values()):
        return ""
    return " and ".join(f"process {rank} {_ended(code or 0)}" for rank, code in sorted(codes.items()))


def _shown(place: Path) -> Path:
    """The run directory as a user would name it."""
    here = Path.cwd()
    return place.relative_to(here) if place.is_relative_to(here) else place


def _code(result: RunResult | None, received: Sequence[int]) -> int:
    """The exit code of the process that failed first; 128 plus the signal if it was killed."""
    if result is None or not result.is_failed():
        return 0
    if received and received[0] != signal.SIGINT and all(one.exitcode < 0 for one in result.failures.values()):
        return 128 + received[0]
    first = min(result.failures.values(), key=lambda failure: failure.timestamp)
    return first.exitcode if first.exitcode >= 0 else 128 - first.exitcode


@contextmanager
def _forwarding(agent: _Agent) -> Iterator[None]:
    before = {number: signal.signal(number, lambda got, _: agent.forward(got)) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _threads(num: int) -> dict[str, str]:
    """The number of threads of each process: the cores divided by the processes, unless the user has set it."""
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // num))}
