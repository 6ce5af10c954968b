"""Comparing rows: pairing, ties, failed runs, and losses that cannot be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from wf.errors import UsageError
from wf_compare.results import Row, Run, check_same_data, choose_figure, read_run
from wf_compare.statistics import difference, estimate, together
from wf_compare.tables.table import exit_code, make_table
from wf_compare.tables.text import to_text
from wf_run.directory.rundir import RunDirectory

BY = "validation/accuracy"
DOCUMENT: dict[str, Any] = {
    "dataset": {"use": "digits"},
    "loss": {"use": "ce"},
    "metric": [{"use": "accuracy"}],
    "split": "70/15/15",
    "shuffle": True,
}


def make_run(repeat: int, value: float | None, status: str = "done", **more: Any) -> Run:
    metrics = {} if value is None else {BY: value}
    return Run(repeat=f"seed {repeat}", place=Path(f"x/{repeat}"), status=status, metrics=metrics, seconds=2.0, **more)


def make_row(name: str, values: Sequence[float], document: Mapping[str, Any] = DOCUMENT, first: int = 42) -> Row:
    runs = tuple(make_run(first + number, value) for number, value in enumerate(values))
    return Row(name=name, settings={"optimizer": name}, document=dict(document), runs=runs)


def with_run(row: Row, run: Run) -> Row:
    return Row(name=row.name, settings=row.settings, document=row.document, runs=(*row.runs, run))


def test_rows_are_judged_against_the_first() -> None:
    rows = [make_row("a", [0.9, 0.8, 0.7]), make_row("b", [0.95, 0.84, 0.76]), make_row("c", [0.7, 0.9, 0.8])]
    lines = make_table(rows, BY, True).lines
    assert lines[0].difference is None
    assert lines[0].estimate == estimate([0.9, 0.8, 0.7])
    pairs = ([0.95, 0.84, 0.76], [0.7, 0.9, 0.8])
    alone = [difference(values, [0.9, 0.8, 0.7], larger_is_better=True) for values in pairs]
    assert [line.difference for line in lines[1:]] == together(alone)
    assert [line.difference.verdict for line in lines[1:] if line.difference] == ["better", "tie"]
    assert lines[0].seconds == 2.0


def test_runs_are_paired_by_seed_in_any_order() -> None:
    one = make_row("a", [0.1, 0.2, 0.3])
    other = make_row("b", [0.5, 0.4, 0.9])
    turned = Row(name="b", settings={}, document=DOCUMENT, runs=tuple(reversed(other.runs)))
    straight, back = (make_table([one, row], BY, True).lines[1].difference for row in (other, turned))
    assert straight == back


def test_only_common_seeds_are_paired() -> None:
    rows = [make_row("a", [0.1, 0.2, 0.3], first=42), make_row("b", [0.5, 0.7, 0.9], first=43)]
    found = make_table(rows, BY, True).lines[1].difference
    assert found == difference([0.5, 0.7], [0.2, 0.3], larger_is_better=True)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (make_row("b", [0.5, 0.6], first=100), "no seed in common"),
        (make_row("b", [0.5, 0.6], {**DOCUMENT, "split": "80/10/10"}), "its split is 80/10/10"),
        (make_row("b", [0.5, 0.6], {**DOCUMENT, "shuffle": False}), "its shuffle is False"),
        (Row(name="b", settings={}, document=DOCUMENT, runs=(make_run(42, 0.5, samples={"test": 9}),)), "in size"),
    ],
)
def test_unpairable_rows_say_why(other: Row, why: str) -> None:
    reference = with_run(make_row("a", [0.4, 0.5]), make_run(50, 0.3, samples={"test": 10}))
    table = make_table([reference, other], BY, True)
    assert table.lines[1].difference is None
    assert why in str(table.lines[1].unpaired)
    assert table.lines[1].estimate is not None
    assert why in " ".join(to_text(table, 120).split())


def test_a_run_that_diverged_is_shown_and_its_row_gets_no_verdict() -> None:
    bad = with_run(make_row("b", [0.5, 0.6]), make_run(44, None, "diverged", reason="the loss is nan", exit_code=5))
    table = make_table([make_row("a", [0.1, 0.12, 0.11]), bad, make_row("c", [0.9, 0.91, 0.92])], BY, True)
    _, diverged, good = table.lines
    assert diverged.difference is not None
    assert (diverged.difference.verdict, diverged.difference.estimate.num) == ("unknown", 2)
    assert good.difference is not None
    assert good.difference.verdict == "better"
    text = to_text(table, 100)
    assert "b, seed 44: diverged: the loss is nan" in text
    assert "2/3" in text
    assert "a biased sample" in text
    assert exit_code(table) == 5


def test_exit_code_of_a_failure_comes_before_that_of_a_divergence() -> None:
    runs = [
        make_run(42, None, "diverged", exit_code=5),
        make_run(43, None, "failed", exit_code=4),
        make_run(44, None, "interrupted"),
    ]
    rows = [Row(name="a", settings={}, document=DOCUMENT, runs=tuple(runs))]
    assert exit_code(make_table(rows, BY, True)) == 4
    assert exit_code(make_table([make_row("a", [0.1])], BY, True)) == 0


def test_a_row_without_any_figure_is_shown() -> None:
    lost = Row(name="b", settings={}, document=DOCUMENT, runs=(make_run(42, None, "failed", reason="boom"),))
    table = make_table([make_row("a", [0.1]), lost], BY, True)
    assert table.lines[1].estimate is None
    assert table.record()["rows"][1]["mean"] is None
    assert "b, seed 42: failed: boom" in to_text(table, 80)


def test_a_non_finite_figure_is_noted() -> None:
    row = with_run(make_row("a", [0.5]), make_run(43, None))
    assert "a, seed 43: done, but its validation/accuracy is not a finite number" in to_text(
        make_table([row], BY, True), 100
    )


def test_a_figure_that_is_a_list_is_refused() -> None:
    run = Run(repeat="seed 1", place=Path("x"), status="done", metrics={BY: [0.1, 0.2]})
    with pytest.raises(UsageError, match="not a single number"):
        make_table([Row(name="a", settings={}, document=DOCUMENT, runs=(run,))], BY, True)


FIGURES = ["validation/loss", "validation/accuracy", "test/loss", "test/accuracy"]
FOCAL = {**DOCUMENT, "loss": {"use": "focal", "gamma": 2.0}}


@pytest.mark.parametrize("other", [FOCAL["loss"], {"use": "ce", "label_smoothing": 0.1}])
def test_losses_of_different_functions_are_not_compared(other: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--by validation/accuracy"):
        choose_figure("validation/loss", FIGURES, [DOCUMENT, {**DOCUMENT, "loss": other}])
    assert choose_figure("validation/loss", FIGURES, [DOCUMENT, DOCUMENT]) == "validation/loss"


@pytest.mark.parametrize(
    ("figures", "chosen"),
    [
        (FIGURES, "validation/accuracy"),
        (["test/loss", "test/accuracy"], "test/accuracy"),
        (["validation/loss", "train/accuracy"], "validation/loss"),
    ],
)
def test_the_default_figure(figures: list[str], chosen: str) -> None:
    assert choose_figure(None, figures, [DOCUMENT]) == chosen


def test_unknown_figure() -> None:
    with pytest.raises(UsageError, match="did you mean 'validation/accuracy'"):
        choose_figure("val_acc", FIGURES, [DOCUMENT])


def test_one_metric_with_different_options_is_not_compared() -> None:
    top = [{**DOCUMENT, "metric": [{"use": "top-k", "k": k}]} for k in (1, 5)]
    with pytest.raises(UsageError, match=r"top-k \(k 1\) and top-k \(k 5\)"):
        choose_figure("test/top-k", [*FIGURES, "test/top-k"], top)
    assert choose_figure("test/loss", FIGURES, top) == "test/loss"


def test_a_verdict_that_may_be_chance_gets_a_question_mark() -> None:
    rows = [make_row("a", [0.10, 0.20, 0.30, 0.40]), make_row("b", [0.12, 0.23, 0.31, 0.44])]
    assert "better?" not in to_text(make_table(rows, BY, True), 100)
    rows += [make_row(name, [0.10, 0.21, 0.29, 0.40]) for name in "cd"]
    table = make_table(rows, BY, True)
    text = " ".join(to_text(table, 100).split())
    assert "better?" in text
    assert "all 3 differences together, at 5 % by Holm's method" in text
    assert "may be chance" in text
    found = table.record()["rows"][1]["difference"]
    assert found["verdict"] == "better?"
    assert found["p"] < 0.05 < found["holm_p"]


def test_different_library_versions_are_noted() -> None:
    old = make_run(42, 0.1, made_with={"torch": "2.13.0", "wf": "0.1.0"})
    new = make_run(42, 0.2, made_with={"torch": "2.14.1", "wf": "0.1.0"})
    rows = [Row(name=name, settings={}, document=DOCUMENT, runs=(run,)) for name, run in (("a", old), ("b", new))]
    (note,) = make_table(rows, BY, True).notes
    assert "torch 2.13.0 and 2.14.1." in note
    assert make_table(rows[:1], BY, True).notes == []


def test_unfinished_and_failed_runs_are_noted() -> None:
    runs = [make_run(42, 0.1), make_run(43, None, "running"), make_run(44, None, "failed", reason="boom")]
    rows = [Row(name="a", settings={}, document=DOCUMENT, runs=tuple(runs))]
    text = to_text(make_table(rows, BY, True, Path("runs/x")), 100)
    assert "1 of 3 runs are not finished; to train them: wf compare --resume runs/x" in text
    assert "1 of 3 runs failed; to retry them: wf compare --resume runs/x" in text


@pytest.mark.parametrize("status", ["running", "killed", "interrupted", "not started", "missing", "damaged"])
def test_a_row_without_all_of_its_runs_gets_no_verdict(status: str) -> None:
    values = [0.1, 0.12, 0.11]
    short = with_run(make_row("b", [value + 0.5 for value in values[:2]]), make_run(44, None, status))
    for rows in ([make_row("a", values), short], [short, make_row("a", values)]):
        found = make_table(rows, BY, True).lines[1].difference
        assert found is not None
        assert (found.verdict, found.why) == ("unknown", "only 2 of 3 runs of 'b' exist")


def test_fewer_pairs_than_repeats_are_noted() -> None:
    table = make_table([make_row("a", [0.1, 0.2, 0.3]), make_row("b", [0.5, 0.7], first=43)], BY, True)
    assert table.notes == ["'b' has 2 repeats and 'a' 3: the difference uses the 2 that both have."]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_run_is_noted(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert read_run(tmp_path, "seed 1").status == "damaged"


def test_made_with_lists_versions_plugins_and_device(tmp_path: Path) -> None:
    loss = {"kind": "loss", "name": "ce", "target": "wf_losses:CE", "distribution": "wf-losses", "version": "0.2"}
    parts = [loss, {**loss, "distribution": None, "version": None}]
    versions = {"wf": "0.1", "python": "3.11.7", "torch": "2.14.1"}
    RunDirectory(tmp_path).update_manifest(status="done", versions=versions, components=parts, device="cpu")
    made_with = read_run(tmp_path, "seed 1").made_with
    assert made_with == {"wf": "0.1", "torch": "2.14.1", "wf-losses": "0.2", "device": "cpu"}


def test_different_data_are_refused() -> None:
    with pytest.raises(UsageError, match="different data"):
        check_same_data([DOCUMENT, {**DOCUMENT, "dataset": {"use": "iris"}}], ["a", "b"])


def test_one_repeat_suggests_more_repeats() -> None:
    table = make_table([make_row("a", [0.1]), make_row("b", [0.9])], BY, True)
    text = to_text(table, 100)
    assert "±" not in text
    assert "--repeats 5" in text
    assert table.record()["rows"][1]["difference"]["verdict"] == "unknown"


def test_ties_are_explained() -> None:
    text = " ".join(to_text(make_table([make_row("a", [0.9, 0.7]), make_row("b", [0.8, 0.9])], BY, True), 80).split())
    assert "tie" in text
    assert "that does not show that they are equal" in text


@pytest.mark.parametrize("width", [66, 80, 120])
def test_text_fits_the_width(width: int) -> None:
    names = ["adam", "pytorch-optimizer/schedulefreeadamw, pytorch-metric-learning/arcface, lr 0.0001"]
    text = to_text(make_table([make_row(name, [0.91, 0.92, 0.9]) for name in names], BY, True), width)
    assert max(map(len, text.splitlines())) <= width


def test_record_is_plain_json() -> None:
    table = make_table([make_row("a", [0.1, 0.2]), make_row("b", [0.3, 0.5])], BY, True, Path("runs/x"))
    record = json.loads(json.dumps(table.record(), allow_nan=False))
    assert record["rows"][1]["difference"]["num"] == 2
    assert [run["value"] for run in record["rows"][0]["runs"]] == [0.1, 0.2]


def test_time_of_a_resumed_run(tmp_path: Path) -> None:
    RunDirectory(tmp_path).update_manifest(status="done", metrics={BY: 1.0})
    seconds = [1.0, 2.0, 0.5, 3.0, 0.25]
    (tmp_path / "timings.jsonl").write_text("".join(json.dumps({"elapsed_sec": value}) + "\n" for value in seconds))
    assert read_run(tmp_path, "seed 1").seconds == 2.0 + 3.0 + 0.25


@pytest.mark.parametrize(
    ("status", "failed", "expected", "code"),
    [
        (None, False, "not started", 0),
        (None, True, "failed", 4),
        ("running", True, "failed", 4),
        ("done", True, "done", 0),
        ("diverged", False, "diverged", 5),
    ],
)
def test_status_of_a_run(tmp_path: Path, status: str | None, failed: bool, expected: str, code: int) -> None:
    if status is not None:
        RunDirectory(tmp_path).update_manifest(status=status, reason="why")
    run = read_run(tmp_path, "seed 1", {"reason": "boom", "exit_code": 4} if failed else None)
    assert (run.status, run.exit_code) == (expected, code)


def test_rounding_errors_add_no_decimals() -> None:
    table = make_table([make_row("a", [0.1, 0.7]), make_row("b", [0.1 + 0.2, 0.9])], BY, True)
    assert "0.20" in to_text(table, 100)
    assert not re.search(r"\.\d{5}", to_text(table, 100))
