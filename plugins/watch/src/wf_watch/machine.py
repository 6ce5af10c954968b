"""The load of this machine, and of the process that trains."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from wf_run.directory.lock import LOCK
from wf_storage import files

_MAX_LOCK = 4096
_GB = 1 << 30
_QUERY = "--query-gpu=index,utilization.gpu,memory.used,memory.total"


class Machine:
    """Reports the load since its last call.

    Args:
        run_dir: The run whose process is included; None for the machine alone.
    """

    def __init__(self, run_dir: Path | None = None) -> None:
        self._process: psutil.Process | None = None
        self._place = run_dir
        self._smi = shutil.which("nvidia-smi")
        psutil.cpu_percent()  # the first answer would be 0

    def lines(self) -> list[str]:
        """``CPU 95 %, memory 3.1 of 8.0 GB``, one line for the process and one for each GPU."""
        memory = psutil.virtual_memory()
        found = [
            f"machine  CPU {psutil.cpu_percent():.0f} % of {psutil.cpu_count()} cores"
            f"  memory {_gb(memory.total - memory.available)} of {_gb(memory.total)} GB"
        ]
        return [*found, *self._of_process(), *self._of_gpus()]

    def _of_process(self) -> list[str]:
        if self._process is None and self._place is not None:
            with suppress(psutil.Error):
                pid = holder_of(self._place)
                self._process = None if pid is None else psutil.Process(pid)
        if self._process is None:
            return []
        try:
            with self._process.oneshot():
                cpu, used = self._process.cpu_percent(), self._process.memory_info().rss
            children = self._process.children(recursive=True)
        except psutil.Error:
            self._process = None
            return []
        workers = f"  {len(children)} child processes" if children else ""
        return [f"process  CPU {cpu:.0f} %  memory {_gb(used)} GB  id {self._process.pid}{workers}"]

    def _of_gpus(self) -> list[str]:
        if self._smi is None:
            return []
        try:
            done = subprocess.run(
                [self._smi, _QUERY, "--format=csv,noheader,nounits"],
                capture_output=True,
                text=True,
                timeout=2,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            self._smi = None  # it does not exist, or hangs
            return []
        rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
        return [
            f"GPU {row[0]}    {row[1]} %  memory {int(row[2]) / 1024:.1f} of {int(row[3]) / 1024:.1f} GB"
            for row in rows
            if len(row) == 4 and row[2].isdecimal() and row[3].isdecimal()
        ]


def holder_of(run_dir: Path) -> int | None:
    """The process on this machine that holds the lock of a run directory."""
    try:
        found: Any = json.loads(files.read(run_dir / LOCK, _MAX_LOCK))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("host") != socket.gethostname():
        return None
    pid = found.get("pid")
    return pid if isinstance(pid, int) and pid > 0 else None


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / _GB:.1f}"
