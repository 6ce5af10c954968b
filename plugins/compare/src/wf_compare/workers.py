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
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from wf.errors import InterruptedRun
from wf_processes.signals import STOPPING, heeded

MAX_DEATHS = 3
"""Number of kills after which a task is given up."""

_PARENT = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Environment variables of the parent alone. A library that queries CUDA on import must not initialize it there, as no
child could use it then. In a child the other way of querying is quicker, and optimizers query at each step."""

_added: set[str] = set()
"""Those that this process has added to its environment: for a later pool, too, they are not those of the user."""

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Died:
    """The result of a task whose process was killed too often."""

    reason: str


@dataclass(frozen=True)
class _Asked:
    """A question of a process."""

    question: Any


class Pool(Generic[T]):
    """Runs each task in its own process.

    Args:
        work: Called in the process, with the task's arguments.
        jobs: Number of concurrent processes.
        on_death: Called when a task's process was killed and the task restarts, with the signal.
        answer: Answers the questions that a task asks while it is at work, in this process. With it `work` gets one
            argument more: a function that asks, and returns the answer, or None where nobody answers any more.
        beat: Called about every `beat_sec` seconds while processes are at work.
        beat_sec: See `beat`.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        jobs: int,
        on_death: Callable[[T, str], None] = lambda *_: None,
        answer: Callable[[T, Any], Any] | None = None,
        beat: Callable[[], object] | None = None,
        beat_sec: float = 30.0,
    ) -> None:
        self._work, self._jobs, self._on_death, self._answer = work, jobs, on_death, answer
        self._beat, self._beat_sec = beat, beat_sec
        self._context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        _added.update(name for name in _PARENT if name not in os.environ)
        os.environ.update({name: _PARENT[name] for name in _added})

    def run(self, tasks: Iterable[tuple[T, Sequence[Any]]]) -> Generator[tuple[T, Any], None, None]:
        """Run tasks, given as name and arguments; yields each as it finishes.

        A task is taken from `tasks` when a process is free for it, after the results before it were yielded. Close it
        (`contextlib.closing`) if you stop early: that ends the processes.

        Raises:
            InterruptedRun: On the first of `STOPPING`, after the processes were stopped by SIGTERM and have ended.
        """
        coming, waiting, deaths = iter(tasks), deque[tuple[T, Sequence[Any]]](), Counter[T]()
        running: dict[Any, _Running[T]] = {}
        due = time.monotonic() + self._beat_sec
        with _Signals() as signals:
            try:
                while True:
                    while len(running) < self._jobs:
                        task = waiting.popleft() if waiting else next(coming, None)
                        if task is None:
                            break
                        begun = self._begin(*task)
                        running[begun.pipe] = begun
                    if not running:
                        break
                    ready = connection.wait([*running, signals.reader], None if self._beat is None else self._beat_sec)
                    signals.check()
                    if self._beat is not None and time.monotonic() >= due:
                        self._beat()
                        due = time.monotonic() + self._beat_sec
                    for pipe in ready:
                        one = running[pipe]
                        result = one.receive()
                        if isinstance(result, _Asked):
                            self._reply(one, result.question)
                            continue
                        del running[pipe]
                        if isinstance(result, Died):
                            deaths[one.task] += 1
                            if deaths[one.task] < MAX_DEATHS:
                                self._on_death(one.task, result.reason)
                                waiting.appendleft((one.task, one.args))
                                continue
                        yield one.task, result
                signals.check()
            finally:
                _end(list(running.values()), signals)

    def _reply(self, one: _Running[T], question: Any) -> None:
        assert self._answer is not None
        answer = None
        try:
            answer = self._answer(one.task, question)
        finally:  # without an answer its process would not stop
            one.reply(answer)

    def _begin(self, task: T, args: Sequence[Any]) -> _Running[T]:
        pipe, other = self._context.Pipe()
        process = self._context.Process(
            target=_carry_out, args=(other, self._work, args, self._answer is not None, tuple(_added))
        )
        _mask(block=True)  # until the process has its own handlers
        try:
            process.start()
        finally:
            _mask(block=False)
        other.close()
        return _Running(task, args, process, pipe)


@dataclass(frozen=True)
class _Running(Generic[T]):
    task: T
    args: Sequence[Any]
    process: Any
    pipe: connection.Connection[Any, Any]

    def receive(self) -> Any:
        """What the process sent: a question, or at its end the result, or how it was killed; waits for that end."""
        try:
            sent = self.pipe.recv()  # before joining: the process blocks until a large result is read
        except (EOFError, OSError):  # killed before or while sending
            self.process.join()
            sent = Died(_how_it_ended(self.process.exitcode))
        if not isinstance(sent, _Asked):
            self.pipe.close()
            self.process.join()
        return sent

    def reply(self, answer: Any) -> None:
        """Answer a question; a process that was killed meanwhile is found out by its end."""
        with suppress(OSError):
            self.pipe.send(answer)


def preload(modules: Iterable[str]) -> None:
    """Import modules that the processes will need, so that each starts with them.

    A module that cannot be imported is left to the process that needs it.
    """
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)


def _carry_out(
    pipe: connection.Connection[Any, Any],
    work: Callable[..., Any],
    args: Sequence[Any],
    asks: bool,
    only_parent: Sequence[str],
) -> None:
    for name in only_parent:
        os.environ.pop(name, None)
    for number in heeded():
        signal.signal(number, signal.SIG_DFL)  # do not inherit the parent's handlers
    _mask(block=False)
    pipe.send(work(*args, partial(_ask, pipe)) if asks else work(*args))
    pipe.close()


def _ask(pipe: connection.Connection[Any, Any], question: Any) -> Any:
    try:
        pipe.send(_Asked(question))
        return pipe.recv()
    except (EOFError, OSError):  # the parent is gone
        return None


def _how_it_ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _end(running: Sequence[_Running[Any]], signals: _Signals) -> None:
    """Stop the remaining processes in order; a SIGINT meanwhile kills them. Schedulers send several SIGTERM."""
    for one in running:
        one.process.terminate()
    open_ = {one.pipe: one for one in running}
    while alive := [one.process for one in running if one.process.is_alive()]:
        ready = connection.wait([*(process.sentinel for process in alive), signals.reader, *open_])
        for pipe in [pipe for pipe in open_ if pipe in ready]:
            try:
                asked = isinstance(pipe.recv(), _Asked)
            except (EOFError, OSError):
                asked = False
            if asked:  # its process waits for an answer, and would not stop
                open_[pipe].reply(None)
            else:
                del open_[pipe]
        if signals.take() == signal.SIGINT:
            for process in alive:
                process.kill()
    for one in running:
        one.pipe.close()


def _mask(*, block: bool) -> None:
    """Block or unblock the stop signals; does nothing where signals cannot be blocked."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if block else signal.SIG_UNBLOCK, STOPPING)


class _Signals:
    """Collects `STOPPING` for later: an exception raised at an arbitrary point might get lost."""

    def __enter__(self) -> _Signals:
        self.reader, self._writer = multiprocessing.Pipe(duplex=False)
        main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._note) for number in heeded() if main}
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
        """The first signal that was not taken yet."""
        return self.reader.recv() if self.reader.poll() else None

    def _note(self, number: int, _frame: Any) -> None:
        self._writer.send(number)
