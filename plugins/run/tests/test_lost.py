"""The end of a run whose own process could not record it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wf_run.directory.lock import locked
from wf_run.directory.rundir import RunDirectory
from wf_run.lost import record_lost


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for place in (tmp_path / "cv", tmp_path / "cv/fold-1"):
        place.mkdir()
        (place / "manifest.json").write_text(json.dumps({"status": "running", "epochs": 3}))
    return tmp_path / "cv/fold-1"


def test_a_killed_run_is_recorded_with_the_cross_validation_around_it(run_dir: Path) -> None:
    record_lost(run_dir, "failed", "process 0 was killed by SIGKILL")
    for place in (run_dir, run_dir.parent):
        found = RunDirectory(place).manifest
        assert (found["status"], found["reason"]) == ("failed", "process 0 was killed by SIGKILL")
        assert (found["epochs"], "ended" in found) == (3, True)
        assert [file.name for file in place.iterdir() if file.is_file()] == ["manifest.json"]


def test_what_its_own_process_records_stays(run_dir: Path) -> None:
    before = (run_dir / "manifest.json").read_bytes()
    with locked(run_dir / ".lock"):
        record_lost(run_dir, "failed", "process 0 was killed by SIGKILL")
    assert (run_dir / "manifest.json").read_bytes() == before
    (run_dir / "manifest.json").write_text(json.dumps({"status": "done"}))
    record_lost(run_dir, "failed", "process 0 was killed by SIGKILL")
    assert RunDirectory(run_dir).manifest == {"status": "done"}
