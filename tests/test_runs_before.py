"""Run directories of a wf before batches were trees and tasks were plugins: opened, evaluated and resumed.

``runs_before/`` has three of commit ea0d02f: a finished run on a table (``straight``), the same stopped by a signal
(``stopped``), and one that keeps its best weights (``iris``).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

BEFORE = Path(__file__).parent / "runs_before"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy with corrected paths."""
    shutil.copytree(BEFORE, tmp_path / "runs")
    (tmp_path / "runs" / "flats.csv").rename(tmp_path / "flats.csv")
    for file in (*tmp_path.rglob("manifest.json"), *tmp_path.rglob("run.toml")):
        file.write_text(file.read_text().replace("@FOLDER@", str(tmp_path)))
    return tmp_path


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_of_an_older_version_predicts_and_evaluates(wf: Any, folder: Path) -> None:
    predicted = wf("predict", "straight", "flats.csv")
    assert predicted.code == 0, predicted.stderr
    expected = [float(line) for line in (BEFORE / "expected-predictions.txt").read_text().split()]
    assert [float(line) for line in predicted.stdout.split()] == pytest.approx(expected, rel=1e-3)
    for name in ("straight", "iris"):
        kept = json.loads((folder / "runs" / name / "manifest.json").read_text())["metrics"]
        judged = wf("evaluate", name, "--json")
        assert judged.code == 0, judged.stderr
        found = judged.json()["metrics"]
        assert found == pytest.approx({figure: kept[figure] for figure in found}, rel=1e-4)
    assert {run["name"] for run in wf("runs", "--json").json()} == {"straight", "stopped", "iris"}


def test_a_run_of_an_older_version_resumes_with_the_same_figures(wf: Any, folder: Path) -> None:
    """The code has changed since, which has to be allowed."""
    refused = wf("resume", "stopped")
    assert refused.code == 2
    assert "plugin-code" in refused.stderr
    assert "  components: " not in refused.stderr  # although the checkpointer came from another plugin
    resumed = wf("resume", "stopped", "--allow-drift", "all")
    assert resumed.code == 0, resumed.stderr
    found, expected = (records(folder / "runs" / name) for name in ("stopped", "straight"))
    assert [record.keys() for record in found] == [record.keys() for record in expected]
    for record, like in zip(found, expected, strict=True):
        numbers = {name: value for name, value in like.items() if isinstance(value, (int, float))}
        assert {name: record[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
