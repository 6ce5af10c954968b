"""The status and a readable explanation of a run that ended with an error."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass

import torch

from wf.blame import blamed
from wf.discovery.modules import describe, message_of
from wf.errors import DivergedError, InterruptedRun, OtherFailedError, WfError


class InLoader(Exception):  # noqa: N818 - the cause of an error: the traceback of the process where it was raised
    """The place where an error was raised in a data loading process."""


_LOADER_DIED = re.compile(r"DataLoader worker \(pid(\(s\))? .*(is killed by signal|exited unexpectedly)")
_NO_MEMORY = re.compile(r"out of memory|(can't|cannot) allocate memory|not enough memory", re.IGNORECASE)
_NO_HANDLES = re.compile(r"too many open files|received \d+ items of ancdata", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    words: str
    raised: str
    """The error itself and where it comes from, on one line."""
    advice: str = ""


def status_of(error: BaseException) -> str:
    """The manifest's status of a run that ended with an error."""
    if isinstance(error, (InterruptedRun, KeyboardInterrupt)):
        return "interrupted"
    if isinstance(error, OtherFailedError):
        return error.status
    return "diverged" if isinstance(error, DivergedError) else "failed"


def reason_of(error: BaseException) -> str:
    """Why a run ended, for its manifest.

    Returns:
        The message of an error that wf raised on purpose. For any other error its meaning, origin and message on one
        line: ``out of memory: in hook 'plots' of wf-tracking, at on_log: MemoryError``.
    """
    meaning = _meaning(error)
    if meaning is None and isinstance(error, (WfError, KeyboardInterrupt)):
        return message_of(error) or type(error).__name__
    if meaning is None:
        return _in_place(error)
    return f"{meaning.words}: {meaning.raised}"


def advice(error: BaseException) -> str:
    """Advice about an error; empty if there is none, and for a lack of memory, for which advice depends on the run."""
    meaning = _meaning(error)
    return meaning.advice if meaning else ""


def _meaning(error: BaseException) -> _Meaning | None:
    text = message_of(error)
    inside = isinstance(error.__cause__, InLoader) and not isinstance(error, WfError)
    raised = describe(error) if inside else _in_place(error)
    if isinstance(error, (MemoryError, RuntimeError, OSError)) and _is_memory(error, raised):
        return _Meaning(words="out of memory", raised=raised)
    if isinstance(error, (OSError, RuntimeError)) and _NO_HANDLES.search(text):
        words = "too many open files"
        return _Meaning(
            words=words,
            raised=describe(error).partition(". ")[0],
            advice=f"{words}: raise the limit (ulimit -n 4096), or try fewer --workers",
        )
    if _LOADER_DIED.match(text) or _lost_on_the_way(error):
        words = "a process that loads data was killed"
        return _Meaning(
            words=words,
            raised=describe(error).partition(". ")[0],
            advice=f"{words}, most often because memory ran out: try fewer --workers, or a smaller --batch-size",
        )
    return _Meaning(words="in a process that loads data", raised=raised) if inside else None


def _lost_on_the_way(error: BaseException) -> bool:
    """Whether it was raised while tensors were received from another process that had already ended."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    taken = any(frame.f_globals.get("__name__") == "torch.multiprocessing.reductions" for frame in frames)
    return taken and isinstance(error, (OSError, EOFError))


def _in_place(error: BaseException) -> str:
    where = blamed(error)
    return f"in {where}: {describe(error)}" if where else describe(error)


def is_memory(error: BaseException) -> bool:
    """Whether an error means that the host or a device ran out of memory."""
    return isinstance(error, (MemoryError, RuntimeError, OSError)) and _is_memory(error, describe(error))


def _is_memory(error: BaseException, raised: str) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _NO_MEMORY.search(raised) is not None
