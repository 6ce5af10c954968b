"""Directories of several runs: they begin whole or not at all, and what is not one is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from wf.errors import DataError, UsageError
from wf_run.directory.group import RunGroup
from wf_run.directory.lock import LOCK, is_held
from wf_storage import files
from wf_storage.files import write_atomically


class Set(RunGroup):
    KIND = "set"
    RESUMED_BY = "wf set --resume"
    NEEDED = {"size"}  # noqa: RUF012  # as the base class says


def write(directory: Path) -> None:
    write_atomically(directory / "plan.toml", "epochs = 1\n")


def test_a_group_begins_with_its_files_and_manifest(tmp_path: Path) -> None:
    made = Set.begin(tmp_path / "runs" / "one", write, status="new", size=2)
    assert sorted(os.listdir(tmp_path / "runs")) == ["one"]
    assert sorted(os.listdir(made.path)) == ["manifest.json", "plan.toml"]
    assert {"kind": "set", "resumed_by": "wf set --resume", "schema": 1, "status": "new", "size": 2}.items() <= (
        made.manifest.items()
    )
    made.update(status="done")
    found = Set.at(made.path)
    assert found is not None
    assert found.manifest["status"] == "done"
    assert Set.open(made.path).path == made.path


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename", "make_directory", "sync_directory"])
def test_a_full_disk_leaves_no_part_of_a_group(operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, operation, fail)
    with pytest.raises(DataError, match=r"cannot create the directory .*one: No space left on device\n  choose"):
        Set.begin(tmp_path / "one", write, status="new", size=2)
    monkeypatch.undo()
    assert os.listdir(tmp_path) in ([], ["one"])
    assert Set.at(tmp_path / "one") is None or sorted(os.listdir(tmp_path / "one")) == ["manifest.json", "plan.toml"]


def test_a_missing_folder_is_none_and_other_folders_are_refused(tmp_path: Path) -> None:
    assert Set.at(tmp_path / "none") is None
    (tmp_path / "other").mkdir()
    (tmp_path / "gone").symlink_to("nowhere")
    for name in ("other", "gone"):
        with pytest.raises(UsageError, match=f"{name} already exists and is not a set\n  choose another --name"):
            Set.at(tmp_path / name)
    with pytest.raises(UsageError, match="'latest' is another name of the newest run"):
        Set.at(tmp_path / "latest")
    (tmp_path / "other" / "manifest.json").write_text('{"kind": "comparison"}')
    with pytest.raises(UsageError, match=r"other is not a set\n  to continue a run: wf resume .*other"):
        Set.open(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, r"one has layout 2, and this version of wf reads layout 1\n  its runs: wf runs .*one"),
        ({"size": None}, r"manifest\.json is damaged: size missing\n  its runs: wf runs .*one"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_advice(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    made = Set.begin(tmp_path / "one", write, status="new", size=2)
    manifest = {**json.loads((made.path / "manifest.json").read_text()), **change}
    left = {name: value for name, value in manifest.items() if value is not None or name == "reason"}
    (made.path / "manifest.json").write_text(json.dumps(left))
    with pytest.raises(DataError, match=words):
        _ = made.manifest


def test_the_lock_is_held(tmp_path: Path) -> None:
    made = Set.begin(tmp_path / "one", write, status="new", size=2)
    with made.held(print):
        assert is_held(made.path / LOCK)
    assert not is_held(made.path / LOCK)
