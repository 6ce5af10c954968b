"""``wf runs rm``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOLDS = """
import sys
from pathlib import Path
from wf_run.directory.lock import locked

with locked(Path(sys.argv[1], ".lock")):
    print("held", flush=True)
    sys.stdin.read()
"""


def make(name: str, accuracy: float | None, dataset: str = "digits", **fields: Any) -> Path:
    path = Path("runs", name)
    path.mkdir(parents=True)
    component = {"kind": "dataset", "name": dataset, "target": "a:b", "distribution": None, "version": None}
    manifest = {
        "status": "done",
        "started": f"2026-11-21T14:{len(os.listdir('runs')):02d}:00+00:00",
        "components": [component],
        "run_file": {"monitor": "validation/accuracy"},
        "metrics": {} if accuracy is None else {"validation/accuracy": accuracy, "test/loss": accuracy},
        **fields,
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "run.toml").write_text("")
    (path / "metrics.jsonl").write_text("")
    return path


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, because these tests start other processes in it."""
    monkeypatch.chdir(folder)


@pytest.fixture
def some(folder: Path) -> Path:
    for name, accuracy in (("a", 0.7), ("b", 0.9), ("c", 0.8), ("d", None)):
        make(name, accuracy)
    make("e", 0.1, "iris")
    (folder / "runs/latest").symlink_to("d")
    return folder / "runs"


def remaining(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.iterdir() if path.name != "latest")


def test_keep_best_removes_the_others_of_each_dataset(wf: Any, some: Path) -> None:
    result = wf("runs", "rm", "--keep-best", "2", "--yes")
    assert result.code == 0, result.stderr
    assert remaining(some) == ["b", "c", "e"]
    assert result.stdout.splitlines() == [
        "runs/a  done  validation/accuracy 0.7000",
        "runs/d  done",
        "removed 2 runs",
    ]
    assert os.readlink(some / "latest") == "e"
    assert wf("runs", "rm", "--keep-best", "2", "--yes").stdout == "nothing to remove\n"


def test_keep_best_by_another_figure_and_under_a_condition(wf: Any, some: Path) -> None:
    wf("runs", "rm", "--keep-best", "1", "--by", "test/loss:min", "--where", "dataset=digits", "--yes")
    assert remaining(some) == ["a", "e"]


def test_nothing_is_removed_without_confirmation(wf: Any, some: Path) -> None:
    result = wf("runs", "rm", "--keep-best", "1")
    assert (result.code, "3 runs would be removed\n  add --yes" in result.stderr) == (2, True)
    for line in ((), ("a", "--keep-best", "1"), ("a", "--by", "test/loss"), ("--keep-best", "-1")):
        assert wf("runs", "rm", *line).code == 2
    assert wf("runs", "rm", "nothing", "--yes").code == 4
    assert len(remaining(some)) == 5


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_removal_is_confirmed(some: Path, answer: str, gone: bool) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "wf_cli", "runs", "rm", "a"]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, f"{answer}\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert "remove 1 run?" in err
    assert (some / "a").exists() != gone
    assert out.endswith("removed 1 run\n" if gone else "nothing was removed\n")


def test_a_training_run_is_not_removed(wf: Any, some: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, "runs/a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        manifest = json.loads((some / "a/manifest.json").read_text())
        (some / "a/manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
        result = wf("runs", "rm", "b", "a", "--yes")
        assert (result.code, "runs/a is running: nothing was removed" in result.stderr) == (2, True)
        wf("runs", "rm", "--keep-best", "1", "--yes")
        assert remaining(some) == ["a", "b", "e"]
    finally:
        process.communicate("")


def test_removing_a_run_that_initialised_another_gives_a_warning(wf: Any, some: Path) -> None:
    weights = {"source": f"checkpoint step-00000008 of {some / 'a'}", "weights": "0"}
    make("child", 0.5, init_from=weights)
    result = wf("runs", "rm", "a", "--yes")
    assert "warning: runs/child began with weights of runs/a" in result.stderr
    assert not (some / "a").exists()


def test_different_monitors_need_a_figure(wf: Any, some: Path) -> None:
    make("f", 0.3, run_file={"monitor": "validation/loss"})
    result = wf("runs", "rm", "--keep-best", "1", "--yes")
    assert (result.code, "monitor different figures: validation/accuracy, validation/loss" in result.stderr) == (
        2,
        True,
    )
    assert len(remaining(some)) == 6


def test_a_link_is_removed_and_not_what_it_points_to(wf: Any, some: Path, tmp_path: Path) -> None:
    (some / "a").rename(tmp_path / "elsewhere")
    (some / "a").symlink_to(tmp_path / "elsewhere")
    assert wf("runs", "rm", "a", "--yes").code == 0
    assert not (some / "a").is_symlink()
    assert (tmp_path / "elsewhere/manifest.json").exists()
