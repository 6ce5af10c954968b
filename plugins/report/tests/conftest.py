"""Runs for the tests of the page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import wf


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of three tasks, one killed run and one without an evaluation."""
    path = tmp_path_factory.mktemp("report")
    before = Path.cwd()
    os.chdir(path)
    try:
        wf.run(
            dataset="iris", model="linear", epochs=3, optimizer={"use": "adam", "lr": 0.05}, name="flowers", quiet=True
        )
        wf.run(dataset="diabetes", model="linear", epochs=2, name="patients", quiet=True)
        wf.run(dataset="digits", epochs=1, name="digits", quiet=True)
        killed = shutil.copytree(path / "runs" / "flowers", path / "runs" / "killed")
        text = (killed / "manifest.json").read_text().replace('"status": "done"', '"status": "running"')
        (killed / "manifest.json").write_text(text)
        shutil.rmtree(killed / "checkpoints")
        lines = (killed / "metrics.jsonl").read_text().splitlines(keepends=True)
        (killed / "metrics.jsonl").write_text(lines[0])
    finally:
        os.chdir(before)
    return path


@pytest.fixture
def trained_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(trained, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path
