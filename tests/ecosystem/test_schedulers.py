"""The job scripts of docs/schedulers.md, with real runs, signals and exit codes, and stand-ins for the schedulers.

Reading the YAML of the page needs pyyaml, which is among the libraries of the ecosystem.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import ROOT

PAGE = ROOT / "docs" / "schedulers.md"
JOB = """
format = 1
dataset = "iris"
epochs = 6
batch_size = 25
checkpoint_every = "5steps"
hook = ["+slow.py:Slow"]
"""
SLOW = """
import time

class Slow:
    def on_step_end(self, run):
        open("begun", "a").close()
        time.sleep(0.1)
"""
REQUEUES = (6, 129, 130, 138, 143)


def block(title: str) -> str:
    """A file that the page shows."""
    shown = rf"^The \w+ `{re.escape(title)}`:\n\n```text\n(.*?)^```"
    found = re.search(shown, PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run file, a command `wf`, and a `scontrol` that records its arguments."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (
        ("wf", f'exec "{sys.executable}" -P -m wf_cli "$@"'),
        ("scontrol", f'echo "$@" >> "{tmp_path}/requeued"'),
    ):
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    (tmp_path / "job.toml").write_text(JOB)
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return tmp_path


def begun(folder: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a run has started training."""
    while not (folder / "begun").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    (folder / "begun").unlink()


def straight(folder: Path) -> Path:
    """The same run without a stop."""
    done = subprocess.run(["wf", "run", "job.toml", "--name", "straight", "--quiet"], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "straight"


def check_done(folder: Path) -> None:
    """Check that the run has the bits of an uninterrupted one."""
    one, other = folder / "runs" / "digits", straight(folder)
    assert json.loads((one / "manifest.json").read_text())["status"] == "done"
    tensors = "checkpoints/step-00000030/tensors.safetensors"  # 105 of 150 samples: 5 batches an epoch
    for file in ("metrics.jsonl", tensors):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def sbatch(folder: Path, stop: Callable[[subprocess.Popen[str]], None] | None) -> int:
    """Run a job script as Slurm does, in a session of its own; `stop` ends it. Returns the script's exit code."""
    script = folder / "job.sh"
    script.write_text(block("job.sh"))
    assert "#SBATCH --requeue" in script.read_text()
    env = {**os.environ, "SLURM_JOB_ID": "7"}
    process = subprocess.Popen(
        ["bash", "job.sh"], cwd=folder, env=env, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    if stop is not None:
        begun(folder, process)
        stop(process)
    process.communicate(timeout=120)
    return process.returncode


def requeues(folder: Path) -> list[str]:
    file = folder / "requeued"
    return file.read_text().splitlines() if file.exists() else []


def test_slurm(folder: Path) -> None:
    """``--signal=B:USR1``: only the script gets the signal; then it is preempted, then killed, then it finishes."""
    for number, (sent, code) in enumerate([(signal.SIGUSR1, 138), (signal.SIGTERM, 143)], 1):
        assert sbatch(folder, lambda process, sent=sent: process.send_signal(sent)) == code
        assert requeues(folder) == ["requeue 7"] * number
        assert json.loads((folder / "runs/digits/manifest.json").read_text())["status"] == "interrupted"
    assert sbatch(folder, lambda process: os.killpg(process.pid, signal.SIGKILL)) == -signal.SIGKILL
    assert sbatch(folder, None) == 0
    assert len(requeues(folder)) == 2
    check_done(folder)


@pytest.mark.parametrize(("line", "code"), [('dataset = "irs"', 2), ('max_time = "1s"\ndataset = "iris"', 6)])
def test_slurm_requeues_only_runs_that_can_continue(folder: Path, line: str, code: int) -> None:
    (folder / "job.toml").write_text(JOB.replace('dataset = "iris"', line))
    assert sbatch(folder, None) == code
    assert requeues(folder) == (["requeue 7"] if code in REQUEUES else [])


class Cluster:
    """Runs the pods of a Job as Kubernetes does."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self._folder, self._spec = folder, job["spec"]
        self.failures = 0
        pod = self._spec["template"]["spec"]
        self._command: Sequence[str] = pod["containers"][0]["command"]
        self._grace_sec: float = pod["terminationGracePeriodSeconds"]
        assert pod["restartPolicy"] == "Never"  # a podFailurePolicy needs it

    def pod(self, end: str | None = None) -> tuple[int, str]:
        """Run a pod. Returns the container's exit code and the resulting state of the job.

        Args:
            end: How it ends: `delete` sends SIGTERM, and SIGKILL after the grace period; `kill` stands for running out
                of memory.
        """
        process = subprocess.Popen(self._command, cwd=self._folder, text=True, stderr=subprocess.PIPE)
        if end is not None:
            begun(self._folder, process)
            process.send_signal(signal.SIGTERM if end == "delete" else signal.SIGKILL)
        try:
            process.communicate(timeout=self._grace_sec)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return code, self._judge(code, disrupted=end == "delete")

    def _judge(self, code: int, *, disrupted: bool) -> str:
        if code == 0:
            return "Complete"
        for rule in self._spec["podFailurePolicy"]["rules"]:
            on_codes = rule.get("onExitCodes")
            if on_codes is not None:
                assert on_codes["operator"] == "In"
                assert 0 not in on_codes["values"]  # Kubernetes refuses it
            matches = code in on_codes["values"] if on_codes is not None else disrupted
            if matches and rule["action"] == "FailJob":
                return "Failed"
            if matches and rule["action"] == "Ignore":
                return "again"
        self.failures += 1
        return "Failed" if self.failures > self._spec["backoffLimit"] else "again"


def test_kubernetes(folder: Path) -> None:
    """A pod is deleted, the next one is killed for lack of memory, and the third one finishes the run."""
    cluster = Cluster(folder, yaml.safe_load(block("job.yaml")))
    assert cluster.pod("delete") == (143, "again")
    assert cluster.failures == 0
    assert cluster.pod("kill") == (137, "again")
    assert cluster.failures == 1
    assert cluster.pod() == (0, "Complete")
    check_done(folder)


def test_kubernetes_does_not_retry_permanent_errors(folder: Path) -> None:
    gone = 'dataset = {use = "csv", path = "gone.csv", target = "y"}'
    (folder / "job.toml").write_text(JOB.replace('dataset = "iris"', gone))
    assert Cluster(folder, yaml.safe_load(block("job.yaml"))).pod() == (4, "Failed")
