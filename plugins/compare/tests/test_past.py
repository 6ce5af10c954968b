"""Rows made from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wf.errors import DataError, UsageError
from wf_compare.past import rows_of
from wf_run.directory.rundir import RunDirectory
from wf_run.runfiles.runfile import dump

BASE: dict[str, Any] = {
    "seed": 42,
    "epochs": 3,
    "dataset": {"use": "digits"},
    "model": {"use": "mlp"},
    "loss": {"use": "ce"},
    "optimizer": {"use": "adam", "lr": 0.001},
    "trainer": {"use": "supervised"},
    "metric": [{"use": "accuracy"}],
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a run directory below runs/."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, **changes: Any) -> str:
        directory = RunDirectory(Path("runs") / name)
        directory.path.mkdir(parents=True)
        directory.write_run_file(dump({**BASE, **changes}))
        directory.update_manifest(status="done", metrics={"test/accuracy": 0.5}, code=[])
        return name

    return write


def test_runs_that_differ_only_in_the_seed_are_repeats(make: Any) -> None:
    sgd = {"optimizer": {"use": "sgd", "lr": 0.1}}
    names = [make("a"), make("b", seed=43), make("c", **sgd), make("d", **sgd, seed=43)]
    rows = rows_of(names)
    assert [row.name for row in rows] == ["adam", "sgd"]
    assert [[run.repeat for run in row.runs] for row in rows] == [["seed 42", "seed 43"]] * 2
    assert rows[1].settings == {"optimizer": "sgd"}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ([{}, {"epochs": 5}], ["epochs 3", "epochs 5"]),
        ([{}, {"optimizer": {"use": "adam", "lr": 0.1}}], ["lr 0.001", "lr 0.1"]),
        (
            [{"optimizer": {"use": "sgd", "lr": 0.1}}, {}, {"optimizer": {"use": "adam", "lr": 0.1}}],
            ["sgd", "adam, lr 0.001", "adam, lr 0.1"],
        ),
        (
            [
                {"transform": [], "dataset": {"use": "iris"}},
                {"transform": [{"use": "scale"}], "dataset": {"use": "wine"}, "epochs": 5},
            ],
            ["iris, no transform, epochs 3", "wine, scale, epochs 5"],
        ),
        ([{}, {"hook": [{"use": "early-stopping", "patience": 3}]}], ["ce, adam", "early-stopping"]),
    ],
)
def test_rows_are_named_after_their_differences(make: Any, changes: list[dict[str, Any]], names: list[str]) -> None:
    found = rows_of([make(f"run-{number}", **change) for number, change in enumerate(changes)])
    assert [row.name for row in found] == names


def test_folds_are_repeats(make: Any) -> None:
    for fold in ("1/2", "2/2"):
        make(f"cv/fold-{fold[0]}", fold=fold)
    Path("runs/cv/latest").symlink_to("fold-2")
    assert [run.repeat for run in rows_of(["cv"])[0].runs] == ["seed 42 fold 1/2", "seed 42 fold 2/2"]


@pytest.mark.parametrize("other", [None, "1/3"])
def test_folds_and_whole_runs_are_not_averaged_together(make: Any, other: str | None) -> None:
    make("cv/fold-1", fold="1/2")
    make("b", **({} if other is None else {"fold": other}))
    with pytest.raises(
        UsageError, match=r"runs/cv/fold-1 \(a fold of 2\) and runs/b .* different divisions of the data"
    ):
        rows_of(["cv", "b"])


def test_a_run_twice_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match="are the same run"):
        rows_of([make("a"), make("b")])


def test_changed_code_of_the_same_name_is_another_row(make: Any) -> None:
    names = [make("a"), make("b", seed=43)]
    RunDirectory(Path("runs/b")).update_manifest(code=[{"file": "net.py", "sha256": "1f"}])
    assert len(rows_of(names)) == 2


def test_rows_that_differ_in_metrics_alone_are_refused(make: Any) -> None:
    both = [{"use": "accuracy"}, {"use": "f1"}]
    with pytest.raises(UsageError, match="runs/a and runs/b differ only in their metrics"):
        rows_of([make("a"), make("b", metric=both, seed=43)])
    watched = [make("d", metric=both, monitor="validation/f1"), make("e", monitor="validation/accuracy")]
    assert len(rows_of(watched)) == 2


def test_a_run_without_its_run_file_is_refused(make: Any) -> None:
    for name in ("all/a", "all/b"):
        make(name, seed=ord(name[-1]))
        (Path("runs") / name / "metrics.jsonl").touch()
    (Path("runs/all/b") / "run.toml").unlink()
    with pytest.raises(DataError, match=r"runs/all/b/run.toml is missing"):
        rows_of(["all"])


def test_missing_runs_are_refused(make: Any) -> None:
    make("real")
    with pytest.raises(DataError, match="there is no run directory 'reel'"):
        rows_of(["reel"])
    Path("empty").mkdir()
    with pytest.raises(DataError, match="there are no runs in empty"):
        rows_of(["empty"])
