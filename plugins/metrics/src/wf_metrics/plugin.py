"""Declares the metrics of this package; imports neither torch nor the metrics."""

from __future__ import annotations

from wf import Catalogue, Component, hookimpl
from wf.traits import MetricTraits

_LABELLED: tuple[str, ...] = ("class_index", "binary", "multilabel", "mask")


def _labels(name: str, target: str, summary: str, *aliases: str, plain: str | None = None) -> Component:
    traits = MetricTraits(predictions="labels", targets=_LABELLED, larger_is_better=True)
    return Component("metric", name, target, summary=summary, aliases=aliases, traits=traits, plain=plain)


def _raw(name: str, target: str, summary: str, *aliases: str, larger_is_better: bool = False) -> Component:
    traits = MetricTraits(predictions="raw", targets=("real",), larger_is_better=larger_is_better)
    return Component("metric", name, target, summary=summary, aliases=aliases, traits=traits)


@hookimpl
def wf_components() -> list[Component | Catalogue]:
    """The metrics of this package."""
    return [
        _labels(
            "accuracy",
            "wf_metrics.accuracy:Accuracy",
            "fraction of correct predictions",
            "acc",
            "pixel-accuracy",
            plain="wf_metrics.plain:accuracy",
        ),
        _labels("f1", "wf_metrics.class_scores:F1", "harmonic mean of precision and recall", "f1-score"),
        _labels("precision", "wf_metrics.class_scores:Precision", "fraction of correct predictions of a class"),
        _labels("recall", "wf_metrics.class_scores:Recall", "fraction of a class that is predicted", "sensitivity"),
        _labels(
            "mean-iou",
            "wf_metrics.class_scores:IoU",
            "overlap of predicted and true pixels or samples of a class, averaged over the classes",
            *("iou", "miou", "jaccard"),
        ),
        Component(
            "metric",
            "auroc",
            "wf_metrics.auroc:AUROC",
            summary="area under the ROC curve, exact",
            aliases=("auc", "roc-auc"),
            traits=MetricTraits(
                predictions="probs", targets=("class_index", "binary", "multilabel"), larger_is_better=True
            ),
        ),
        Component(
            "metric",
            "knn",
            "wf_metrics.knn:KNN",
            summary="accuracy of the nearest neighbours of embeddings",
            traits=MetricTraits(predictions="raw", targets=("class_index",), larger_is_better=True),
        ),
        Component(
            "metric",
            "confusion-matrix",
            "wf_metrics.confusion_matrix:ConfusionMatrix",
            summary="counts of true classes by predicted class",
            aliases=("confusion",),
            traits=MetricTraits(predictions="labels", targets=("class_index", "binary", "mask")),
        ),
        _raw("mae", "wf_metrics.regression:MeanAbsoluteError", "mean absolute error", "mean-absolute-error"),
        _raw("mse", "wf_metrics.regression:MeanSquaredError", "mean squared error", "mean-squared-error"),
        _raw("rmse", "wf_metrics.regression:RootMeanSquaredError", "square root of the mean squared error"),
        _raw(
            "smape",
            "wf_metrics.forecasts:SMAPE",
            "symmetric mean absolute percentage error, from 0 to 200",
            "symmetric-mape",
        ),
        _raw("mase", "wf_metrics.forecasts:MASE", "mean absolute error relative to the naive forecast on train"),
        _raw("r2", "wf_metrics.regression:R2", "share of variance explained", "r2-score", larger_is_better=True),
    ]
