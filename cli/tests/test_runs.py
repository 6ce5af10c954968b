"""``wf runs``: the runs there are."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def built(fork_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of three kinds: single ones, a cross-validation and a comparison."""
    place = tmp_path_factory.mktemp("runs")
    tiny = ["--dataset", "iris", "--model", "linear", "--quiet"]
    for line in (
        ["run", *tiny, "--epochs", "1", "--name", "one"],
        ["run", *tiny, "--epochs", "9", "--lr", "0.1", "--loss", "focal", "--name", "nine"],
        ["run", *tiny, "--epochs", "1", "--folds", "2", "--name", "folds"],
        ["compare", *tiny, "--epochs", "1", "--vary", "optimizer=adam,sgd", "--repeats", "1", "--name", "rows"],
    ):
        result = fork_server.run(line, place, os.environ, 60)
        assert result.code == 0, result.stderr
    return place / "runs"


@pytest.fixture
def three(built: Path, folder: Path) -> Path:
    """As `built`, a copy for each test."""
    return Path(shutil.copytree(built, folder / "runs", symlinks=True))


def test_runs(wf: Any, three: Path) -> None:
    result = wf("runs")
    assert result.code == 0, result.stderr
    assert result.stderr == ""
    names = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert sorted(names) == ["folds", "nine", "one", "rows"]
    assert "    iris, linear, focal, adam, 9 epochs  test accuracy " in result.stdout
    assert "    iris, 2 runs  adam; sgd\n" in result.stdout


def test_json(wf: Any, three: Path) -> None:
    found = {run["name"]: run for run in wf("runs", "--json").json()}
    nine = found["nine"]
    assert (nine["status"], nine["dataset"], nine["model"], nine["loss"]) == ("done", "iris", "linear", "focal")
    assert (nine["epochs"], nine["num_runs"], nine["run_dir"]) == (9, None, "runs/nine")
    assert 0 <= nine["metrics"]["test/accuracy"] <= 1
    for name in ("rows", "folds"):
        assert (found[name]["num_runs"], found[name]["num_done"]) == (2, 2)


def test_runs_within_a_comparison(wf: Any, three: Path) -> None:
    found = wf("runs", "rows", "--json").json()
    assert [run["name"] for run in found] == ["adam/seed-42", "sgd/seed-42"]
    assert [run["name"] for run in wf("runs", "runs/folds", "--json").json()] == ["fold-1", "fold-2"]


@pytest.mark.parametrize("figure", ["test/accuracy", "test/loss"])
def test_by_a_figure_the_best_is_first(wf: Any, three: Path, figure: str) -> None:
    values = [run["metrics"].get(figure) for run in wf("runs", "--by", figure, "--json").json()]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=figure == "test/accuracy")
    assert None not in values[: len(known)]
    assert figure in wf("runs", "--by", figure).stdout


def test_a_damaged_run_is_listed_as_such(wf: Any, three: Path) -> None:
    (three / "one/manifest.json").write_text('{"status"')
    result = wf("runs")
    assert result.code == 0
    assert re.search(r"^one +- +damaged$", result.stdout, re.MULTILINE)
    assert "one/manifest.json cannot be read" in result.stdout
    assert {run["name"]: run["status"] for run in wf("runs", "--json").json()}["one"] == "damaged"


def test_a_run_that_lost_its_run_file_is_listed_as_such(wf: Any, three: Path) -> None:
    for place in ("one", "rows/adam/seed-42"):
        (three / place / "run.toml").unlink()
    found = {run["name"]: run for run in wf("runs", "--json").json()}
    assert (found["one"]["status"], found["rows"]["status"]) == ("damaged", "done")
    assert "runs/one/run.toml is gone" in found["one"]["reason"]
    assert (found["rows"]["num_runs"], found["rows"]["num_done"]) == (2, 1)
    assert "iris, 1 of 2 runs done" in wf("runs").stdout
    assert [run["status"] for run in wf("runs", "rows", "--json").json()] == ["damaged", "done"]
    assert [run["status"] for run in wf("runs", "one", "--json").json()] == ["damaged"]


def test_search(wf: Any, three: Path) -> None:
    assert [run["name"] for run in wf("runs", "--search", "FOCAL", "--json").json()] == ["nine"]
    assert "rows" in [run["name"] for run in wf("runs", "--search", "sgd", "--json").json()]
    assert wf("runs", "--search", "nothing").stdout == "no runs in runs have 'nothing'\n"


def test_without_runs(wf: Any, folder: Path) -> None:
    result = wf("runs")
    assert result.code == 4
    assert "wf run" in result.stderr
    (folder / "runs").mkdir()
    assert wf("runs").stdout == "no runs in runs\n"


def test_unknown_figure(wf: Any, three: Path) -> None:
    result = wf("runs", "--by", "test/acc")
    assert result.code == 2
    assert "did you mean 'test/accuracy'" in result.stderr
    for name in ("one", "nine", "folds"):
        shutil.rmtree(three / name)
    assert "of the runs in it: wf runs NAME" in wf("runs", "--by", "test/accuracy").stderr


def test_a_word_that_is_no_folder(wf: Any, three: Path) -> None:
    result = wf("runs", "focal")
    assert result.code == 4
    assert "in runs: folds, ... (4 in all)" in result.stderr
    assert "wf runs --search focal" in result.stderr


@pytest.mark.parametrize("columns", ["40", "60", "120"])
def test_a_heading_a_run_on_any_screen(wf: Any, three: Path, columns: str) -> None:
    (three / "one").rename(three / "one-of-a-rather-long-name-that-fills-a-narrow-screen")
    lines = wf("runs", env={"COLUMNS": columns}).stdout.splitlines()
    assert len([line for line in lines if line.endswith("  done") and not line.startswith(" ")]) == 4


def test_a_run_itself(wf: Any, three: Path) -> None:
    (found,) = wf("runs", "nine", "--json").json()
    assert (found["name"], found["status"], found["epochs"]) == ("nine", "done", 9)
