"""RMSProp."""

from __future__ import annotations

import torch
from torch import nn

from wf_optimizers.checks import made, require_decay, require_not_negative, require_params, require_positive


def rmsprop(
    params: list[nn.Parameter],
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    foreach: bool | None = None,
) -> torch.optim.RMSprop:
    """RMSProp (`torch.optim.RMSprop`): gradients divided by their running root mean square. Hinton 2012, lecture 6e.

    Args:
        params: The parameters to train.
        lr: Learning rate.
        alpha: Decay rate of the running average of the squared gradient.
        eps: Added to the denominator.
        weight_decay: L2 penalty, added to the gradient.
        momentum: Fraction of the last update that is added to the next one.
        centered: Divide by the standard deviation of the gradient (Graves 2013).
        foreach: Update many parameters at once, by the same operations; when not given, torch does so on accelerators.

    Raises:
        UsageError: For a value out of range, or `foreach` where torch cannot.
    """
    require_params("rmsprop", params)
    require_positive("rmsprop", lr=lr)
    require_decay("rmsprop", alpha=alpha, momentum=momentum)
    require_not_negative("rmsprop", eps=eps, weight_decay=weight_decay)
    options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
    return made("rmsprop", torch.optim.RMSprop, params, centered=centered, foreach=foreach, **options)
