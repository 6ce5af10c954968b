"""Verdicts on the course of a run, for known curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wf import Epochs, Loop, Steps
from wf_base import Dataset, TensorSamples
from wf_base.data import Splits
from wf_base.task import task_of
from wf_data.serving import RunData
from wf_run.directory.recorder import Recorder
from wf_tracking.course import left_behind, losses_of
from wf_tracking.fit_verdict import FitVerdict

GUESSING = math.log(10)
"""The loss of ten classes without any knowledge."""


def steadily(start: float, end: float, num: int) -> list[float]:
    return [start + (end - start) * at / (num - 1) for at in range(num)]


def noisy(values: Sequence[float], size: float) -> list[float]:
    """The values, one up, the next one down."""
    return [value + (size if at % 2 else -size) for at, value in enumerate(values)]


CURVES = {
    "underfit": [2.30, 2.29, 2.295, 2.29, 2.29, 2.291, 2.29, 2.29],
    "overfit": [1.5, 0.9, 0.6, 0.5, 0.55, 0.65, 0.8, 0.95],
    "still improving": steadily(2.29, 1.95, 10),
    "still improving, scattering": noisy(steadily(2.2, 0.8, 16), 0.06),
    "converged": [0.3 + 2 * 0.4**epoch for epoch in range(20)],
    "converged to nothing": [2 * 0.3**epoch for epoch in range(20)],
    "noisy": noisy([0.5] * 12, 0.02),
    "diverged": [1.5, 1.0, 0.8, 3.0, 40.0, 9e5],
    "short": [2.2, 1.9],
}
GOOD = {"train/accuracy": 0.8, "test/accuracy": 0.8}
POOR = {"train/accuracy": 0.15, "test/accuracy": 0.14}
APART = {"train/accuracy": 1.0, "test/accuracy": 0.7}


class Trainer:
    def train_step(self, batch: Any) -> float:
        return 1.0


class Evaluator:
    """Gives a curve on validation, and figures at the end."""

    def __init__(self, curve: Sequence[float], figures: Mapping[str, float], name: str = "loss") -> None:
        self.curve, self.at_end, self.name = iter(curve), figures, name

    def evaluate(self, split: str) -> Mapping[str, Any]:
        if split == "validation":
            return {self.name: next(self.curve)}
        return {"accuracy": self.at_end[f"{split}/accuracy"]}


def run_of(curve: Sequence[float], figures: Mapping[str, float], name: str = "loss", **options: Any) -> Loop:
    classes = torch.arange(1000) % 10
    splits: Any = {split: TensorSamples(torch.zeros(1000, 1), classes) for split in ("train", "validation", "test")}
    dataset = Dataset(train=splits["train"], targets="class_index", class_names=tuple("0123456789"))
    data = RunData(dataset, Splits(samples=splits, indices={split: torch.arange(1000) for split in splits}))
    cross_entropy = torch.nn.functional.cross_entropy
    hook = FitVerdict(data, cross_entropy, task_of("class_index", "raw"), directions={"accuracy": True})
    loop = Loop(
        Trainer(),
        Evaluator(curve, figures, name),
        hooks=[Recorder(None), hook],
        final_splits=["train", "test"],
        **{"larger_is_better": False, **options},
    )
    return loop.run([SimpleNamespace(size=1)], Epochs(len(curve)))


NEITHER = "neither underfitting nor overfitting: train accuracy 0.8"
FELL = "validation loss fell in every epoch, from 2.29 to 1.95; train accuracy "


@pytest.mark.parametrize(
    ("curve", "figures", "begins"),
    [
        ("underfit", POOR, "underfitting: train accuracy 0.15"),
        ("overfit", APART, "overfitting: train accuracy 1"),
        ("still improving", GOOD, f"still improving: {FELL}0.8"),
        ("still improving", POOR, f"underfitting: {FELL}0.15"),
        (
            "still improving, scattering",
            GOOD,
            "still improving: validation loss was still falling, from 1.207 to 0.8333",
        ),
        *[(name, GOOD, NEITHER) for name in ("converged", "converged to nothing", "noisy", "short")],
        ("diverged", POOR, "diverging: validation loss rose from 1.5 to 9e+05; train accuracy 0.15"),
    ],
)
def test_the_verdict_on_known_curves(curve: str, figures: Mapping[str, float], begins: str) -> None:
    found = run_of(CURVES[curve], figures).notes["fit"]
    assert found.startswith(begins)
    longer = f"; try --epochs {3 * len(CURVES[curve])} or a larger --lr"
    assert found.endswith(longer) == curve.startswith("still improving")


LEFT = {
    "overfit": "validation loss 0.5 at epoch 4, 0.95 at the end",
    "diverged": "validation loss 0.8 at epoch 3, 9e+05 at the end",
}


@pytest.mark.parametrize("curve", list(CURVES))
def test_clearly_worse_last_weights_are_noted(curve: str) -> None:
    found = run_of(CURVES[curve], GOOD).notes.get("best weights")
    wanted = LEFT.get(curve)
    assert found == (wanted and f"clearly better than the last weights: {wanted}; --keep best keeps these")


@pytest.mark.parametrize(
    ("curve", "said"), [([0.5, 0.9, 0.88], False), ([0.5, 0.9, 0.8], True), ([0.1, 0.12, 0.09], True)]
)
def test_a_worse_last_accuracy_is_noted_only_beyond_chance(curve: list[float], said: bool) -> None:
    options = {"monitor": "validation/accuracy", "larger_is_better": True}
    found = run_of(curve, GOOD, "accuracy", **options).notes.get("best weights", "")
    assert ("clearly better" in found) == said


def test_no_note_when_the_best_is_kept_or_unknown() -> None:
    assert "best weights" not in run_of(CURVES["overfit"], GOOD, keep="best").notes
    assert "best weights" not in run_of(CURVES["overfit"], GOOD, monitor="train/loss").notes


def test_a_run_of_steps_suggests_more_steps() -> None:
    loop = run_of(CURVES["still improving"], GOOD)
    records = loop.hooks[0].records
    loop.until = Steps(500)
    assert losses_of(loop, records).longer == "--steps 1500"
    epochs = [record for record in records if record["event"] == "train"]
    assert losses_of(loop, epochs).name == "train loss"
    assert left_behind(loop, epochs, 0.0, None) == ""
