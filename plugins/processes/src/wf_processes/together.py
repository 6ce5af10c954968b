"""Messages between the processes of one run outside of collectives: the reason why one of them ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def num_processes() -> int:
    """The number of processes according to torchrun's variables; 1 without them."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if size.isdecimal() and "RANK" in os.environ else 1


def is_restart() -> bool:
    """Whether torchrun has restarted these processes after one of them failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


def resume_command(place: object, world_size: int, command: str = "resume") -> str:
    """The command that resumes a run with this number of processes."""
    if world_size == 1:
        return f"wf {command} {place}"
    size = os.environ.get("LOCAL_WORLD_SIZE", "")
    local = int(size) if size.isdecimal() and 0 < int(size) < world_size else world_size
    nodes = f"--nnodes {world_size // local} " if local < world_size else ""
    return f"torchrun {nodes}--nproc-per-node {local} -m wf_cli {command} {place}"


@contextmanager
def telling_others() -> Iterator[None]:
    """Tell the other processes of an error that ends this one; an error that only follows from theirs is replaced by
    theirs.

    Raises:
        OtherFailedError: Instead of an error of a collective, with another process's message.
    """
    try:
        yield
    except BaseException as error:
        if num_processes() < 2:
            raise
        from wf_processes.board import explained  # imports torch

        found = explained(error)
        if found is error:
            raise
        raise found from error
