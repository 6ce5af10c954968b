"""One process per run, a few at a time.

If processes can be forked, torch and the rows' modules are imported once, in the parent, which does not compute
anything itself: children start with everything imported, and without each other's state. Otherwise processes
are spawned and import for themselves.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from wf.errors import InterruptedRun

MAX_DEATHS = 3
"""Number of kills after which a task is given up."""
STOPPING = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Died:
    """The result of a task whose process was killed too often."""

    reason: str


class Pool(Generic[T]):
    """Runs each task in its own process.

    Args:
        work: Called in the process, with the task's arguments.
        jobs: Number of concurrent processes.
        on_death: Called when a task's process was killed and the task restarts, with the signal.
    """

    def __init__(
        self, work: Callable[..., Any], jobs: int, on_death: Callable[[T, str], None] = lambda *_: None
    ) -> None:
        self._work, self._jobs, self._on_death = work, jobs, on_death
        self._context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # a library that queries CUDA on import must not
        # initialize it in the parent: no child could use it

    def run(self, tasks: Iterable[tuple[T, Sequence[Any]]]) -> Generator[tuple[T, Any], None, None]:
        """Run tasks, given as name and arguments; yields each as it finishes.

        Close it (`contextlib.closing`) if you stop early: that ends the processes.

        Raises:
            InterruptedRun: On SIGINT or SIGTERM, after the processes were stopped by SIGTERM and have ended.
        """
        waiting, deaths = deque(tasks), Counter[T]()
        running: dict[Any, _Running[T]] = {}
        with _Signals() as signals:
            try:
                while waiting or running:
                    while waiting and len(running) < self._jobs:
                        begun = self._begin(*waiting.popleft())
                        running[begun.receiver] = begun
                    ready = connection.wait([*running, signals.reader])
                    signals.check()
                    for receiver in ready:
                        ended = running.pop(receiver)
                        result = ended.result()
                        if isinstance(result, Died):
                            deaths[ended.task] += 1
                            if deaths[ended.task] < MAX_DEATHS:
                                self._on_death(ended.task, result.reason)
                                waiting.appendleft((ended.task, ended.args))
                                continue
                        yield ended.task, result
                signals.check()
            finally:
                _end(list(running.values()), signals)

    def _begin(self, task: T, args: Sequence[Any]) -> _Running[T]:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_carry_out, args=(sender, self._work, args))
        _mask(block=True)  # until the process has its own handlers
        try:
            process.start()
        finally:
            _mask(block=False)
        sender.close()
        return _Running(task, args, process, receiver)


@dataclass(frozen=True)
class _Running(Generic[T]):
    task: T
    args: Sequence[Any]
    process: Any
    receiver: connection.Connection[Any, Any]

    def result(self) -> Any:
        """The object that the process sent, or how it was killed; waits for its end."""
        try:
            sent = self.receiver.recv()  # before joining: the process blocks until a large result is read
        except (EOFError, OSError):  # killed before or while sending
            self.process.join()
            return Died(_how_it_ended(self.process.exitcode))
        finally:
            self.receiver.close()
        self.process.join()
        return sent


def preload(modules: Iterable[str]) -> None:
    """Import modules that the processes will need, so that each starts with them.

    A module that cannot be imported is left to the process that needs it.
    """
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)


def _carry_out(sender: connection.Connection[Any, Any], work: Callable[..., Any], args: Sequence[Any]) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)  # do not inherit the parent's handlers
    _mask(block=False)
    sender.send(work(*args))
    sender.close()


def _how_it_ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _end(running: Sequence[_Running[Any]], signals: _Signals) -> None:
    """Stop the remaining processes in order; a signal meanwhile kills them."""
    for one in running:
        one.process.terminate()
    while alive := [one.process for one in running if one.process.is_alive()]:
        connection.wait([*(process.sentinel for process in alive), signals.reader])
        if signals.take():
            for process in alive:
                process.kill()
    for one in running:
        one.receiver.close()


def _mask(*, block: bool) -> None:
    """Block or unblock the stop signals; does nothing where signals cannot be blocked."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if block else signal.SIG_UNBLOCK, STOPPING)


class _Signals:
    """Collects SIGINT and SIGTERM for later: an exception raised at an arbitrary point might get lost."""

    def __enter__(self) -> _Signals:
        self.reader, self._writer = multiprocessing.Pipe(duplex=False)
        main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._note) for number in STOPPING if main}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.reader.close()
        self._writer.close()

    def check(self) -> None:
        """Raise InterruptedRun after a signal."""
        if number := self.take():
            raise InterruptedRun(f"stopped by {signal.Signals(number).name}", number)

    def take(self) -> int | None:
        """The last signal since the previous call."""
        found = None
        while self.reader.poll():
            found = self.reader.recv()
        return found

    def _note(self, number: int, _frame: Any) -> None:
        self._writer.send(number)
