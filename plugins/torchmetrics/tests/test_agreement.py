"""The figures agree with scikit-learn, SciPy and wf's own metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats  # type: ignore[import-untyped]  # it ships no types
import sklearn.metrics as sk
import torch
from torch import Tensor

import wf
from wf.registry import Registry
from wf_base.task import task_of
from wf_building.builder import Builder

REGISTRY = Registry.discover()
DRAW = torch.Generator().manual_seed(0)
SCORES = torch.randn(200, 4, generator=DRAW).softmax(1)
CLASSES = (SCORES + 0.3 * torch.randn(200, 4, generator=DRAW)).argmax(1)
CHANCES = torch.rand(200, 3, generator=DRAW)
LABELS = (CHANCES + 0.5 * torch.randn(200, 3, generator=DRAW) > 0.5).float()
NUMBERS = torch.rand(200, 1, generator=DRAW) + 0.1
TRUE = (NUMBERS + 0.2 * torch.randn(200, 1, generator=DRAW)).abs() + 0.1
PAIRS = torch.rand(200, 2, generator=DRAW)
TRUE_PAIRS = PAIRS + torch.randn(200, 2, generator=DRAW)


def figure(name: str, targets: str, predictions: Tensor, wanted: Tensor, num: int, **options: Any) -> Any:
    """The figure of a torchmetrics metric through wf, in three batches."""
    values = {"device": torch.device("cpu"), "outputs": task_of(targets, "raw", single_logit=False)}
    values |= {"num_outputs": num} if targets == "real" else {"num_classes": num}
    metric = Builder(REGISTRY, values).build("metric", {"use": f"torchmetrics/{name}", **options}).value
    with torch.inference_mode():
        metric.reset()
        for rows in (slice(0, 80), slice(80, 160), slice(160, 200)):
            metric.update(predictions[rows], wanted[rows])
        return metric.compute()


def labels(average: str, score: Callable[..., float]) -> float:
    return score(CLASSES, SCORES.argmax(1), average=average, zero_division=0)


MULTICLASS: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "Accuracy": ({}, lambda: sk.accuracy_score(CLASSES, SCORES.argmax(1))),
    "MulticlassAccuracy": ({}, lambda: sk.balanced_accuracy_score(CLASSES, SCORES.argmax(1))),
    "MulticlassF1Score": ({}, lambda: labels("macro", sk.f1_score)),
    "F1Score": ({"average": "weighted"}, lambda: labels("weighted", sk.f1_score)),
    "FBetaScore": (
        {"beta": 2.0, "average": "macro"},
        lambda: sk.fbeta_score(CLASSES, SCORES.argmax(1), beta=2, average="macro"),
    ),
    "Precision": ({"average": "macro"}, lambda: labels("macro", sk.precision_score)),
    "Recall": ({"average": "macro"}, lambda: labels("macro", sk.recall_score)),
    "JaccardIndex": ({}, lambda: sk.jaccard_score(CLASSES, SCORES.argmax(1), average="macro")),
    "HammingDistance": ({}, lambda: sk.hamming_loss(CLASSES, SCORES.argmax(1))),
    "CohenKappa": ({}, lambda: sk.cohen_kappa_score(CLASSES, SCORES.argmax(1))),
    "MatthewsCorrCoef": ({}, lambda: sk.matthews_corrcoef(CLASSES, SCORES.argmax(1))),
    "ConfusionMatrix": ({}, lambda: sk.confusion_matrix(CLASSES, SCORES.argmax(1))),
    "AUROC": ({}, lambda: sk.roc_auc_score(CLASSES, SCORES, multi_class="ovr")),
    "AveragePrecision": ({}, lambda: sk.average_precision_score(CLASSES, SCORES)),
}


@pytest.mark.parametrize("name", MULTICLASS)
def test_multiclass_as_scikit_learn(name: str) -> None:
    options, theirs = MULTICLASS[name]
    ours = figure(name, "class_index", SCORES, CLASSES, 4, **options)
    np.testing.assert_allclose(ours, theirs(), rtol=1e-5)


@pytest.mark.parametrize("name", MULTICLASS)
def test_targets_that_are_left_out_do_not_count(name: str) -> None:
    options, _ = MULTICLASS[name]
    kept = CLASSES.clone()
    kept[::7] = -100
    whole = torch.arange(200) % 7 != 0
    ours = figure(name, "class_index", SCORES, kept, 4, **options)
    without = figure(name, "class_index", SCORES[whole], CLASSES[whole], 4, **options)
    torch.testing.assert_close(ours, without)


MULTILABEL: dict[str, Callable[[], Any]] = {
    "Accuracy": lambda: ((CHANCES > 0.5) == LABELS).double().mean(),
    "MultilabelF1Score": lambda: sk.f1_score(LABELS, CHANCES > 0.5, average="macro"),
    "ExactMatch": lambda: sk.accuracy_score(LABELS, CHANCES > 0.5),
    "AUROC": lambda: sk.roc_auc_score(LABELS, CHANCES),
    "MultilabelCoverageError": lambda: sk.coverage_error(LABELS, CHANCES),
    "MultilabelRankingAveragePrecision": lambda: sk.label_ranking_average_precision_score(LABELS, CHANCES),
    "MultilabelRankingLoss": lambda: sk.label_ranking_loss(LABELS, CHANCES),
    "ConfusionMatrix": lambda: sk.multilabel_confusion_matrix(LABELS, CHANCES > 0.5),
}


@pytest.mark.parametrize("name", MULTILABEL)
def test_multilabel_as_scikit_learn(name: str) -> None:
    np.testing.assert_allclose(figure(name, "multilabel", CHANCES, LABELS, 3), MULTILABEL[name](), rtol=1e-5)


def test_binary_as_scikit_learn() -> None:
    wanted, scores = LABELS[:, 0].long(), CHANCES[:, 0]
    both = torch.stack([1 - scores, scores], 1)
    for name, theirs in {
        "F1Score": sk.f1_score(wanted, scores > 0.5),
        "BinaryAUROC": sk.roc_auc_score(wanted, scores),
        "AveragePrecision": sk.average_precision_score(wanted, scores),
    }.items():
        np.testing.assert_allclose(figure(name, "binary", both, wanted, 2), theirs, rtol=1e-5)
    told = figure("F1Score", "class_index", both, wanted, 2, task="binary")
    np.testing.assert_allclose(told, sk.f1_score(wanted, scores > 0.5), rtol=1e-5)


REAL: dict[str, tuple[dict[str, Any], Callable[[Any, Any], Any]]] = {
    "MeanAbsoluteError": ({}, sk.mean_absolute_error),
    "MeanSquaredError": ({}, sk.mean_squared_error),
    "MeanSquaredLogError": ({}, sk.mean_squared_log_error),
    "MeanAbsolutePercentageError": ({}, sk.mean_absolute_percentage_error),
    "R2Score": ({}, sk.r2_score),
    "ExplainedVariance": ({}, sk.explained_variance_score),
    "TweedieDevianceScore": ({"power": 1.5}, lambda y, p: sk.mean_tweedie_deviance(y, p, power=1.5)),
    "PearsonCorrCoef": ({}, lambda y, p: scipy.stats.pearsonr(y, p).statistic),
    "SpearmanCorrCoef": ({}, lambda y, p: scipy.stats.spearmanr(y, p).statistic),
    "KendallRankCorrCoef": ({}, lambda y, p: scipy.stats.kendalltau(y, p).statistic),
}


@pytest.mark.parametrize("name", REAL)
def test_regression_as_scikit_learn_and_scipy(name: str) -> None:
    options, theirs = REAL[name]
    wanted = theirs(TRUE.flatten().double(), NUMBERS.flatten().double())
    np.testing.assert_allclose(figure(name, "real", NUMBERS, TRUE, 1, **options), wanted, rtol=1e-6)


@pytest.mark.parametrize("name", ["MeanAbsoluteError", "MeanSquaredError", "R2Score", "ExplainedVariance"])
def test_several_columns_are_averaged_as_in_scikit_learn(name: str) -> None:
    theirs = REAL[name][1](TRUE_PAIRS.double(), PAIRS.double())
    np.testing.assert_allclose(figure(name, "real", PAIRS, TRUE_PAIRS, 2), theirs, rtol=1e-6)


def test_several_columns_give_a_correlation_each() -> None:
    theirs = [scipy.stats.pearsonr(TRUE_PAIRS[:, one], PAIRS[:, one]).statistic for one in range(2)]
    np.testing.assert_allclose(figure("PearsonCorrCoef", "real", PAIRS, TRUE_PAIRS, 2), theirs, rtol=1e-5)


def test_kendalls_test_gives_two_figures() -> None:
    found = figure("KendallRankCorrCoef", "real", NUMBERS, TRUE, 1, t_test=True)
    theirs = scipy.stats.kendalltau(TRUE.flatten(), NUMBERS.flatten(), method="asymptotic")
    np.testing.assert_allclose(found["tau"], theirs.statistic, rtol=1e-6)
    np.testing.assert_allclose(found["p-value"], theirs.pvalue, rtol=1e-3, atol=1e-12)


PARTITIONS: dict[str, Callable[[Any, Any], Any]] = {
    "AdjustedRandScore": sk.adjusted_rand_score,
    "RandScore": sk.rand_score,
    "AdjustedMutualInfoScore": sk.adjusted_mutual_info_score,
    "NormalizedMutualInfoScore": sk.normalized_mutual_info_score,
    "MutualInfoScore": sk.mutual_info_score,
    "HomogeneityScore": sk.homogeneity_score,
    "CompletenessScore": sk.completeness_score,
    "VMeasureScore": sk.v_measure_score,
    "FowlkesMallowsIndex": sk.fowlkes_mallows_score,
}


@pytest.mark.parametrize("name", PARTITIONS)
def test_partition_scores_as_scikit_learn(name: str) -> None:
    found = figure(name, "class_index", SCORES.argmax(1), CLASSES, 4)
    np.testing.assert_allclose(found, PARTITIONS[name](CLASSES, SCORES.argmax(1)), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("CalinskiHarabaszScore", sk.calinski_harabasz_score), ("DaviesBouldinScore", sk.davies_bouldin_score)],
)
def test_cluster_scores_as_scikit_learn(name: str, theirs: Callable[[Any, Any], Any]) -> None:
    np.testing.assert_allclose(figure(name, "class_index", SCORES, CLASSES, 4), theirs(SCORES, CLASSES), rtol=1e-4)


@pytest.mark.parametrize("void", [False, True])
def test_mean_iou_by_hand(void: bool) -> None:
    """The mean over images of the mean over classes; ignored pixels belong to neither mask."""
    found = torch.randint(3, (200, 5, 4), generator=DRAW)
    wanted = torch.randint(3, (200, 5, 4), generator=DRAW)
    if void:
        wanted[:, 0] = -100
    counted = wanted != -100
    scores = []
    for one in range(3):
        both = ((found == one) & (wanted == one) & counted).sum((1, 2))
        either = (((found == one) | (wanted == one)) & counted).sum((1, 2))
        scores.append(torch.where(either > 0, both / either, torch.nan))
    by_hand = torch.stack(scores, 1).nanmean(1).mean()
    torch.testing.assert_close(figure("MeanIoU", "mask", found, wanted, 3), by_hand)


def test_a_metric_may_give_several_named_figures() -> None:
    found = figure("StatScores", "class_index", SCORES, CLASSES, 4)
    assert list(found) == ["tp", "fp", "tn", "fn", "support"]
    assert int(found["tp"]) == int((SCORES.argmax(1) == CLASSES).sum())
    found = figure("RecallAtFixedPrecision", "class_index", SCORES, CLASSES, 4, min_precision=0.8)
    assert {name: list(value.shape) for name, value in found.items()} == {"recall": [4], "threshold": [4]}


def test_a_run_gives_the_figures_of_wfs_own_metrics() -> None:
    metrics = ["accuracy", "f1", "auroc", "torchmetrics/Accuracy", "torchmetrics/MulticlassF1Score"]
    done = wf.run(dataset="digits", epochs=2, metric=[*metrics, "torchmetrics/AUROC"], save=False, quiet=True)
    pairs = {"Accuracy": "accuracy", "MulticlassF1Score": "f1", "AUROC": "auroc"}
    for split in ("validation", "test"):
        for theirs, ours in pairs.items():
            found = done.metrics[f"{split}/torchmetrics/{theirs}"]
            np.testing.assert_allclose(found, done.metrics[f"{split}/{ours}"], rtol=1e-6)


def test_a_figure_of_torchmetrics_decides_what_is_best() -> None:
    monitor = "validation/torchmetrics/Accuracy"
    done = wf.run(dataset="digits", epochs=3, metric=["torchmetrics/Accuracy"], monitor=monitor, save=False, quiet=True)
    assert 0.5 < done.metrics["validation/torchmetrics/Accuracy"] <= 1
