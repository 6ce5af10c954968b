"""``--detect-anomaly``: the first number that is not finite, with its module and operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import weights

MODEL = '''
import torch
from torch import nn


class Middle(nn.Module):
    """Does something wrong at its fourth call, in step 3."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.calls = how, 0

    def forward(self, x):
        self.calls += 1
        if self.calls < 4:
            return torch.relu(x)
        if self.how == "log":
            return torch.log(x)
        if self.how == "divide":
            return x / (x * 0)
        if self.how == "root":
            return torch.sqrt(torch.relu(x))
        most = x.max() if self.how == "mask" else x.max(1, keepdim=True).values
        return torch.softmax(x.masked_fill(x < most, float("-inf")), 1)


def net(num_features: int, num_outputs: int, how: str) -> nn.Module:
    return nn.Sequential(nn.Linear(num_features, 8), Middle(how), nn.Linear(8, num_outputs))
'''
LINE = ("run", "--dataset", "iris", "--model", "net.py:net", "--epochs", 2, "--quiet", "--detect-anomaly")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("log", "in step 3: the first NaN is a result of torch.log, in module '1'\n  its inputs: 32x8 from -"),
        ("divide", "in step 3: the first infinite number is a result of torch.Tensor.div, in module '1'"),
        ("root", "in step 3: the first gradient that is not finite is the gradient of Sqrt, in module '1'"),
        ("mask", "in step 3: the first NaN is a result of torch.softmax, in module '1'\n  its inputs: 32x8 from -inf"),
    ],
)
def test_module_and_operation_are_named(how: str, words: str, wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    done = wf(*LINE, "--model.how", how, "--name", how)
    assert done.code == 5, done.stderr
    assert words in done.stderr
    assert "try a smaller --lr" in done.stderr


def test_intended_infinities_pass_and_the_bits_stay_the_same(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    for name, line in (("with", LINE), ("without", LINE[:-1])):
        done = wf(*line, "--model.how", "rows", "--name", name)
        assert done.code == 0, done.stderr
    ours, theirs = (weights(tmp_path / "runs" / name) for name in ("with", "without"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert "detect_anomaly" not in (tmp_path / "runs" / "without" / "run.toml").read_text()


def test_a_non_finite_weight_after_an_update_is_reported(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "spoil.py").write_text(
        "class Spoil:\n"
        "    def on_step_end(self, run):\n"
        "        if run.progress.step == 2:\n"
        "            next(run.trainer.model.parameters()).data.fill_(float('inf'))\n"
    )
    done = wf("run", "--dataset", "iris", "--hook", "+spoil.py:Spoil", "--detect-anomaly", "--quiet")
    assert done.code == 5, done.stderr
    assert "in step 3: the weight '" in done.stderr
    assert "is not finite since the last update" in done.stderr
