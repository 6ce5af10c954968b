"""``wf find-lr``."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
from runs import weights

from wf.errors import UsageError
from wf_finding.rates import Curve, suggest

QUADRATIC = """
import torch
from torch import nn
from wf_base import Dataset, TensorSamples


def line() -> Dataset:
    inputs = torch.linspace(-1, 1, 64).unsqueeze(1) * 3 ** 0.5
    return Dataset(train=TensorSamples(inputs, 2 * inputs), targets="real")


class Slope(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        return self.slope * inputs
"""
SLOPE = ("--dataset", "line.py:line", "--model", "line.py:Slope", "--loss", "mse", "--split", "100/0/0")


def curve(losses: list[float], lowest: float = 1e-4, growth: float = 2.0, *, diverged: bool = False) -> Curve:
    rates = [lowest * growth**number for number in range(len(losses))]
    return Curve(rates=rates, losses=losses, smoothed=losses, diverged=diverged)


def test_the_suggestion_is_half_way_down_the_fall_of_the_loss() -> None:
    found = suggest(curve([1.0, 0.99, 0.9, 0.5, 0.4, 0.39, 0.8, 3.0], diverged=True))
    assert found.rate == pytest.approx(4e-4)
    assert "its lowest, 0.39 at 0.0032; it diverges at 0.013" in found.reason
    noisy = [1.1, 0.8, 1.1, 0.9, 1.1, 0.9, 1.0, 0.9, 0.8, 0.3, 0.1, 0.1]
    assert suggest(curve(noisy)).rate == pytest.approx(1e-4 * 2**8, rel=0.05)


@pytest.mark.parametrize(
    ("losses", "diverged", "words"),
    [
        ([1.0, 4.0], True, "the loss diverges at once: after 2 steps.*\n.*--min 1e-08"),
        ([1.0] * 20, False, "the loss stays flat from a learning rate of 0.0001 to 52.*\n.*--max"),
        ([1.0] * 20 + [5.0], True, "does not fall at any learning rate"),
        ([], True, "diverges at once"),
    ],
)
def test_a_loss_that_does_not_fall_gives_no_suggestion(losses: list[float], diverged: bool, words: str) -> None:
    found = curve(losses, diverged=diverged)
    if not losses:
        found = Curve(rates=[1e-4], losses=[math.nan], smoothed=[], diverged=True)
    with pytest.raises(UsageError, match=r"(?s)" + words):
        suggest(found)


def test_the_suggestion_on_a_quadratic_agrees_with_theory(wf: Any, tmp_path: Path) -> None:
    """The mean of squares of x is about 1, so the loss is (slope - 2)^2: gradient descent diverges from rate 1 on."""
    (tmp_path / "line.py").write_text(QUADRATIC)
    done = wf("find-lr", *SLOPE, "--optimizer", "sgd", "--batch-size", "full", "--json", "--output", "lr.png")
    assert done.code == 0, done.stderr
    found = done.json()
    assert 0.02 < found["lr"] < 1
    steps = list(zip(found["rates"], found["losses"], found["losses"][1:], strict=False))
    assert all(after <= before + 1e-9 for rate, before, after in steps if rate < 0.9)
    assert all(after > before for rate, before, after in steps if rate > 2)
    assert found["diverged"]
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["line.py", "lr.png"]


def test_the_suggested_command_gives_the_bits_of_a_plain_run(wf: Any, tmp_path: Path) -> None:
    options = ("--dataset", "iris", "--optimizer", "sgd", "--optimizer.momentum", 0.9, "--epochs", 2)
    done = wf("find-lr", *options, "-o", "../lr.svg", "--optimizer.lr", 7, "--num-steps", 60, "--max", 1e2)
    assert done.code == 0, done.stderr
    assert not list(tmp_path.iterdir())
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("next ")]
    line = shlex.split(said)[1:]
    assert line[:2] == ["wf", "run"]
    assert "--optimizer.lr" not in line
    assert not {"--num-steps", "-o", "../lr.svg"} & {*line}
    rate = line[line.index("--lr") + 1]
    assert f"--lr {rate}" in done.stdout.partition("why")[0]
    assert wf(*line[1:], "--name", "after", "--quiet").code == 0
    assert wf("run", *options, "--lr", rate, "--name", "alone", "--quiet").code == 0
    after, alone = (weights(tmp_path / "runs" / name) for name in ("after", "alone"))
    assert all(after[name].equal(alone[name]) for name in alone)


def test_groups_keep_their_ratio(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "ratio.py").write_text(
        "import torch\n\n"
        "class Ratio(torch.optim.SGD):\n"
        "    def __init__(self, params, lr: float = 0.1):\n"
        "        one, other, *rest = params\n"
        "        super().__init__([{'params': [one]}, {'params': [other, *rest], 'lr': lr / 10}], lr=lr)\n\n"
        "    def step(self):\n"
        "        high, low = (group['lr'] for group in self.param_groups)\n"
        "        print('ratio', round(high / low, 6), flush=True)\n"
        "        super().step()\n"
    )
    done = wf("find-lr", "--dataset", "iris", "--optimizer", "ratio.py:Ratio", "--num-steps", 40)
    assert done.code == 0, done.stderr
    ratios = {line for line in done.stdout.splitlines() if line.startswith("ratio")}
    assert ratios == {"ratio 10.0"}


def test_invalid_options_and_unusable_curves_are_refused(wf: Any, tmp_path: Path) -> None:
    for words, options in (
        ("--max above --min", ("--min", 1, "--max", 0.1)),
        ("a curve needs at least 10", ("--num-steps", 3)),
        ("the file must end with .png or .svg", ("--output", "lr.gif")),
        ("there is no folder", ("--output", "nowhere/lr.png")),
        ("the loss stays flat", ("--dataset", "iris", "--max", 1e-6, "--num-steps", 20, "--optimizer", "sgd")),
        ("the loss diverges at once", ("--dataset", "diabetes", "--optimizer", "sgd", "--min", 1e3, "--max", 1e6)),
    ):
        done = wf("find-lr", *options)
        assert (done.code, words in done.stderr) == (2, True), (options, done.stderr)
    assert not list(tmp_path.iterdir())


def test_several_optimizers_are_refused(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "pair.py").write_text(
        "from wf_base import BaseTrainer\n\n"
        "class Pair(BaseTrainer):\n"
        "    scopes = {'optimizer': ('first', 'second')}\n\n"
        "    def __init__(self, model, loss, optimizers):\n"
        "        super().__init__(model, optimizers=optimizers)\n"
        "        self.loss = loss\n\n"
        "    def compute_loss(self, batch):\n"
        "        return self.loss(self.model(batch.inputs), batch.targets)\n"
    )
    done = wf("find-lr", "--dataset", "iris", "--trainer", "pair.py:Pair")
    assert done.code == 2
    assert "several optimizers (first, second)" in done.stderr


def test_a_batch_larger_than_the_data(wf: Any) -> None:
    done = wf("find-lr", "--dataset", "iris", "--batch-size", 1000, "--quiet", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["lr"] > 0
