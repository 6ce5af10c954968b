"""The members of the catalogue ``torch/<loss>``: the losses of `torch.nn`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from wf.errors import UsageError
from wf_catalogues import members as foreign
from wf_torch.members import Member, made

Reduction = Literal["mean", "sum", "none"]

_HELP = {
    "reduction": "mean and sum are over all elements; none gives one value per element.",
    "num_outputs": "Number of model outputs per sample.",
}
_NUM_OUTPUTS = (foreign.option("num_outputs", int),)
_WITHOUT = ("size_average", "reduce")  # deprecated: reduction says it
_loss = partial(Member, module="torch.nn", types={"reduction": Reduction}, without=_WITHOUT, help=_HELP)
_CLASS_TYPES = {
    "reduction": Reduction,
    "weight": list[float] | None,
    "label_smoothing": Annotated[float, Ge(0), Le(1)],
}
_CLASS_HELP = {
    **_HELP,
    "weight": "One weight per class; the mean divides by the sum of the targets' class weights.",
    "ignore_index": "Targets with this class index are ignored.",
    "label_smoothing": "Fraction of the target that is spread evenly over all classes.",
    "reduction": "mean and sum are over all targets that are not left out; none gives one value per target.",
}
_COLUMN_TYPES = {"reduction": Reduction, "weight": list[float] | None, "pos_weight": list[float] | None}
_COLUMN_HELP = {
    **_HELP,
    "weight": "One weight a label.",
    "pos_weight": "One weight a label, of the targets that are 1.",
}


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """torch's, which tells the evaluator what its mean divides by."""

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean over class indices or class probabilities; 0-d."""
        if targets.is_floating_point():
            return torch.full((), targets.numel() // targets.shape[1], dtype=torch.int64, device=targets.device)
        return _total_weight(self.weight, targets, self.ignore_index)


class NLLLoss(nn.NLLLoss):
    """torch's, which tells the evaluator what its mean divides by."""

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean; 0-d."""
        return _total_weight(self.weight, targets, self.ignore_index)


class SoftMarginLoss(nn.SoftMarginLoss):
    """torch's for targets of 0 and 1, of which it makes -1 and 1."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits and float targets of one shape."""
        loss: Tensor = super().forward(predictions, 2 * targets - 1)
        return loss


class MultiLabelMarginLoss(nn.MultiLabelMarginLoss):
    """torch's for targets of 0 and 1, of which it makes lists of class indices that end with -1."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits and float targets, both ``[N, C]``."""
        num_classes = targets.shape[1]
        indices = torch.arange(num_classes, device=targets.device).expand(targets.shape)
        indices = torch.where(targets > 0, indices, num_classes).sort(dim=1).values
        loss: Tensor = super().forward(predictions, torch.where(indices < num_classes, indices, -1))
        return loss


MEMBERS: dict[str, Member] = {
    "BCELoss": _loss(
        nn.BCELoss, "binary cross-entropy of probabilities", group="chances", without=(*_WITHOUT, "weight")
    ),
    "BCEWithLogitsLoss": _loss(
        nn.BCEWithLogitsLoss,
        "sigmoid and binary cross-entropy in one",
        group="yes_no",
        types=_COLUMN_TYPES,
        without=(*_WITHOUT, "weight"),  # of each sample of a batch
        more=_NUM_OUTPUTS,
        help=_COLUMN_HELP,
    ),
    "CrossEntropyLoss": _loss(
        CrossEntropyLoss,
        "softmax cross-entropy",
        group="classes",
        types=_CLASS_TYPES,
        more=_NUM_OUTPUTS,
        help=_CLASS_HELP,
    ),
    "HuberLoss": _loss(
        nn.HuberLoss,
        "squared for small errors, absolute for large ones",
        group="numbers",
        types={"reduction": Reduction, "delta": Annotated[float, Gt(0)]},
    ),
    "KLDivLoss": _loss(
        nn.KLDivLoss,
        "Kullback-Leibler divergence of shares of classes",
        group="shares",
        types={"reduction": Literal["batchmean", "mean", "sum", "none"]},
        defaults={"reduction": "batchmean"},
        without=(*_WITHOUT, "log_target"),  # the targets that there are are no logarithms
        help={
            "reduction": "batchmean is the divergence, averaged over samples; torch's default, mean, divides it by the "
            "number of classes; none gives one value per element."
        },
    ),
    "L1Loss": _loss(nn.L1Loss, "mean absolute error", group="numbers"),
    "MSELoss": _loss(nn.MSELoss, "mean squared error", group="numbers"),
    "MultiLabelMarginLoss": _loss(
        MultiLabelMarginLoss, "hinge between each present label and each absent one", group="labels"
    ),
    "MultiLabelSoftMarginLoss": _loss(
        nn.MultiLabelSoftMarginLoss,
        "binary cross-entropy of each label, averaged over labels",
        group="labels",
        types=_COLUMN_TYPES,
        more=_NUM_OUTPUTS,
        help=_COLUMN_HELP,
    ),
    "MultiMarginLoss": _loss(
        nn.MultiMarginLoss,
        "hinge between the right class and each other one",
        group="margins",
        types={"reduction": Reduction, "weight": list[float] | None, "p": Literal[1, 2]},
        more=_NUM_OUTPUTS,
        help={**_HELP, "weight": "One weight per class.", "p": "The hinge's power."},
    ),
    "NLLLoss": _loss(
        NLLLoss,
        "negative log likelihood of log-probabilities",
        group="log_classes",
        types=_CLASS_TYPES,
        more=_NUM_OUTPUTS,
        help=_CLASS_HELP,
    ),
    "PoissonNLLLoss": _loss(
        nn.PoissonNLLLoss,
        "negative log likelihood of counts, with the logarithm of the rate as the model output",
        group="real",
        help={
            **_HELP,
            "log_input": "The model outputs the logarithm of the rate, not the rate itself.",
            "full": "Add Stirling's approximation of what depends on the targets alone.",
            "eps": "Added to the rate before its logarithm, if the model outputs the rate itself.",
        },
    ),
    "SmoothL1Loss": _loss(
        nn.SmoothL1Loss,
        "squared for small errors, absolute for large ones, divided by beta",
        group="numbers",
        types={"reduction": Reduction, "beta": Annotated[float, Ge(0)]},
    ),
    "SoftMarginLoss": _loss(SoftMarginLoss, "logistic loss of signs", group="yes_no"),
}
"""Those that can be used, by name."""

_PAIRS = "it compares samples with each other, and a batch has no pairs or triplets of them"
REFUSED: dict[str, str] = {
    "CTCLoss": "it takes sequences of labels with their lengths, and no dataset has any; torch/CrossEntropyLoss takes "
    "classes",
    "CosineEmbeddingLoss": _PAIRS,
    "GaussianNLLLoss": "it takes a variance beside each prediction, which no model gives; torch/MSELoss is that of one "
    "variance",
    "HingeEmbeddingLoss": "it takes distances of pairs of samples, and a batch has no pairs; torch/SoftMarginLoss "
    "takes predictions",
    "LinearCrossEntropyLoss": "it has the model's last layer within it, so that metrics get no predictions; "
    "torch/CrossEntropyLoss is the same function",
    "MarginRankingLoss": _PAIRS,
    "NLLLoss2d": "torch has deprecated it; torch/NLLLoss takes masks, too",
    "TripletMarginLoss": _PAIRS,
    "TripletMarginWithDistanceLoss": _PAIRS,
}
"""Those that cannot, with the reason."""


def described(name: str) -> Callable[..., None]:
    """The object with the signature and docstring of a member."""
    return MEMBERS[name].described()


def build(name: str, num_outputs: int | None = None, **options: Any) -> nn.Module:
    """A loss of torch.

    Args:
        name: Its name, as ``HuberLoss``.
        num_outputs: How many weights there are, for one that takes some.
        options: The other parameters of `described`.

    Raises:
        UsageError: For a value out of range.
    """
    owner = f"loss 'torch/{name}'"
    for option in ("weight", "pos_weight"):
        if options.get(option) is not None:
            options[option] = _weights(owner, option, options[option], num_outputs)
    loss: nn.Module = made(owner, MEMBERS[name].kind, **options)
    return loss


def _weights(owner: str, option: str, weights: list[float], num_outputs: int | None) -> Tensor:
    """The weights as a tensor.

    Raises:
        UsageError: For another number of them than the model gives predictions, or a negative one.
    """
    if len(weights) != num_outputs:
        raise UsageError(
            f"{owner}: option '{option}' has {len(weights)} weights; the model gives {num_outputs} predictions"
        )
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise UsageError(f"{owner}: option '{option}' is {weights}; give finite weights >= 0, not all of them 0")
    return torch.tensor(weights)


def _total_weight(weight: Tensor | None, targets: Tensor, ignore_index: int) -> Tensor:
    counted = targets != ignore_index
    if weight is None:
        return counted.sum()
    return (weight[torch.where(counted, targets, 0)] * counted).sum()
