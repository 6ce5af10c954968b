"""``wf resume``; tests/test_resume.py compares resumed runs with uninterrupted ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_resume_gives_the_bits_of_an_uninterrupted_run(wf: Any, finished: Path, folder: Path) -> None:
    record = wf("resume", "done", "--epochs", 3, "--json", "--quiet").json()
    assert list(record) == ["run_dir", "status", "epochs", "steps", "metrics"]
    assert (record["run_dir"], record["epochs"], record["steps"]) == ("runs/done", 3, 120)
    whole = wf("run", "--epochs", 3, "--name", "whole", "--json", "--quiet").json()
    assert whole["metrics"] == record["metrics"]
    tensors = "checkpoints/step-00000120/tensors.safetensors"
    assert (finished / tensors).read_bytes() == (folder / "runs/whole" / tensors).read_bytes()


def test_resume_shows_progress_on_standard_error(wf: Any, finished: Path) -> None:
    result = wf("resume", finished, "--epochs", 2)
    assert result.code == 0
    assert "epoch 2/2" in result.stderr
    assert "epoch 1/2" not in result.stderr
    assert result.stdout.splitlines()[0].split() == ["loss", "accuracy"]
