"""The lock of a run directory: it belongs to a process and ends with it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from wf.errors import DataError, UsageError
from wf_run.directory import lock
from wf_run.directory.lock import is_held, locked

HOLDER = """
import os, sys, time
from pathlib import Path
from wf_run.directory.lock import locked
with locked(Path("x/.lock")):
    if "fork" in sys.argv and os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    if "fork" not in sys.argv:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""

LEAVING = """
import os
from pathlib import Path
from wf_run.directory.lock import is_held, locked
file = Path("x/.lock")
child = None
with locked(file):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        assert is_held(file) is True
if not child:
    os._exit(0)
assert not file.exists()
"""

COUNTING = """
from pathlib import Path
from wf_run.directory.lock import locked
for _ in range(30):
    with locked(Path("x/.lock"), lambda _: None):
        Path("counter").write_text(str(int(Path("counter").read_text()) + 1))
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    return Path("x/.lock")


@pytest.fixture
def holder(file: Path) -> Any:
    """Starts a process that holds the lock; returns it and the pid that it printed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-P", "-c", HOLDER, *args]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        assert started[-1].stdout is not None
        return started[-1], int(started[-1].stdout.readline())

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_second_process_is_refused_until_the_holder_dies(file: Path, holder: Any) -> None:
    process, pid = holder()
    assert is_held(file) is True
    with pytest.raises(UsageError, match=rf"x is in use: process {pid} on .+, since 20.*\n  wait until"), locked(file):
        pass
    assert is_held(file) is True, "a refused process does not release the lock"
    process.kill()
    process.wait()
    assert is_held(file) is False
    with locked(file):
        assert is_held(file) is True
    assert not file.exists()


def test_a_forked_child_does_not_keep_the_lock(file: Path, holder: Any) -> None:
    process, child = holder("fork")
    assert is_held(file) is True
    process.kill()
    process.wait()
    os.kill(child, 0)  # the child is alive
    assert is_held(file) is False


def test_a_forked_child_does_not_release_the_lock_of_its_parent(file: Path) -> None:
    """Also when the child leaves the locked block like its parent would."""
    subprocess.run([sys.executable, "-P", "-c", LEAVING], check=True)


def test_a_thread_of_the_same_process_is_refused(file: Path) -> None:
    with locked(file), pytest.raises(UsageError, match=f"process {os.getpid()} on "), locked(file):
        pass


def test_waiting_for_the_lock_calls_on_wait(file: Path) -> None:
    told: list[str] = []
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(file):
            held.set()
            over.wait(30)

    def on_wait(who: str) -> None:
        told.append(who)
        over.set()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    with locked(file, on_wait):
        assert is_held(file) is True
    thread.join()
    assert len(told) == 1
    assert told[0].startswith(f"process {os.getpid()} on ")


def test_is_held_does_not_block_locking(file: Path) -> None:
    stop = threading.Event()
    asking = threading.Thread(target=lambda: [is_held(file) for _ in iter(stop.is_set, True)])
    asking.start()
    try:
        for _ in range(100):
            with locked(file):
                pass
    finally:
        stop.set()
        asking.join()


def test_a_lock_file_removed_meanwhile_is_created_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = lock._take

    def take_late(descriptor: int) -> bool:
        monkeypatch.setattr(lock, "_take", take)
        file.unlink()
        return take(descriptor)

    monkeypatch.setattr(lock, "_take", take_late)
    with locked(file):
        assert is_held(file) is True


def test_many_processes_take_turns(file: Path) -> None:
    """Creating and removing the file never lets two processes hold the lock."""
    Path("counter").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-P", "-c", COUNTING]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0] * 3
    assert Path("counter").read_text() == "90"


def test_a_file_system_without_locks(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with caplog.at_level(logging.WARNING), locked(file):
        assert is_held(file) is None
    assert [record.getMessage() for record in caplog.records] == [
        "x cannot be locked: No locks available. A second process could write there"
    ]


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot write .*gone/.lock: No such file"), locked(tmp_path / "gone/.lock"):
        pass


def test_a_missing_lock_file_is_not_held(file: Path) -> None:
    assert is_held(file) is False
