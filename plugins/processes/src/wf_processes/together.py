"""Messages between the processes of one run outside of collectives: the reason why one of them ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wf.errors import InterruptedRun

LAUNCH = "WF_LAUNCH"
"""The variable with the folder that processes share which ``wf run --processes`` has started."""
END_SEC = 60.0
"""Seconds that a process has to save and end after its parent process died."""


def num_processes() -> int:
    """The number of processes according to torchrun's variables; 1 without them."""
    size = os.environ.get("WORLD_SIZE", "")
    return int(size) if size.isdecimal() and "RANK" in os.environ else 1


def is_restart() -> bool:
    """Whether torchrun has restarted these processes after one of them failed."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


def is_launched() -> bool:
    """Whether ``wf run --processes`` or ``--max-restarts`` has started this process."""
    return bool(os.environ.get(LAUNCH))


def is_first() -> bool:
    """Whether this process speaks for all of the run."""
    return num_processes() == 1 or os.environ["RANK"] == "0"


def keep_place(run_dir: Path) -> None:
    """Save the path of the run directory for restarted processes."""
    if is_launched() and is_first():
        (Path(os.environ[LAUNCH]) / "run").write_text(str(run_dir.resolve()))


def kept_place() -> Path | None:
    """The run directory of the previous processes; None if they had none yet."""
    file = Path(os.environ.get(LAUNCH, "")) / "run"
    return Path(file.read_text()) if is_launched() and file.is_file() else None


def follow_launcher() -> None:
    """End as after SIGTERM when the parent process has died."""
    if is_launched() and threading.current_thread() is threading.main_thread():
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SEC)
    os._exit(128 + signal.SIGTERM)


def is_told(error: BaseException) -> bool:
    """Whether another process of this launch says why the run ended."""
    if not is_launched() or num_processes() == 1:
        return False
    stopped = isinstance(error, (InterruptedRun, KeyboardInterrupt))
    return not is_first() if stopped else bool(getattr(error, "is_told", False))


def resume_command(place: object, world_size: int) -> str:
    """The command that resumes a run with this number of processes."""
    if world_size == 1:
        return f"wf resume {place}"
    if os.environ.get("LOCAL_WORLD_SIZE", str(world_size)) == str(world_size):
        return f"wf resume {place} --processes {world_size}"
    size = os.environ.get("LOCAL_WORLD_SIZE", "")
    local = int(size) if size.isdecimal() and 0 < int(size) < world_size else world_size
    nodes = f"--nnodes {world_size // local} " if local < world_size else ""
    return f"torchrun {nodes}--nproc-per-node {local} -m wf_cli resume {place}"


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
