"""Whether numbers look like classes or measures."""

from __future__ import annotations

import pytest
import torch

from wf_base.figures import regression_hint


def test_regression_hint_does_not_sort_fractional_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "unique", lambda *_, **__: pytest.fail("sorting is slow"))
    assert regression_hint([0.0, 1.0, 1.0, 0.0, 2.5]) is None
    assert regression_hint([0.0, 1.0, float("nan"), 1.0]) is None


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([0.0, 1.0] * 3, "2 different"),
        ([3.0, 7.0, 3.0, 7.0], "2 different"),
        ([1.0, 2.0, 3.0], None),
        ([5.0] * 4, "has the value 5 in every sample"),
        ([0.25] * 4, "has the value 0.25 in every sample"),
        ([5.0], None),
    ],
)
def test_regression_hint_for_whole_numbers(numbers: list[float], words: str | None) -> None:
    hint = regression_hint(numbers)
    assert hint is None if words is None else hint is not None and words in hint
