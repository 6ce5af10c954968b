"""Hostile names and texts, and streams that are closed or cannot encode every character."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

EVIL = "\x1b]0;TITLE\x07\x1b[2J\r\u202ex"
WF = [sys.executable, "-P", "-m", "wf_cli"]
EVIL_PLUGIN = f"""
from wf import Component, hookimpl
from torch import nn

def net(num_features: int, num_outputs: int, wide: bool = True):
    \"\"\"Evil {EVIL!r}.

    Args:
        wide: Or not \\x1b[31m.
    \"\"\"
    raise ValueError({EVIL!r} + "\\nwf: all is well")

@hookimpl
def wf_components():
    return [Component("model", "evil", net, summary={EVIL!r})]
"""


def steers(text: str) -> set[str]:
    return {"\x1b", "\x07", "\r", "\u202e", "\x9b", "\x7f"} & {*text}


@pytest.fixture
def run(wf: Any, folder: Path) -> Path:
    """A run with escape sequences in its manifest, and one with escape sequences in its name."""
    place = folder / "runs" / "a"
    place.mkdir(parents=True)
    for name in ("run.toml", "metrics.jsonl"):
        (place / name).write_text('steps = 1\ndataset = { use = "iris" }\n' if name == "run.toml" else "")
    fields = {"status": "failed", "reason": EVIL, "metrics": {f"test/{EVIL}": 1.0}}
    (place / "manifest.json").write_text(json.dumps(fields))
    named = folder / "runs" / "\x1b[31mred\nwf: done"
    named.mkdir()
    (named / "manifest.json").write_text(json.dumps({"status": EVIL, "epochs": 1}))
    return place


@pytest.mark.parametrize("line", ["runs", "runs --json", "resume a", "evaluate b", "runs --by x", "compare a a"])
def test_a_run_directory_cannot_inject_escape_sequences(wf: Any, run: Path, line: str) -> None:
    result = wf(*line.split())
    assert result.code in (0, 2, 4)
    assert not steers(result.stdout + result.stderr)
    assert "Traceback" not in result.stderr
    assert not [text for text in (result.stdout + result.stderr).splitlines() if text.startswith("wf: done")]


@pytest.mark.parametrize(
    "line", ["list models", "show model evil", "run --model evil --help", "run --model evil --traceback", "list --json"]
)
def test_a_plugin_cannot_inject_escape_sequences(wf: Any, folder: Path, line: str) -> None:
    (folder / "evil.py").write_text(EVIL_PLUGIN)
    result = wf(*line.split(), "-p", "evil.py")
    assert result.code in (0, 1, 3), result.stderr
    assert "TITLE" in result.stdout + result.stderr
    assert not steers(result.stdout + result.stderr)
    assert not [text for text in result.stderr.splitlines() if text.startswith("wf: all is well")]


NO_NAMES = ("../x", "/tmp/x", "", " ", ".", "..", "a/../b", "a//b", "a/b/c/d", "-x", ".x", "x" * 201, "a\nb", "a\udcff")


OTHERS = (["replay", "a"], ["prove-resume"], ["compare", "--vary", "lr=1,2"])
"""Verbs that take names by the check of `wf run`."""


@pytest.mark.parametrize(
    ("verb", "name"),
    [*((["run"], name) for name in NO_NAMES), *((verb, name) for verb in OTHERS for name in ("../x", ""))],
)
def test_a_run_name_cannot_escape_the_runs_folder(wf: Any, folder: Path, verb: Sequence[str], name: str) -> None:
    result = wf(*verb, f"--name={name}")
    assert result.code in ((2, 4) if verb[0] == "replay" else (2,)), result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "runs").exists()
    assert not (folder.parent / "x").exists()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["run", "--run-dir", "x" * 300, "--dry-run", "--steps", "2"], 0),
        (["run", "--run-dir", "x" * 300, "--steps", "1", "--dataset", "iris"], 4),
        (["run", "--run-dir", "file", "--steps", "1"], 2),
        (["run", "--run-dir", "file/below", "--steps", "1", "--dataset", "iris"], 4),
        (["run", "--run-dir", " "], 2),
        (["run", "x" * 300 + ".toml"], 2),
        (["run", "\udcff.toml"], 2),
        (["run", "-p", "x" * 300 + ".py"], 4),
        (["run", "-p", "\udcff.py"], 2),
        (["run", "--dataset", "x" * 300 + ".csv", "--dataset.target", "y"], 4),
        (["run", "--dataset", "\udcff.csv", "--dataset.target", "y"], 4),
        (["resume", "x" * 300], 4),
        (["resume", "\udcff"], 4),
        (["evaluate", "a/" * 3000], 4),
        (["runs", "x" * 300], 4),
        (["compare", "x" * 300], 4),
        (["new-plugin", "x" * 300], 4),
    ],
)
def test_an_impossible_run_directory_gives_a_message_without_traceback(
    wf: Any, folder: Path, line: Sequence[str], code: int
) -> None:
    (folder / "file").touch()
    result = wf(*line, *(["--quiet"] if line[0] == "run" else []))
    assert "Traceback" not in result.stderr
    assert result.code == code, result.stderr
    assert code == 0 or result.stderr.startswith("wf: ")


@pytest.mark.parametrize(
    ("verb", "closed"),
    [
        *(("list losses", closed) for closed in ("<&-", "2>&-", ">&- 2>&-")),
        *itertools.product(
            ("list losses", "runs", "list-plugins --json", "show ce", "nonsense"), (">&-", "<&- >&- 2>&-")
        ),
    ],
)
def test_closed_streams(folder: Path, closed: str, verb: str) -> None:
    script = f"exec {' '.join(WF)} {verb} {closed}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=folder, check=False)
    assert result.returncode == {"runs": 4, "nonsense": 2}.get(verb, 0), result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_closed_streams_leave_no_output_in_the_files_of_a_run(folder: Path) -> None:
    line = "run --dataset iris --model linear --steps 20 --name r >&- 2>&-"
    subprocess.run(["bash", "-c", f"exec {' '.join(WF)} {line}"], cwd=folder, check=True)
    for file in ("metrics.jsonl", "timings.jsonl"):
        assert [json.loads(text) for text in (folder / "runs/r" / file).read_text().splitlines()]


def test_a_latin_1_stream_escapes_other_characters(folder: Path) -> None:
    (folder / "runs" / "größe 日").mkdir(parents=True)
    (folder / "runs" / "größe 日" / "manifest.json").write_text('{"status": "done"}')
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = subprocess.run([*WF, "runs"], cwd=folder, env=env, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert "größe \\u65e5  ".encode("latin-1") in result.stdout
