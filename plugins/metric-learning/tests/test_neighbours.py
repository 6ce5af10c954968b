"""The metrics of embeddings, compared with the library's calculator."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance  # type: ignore[import-untyped]  # it ships no types
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator  # type: ignore[import-untyped]
from pytorch_metric_learning.utils.inference import CustomKNN  # type: ignore[import-untyped]
from torch.nn.functional import normalize

from wf_metric_learning import neighbours
from wf_metric_learning.neighbours import MeanAveragePrecisionAtR, PrecisionAt1

DRAW = torch.Generator().manual_seed(0)
CLASSES = torch.randint(5, (150,), generator=DRAW) ** 2 // 4
EMBEDDINGS = torch.randn(150, 4, generator=DRAW) + CLASSES.unsqueeze(1)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("chunk", [64, 1024])
def test_metrics_equal_the_librarys_calculator(scaled: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    calculator = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    theirs = calculator.get_accuracy(normalize(EMBEDDINGS) if scaled else EMBEDDINGS, CLASSES)
    for metric, name in ((PrecisionAt1, "precision_at_1"), (MeanAveragePrecisionAtR, "mean_average_precision_at_r")):
        ours = metric(normalize=scaled)
        for rows in (slice(0, 70), slice(70, 150)):
            ours.update(EMBEDDINGS[rows], CLASSES[rows])
        assert float(ours.compute()) == pytest.approx(theirs[name], abs=1e-6)
        ours.reset()
        ours.update(EMBEDDINGS, CLASSES)
        assert float(ours.compute()) == pytest.approx(theirs[name], abs=1e-6)


def test_a_class_of_one_sample_does_not_count() -> None:
    metric = PrecisionAt1()
    metric.update(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    assert float(metric.compute()) == 1.0


def test_no_class_with_two_samples_gives_nan() -> None:
    metric = MeanAveragePrecisionAtR()
    metric.update(torch.eye(3), torch.arange(3))
    assert metric.compute().isnan()
