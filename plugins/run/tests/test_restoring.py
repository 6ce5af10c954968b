"""Checks before a run resumes."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import weights

from wf.errors import UsageError
from wf_run.directory.recorder import Recorder
from wf_run.resuming.restoring import check_records
from wf_storage import files

LINES = b'{"step": 1}\n{"step": 2}\n'
WHOLE = {"bytes": len(LINES), "sha256": hashlib.sha256(LINES).hexdigest()}


def state(saved: dict[str, Any] | None) -> dict[str, Any]:
    return {"progress": {"step": 2}, "parts": {"model": {"bytes": 1}, "hook/Recorder-mine": {"count": 1}}} | (
        {} if saved is None else {"parts": {"hook/Recorder": {"count": 1}, "hook/Recorder-2": saved}}
    )


@pytest.mark.parametrize("saved", [WHOLE, {"bytes": len(LINES)}, {"bytes": 12}, None])
def test_unchanged_records_are_accepted(tmp_path: Path, saved: dict[str, Any] | None) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(LINES + b'{"step": 3}\n{"st')
    check_records(tmp_path / "metrics.jsonl", state(saved))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LINES.replace(b"2", b"3"), "lines of it were changed"),
        (LINES[:-1], "23 of 24 bytes are there"),
        (None, "0 of 24 bytes are there"),
    ],
)
def test_changed_records_are_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=f"has changed since step 2: {words}"):
        check_records(tmp_path / "metrics.jsonl", state(WHOLE))
    check_records(tmp_path / "metrics.jsonl", state(WHOLE), ["state"])


def test_large_records_are_checked_piece_by_piece(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(LINES * 1_000_000 + b'{"st')
    saved = {"bytes": 12, "sha256": hashlib.sha256(LINES[:12]).hexdigest()}
    tracemalloc.start()
    try:
        check_records(file, state(saved))
        recorder = Recorder(tmp_path)
        recorder.load_state_dict(saved)
        recorder.close()
        assert tracemalloc.get_traced_memory()[1] < 5 * files.BLOCK < 24_000_000
    finally:
        tracemalloc.stop()
    assert file.read_bytes() == LINES[:12]


@given(data=st.text("ab\n", max_size=40).map(str.encode), block=st.integers(1, 9), size=st.integers(0, 50))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_are_read_in_blocks(tmp_path: Path, data: bytes, block: int, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with mock.patch.object(files, "BLOCK", block):
        assert files.whole_lines(file) == data.rfind(b"\n") + 1
        assert b"".join(files.blocks(file)) == data
        assert b"".join(files.blocks(file, size)) == data[:size]


NET = """
from pathlib import Path
from typing import Annotated

import torch
from wf import FromRun


class Net(torch.nn.Linear):
    def __init__(
        self, num_features: int, num_outputs: int, weights: Path, restored: Annotated[bool, FromRun("restored")] = False
    ):
        super().__init__(num_features, num_outputs)
        if not restored:
            self.load_state_dict(torch.load(weights))
"""


def test_a_run_resumes_without_the_file_of_its_initial_weights(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    torch.save(torch.nn.Linear(4, 3).state_dict(), tmp_path / "first.pt")
    run = ("run", "--dataset", "iris", "--model", "net.py:Net", "--model.weights", "first.pt", "--quiet")
    assert wf(*run, "--epochs", 1, "--name", "x").code == 0
    assert wf(*run, "--epochs", 2, "--name", "straight").code == 0
    (tmp_path / "first.pt").unlink()
    on = wf("resume", "x", "--epochs", 2, "--quiet")
    assert on.code == 0, on.stderr
    assert torch.equal(weights(tmp_path / "runs/x")["weight"], weights(tmp_path / "runs/straight")["weight"])
    for checkpoint in (tmp_path / "runs/x/checkpoints").iterdir():
        shutil.rmtree(checkpoint)
    (tmp_path / "runs/x/manifest.json").write_text(
        (tmp_path / "runs/x/manifest.json").read_text().replace('"done"', '"interrupted"')
    )
    anew = wf("resume", "x", "--epochs", 3, "--quiet")
    assert anew.code != 0, "without a checkpoint the run needs its initial weights"
    assert "first.pt" in anew.stderr
