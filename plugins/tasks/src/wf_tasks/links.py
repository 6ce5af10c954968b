"""The conversions between model, dataset and loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def log_softmax(predictions: Tensor) -> Tensor:
    """Logits ``[N, C, ...]`` as log-probabilities."""
    return predictions.log_softmax(1)


def softmax(predictions: Tensor) -> Tensor:
    """Logits ``[N, C, ...]`` as probabilities that add up to 1."""
    return predictions.softmax(1)


def sigmoid(predictions: Tensor) -> Tensor:
    """Each logit as a probability."""
    return predictions.sigmoid()


def log(predictions: Tensor) -> Tensor:
    """Probabilities as log-probabilities."""
    return predictions.log()


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """int64 ``[N]`` class indices as one-hot rows ``[N, C]``, of torch's default dtype."""
    return functional.one_hot(targets, num_classes).to(torch.get_default_dtype())


def zero_or_one(targets: Tensor) -> Tensor:
    """int64 ``[N]`` class indices of two classes as 0 or 1, of torch's default dtype."""
    return targets.to(torch.get_default_dtype())


def mean(loss: Tensor) -> Tensor:
    """The mean of the losses of all samples."""
    return loss.mean()
