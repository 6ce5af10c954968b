"""Declares the losses of this package; imports neither torch nor the losses."""

from __future__ import annotations

from wf import Catalogue, Component, hookimpl
from wf.traits import LossTraits


@hookimpl
def wf_components() -> list[Component | Catalogue]:
    """The losses of this package."""
    return [
        Component(
            "loss",
            "l1",
            "wf_losses.regression:L1Loss",
            summary="mean absolute error",
            aliases=("mae", "l1-loss"),
            traits=LossTraits(predictions="real", targets=("real", "multilabel", "one_hot", "binary")),
            plain="torch.nn:L1Loss",
        ),
        Component(
            "loss",
            "mse",
            "wf_losses.regression:MSELoss",
            summary="mean squared error",
            aliases=("l2", "mse-loss"),
            traits=LossTraits(predictions="real", targets=("real", "multilabel", "one_hot", "binary")),
            plain="torch.nn:MSELoss",
        ),
        Component(
            "loss",
            "nll",
            "wf_losses.cross_entropy:NLLLoss",
            summary="negative log likelihood of log-probabilities",
            aliases=("nll-loss",),
            traits=LossTraits(predictions="log_probs", targets=("class_index", "mask"), weighted=True),
            plain="torch.nn:NLLLoss",
        ),
        Component(
            "loss",
            "ce",
            "wf_losses.cross_entropy:CrossEntropyLoss",
            summary="softmax cross-entropy",
            aliases=("cross-entropy", "cross-entropy-loss"),
            traits=LossTraits(predictions="logits", targets=("class_index", "mask", "one_hot"), weighted=True),
            plain="torch.nn:CrossEntropyLoss",
        ),
        Component(
            "loss",
            "weighted-ce",
            "wf_losses.cross_entropy:WeightedCrossEntropyLoss",
            summary="softmax cross-entropy with class weights, by default inverse class frequency",
            aliases=("weighted-cross-entropy",),
            traits=LossTraits(predictions="logits", targets=("class_index", "mask"), weighted=True),
        ),
        Component(
            "loss",
            "focal",
            "wf_losses.focal:FocalLoss",
            summary="cross-entropy that down-weights well-classified targets (Lin et al. 2017)",
            aliases=("focal-loss",),
            traits=LossTraits(
                predictions="logits", targets=("class_index", "binary", "multilabel", "mask"), weighted=True
            ),
        ),
        Component(
            "loss",
            "bce",
            "wf_losses.binary:BCELoss",
            summary="binary cross-entropy of probabilities",
            aliases=("bce-loss",),
            traits=LossTraits(predictions="probs", targets=("binary", "multilabel", "one_hot")),
            plain="torch.nn:BCELoss",
        ),
        Component(
            "loss",
            "bce-logits",
            "wf_losses.binary:BCEWithLogitsLoss",
            summary="sigmoid and binary cross-entropy in one, numerically stable",
            aliases=("bce-with-logits",),
            traits=LossTraits(predictions="logits", targets=("binary", "multilabel", "one_hot")),
            plain="torch.nn:BCEWithLogitsLoss",
        ),
        Component(
            "loss",
            "nt-xent",
            "wf_losses.contrastive:NTXentLoss",
            summary="contrastive loss of embeddings, by views (Chen et al. 2020) or by classes",
            aliases=("ntxent",),
            traits=LossTraits(predictions="embeddings", targets=("class_index",)),
        ),
        Component(
            "loss",
            "sum",
            "wf_losses.combined:SumLoss",
            summary="the weighted sum of several losses, with given or learned weights",
            traits=LossTraits(predictions="raw", targets=(), weighted=True),
        ),
    ]
