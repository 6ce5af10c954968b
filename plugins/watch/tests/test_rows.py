"""The table of runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import UsageError
from wf_watch.conditions import Condition, chosen
from wf_watch.reading import Listed, flat
from wf_watch.rows import differing, grouped, text_of, time_of


def run(name: str, status: str = "done", dataset: str = "digits", **extra: Any) -> Listed:
    settings = {"loss": "ce", "optimizer": "adam", "optimizer.lr": 0.1, "epochs": 3, **extra.pop("settings", {})}
    given: dict[str, Any] = {
        "started": "2026-11-21T14:23:00+00:00",
        "reason": None,
        "metrics": {"test/accuracy": 0.9},
        "loss": "ce",
    }
    return Listed(
        name=name, run_dir=f"runs/{name}", status=status, dataset=dataset, settings=settings, **{**given, **extra}
    )


def test_settings_are_columns_where_the_runs_of_a_dataset_differ() -> None:
    runs = [
        run("a"),
        run("b", settings={"optimizer.lr": 0.01}),
        run("c", dataset="iris", settings={"optimizer.lr": 5.0, "epochs": 9}),
    ]
    assert differing(runs[:2]) == ["optimizer.lr"]
    found = grouped(runs)
    assert [one.options for one in found["digits"]] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]
    assert [one.options for one in found["iris"]] == [{}]


def test_options_of_other_components_are_not_columns() -> None:
    runs = [run("a", settings={"loss": "focal", "loss.gamma": 2.0}), run("b", settings={"seed": 1}), run("c")]
    assert differing(runs) == ["loss"]
    more = run("d", settings={"loss": "focal", "loss.gamma": 1.0})
    assert differing([*runs, more]) == ["loss", "loss.gamma"]


def test_rows_show_progress_of_running_and_reasons_of_failed_runs() -> None:
    trains = run("a", "running", steps=30, total_steps=100, left_sec=125.0, metrics={"validation/accuracy": 0.5})
    failed = run("b", "diverged", reason="the loss is nan\nat step 3", metrics={})
    lines = text_of([trains, failed, run("c")], width=100).splitlines()
    assert lines[0] == "digits: 3 runs, loss ce"
    assert lines[1].split() == ["name", "status", "test/accuracy", "validation/accuracy", "started"]
    assert lines[2].startswith("a     running 30 %, 2 min left  -              0.5000")
    assert lines[3].startswith("b     diverged")
    assert lines[4] == "    the loss is nan"
    assert "left" not in text_of([run("x", "running", steps=30)], width=100)
    assert "running step 30" in text_of([run("x", "running", steps=30)], width=100)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "1 h 00 min")])
def test_the_time_left(seconds: float, text: str) -> None:
    assert time_of(seconds) == text


@given(
    width=st.integers(40, 140),
    names=st.lists(st.text("abc-", min_size=1, max_size=20), min_size=1, max_size=4, unique=True),
    lr=st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_no_row_is_wider_than_the_screen(width: int, names: list[str], lr: list[float]) -> None:
    runs = [run(name, settings={"optimizer.lr": value}) for name, value in zip(names, lr, strict=False)]
    assert max(map(len, text_of(runs, width=width).splitlines()[1:])) <= width


CONDITIONS = [
    *[("status=done", "abc"), ("status!=done", "d"), ("name=a", "a"), ("name!=[ab]", "cd"), (" loss = ce ", "abcd")],
    *[("optimizer.lr<0.05", "b"), ("optimizer.lr=0.10", "acd"), ("test/accuracy>=0.9", "ab"), ("epochs=3", "abcd")],
    *[("dataset=dig*", "abcd"), ("seed=null", "abcd"), ("hook!=x", "abcd"), ("started>2027", "")],
    ("test/accuracy<0.9", "c"),
]


@pytest.mark.parametrize(("condition", "wanted"), CONDITIONS)
def test_where_conditions_select_runs(condition: str, wanted: str) -> None:
    runs = [
        run("a"),
        run("b", settings={"optimizer.lr": 0.01}),
        run("c", metrics={"test/accuracy": 0.5}),
        run("d", "failed", metrics={}, settings={"seed": None, "hook": "progress"}),
    ]
    assert "".join(one.name for one in chosen(runs, [condition])) == wanted


def test_several_conditions_must_all_hold() -> None:
    runs = [run("a"), run("b", settings={"optimizer.lr": 0.01})]
    assert [one.name for one in chosen(runs, ["status=done", "optimizer.lr>0.05"])] == ["a"]
    with pytest.raises(UsageError, match=r"did you mean 'optimizer.lr'"):
        chosen(runs, ["optimizer.lrr=1"])
    assert chosen([], ["whatever=1"]) == []


@pytest.mark.parametrize("text", ["", "loss", "=ce", "loss=", "loss ce"])
def test_malformed_conditions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        Condition.parse(text)


def test_a_run_file_is_flattened_to_settings() -> None:
    document = {
        "epochs": 3,
        "init_from": "@null",
        "loss": {"use": "focal", "gamma": 2.0},
        "hook": [{"use": "early-stopping", "patience": 3}, {"use": "progress"}],
        "model": {"use": "pair", "left": {"use": "mlp", "width": 4}},
        "links": [],
    }
    assert dict(flat(document)) == {
        "epochs": 3,
        "init_from": None,
        "loss": "focal",
        "loss.gamma": 2.0,
        "hook": "early-stopping, progress",
        "hook.early-stopping.patience": 3,
        "model": "pair",
        "model.left": "mlp",
        "model.left.width": 4,
        "links": [],
    }
