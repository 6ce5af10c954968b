"""The plots of the tasks, on predictions with known figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from wf_base.predicted import Predicted
from wf_charts import Lines, Matrix, Panels, Samples
from wf_tasks.classification import Binary, Classification, Multilabel
from wf_tasks.plots.classes import Calibration, Confusion, PrecisionRecall, Roc
from wf_tasks.plots.numbers import Line, Residuals
from wf_tasks.plots.samples import Boxes, Masks, Worst, shown
from wf_tasks.regression import Regression
from wf_tasks.segmentation import Segmentation

ANIMALS = Classification("class_index", "probs", class_names=("cat", "dog", "fox"))
PROBS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.05, 0.05, 0.9]])
CLASSES = torch.tensor([0, 1, 2, 2])
DATA = SimpleNamespace(
    spec=SimpleNamespace(feature_names=("a", "b"), input_shape=(1,), num_targets=1, num_classes=None)
)


def seen(outputs: Any, targets: Any, inputs: Any = None, split: str = "test", first: int = 0) -> Predicted:
    size = len(targets)
    inputs = torch.zeros(size, 2) if inputs is None else inputs
    ids = torch.arange(first, first + size)
    return Predicted(split, size, outputs, targets, ids, lambda place: inputs[place])


def shown_by(plot: Any, *batches: Predicted) -> Any:
    for batch in batches:
        plot.update(batch)
    (chart,) = plot.charts()
    return chart


def test_confusion_counts_over_batches_with_class_names() -> None:
    batches = seen(PROBS[:3], CLASSES[:3]), seen(PROBS[3:], CLASSES[3:])
    chart = shown_by(Confusion(ANIMALS), *batches)
    assert isinstance(chart, Matrix)
    assert (chart.rows, chart.counts) == (["cat", "dog", "fox"], [[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    assert "3 of 4 are right" in chart.about


def test_confusion_ignores_what_the_loss_ignores_and_takes_one_hot_rows() -> None:
    ignored = torch.tensor([0, -100, 2, 2])
    assert shown_by(Confusion(ANIMALS), seen(PROBS, ignored)).counts == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    rows = torch.nn.functional.one_hot(CLASSES).float()
    task = Classification("one_hot", "probs", class_names=ANIMALS.class_names)
    assert shown_by(Confusion(task), seen(PROBS, rows)).counts == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_confusion_of_many_classes_keeps_the_classes_with_errors() -> None:
    task = Classification("class_index", "probs", class_names=[f"c{number}" for number in range(50)])
    truth = torch.arange(50)
    predicted = torch.eye(50)
    predicted[[7, 9]] = predicted[[9, 7]]
    chart = shown_by(Confusion(task, max_classes=3), seen(predicted, truth))
    assert (chart.rows, chart.counts) == (["c7", "c9", "other"], [[0, 1, 0], [1, 0, 0], [0, 0, 48]])


def test_roc_and_average_precision_agree_with_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(200, generator=generator).mul(20).round() / 20  # many ties
    truth = (torch.rand(200, generator=generator) < scores).float()
    task = Binary("binary", "probs", single_logit=True)
    roc = shown_by(Roc(task), seen(scores[:, None], truth))
    assert f"area {roc_auc_score(truth, scores):.3f}" in roc.series[0].name
    curve = shown_by(PrecisionRecall(task), seen(scores[:, None], truth))
    assert f"average {average_precision_score(truth, scores):.3f}" in curve.series[0].name
    assert [series.name.partition(" (")[0] for series in (*roc.series, *curve.series)] == ["1", "chance", "1"]


def test_a_class_that_never_occurs_has_no_curve() -> None:
    roc = shown_by(Roc(ANIMALS), seen(PROBS[:2], CLASSES[:2]))
    assert [series.name for series in roc.series] == ["cat (area 1.000)", "dog (area 1.000)", "chance"]
    plot = Roc(ANIMALS)
    plot.update(seen(PROBS[:1], CLASSES[:1]))
    assert plot.charts() == []


def test_each_label_has_a_curve() -> None:
    task = Multilabel("multilabel", "probs", class_names=("even", "round"))
    truth = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    roc = shown_by(Roc(task), seen(torch.tensor([[0.9, 0.8], [0.1, 0.7], [0.8, 0.9]]), truth))
    assert [series.name for series in roc.series] == ["even (area 1.000)", "round (area 0.000)", "chance"]


def test_calibration_shows_accuracy_by_predicted_probability() -> None:
    chart = shown_by(Calibration(ANIMALS, bins=2), seen(PROBS, CLASSES))
    assert isinstance(chart, Lines)
    assert chart.series[0].x == pytest.approx([(0.7 + 0.6 + 0.5 + 0.9) / 4])
    assert chart.series[0].y == pytest.approx([0.75])
    assert f"error {0.75 - 0.675:.3f}" in chart.about


def test_residuals_are_target_minus_prediction() -> None:
    chart = shown_by(Residuals(Regression("real")), seen(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]])))
    assert (chart.series[0].x, chart.series[0].y) == ([1.0, 3.0], [1.0, -1.0])
    two = shown_by(Residuals(Regression("real"), ["x", "y"]), seen(torch.ones(3, 2), torch.zeros(3, 2)))
    assert isinstance(two, Panels)
    assert [panel.title for panel in two.panels] == [
        "Residuals of x on the test split",
        "Residuals of y on the test split",
    ]


def test_a_fitted_line_is_drawn_for_one_input_and_one_target() -> None:
    inputs = torch.tensor([[2.0], [1.0]])
    batch = seen(torch.tensor([[4.0], [2.0]]), torch.tensor([[4.5], [2.5]]), inputs, "train")
    chart = shown_by(Line(Regression("real"), DATA), batch)
    assert [series.name for series in chart.series] == ["train data", "predictions"]
    assert (chart.series[1].x, chart.series[1].y) == ([1.0, 2.0], [2.0, 4.0])
    more = SimpleNamespace(spec=SimpleNamespace(**{**vars(DATA.spec), "num_targets": 2}))
    plot = Line(Regression("real"), more)
    plot.update(batch)
    assert plot.charts() == []


def test_the_worst_samples_come_first_with_captions() -> None:
    inputs = torch.arange(8.0).reshape(4, 2)
    chart = shown_by(Worst(ANIMALS, DATA, num=2), seen(PROBS, CLASSES, inputs, first=10))
    assert isinstance(chart, Samples)
    assert [sample.caption for sample in chart.samples] == [
        "sample 12: fox, predicted dog (50%)",
        "sample 11: dog, right, but only 60% sure",
    ]
    assert chart.samples[0].text == "a 4, b 5"
    assert "1 of 4 are wrong" in chart.about


def test_the_worst_of_numbers_and_of_labels() -> None:
    chart = shown_by(Worst(Regression("real"), DATA, 1), seen(torch.tensor([[1.0], [9.0]]), torch.zeros(2, 1)))
    assert [sample.caption for sample in chart.samples] == ["sample 1: target 0, predicted 9"]
    task = Multilabel("multilabel", "probs", class_names=("even", "round"))
    outputs, targets = torch.tensor([[0.9, 0.8], [0.1, 0.4]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    chart = shown_by(Worst(task, DATA, 1), seen(outputs, targets))
    assert [sample.caption for sample in chart.samples] == ["sample 0: even, predicted even (90%), round (80%)"]


@pytest.mark.parametrize(
    "value", [torch.rand(1, 8, 8), torch.randn(3, 9, 7), torch.zeros(3, 400, 300, dtype=torch.uint8)]
)
def test_an_image_is_a_picture(value: Tensor) -> None:
    sample = shown(value, "one")
    assert sample.picture is not None
    assert sample.picture.startswith(b"\x89PNG")
    assert len(sample.picture) < 100_000


def test_samples_are_shown_as_words_or_first_numbers() -> None:
    assert shown(torch.tensor([2, 1, 0, 0]), "one", ["", "world", "hello"]).text == "hello world"
    assert shown({"x": torch.arange(20.0)}, "one").text == "0, 1, 2, 3, 4, 5, 6, 7, ... (20 numbers)"
    assert shown(None, "one").text == ""


def test_the_worst_masks() -> None:
    task = Segmentation("mask", "probs", class_names=("background", "ring"))
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    truth = labels.clone()
    truth[1, :2] = 1
    outputs = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float()
    chart = shown_by(Masks(task, num=1), seen(outputs, truth, torch.rand(2, 3, 4, 4)))
    assert [sample.caption for sample in chart.samples] == ["sample 1: 50.0% of its pixels are wrong"]


def test_predicted_boxes_are_drawn_beside_true_ones() -> None:
    from wf_tasks.detection import Detection

    task = Detection("boxes", class_names=("disc",))
    truth = [{"boxes": torch.tensor([[1.0, 1.0, 9.0, 9.0]]), "labels": torch.tensor([0])}] * 2
    found = [{**truth[0], "scores": torch.tensor([0.8])}, {**truth[0], "scores": torch.tensor([0.2])}]
    chart = shown_by(Boxes(task), seen(found, truth, torch.rand(2, 3, 16, 16)))
    assert [sample.caption for sample in chart.samples] == [
        "sample 0: 1 objects, 1 found with a score from 0.5 on",
        "sample 1: 1 objects, 0 found with a score from 0.5 on",
    ]
