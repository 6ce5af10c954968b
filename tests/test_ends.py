"""Every way out of a run, normal or by an error, ends the processes that it started."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import wf as wf_python

LOADED = ("--dataset", "iris", "--model", "linear", "--epochs", 1, "--serve-from", "loader", "--workers", 1, "--quiet")
"""A run whose samples are read by another process, in evaluations too."""
TIMEOUT = 60

BROKEN = """
import torch
from wf_base import Dataset

class Samples:
    def __len__(self):
        return 60

    def __getitem__(self, index):
        if index == 41:
            raise OSError(f"sample {index} cannot be read")
        return torch.rand(4), index % 3

def broken():
    return Dataset(train=Samples(), targets="class_index", class_names=("a", "b", "c"))
"""


def test_workers_end_with_each_command(wf: Any, tmp_path: Path) -> None:
    done = wf("run", *LOADED, "--name", "x", timeout=TIMEOUT)
    assert done.code == 0, done.stderr
    for line in (("evaluate", "x"), ("predict", "x", "test"), ("run", *LOADED, "--dry-run")):
        done = wf(*line, timeout=TIMEOUT)
        assert done.code == 0, (line, done.stderr)
        assert not done.left, line


def test_a_process_with_workers_exits_normally(wf: Any, wf_process: Any, tmp_path: Path) -> None:
    """In a new process that Python ends normally, unlike the forks of the other tests."""
    (tmp_path / "own.py").write_text(BROKEN)
    assert wf("run", *LOADED, "--name", "x").code == 0
    assert wf_process("evaluate", "x", timeout=TIMEOUT).code == 0
    assert wf_process("run", "--dataset", "own.py:broken", "--workers", 2, timeout=TIMEOUT).code == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_sample_ends_the_run(wf: Any, tmp_path: Path, workers: int) -> None:
    (tmp_path / "own.py").write_text(BROKEN)
    for options in ((), ("--dry-run", "--no-shuffle", "--batch-size", 40)):
        done = wf("run", "--dataset", "own.py:broken", "--workers", workers, "--quiet", *options, timeout=TIMEOUT)
        assert done.code == 1, done.stderr
        assert "OSError: sample 41 cannot be read" in done.stderr
        assert not done.left


@pytest.mark.parametrize("error", ["OSError(24, 'Too many open files')", "RuntimeError('received 0 items of ancdata')"])
def test_too_few_file_handles_are_explained(wf: Any, tmp_path: Path, error: str) -> None:
    (tmp_path / "own.py").write_text(BROKEN.replace('OSError(f"sample {index} cannot be read")', error))
    done = wf("run", "--dataset", "own.py:broken", "--workers", 1, "--quiet", timeout=TIMEOUT)
    assert done.code == 1, done.stderr
    assert "too many open files: raise the limit (ulimit -n 4096), or try fewer --workers" in done.stderr


def test_an_experiment_ends_its_workers() -> None:
    experiment = wf_python.build(
        dataset="iris", model="linear", epochs=1, serve_from="loader", workers=1, save=False, quiet=True
    )
    with experiment:
        for work in (lambda: experiment.evaluate("train"), experiment.predict, experiment.dry_run):
            work()
            assert multiprocessing.active_children() == []
        next(iter(experiment.data.epoch(0)))
    assert multiprocessing.active_children() == [], "workers outlive the with block"
