"""``wf watch``: following a run of another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wf_watch.machine import Machine, holder_of
from wf_watch.reading import Pace, read_run
from wf_watch.view import View

WORKS = """
import json, os, sys, time
from pathlib import Path
from wf_run.directory.rundir import RunDirectory

with RunDirectory.begin(Path(sys.argv[1])) as directory:
    directory.write_run_file("epochs = 10\\n")
    directory.update_manifest(status="running", total_steps=100, run_file={"epochs": 10}, components=[])
    metrics, timings = (open(directory.path / name, "a") for name in ("metrics.jsonl", "timings.jsonl"))
    for step in range(1, 101):
        head = {"event": "eval", "split": "validation", "epoch": (step - 1) // 10, "step": step}
        print(json.dumps({**head, "loss": 1 / step}), file=metrics, flush=True)
        print(json.dumps({**head, "elapsed_sec": step * 0.03}), file=timings, flush=True)
        time.sleep(0.03)
    directory.update_manifest(status="done", reason="10 epochs done", steps=100)
"""
"""A process that does to a run directory what a run does, without training."""


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, because these tests start other processes in it."""
    monkeypatch.chdir(folder)


@pytest.fixture
def at_work(folder: Path) -> Any:
    process = subprocess.Popen([sys.executable, "-c", WORKS, "runs/busy"])
    deadline = time.monotonic() + 30
    while not (folder / "runs/busy/timings.jsonl").exists() or not (folder / "runs/busy/metrics.jsonl").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def test_a_run_is_followed_to_its_end_through_a_pipe(wf: Any, at_work: Any) -> None:
    result = wf("watch", "busy", "--interval", "0.1")
    assert result.code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[3] for line in lines[:-1]] == [str(step) for step in range(1, 101)]
    assert lines[0].startswith("epoch 1  step 1  validation  loss 1.0000")
    assert lines[-1] == "runs/busy: done, step 100 of 100"


def test_the_only_running_run_is_watched_by_default(wf: Any, at_work: Any) -> None:
    assert "epoch 1  step 1  validation" in wf("watch", "--once").stdout
    (row,) = wf("runs", "--json").json()
    assert (row["status"], row["total_steps"]) == ("running", 100)
    assert 0 < row["steps"] <= 100
    assert row["left_sec"] == pytest.approx((100 - row["steps"]) * 0.03, abs=1.0)
    assert row["metrics"]["validation/loss"] == pytest.approx(1 / row["steps"])
    at_work.wait(timeout=60)
    assert wf("watch").stdout.startswith("no run in runs is running")


def test_a_killed_run_says_so(wf: Any, at_work: Any) -> None:
    at_work.send_signal(signal.SIGKILL)
    at_work.wait(timeout=30)
    lines = wf("watch", "busy").stdout.splitlines()
    assert lines[-1].startswith("runs/busy: killed, step ")
    assert lines[-1].endswith("its process is gone")
    assert wf("watch", "nothing").code == 4
    assert "larger than 0" in wf("watch", "busy", "--interval", "0").stderr


def test_q_quits_and_the_run_continues(folder: Path, at_work: Any) -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", "LINES": "24"}
    command = [sys.executable, "-P", "-m", "wf_cli", "watch", "busy", "--interval", "0.1"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while b"q quits" not in written:
        written += os.read(ours, 65536)
    os.write(ours, b"q")
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass
    assert process.wait(timeout=30) == 0
    os.close(ours)
    text = written.decode()
    for words in ("runs/busy", "running, epoch", "loss", "validation", "machine", "process", "left"):
        assert words in text, words
    assert at_work.wait(timeout=60) == 0
    assert read_run(folder / "runs/busy", folder / "runs").status == "done"


def test_the_load_of_machine_and_process_is_shown(folder: Path, at_work: Any) -> None:
    assert holder_of(folder / "runs/busy") == at_work.pid
    machine = Machine(folder / "runs/busy")
    machine.lines()
    first, second, *_ = machine.lines()
    assert first.startswith("machine  CPU ")
    assert second.endswith(f"id {at_work.pid}")
    at_work.kill()
    at_work.wait(timeout=30)
    assert not [line for line in machine.lines() if line.startswith("process")]
    (folder / "runs/busy/.lock").write_text('{"pid": 1, "host": "elsewhere"}')
    assert holder_of(folder / "runs/busy") is None


def write(run: Path, records: list[dict[str, Any]]) -> None:
    run.mkdir(exist_ok=True, parents=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_run_that_was_rolled_back_is_read_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    steps = [{"event": "eval", "split": "validation", "epoch": 0, "step": step, "loss": 1.0} for step in range(1, 9)]
    write(run, steps)
    view = View(run)
    view.look()
    assert view.curves == {"loss": {"validation": [(step, 1.0) for step in range(1, 9)]}}
    write(run, [{**record, "loss": 2.0} for record in steps[:3]])
    view.look()
    assert view.curves == {"loss": {"validation": [(step, 2.0) for step in range(1, 4)]}}
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "eval", "split": "validation", "ep')
    assert view.look() == []


@pytest.mark.parametrize(
    ("seconds", "per_sec"),
    [([1.0, 2.0, 3.0], 10.0), ([70.0, 80.0, 1.0, 2.0], 10.0), ([1.0], None), ([5.0, 1.0], None)],
)
def test_the_pace_is_measured_within_the_current_process(
    tmp_path: Path, seconds: list[float], per_sec: float | None
) -> None:
    lines = [json.dumps({"step": 10 * (at + 1), "elapsed_sec": value}) for at, value in enumerate(seconds)]
    (tmp_path / "timings.jsonl").write_text("\n".join(lines) + "\n")
    pace = Pace.read(tmp_path)
    assert pace is not None
    assert (pace.step, pace.steps_per_sec) == (10 * len(seconds), per_sec)
    if per_sec:
        assert pace.left(1000, pace.at + 1) == pytest.approx((1000 - pace.step) / per_sec - 1)
    assert pace.left(None, pace.at) is None
