"""``wf runs``: the list of runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wf.errors import DataError
from wf_cli.main import main
from wf_run.directory.rundir import RunDirectory
from wf_run.resuming.drift import facts
from wf_storage.manifests import FIELDS

pytestmark = pytest.mark.xdist_group("runs")  # one worker makes the runs that these tests share

WORDS = ("name", "folder", "settings", "kind", "target", "distribution", "version", "file", "sha256", "torch")


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


def test_runs_are_listed_in_a_table(wf: Any, three: Path) -> None:
    result = wf("runs")
    assert result.code == 0, result.stderr
    assert result.stderr == ""
    title, heading, *rows = result.stdout.splitlines()
    assert title == "iris: 4 runs, model linear, optimizer adam"
    assert heading.split() == [
        "name",
        "status",
        "test/accuracy",
        "test/loss",
        "loss",
        "epochs",
        "optimizer.lr",
        "started",
    ]
    cells = {row.split("  ")[0]: re.split(r"  +", row) for row in rows if not row.startswith(" ")}
    assert sorted(cells) == ["folds", "nine", "one", "rows"]
    assert cells["nine"][1] == "done"
    assert cells["nine"][4:7] == ["focal", "9", "0.1"]
    assert cells["one"][4:7] == ["ce", "1", "0.001"]
    assert cells["rows"][1:7] == ["done, 2 runs", "-", "-", "-", "-", "-"]
    assert rows[rows.index(next(row for row in rows if row.startswith("rows"))) + 1] == "    adam; sgd"


def test_runs_are_listed_as_json(wf: Any, three: Path) -> None:
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
def test_runs_are_sorted_by_a_figure_best_first(wf: Any, three: Path, figure: str) -> None:
    values = [run["metrics"].get(figure) for run in wf("runs", "--by", figure, "--json").json()]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=figure == "test/accuracy")
    assert None not in values[: len(known)]
    assert figure in wf("runs", "--by", figure).stdout


def test_a_damaged_run_is_listed_as_such(wf: Any, three: Path) -> None:
    (three / "one/manifest.json").write_text('{"status"')
    result = wf("runs")
    assert result.code == 0
    assert re.search(r"^one +damaged +-$", result.stdout, re.MULTILINE)
    assert "one/manifest.json cannot be read" in result.stdout
    assert {run["name"]: run["status"] for run in wf("runs", "--json").json()}["one"] == "damaged"


def test_a_run_that_lost_its_run_file_is_listed_as_such(wf: Any, three: Path) -> None:
    for place in ("one", "rows/adam/seed-42"):
        (three / place / "run.toml").unlink()
    found = {run["name"]: run for run in wf("runs", "--json").json()}
    assert (found["one"]["status"], found["rows"]["status"]) == ("damaged", "done")
    assert "runs/one/run.toml is gone" in found["one"]["reason"]
    assert (found["rows"]["num_runs"], found["rows"]["num_done"]) == (2, 1)
    assert "rows   1 of 2 runs done" in wf("runs").stdout
    assert [run["status"] for run in wf("runs", "rows", "--json").json()] == ["damaged", "done"]
    assert [run["status"] for run in wf("runs", "one", "--json").json()] == ["damaged"]


def test_search_selects_runs(wf: Any, three: Path) -> None:
    assert [run["name"] for run in wf("runs", "--search", "FOCAL", "--json").json()] == ["nine"]
    assert "rows" in [run["name"] for run in wf("runs", "--search", "sgd", "--json").json()]
    assert wf("runs", "--search", "nothing").stdout == "no runs in runs have 'nothing'\n"


def test_no_runs_at_all(wf: Any, folder: Path) -> None:
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


def test_an_unknown_folder_suggests_search(wf: Any, three: Path) -> None:
    result = wf("runs", "focal")
    assert result.code == 4
    assert "in runs: folds, ... (4 in all)" in result.stderr
    assert "wf runs --search focal" in result.stderr


@pytest.mark.parametrize("columns", ["40", "60", "120"])
def test_one_row_per_run_on_any_screen_width(wf: Any, three: Path, columns: str) -> None:
    (three / "one").rename(three / "a-rather-long-name")
    lines = wf("runs", env={"COLUMNS": columns}).stdout.splitlines()
    assert max(map(len, lines[1:])) <= int(columns)
    assert len([line for line in lines if " done" in line and not line.startswith(" ")]) == 4
    assert ("…" in lines[1]) == (columns != "120")


def test_a_single_run_is_listed(wf: Any, three: Path) -> None:
    (found,) = wf("runs", "nine", "--json").json()
    assert (found["name"], found["status"], found["epochs"]) == ("nine", "done", 9)


ODD = ('"started": "yesterday"', '"started": "9999-12-31T23:59:59-12:00"', '"components": null', '"components": [{}]')
ODD += ('"metrics": []', '"metrics": {"test/loss": {}}', f'"metrics": {{"test/loss": 1{"0" * 400}}}', '"epochs": "10"')
ODD += ('"folds": "2"', '"rows": [1]', '"rows": [{"name": "a", "folder": "../../x", "settings": {}}]', '"status": 1')


@pytest.mark.parametrize("field", ODD)
def test_an_odd_manifest_does_not_hide_other_runs(wf: Any, three: Path, field: str) -> None:
    file = three / "one/manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **json.loads(f"{{{field}}}")}))
    for line in (["runs"], ["runs", "--by", "test/loss"], ["runs", "--search", "o"]):
        assert wf(*line).code == 0
    found = {run["name"]: run for run in wf("runs", "--json").json()}
    assert len(found) == 4
    assert found["one"]["status"] == "damaged"
    assert f"'{field.split(chr(34))[1]}' must be " in found["one"]["reason"]


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 200 + "]" * 200, "1" * 10_000, "[]", "\udcff"])
def test_a_manifest_that_is_not_an_object(wf: Any, three: Path, text: str) -> None:
    (three / "one/manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert {run["name"]: run["status"] for run in wf("runs", "--json").json()}["one"] == "damaged"
    for line in (["evaluate", "one"], ["resume", "one"], ["replay", "one"]):
        result = wf(*line)
        assert (result.code, "Traceback" in result.stderr) == (4, False)
        assert "one/manifest.json cannot be read: " in result.stderr


def test_links_to_folders_are_not_followed_and_pipes_not_waited_for(wf: Any, three: Path) -> None:
    (three / "a").symlink_to(".")
    (three / "b").symlink_to("..")
    (three / "one" / "manifest.json").unlink()
    for name in ("manifest.json", ".lock"):
        os.mkfifo(three / "one" / name)
    found = {run["name"]: run["status"] for run in wf("runs", "--json", timeout=20).json()}
    assert found == {"folds": "done", "nine": "done", "one": "damaged", "rows": "done"}
    result = wf("resume", "one", timeout=20)
    assert (result.code, "manifest.json is not a plain file" in result.stderr) == (4, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may look into every folder")
def test_an_unreadable_folder(wf: Any, three: Path) -> None:
    (three / "one").chmod(0)
    try:
        found = {run["name"]: run for run in wf("runs", "--json").json()}
        assert found["one"]["reason"] == "runs/one cannot be read: Permission denied"
        result = wf("resume", "one")
        assert (result.code, "Permission denied" in result.stderr) == (4, True)
    finally:
        (three / "one").chmod(0o755)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["done", "comparison", "2026"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(list(FIELDS)), VALUES, min_size=1, max_size=3))
def test_any_manifest_is_listed_or_damaged(built: Path, changes: dict[str, Any]) -> None:
    """Any manifest is either listed or raises an error of wf."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in ("one", "rows"):
            place = Path("runs", name)
            place.mkdir(parents=True)
            shutil.copy(built / name / "manifest.json", place)
            if name == "one":
                shutil.copy(built / name / "run.toml", place)
            manifest = json.loads((place / "manifest.json").read_text())
            (place / "manifest.json").write_text(json.dumps({**manifest, **changes}))
        for line in ("runs", "runs --json", "runs --search a", "compare one rows", "compare rows", "resume one"):
            with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(io.StringIO()):
                main(line.split())
            assert end.value.code in (0, 2, 4) if line != "resume one" else (2, 4), line
        for name in ("one", "rows"):
            with contextlib.suppress(DataError):
                facts(RunDirectory(Path("runs", name)).manifest)
