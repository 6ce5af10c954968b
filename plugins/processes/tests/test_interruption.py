"""SIGINT while a command starts, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SLOW = """
import pathlib, time
pathlib.Path("importing").touch()
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    time.sleep(0.01)
pathlib.Path("imported").touch()
"""
COMMAND = """
import time

from wf_processes.signals import Interruption

Interruption(lambda: print("interrupted inside", flush=True)).install()
try:
    import slow
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def started(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A command in the middle of a slow import."""
    (folder / "slow.py").write_text(SLOW.format(seconds=seconds))
    process = subprocess.Popen([sys.executable, "-c", COMMAND], cwd=folder, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not (folder / "importing").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def test_an_interruption_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    process = started(tmp_path, 0.7)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=30)
    assert (stdout, process.returncode) == ("interrupted\n", 0)
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_second_one_or_a_long_import_ends_the_process(tmp_path: Path, signals: int) -> None:
    process, began = started(tmp_path, 60), time.monotonic()
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    stdout, _ = process.communicate(timeout=30)
    assert (stdout, process.returncode) == ("interrupted inside\n", 130)
    assert time.monotonic() - began < (2 if signals == 2 else 20)
