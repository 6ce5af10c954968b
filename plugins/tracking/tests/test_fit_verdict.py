"""The verdict on the fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wf import Epochs, Loop
from wf_base import Dataset, TensorSamples
from wf_base.data import Splits
from wf_base.task import TaskRuntime, task_of
from wf_data.serving import RunData
from wf_run.directory.recorder import Recorder
from wf_tracking.course import Course
from wf_tracking.fit_verdict import FitVerdict


class OnDisk:
    """Samples that are not tensors in memory."""

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(1), self.targets[index]


def run_data(kind: Any, *class_names: str, on_disk: bool = False, counted: bool = False, **targets: Tensor) -> RunData:
    """Splits of which only the targets matter here."""
    splits: dict[str, Any] = {
        split: OnDisk(values) if on_disk else TensorSamples(torch.zeros(len(values), 1), values)
        for split, values in targets.items()
    }
    dataset = Dataset(
        train=splits["train"],
        targets=kind,
        class_names=class_names,
        target_tensor=targets["train"] if counted else None,
    )
    return RunData(dataset, Splits(samples=splits, indices={name: torch.arange(len(splits[name])) for name in splits}))


def ten_classes(num: int = 1000) -> Tensor:
    return torch.arange(num) % 10


CLASSES = run_data("class_index", *"0123456789", train=ten_classes(), test=ten_classes(), validation=ten_classes())
ONES = torch.ones(9, 1)
LINE = run_data("real", train=torch.linspace(0, 1, 200).unsqueeze(1), test=torch.linspace(0, 1, 100).unsqueeze(1))


def judge(data: RunData, metrics: dict[str, Any], loss: Any = None, predictions: str = "raw") -> Any:
    outputs = task_of(data.targets, predictions, single_logit=data.targets == "binary")
    return FitVerdict(data, loss or LOSSES[data.targets], outputs, directions=DIRECTIONS).judge(metrics)


DIRECTIONS = {"accuracy": True, "r2": True, "mse": False, "mae": False}
LOSSES: dict[str, Any] = {
    "real": torch.nn.functional.mse_loss,
    "class_index": torch.nn.functional.cross_entropy,
    "binary": lambda predictions, targets: torch.nn.functional.binary_cross_entropy_with_logits(
        predictions.flatten(), targets
    ),
    "multilabel": torch.nn.functional.binary_cross_entropy_with_logits,
    "mask": torch.nn.functional.cross_entropy,
}


@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [
        (0.30, 0.29, "underfitting"),  # 78 % of the trivial error
        (0.54, 0.20, "underfitting"),  # poor on train, for any test figure
        (0.56, 0.55, "neither"),
        (0.97, 0.95, "neither"),  # a negligible difference
        (0.60, 0.48, "neither"),  # in proportion
        (1.00, 0.85, "overfitting"),
        (0.95, 0.70, "overfitting"),
    ],
)
def test_a_classification_is_judged_by_accuracy(train: float, test: float, verdict: str) -> None:
    found = judge(CLASSES, {"train/accuracy": train, "test/accuracy": test, "train/loss": 1.0, "test/loss": 0.0})
    assert found.verdict == verdict
    assert f"train accuracy {train:.4g}, test accuracy {test:.4g}" in found.reason
    assert found.train == pytest.approx((1 - train) / 0.9)


def test_accuracy_is_measured_against_the_most_frequent_class() -> None:
    rare = torch.cat([torch.zeros(950), torch.ones(50)]).to(torch.int64)
    data = run_data("class_index", "no", "yes", train=rare, test=rare)
    assert judge(data, {"train/accuracy": 0.95, "test/accuracy": 0.95}).train == pytest.approx(1.0)
    assert judge(data, {"train/accuracy": 0.95, "test/accuracy": 0.95}).verdict == "underfitting"
    binary = run_data("binary", "no", "yes", train=rare.float(), test=rare.float())
    assert judge(binary, {"train/accuracy": 0.99, "test/accuracy": 0.99}).train == pytest.approx(0.2)


def test_each_label_is_measured_against_its_most_frequent_value() -> None:
    labels = torch.tensor([[1.0, 0.0]] * 80 + [[0.0, 1.0]] * 20)
    data = run_data("multilabel", "a", "b", train=labels, test=labels)
    assert judge(data, {"train/accuracy": 0.8, "test/accuracy": 0.8}).train == pytest.approx(1.0)
    assert judge(data, {"train/accuracy": 0.98, "test/accuracy": 0.98}).verdict == "neither"
    assert judge(data, {"train/accuracy": 1.0, "test/accuracy": 0.9}).verdict == "overfitting"


def test_pixels_are_measured_against_the_most_frequent_class() -> None:
    masks = torch.zeros(50, 8, 8, dtype=torch.int64)
    masks[:, :4, :4] = 1
    masks[:, 7] = -100  # left out
    data = run_data("mask", "no", "yes", train=masks, test=masks)
    share = 16 / 56
    assert judge(data, {"train/accuracy": 1 - share, "test/accuracy": 1 - share}).train == pytest.approx(1.0)
    assert judge(data, {"train/accuracy": 0.99, "test/accuracy": 0.99}).verdict == "neither"
    on_disk = run_data("mask", "no", "yes", train=masks, test=masks, on_disk=True)
    assert "inputs is unknown on" in str(judge(on_disk, {"train/accuracy": 0.99, "test/accuracy": 0.99}))


@pytest.mark.parametrize(
    ("data", "predictions", "loss", "constant"),
    [
        (CLASSES, "raw", None, 2.303),
        (CLASSES, "log_probs", torch.nn.functional.nll_loss, 2.303),
        (CLASSES, "probs", lambda p, targets: torch.nn.functional.nll_loss(p.log(), targets), 2.303),
        (run_data("binary", train=torch.tensor([0.0, 1.0] * 50), test=torch.ones(9)), "raw", None, 0.6931),
        (
            run_data("multilabel", "a", "b", train=torch.eye(2).repeat(50, 1), test=torch.ones(9, 2)),
            "raw",
            None,
            0.6931,
        ),
    ],
)
def test_a_loss_above_the_constant_predictions_is_noted(
    data: RunData, predictions: str, loss: Any, constant: float
) -> None:
    figures = {"train/accuracy": 0.95, "test/accuracy": 0.95}
    blown = judge(data, {**figures, "train/loss": 1046.0}, loss, predictions)
    assert blown.verdict == "neither"
    assert f"; but the train loss, 1046, is above that of a constant prediction, {constant}" in str(blown)
    assert "but" not in str(judge(data, {**figures, "train/loss": constant - 0.01}, loss, predictions))
    assert "but" not in str(judge(data, {**figures}, loss, predictions))


def test_a_difference_that_may_be_chance_is_no_overfitting() -> None:
    few = run_data("class_index", *"0123456789", train=ten_classes(), test=ten_classes(10))
    figures = {"train/accuracy": 0.92, "test/accuracy": 0.8}
    assert judge(few, figures).verdict == "neither"
    assert judge(CLASSES, figures).verdict == "overfitting"


def test_validation_is_used_when_there_is_no_test_split() -> None:
    found = judge(CLASSES, {"train/accuracy": 1.0, "validation/accuracy": 0.7})
    assert found.verdict == "overfitting"
    assert "validation accuracy 0.7" in found.reason


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"train/r2": 0.3, "test/r2": 0.2}, "underfitting"),
        ({"train/r2": 0.6, "test/r2": 0.55}, "neither"),
        ({"train/r2": 0.99, "test/r2": 0.1}, "overfitting"),
        ({"train/mse": 0.08, "test/mse": 0.08}, "underfitting"),  # the variance is 1/12
        ({"train/mse": 0.001, "test/mse": 0.03}, "overfitting"),
        ({"train/mae": 0.01, "test/mae": 0.012}, "neither"),  # the mean deviation is 1/4
        ({"train/loss": 0.001, "test/loss": 0.03}, "overfitting"),
        ({"train/loss": 0.07, "test/loss": 0.07}, "underfitting"),
    ],
)
def test_a_regression_is_judged_by_the_available_figures(figures: dict[str, float], verdict: str) -> None:
    assert judge(LINE, figures).verdict == verdict


def test_the_constants_loss_is_computed_with_the_loss_of_the_run() -> None:
    found = judge(LINE, {"train/loss": 0.125, "test/loss": 0.125}, torch.nn.L1Loss())
    assert found.train == pytest.approx(0.125 / 0.25, rel=0.02)


@pytest.mark.parametrize("loss", [torch.nn.MSELoss(reduction="sum"), torch.nn.MSELoss(reduction="none")])
def test_a_loss_without_mean_reduction_is_not_compared(loss: Any) -> None:
    found = judge(LINE, {"train/loss": 0.1, "test/loss": 0.1}, loss)
    assert found.verdict == "unknown"
    assert "inputs is unknown on" in found.reason


@pytest.mark.parametrize(
    ("data", "metrics", "words"),
    [
        (CLASSES, {"test/loss": 0.2}, "it needs a finite accuracy on train"),
        (CLASSES, {"test/accuracy": 0.9}, "it needs a finite accuracy on train"),
        (CLASSES, {"train/accuracy": 0.9}, "overfitting would not show"),
        (CLASSES, {"train/accuracy": math.nan, "test/accuracy": 0.5}, "finite"),
        (CLASSES, {}, "it needs a finite accuracy"),
        (
            run_data("real", train=ONES, test=ONES),
            {"train/mse": 0.1, "test/mse": 0.1},
            "the error in mse of a predictor that ignores the inputs is zero",
        ),
        (run_data("real", train=ONES, test=ONES, on_disk=True), {"train/mse": 0.1, "test/mse": 0.1}, "is unknown"),
    ],
)
def test_missing_figures_are_explained(data: RunData, metrics: dict[str, Any], words: str) -> None:
    found = judge(data, metrics)
    assert (found.verdict, found.train) == ("unknown", None)
    assert words in str(found)


def test_underfitting_is_found_without_a_held_out_split() -> None:
    found = judge(LINE, {"train/r2": -3.829e9, "train/loss": 1.0})
    assert (found.verdict, found.held_out) == ("underfitting", None)
    assert "train r2 -3.829e+09 (error 3.83e+09 times that of a constant prediction)" in str(found)


def test_class_shares_of_samples_on_disk_are_counted_or_assumed_even() -> None:
    uneven, figures = torch.tensor([0] * 90 + [1] * 10), {"train/accuracy": 0.95, "test/accuracy": 0.95}
    counted = run_data("class_index", "a", "b", train=uneven, test=uneven, on_disk=True, counted=True)
    assert judge(counted, figures).train == pytest.approx(0.5)
    unknown = run_data("class_index", "a", "b", train=uneven, test=uneven, on_disk=True)
    assert judge(unknown, figures).train == pytest.approx(0.1)


@given(train=st.floats(0, 1), test=st.floats(0, 1))
def test_more_accuracy_on_test_never_makes_it_overfitting(train: float, test: float) -> None:
    def found(value: float) -> str:
        return str(judge(CLASSES, {"train/accuracy": train, "test/accuracy": value}).verdict)

    if found(test) == "neither":
        assert found((test + 1) / 2) == "neither"
    assert found(train) in ("underfitting", "neither")


def test_the_hook_notes_its_verdict_at_the_end_of_a_run() -> None:
    class Trainer:
        def train_step(self, batch: Any) -> float:
            return 1.0

    class Evaluator:
        def evaluate(self, split: str) -> Mapping[str, Any]:
            return {"accuracy": 1.0 if split == "train" else 0.5}

    hook = FitVerdict(CLASSES, LOSSES["class_index"], task_of("class_index", "raw"), None, DIRECTIONS)
    loop = Loop(Trainer(), Evaluator(), hooks=[hook], final_splits=["train", "test"])
    loop.run([(torch.zeros(1), torch.zeros(1))], Epochs(1))
    assert hook.verdict is not None
    assert hook.verdict.verdict == "overfitting"
    assert loop.notes["fit"] == str(hook.verdict)
    assert loop.notes["fit"].startswith("overfitting: train accuracy 1, test accuracy 0.5 (error 0.00 and 0.56 times")


GUESSING = math.log(10)


@pytest.mark.parametrize(
    ("train", "test", "verdict"),
    [(0.1, 0.2, "neither"), (0.1, 1.0, "overfitting"), (0.7 * GUESSING, 0.7 * GUESSING, "underfitting")],
)
def test_without_an_accuracy_the_loss_is_judged(train: float, test: float, verdict: str) -> None:
    found = judge(CLASSES, {"train/loss": train, "test/loss": test, "train/confusion-matrix": [[1]]})
    assert found.verdict == verdict
    assert f"train loss {train:.4g}" in str(found)
    assert "no accuracy was measured" in str(found)
    assert "--metric +NAME" in str(found)


@pytest.mark.parametrize("share", [0.86, 0.95, 0.999])
def test_a_loss_near_guessing_means_next_to_nothing_learned(share: float) -> None:
    for data in (
        CLASSES,
        run_data("class_index", *"0123456789", train=ten_classes(), test=ten_classes(), on_disk=True),
    ):
        figures = {"train/accuracy": 0.95, "test/accuracy": 0.95, "train/loss": share * GUESSING}
        found = judge(data, figures)
        assert found.verdict == "next to nothing learned yet"
        assert f"{share:.2f} times that of a constant prediction" in str(found)
        assert judge(data, {**figures, "train/loss": 0.5 * GUESSING}).verdict == "neither"


def judge_curve(losses: list[float], metrics: dict[str, Any], data: RunData = CLASSES) -> Any:
    outputs = task_of(data.targets, "raw", single_logit=False)
    return FitVerdict(data, LOSSES[data.targets], outputs, directions=DIRECTIONS).judge(
        metrics, Course(values=losses, name="validation loss", each="epoch", longer="--epochs 30")
    )


GOOD = {"train/accuracy": 0.95, "test/accuracy": 0.95}


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([2.0, 1.6, 1.3, 1.1], "still improving"),
        ([1.0, 0.5, 0.3, 0.29], "neither"),  # settled
        ([2.0, 1.0, 0.5], "still improving"),  # in every one of few
        ([2.0, 1.0], "neither"),  # too few
        ([0.4 + 0.9**number for number in range(12)], "still improving"),
        ([0.4 + 0.5**number for number in range(40)], "neither"),
        ([0.3, 0.2, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "neither"),  # rising
        ([1.0, 0.3, 0.9, 0.3, 0.8, 0.29, 0.9, 0.28], "neither"),  # scattering
    ],
)
def test_a_loss_that_still_falls_is_still_improving(losses: list[float], verdict: str) -> None:
    found = judge_curve(losses, GOOD)
    assert found.verdict == verdict
    assert ("fell" in str(found) or "still falling" in str(found)) == (verdict != "neither")


def test_under_and_overfitting_win_over_still_improving() -> None:
    falling = [2.3, 2.0, 1.7, 1.4]
    poor = judge_curve(falling, {"train/accuracy": 0.3, "test/accuracy": 0.3})
    assert str(poor).startswith(
        "underfitting: validation loss fell in every epoch, from 2.3 to 1.4; train accuracy 0.3"
    )
    assert str(poor).endswith("; try --epochs 30 or a larger --lr")
    assert judge_curve(falling, {"train/accuracy": 1.0, "test/accuracy": 0.7}).verdict == "overfitting"
    near = judge_curve(falling, {**GOOD, "train/loss": 2.2})
    assert (near.verdict, "fell in every epoch" in str(near)) == ("next to nothing learned yet", True)


def test_a_regression_with_a_falling_loss_is_still_improving() -> None:
    figures = {"train/r2": 0.7, "test/r2": 0.7}
    assert judge_curve([0.08, 0.06, 0.04, 0.03], figures, LINE).verdict == "still improving"
    assert judge_curve([0.08, 0.02, 0.019, 0.0189], figures, LINE).verdict == "neither"


def test_a_model_with_more_outputs_than_targets_is_not_compared() -> None:
    def of_two(predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions[:, 0] - targets[:, 0]).square().mean() + predictions[:, 1].square().mean()

    hook = FitVerdict(LINE, of_two, task_of("real", "raw", single_logit=False), 2, DIRECTIONS)
    assert hook.judge({"train/loss": 0.1, "test/loss": 0.1}).verdict == "unknown"
    assert (
        hook.judge({"train/r2": 0.9, "test/r2": 0.9, "train/loss": 0.1}, Course(values=[1.0, 0.5, 0.2, 0.199])).verdict
        == "neither"
    )


def test_the_course_of_a_run_comes_from_its_evaluations() -> None:
    class Trainer:
        def train_step(self, batch: Any) -> float:
            return 1.0

    class Evaluator:
        loss = 3.0

        def evaluate(self, split: str) -> Mapping[str, Any]:
            self.loss -= 0.25
            return {"accuracy": 0.95, "loss": self.loss}

    hook = FitVerdict(CLASSES, LOSSES["class_index"], task_of("class_index", "raw"), None, DIRECTIONS)
    loop = Loop(Trainer(), Evaluator(), hooks=[hook, Recorder(None)], final_splits=["train", "validation", "test"])
    loop.run([(torch.zeros(1), torch.zeros(1))], Epochs(5))
    assert "still improving" in loop.notes["fit"]
    assert loop.notes["fit"].startswith("still improving: validation loss fell in every epoch, from 2.75 to 1.75; ")
    assert loop.notes["fit"].endswith("; try --epochs 15 or a larger --lr")


class Ranking(TaskRuntime):
    """A third-party task: its figure is between 0 and 100, and guessing gives 50."""

    @property
    def judged_by(self) -> tuple[str, ...]:
        return ("concordance",)

    def error(self, figure: str, value: float, larger_is_better: bool) -> float:
        return 100 - value

    def baseline(self, figure: str, train: Any, targets: Any, spec: Any) -> float | None:
        return 50.0


@pytest.mark.parametrize(
    ("train", "test", "verdict"), [(60.0, 60.0, "underfitting"), (95.0, 60.0, "overfitting"), (95.0, 93.0, "neither")]
)
def test_a_third_party_task_defines_its_baseline(train: float, test: float, verdict: str) -> None:
    metrics = {"train/concordance": train, "test/concordance": test}
    found = FitVerdict(CLASSES, LOSSES["class_index"], Ranking(), directions={"concordance": True}).judge(metrics)
    assert found.verdict == verdict
    assert found.train == pytest.approx((100 - train) / 50)
    unknown = FitVerdict(CLASSES, LOSSES["class_index"], Ranking()).judge(metrics)
    assert "unknown whether a larger concordance is better" in str(unknown)


def test_the_terms_of_a_loss_are_summed() -> None:
    def two(predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"square": torch.nn.functional.mse_loss(predictions, targets), "half": predictions.sum() * 0 + 0.5}

    whole = judge(LINE, {"train/loss": 0.55, "test/loss": 0.55}, lambda *pair: sum(two(*pair).values()))
    assert judge(LINE, {"train/loss": 0.55, "test/loss": 0.55}, two) == whole
    assert whole.verdict != "unknown"
