"""What is looked at before a run goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from wf.errors import UsageError
from wf.runtime.restoring import check_records

LINES = b'{"step": 1}\n{"step": 2}\n'
WHOLE = {"bytes": len(LINES), "sha256": hashlib.sha256(LINES).hexdigest()}


def state(saved: dict[str, Any] | None) -> dict[str, Any]:
    return {"progress": {"step": 2}, "parts": {"model": {"bytes": 1}, "hook/Recorder-mine": {"count": 1}}} | (
        {} if saved is None else {"parts": {"hook/Recorder": {"count": 1}, "hook/Recorder-2": saved}}
    )


@pytest.mark.parametrize("saved", [WHOLE, {"bytes": len(LINES)}, {"bytes": 12}, None])
def test_records_that_are_those_of_the_checkpoint(tmp_path: Path, saved: dict[str, Any] | None) -> None:
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
def test_records_that_are_not(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=f"is not what it was at step 2: {words}"):
        check_records(tmp_path / "metrics.jsonl", state(WHOLE))
    check_records(tmp_path / "metrics.jsonl", state(WHOLE), ["state"])
