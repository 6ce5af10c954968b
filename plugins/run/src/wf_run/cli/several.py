"""``--processes`` and ``--max-restarts``: the command starts itself several times."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from wf.errors import UsageError
from wf_cli.output import begin_phase, end_phase, stdout_descriptor, tell
from wf_processes.together import is_launched, num_processes

OF_SEVERAL = ("--processes", "--max-restarts")
"""The options of this module."""
MOST = 4096


def several(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    restarts = "Start all processes again so often after one was lost; they go on from the newest checkpoint."
    command = click.option("--max-restarts", metavar="N", default="0", help=restarts)(command)
    return click.option(
        "--processes", metavar="N", help="Train in N processes of this machine, which share each batch."
    )(command)


def number(text: str | None, option: str, least: int) -> int | None:
    """The number that an option has.

    Raises:
        UsageError: For something else.
    """
    if text is None:
        return None
    if not text.isdecimal() or not least <= int(text) <= MOST:
        raise UsageError(f"{option} must be a whole number from {least} to {MOST:,}, not {text}")
    return int(text)


def launches(processes: str | None, max_restarts: str) -> tuple[int, int] | None:
    """How many processes this one has to start, and how often again; None if it is to train itself.

    Raises:
        UsageError: For other than numbers, or in a process that torchrun has started.
    """
    num, restarts = number(processes, "--processes", 1), number(max_restarts, "--max-restarts", 0) or 0
    if is_launched():
        return None
    if (num is not None or restarts) and "RANK" in os.environ:
        option = "--processes" if num is not None else "--max-restarts"
        raise UsageError(f"{option} starts processes, and torchrun has started this one\n  leave it out, or torchrun")
    return (num or 1, restarts) if (num or 1) > 1 or restarts else None


def launch(num: int, max_restarts: int, *, quiet: bool) -> int:
    """Start this command line in processes; returns their exit code."""
    if not quiet:
        begin_phase(f"starting {num} processes ..." if num > 1 else "starting a process ...")
    from wf_processes.launching import launch as start  # which imports torch
    from wf_run.lost import record_lost

    end_phase()
    sys.stdout.flush()
    os.dup2(stdout_descriptor(), 1)  # results are theirs to print
    return start(_without(sys.argv[1:]), num, max_restarts, tell, lost=record_lost)


def _without(words: Sequence[str]) -> list[str]:
    """A command line without the options that start processes."""
    found, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in OF_SEVERAL:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in OF_SEVERAL)):
            found.append(word)
    return found


def strategy_for(
    before: int, strategy: str, of_one: str | None, of_several: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The strategy with which a run goes on, if that of its run file is for another number of processes.

    Args:
        before: The processes that it had.
        strategy: That of its run file.
        of_one: The default of one process.
        of_several: That of several with its options: the one that the run had before, or the default.
    """
    now = num_processes()
    if now > 1 and strategy == of_one and of_several:
        return {"strategy": dict(of_several)}
    if now == 1 and before > 1 and of_one and strategy != of_one:
        return {"strategy": {"use": of_one}}
    return {}
