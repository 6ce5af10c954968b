"""The table of a cross-validation."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from wf_run.parts.data.folds import Folds


def folds(*values: Any) -> Folds:
    return Folds(None, tuple({"test/loss": 1.0, "test/odd": value} for value in values), 1, 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "in fold 2 it is nan"),
        (math.inf, "in fold 2 it is inf"),
        (None, "in fold 2 it is missing"),
        ([1.0], "in fold 2 it is of type list"),
    ],
)
def test_a_figure_without_a_number_in_one_fold(value: Any, words: str) -> None:
    found = folds(1.0, value, 2.0, 4.0)
    mean, deviation = found.summary()["test/odd"]
    assert (mean, deviation) == (statistics.fmean([1, 2, 4]), statistics.stdev([1, 2, 4]))
    lines = found.table().splitlines()
    assert lines[2].split() == ["2", "1.0000", "n/a"]
    assert (
        lines[-1] == f"n/a: test/odd is not a finite number in every fold: {words}; mean and std are over the other 3"
    )
    assert found.record()["missing"] == {"test/odd": [2]}


def test_a_figure_missing_in_one_fold() -> None:
    first, second = {"test/loss": 1.0}, {"test/loss": 1.0, "test/odd": 2.0}
    found = Folds(None, (first, second), 1, 1)
    assert found.summary() == {"test/loss": (1.0, 0.0), "test/odd": (2.0, None)}
    assert "there is no std" in found.table()


def test_a_figure_without_a_number_in_all_folds() -> None:
    found = folds(math.nan, math.nan)
    assert found.summary()["test/odd"] == (None, None)
    assert "there is no mean" in found.table()


def test_a_complete_table_has_no_notes() -> None:
    assert len(folds(1.0, 2.0).table().splitlines()) == 5
