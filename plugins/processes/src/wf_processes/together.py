"""Messages between the processes of one run outside of collectives: the reason why one of them ends."""

from __future__ import annotations

import os
import signal
import sys
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


def leave_others() -> None:
    """Let this process, the first of several, work as one that was started alone."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"):
        os.environ.pop(name, None)


def keep_place(run_dir: Path) -> None:
    """Save the path of the run directory for restarted processes, and for the process that has started this one."""
    if is_launched() and is_first():
        (Path(os.environ[LAUNCH]) / "run").write_text(str(run_dir.resolve()))


def kept_place() -> Path | None:
    """The run directory of the previous processes; None if they had none yet."""
    return place_in(Path(os.environ[LAUNCH])) if is_launched() else None


def place_in(folder: Path) -> Path | None:
    """The run directory of the processes that share this folder."""
    file = folder / "run"
    return Path(file.read_text()) if file.is_file() else None


def follow_launcher() -> None:
    """End as after SIGTERM when the parent process has died, `wf` or torchrun."""
    if (is_launched() or "TORCHELASTIC_RUN_ID" in os.environ) and threading.current_thread() is threading.main_thread():
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SEC)
    os._exit(128 + signal.SIGTERM)


def is_told(error: BaseException) -> bool:
    """Whether another process of this run says why it ended."""
    if num_processes() == 1 or isinstance(error, InterruptedRun):
        return not is_first()
    if not is_launched():
        return False
    if isinstance(error, KeyboardInterrupt):
        return not _says_first("interrupted")
    return bool(getattr(error, "is_told", False))


def _says_first(words: str) -> bool:
    """Whether this process of the launch is the first one with a message, which only that one is to print."""
    file = Path(os.environ[LAUNCH]) / words
    try:
        with file.open("x") as mine:
            mine.write(str(os.getpid()))
    except FileExistsError:
        return file.read_text() == str(os.getpid())
    except OSError:  # the launcher is gone
        return is_first()
    return True


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
        if num_processes() < 2 or (isinstance(error, KeyboardInterrupt) and "wf_processes.board" not in sys.modules):
            raise  # without others, or before this process has met them
        from wf_processes.board import explained  # imports torch

        found = explained(error)
        if found is error:
            raise
        raise found from error
