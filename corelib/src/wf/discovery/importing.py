"""Changes that a plugin makes to the process while it is imported: they are reported, and undone if possible.

A declaration need not change anything, and a change would affect every other plugin, and runs that do not use this one.
"""

from __future__ import annotations

import builtins
import gc
import io
import locale
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

SLOW_SEC = 10.0
"""Time after which a slow import is reported."""


@dataclass(frozen=True)
class _Part:
    """A part of the process's state: how it is read, compared by equality, and restored."""

    title: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]


def _set_path(before: list[str]) -> None:
    """Move new entries to the end, where they hide nothing; the plugin's modules may need them later."""
    sys.path[:] = [*before, *(entry for entry in sys.path if entry not in before)]


def _set_environment(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


def _set_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]  # a list, which the stubs call a sequence
    warnings._filters_mutated()  # type: ignore[attr-defined]  # as the module itself does


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (*_SIGNALS,)}


def _set_handlers(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            with suppress(OSError, ValueError, TypeError):
                signal.signal(number, handler)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_working_directory(before: str | None) -> None:
    if before is not None:
        os.chdir(before)


def _set_locale(before: str) -> None:
    locale.setlocale(locale.LC_ALL, before)


def _logging() -> tuple[Any, ...]:
    return logging.root.level, tuple(logging.root.handlers), logging.root.manager.disable


def _set_logging(before: tuple[Any, ...]) -> None:
    logging.root.level, logging.root.handlers[:], logging.root.manager.disable = before
    logging.root.manager._clear_cache()  # type: ignore[attr-defined]  # as setLevel does


def _own(function: Any) -> bool:
    """Whether a function belongs to torch: parts of torch that are imported late replace others."""
    return (getattr(function, "__module__", None) or "").partition(".")[0] in ("torch", "functorch")


def _set_hooks(before: tuple[Any, ...]) -> None:
    sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = before


_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    *(
        getattr(signal, name)
        for name in ("SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE")
        if hasattr(signal, name)
    ),
)

_ALWAYS = (
    _Part("the working directory", _working_directory, _set_working_directory),
    _Part("the locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale),
    _Part("signal handlers", _handlers, _set_handlers),
    _Part("Python's random numbers", random.getstate, random.setstate),
)
"""State that no library changes on import."""

_DECLARING = (
    _Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Part(
        "hooks for exceptions",
        lambda: (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        _set_hooks,
    ),
    _Part("sys.path", lambda: [*sys.path], _set_path),
    _Part("the environment", lambda: dict(os.environ), _set_environment),
    _Part("filters of warnings", lambda: [*warnings.filters], _set_filters),
    _Part("logging", _logging, _set_logging),
    _Part("garbage collection", gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
)
"""State that large libraries change on import as well, but a declaration has no reason to."""


@contextmanager
def rare_collection() -> Iterator[None]:
    """Let the garbage collector run rarely: declarations are kept, and it takes 5 % of a start to look through them."""
    before = gc.get_threshold()
    gc.set_threshold(100_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Watched:
    """The process before a plugin is imported.

    Args:
        declaring: Whether a declaration is imported, rather than a component with its libraries.
    """

    def __init__(self, *, declaring: bool) -> None:
        self._parts = [(part, part.read()) for part in (*_ALWAYS, *(_DECLARING if declaring else ()), *_of_torch())]
        self._spaces = [(space, dict(vars(space))) for space in _spaces()]
        self._threads = set(threading.enumerate()) if declaring else None
        self._had_torch = "torch" in sys.modules

    def settle(self, *, heavy: bool = False) -> tuple[str, ...]:
        """Restore changed state; returns a description of each change.

        Args:
            heavy: Whether large libraries were imported, which change `_DECLARING` themselves.
        """
        changed = []
        for part, before in self._parts:
            if (heavy and part in _DECLARING) or part.read() == before:
                continue
            try:
                part.put_back(before)
                changed.append(part.title)
            except Exception:
                changed.append(f"{part.title} (not undone)")
        for space, before in self._spaces:
            now = vars(space)
            different = [name for name, value in before.items() if now.get(name) is not value]
            names = [name for name in different if callable(before[name]) and not _own(now.get(name))]
            for name in names:
                setattr(space, name, before[name])
            changed += [f"{_name(space)}.{name}" for name in names]
        if not self._had_torch and "torch" in sys.modules:
            changed += _of_new_torch()
        if self._threads is not None and not heavy:
            new = [thread.name for thread in threading.enumerate() if thread not in self._threads]
            changed += [f"a thread that it started, {name} (not undone)" for name in new]
        return tuple(changed)


def _name(space: Any) -> str:
    return f"{space.__module__}.{space.__qualname__}" if isinstance(space, type) else str(space.__name__)


def _spaces() -> Iterator[Any]:
    """The modules and classes whose functions are compared: Python's own, and torch's if it is imported."""
    yield builtins
    for module in ("torch", "torch.nn.functional", "torch.optim", "torch.nn.init"):
        if module in sys.modules:
            yield sys.modules[module]
    if "torch.nn" in sys.modules:
        torch: Any = sys.modules["torch"]
        yield from (torch.Tensor, torch.nn.Module, torch.nn.Linear, torch.optim.Optimizer)


def _of_torch() -> Iterator[_Part]:
    if "torch.nn" not in sys.modules:
        return
    torch: Any = sys.modules["torch"]
    yield _Part("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield _Part("whether torch keeps gradients", torch.is_grad_enabled, torch._C._set_grad_enabled)
    yield _Part("torch's random numbers", lambda: bytes(torch.get_rng_state().numpy()), _seed_torch)
    yield _Part("torch's precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)


def _seed_torch(before: bytes) -> None:
    torch: Any = sys.modules["torch"]
    torch.set_rng_state(torch.frombuffer(bytearray(before), dtype=torch.uint8))


def _of_new_torch() -> Iterator[str]:
    """The changes to torch, if this import was its first."""
    torch: Any = sys.modules["torch"]
    if torch.get_default_dtype() != torch.float32:
        torch.set_default_dtype(torch.float32)
        yield "torch's default dtype"
    if not torch.is_grad_enabled():
        torch._C._set_grad_enabled(True)
        yield "whether torch keeps gradients"


@contextmanager
def told_when_slow(say: Callable[[str], object]) -> Iterator[Callable[[str], None]]:
    """Report a plugin whose import takes long; yields a function to call with the name of each plugin before its
    import.

    Standard input is empty meanwhile, so a plugin that reads it does not block.
    """
    done, current = threading.Event(), ("", time.monotonic())

    def watch() -> None:
        told = ""
        while not done.wait(max(0.01, SLOW_SEC + current[1] - time.monotonic())):
            name, since = current
            if name and name != told and time.monotonic() - since >= SLOW_SEC:
                say(f"still importing plugin '{name}', after {SLOW_SEC:g} s; leave it out: -p no:{name}")
                told = name
            if name == told:
                done.wait(SLOW_SEC / 4)

    def begin(name: str) -> None:
        nonlocal current
        current = (name, time.monotonic())

    thread = threading.Thread(target=watch, name="wf-imports", daemon=True)
    thread.start()
    try:
        with _empty_stdin():
            yield begin
    finally:
        done.set()
        thread.join()


@contextmanager
def _empty_stdin() -> Iterator[None]:
    before = sys.stdin
    try:
        kept = os.dup(0)
    except OSError:  # standard input is closed
        kept = -1
    if kept >= 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
    sys.stdin = io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before
        if kept >= 0:
            os.dup2(kept, 0)
            os.close(kept)
