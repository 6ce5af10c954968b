"""The launcher with small programs in place of ``wf``."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from wf_processes.launching import launch

PROGRAM = """
import os, pathlib, signal, subprocess, sys, time

rank, what = os.environ["RANK"], sys.argv[1]
pathlib.Path(os.environ["WF_LAUNCH"], "run").write_text(os.path.abspath("runs/x"))
if what == "slow-start":  # nothing handles SIGINT yet
    pathlib.Path(f"here-{rank}").touch()
    time.sleep(1)
from wf_processes.signals import Interruption
from wf_processes.together import is_told

try:
    Interruption(lambda: None).install()
    if what == "stubborn":
        child = subprocess.Popen(["sleep", "60"])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        pathlib.Path(f"child-{rank}").write_text(str(child.pid))
    pathlib.Path(f"here-{rank}").touch()
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
except KeyboardInterrupt as error:
    if not is_told(error):
        pathlib.Path(f"said-{rank}").touch()
    sys.exit(130)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def launched(folder: Path, what: str, *sent: int) -> tuple[int, list[str], list[tuple[Path, str, str]]]:
    """Launch the program twice, and send this process signals once both are there.

    Returns:
        The exit code, the launcher's messages, and what is left to record.
    """
    said: list[str] = []
    lost: list[tuple[Path, str, str]] = []

    def send() -> None:
        until = time.monotonic() + 60
        while not all((folder / f"here-{rank}").exists() for rank in (0, 1)) and time.monotonic() < until:
            time.sleep(0.02)
        for number in sent:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    thread = threading.Thread(target=send)
    if sent:
        thread.start()
    code = launch([what], 2, 0, said.append, module="program", lost=lambda *words: lost.append(words))
    if sent:
        thread.join()
    return code, said, lost


@pytest.mark.parametrize("what", ["quick", "slow-start"])
def test_an_interruption_is_said_once(folder: Path, what: str) -> None:
    code, said, lost = launched(folder, what, signal.SIGINT)
    assert (code, said) == (130, [])
    assert len(list(folder.glob("said-*"))) == 1
    assert [(place.name, status) for place, status, _ in lost] == [("x", "interrupted")]


def test_a_second_sigint_ends_everything_at_once(folder: Path) -> None:
    began = time.monotonic()
    code, said, lost = launched(folder, "stubborn", signal.SIGINT, signal.SIGINT)
    assert code == 130
    assert said == ["interrupted\n  wf resume runs/x --processes 2"]
    assert lost == [(folder / "runs/x", "interrupted", "a second signal ended the run at once")]
    assert time.monotonic() - began < 20
    for rank in (0, 1):
        with pytest.raises(ProcessLookupError):  # what a process has started ends with it
            _check_runs(int((folder / f"child-{rank}").read_text()))


def _check_runs(pid: int) -> None:
    """Raise ProcessLookupError if a process is gone, or has ended and only its parent does not know."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            raise ProcessLookupError
        time.sleep(0.05)


def test_processes_that_are_all_killed_are_reported(folder: Path) -> None:
    code, said, lost = launched(folder, "killed")
    assert code == 137
    assert said in (
        ["process 0 was killed by SIGKILL and process 1 was killed by SIGKILL"],
        ["process 0 was killed by SIGKILL and process 1 was killed by SIGTERM"],
        ["process 0 was killed by SIGTERM and process 1 was killed by SIGKILL"],
    )
    ((_, status, reason),) = lost
    assert (status, reason[:8], reason[9:]) == ("failed", "process ", " was killed by SIGKILL")
