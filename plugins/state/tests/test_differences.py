from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wf_state.differences import differences, num_values

NAN = float("nan")


@pytest.mark.parametrize(
    "state",
    [
        {"a": 1, "b": [1.5, NAN, None], "c": ("x", {"y": True})},
        torch.tensor([NAN, 1.0, -0.0]),
        {1: torch.ones(2, 3).t(), "p": nn.Parameter(torch.zeros(2))},
        np.float32(2.5),
        np.arange(4),
        OrderedDict(a=deque([1, 2], maxlen=3)),
        1 + 2j,
    ],
    ids=str,
)
def test_a_state_does_not_differ_from_itself(state: Any) -> None:
    assert not list(differences(state, state))


def test_memory_layout_and_key_order_are_no_difference() -> None:
    assert not list(differences({"a": 1, "b": torch.ones(2, 3)}, {"b": torch.ones(3, 2).t(), "a": 1}))


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b: 1, now 2"),
        ({"a": 1}, {"a": True}, "a: 1, now True"),
        ({"a": 1}, {"a": 1.0}, "a: 1, now 1.0"),
        ({"a": 1}, {}, "a: 1, now not there"),
        ({}, {3: "x"}, "3: not there, now 'x'"),
        ([1, 2], [1], "1: 2, now not there"),
        ({"a": 0.0}, {"a": -0.0}, "a: 0.0, now -0.0"),
        ([1], (1,), "state: [1], now (1,)"),
        (torch.zeros(2), torch.zeros(3), "state: float32 [2], now float32 [3]"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), "state: float32 [2], now bfloat16 [2]"),
        (torch.zeros(3), torch.tensor([0.0, 0.5, 0.0]), "1 of 3 numbers differ, by up to 0.5"),
        (torch.zeros(3), torch.tensor([0.0, -0.0, 0.0]), "1 of 3 numbers differ, by up to 0"),
        (torch.tensor(1), torch.tensor(2), "1 of 1 numbers differ"),
        (np.float32(1), np.float32(2), "now"),
        ({"a": "x" * 100}, {"a": 1}, f"a: '{'x' * 39}..., now 1"),
    ],
    ids=str,
)
def test_differences_are_named(before: Any, after: Any, words: str) -> None:
    (found,) = differences(before, after)
    assert words in str(found)


def test_num_values_counts_leaves() -> None:
    assert num_values({"a": [1, 2, torch.ones(5)], "b": {"c": None}, "d": ()}) == 4
