"""Stochastic gradient descent."""

from __future__ import annotations

import torch
from torch import nn

from wf.errors import UsageError
from wf_optimizers.checks import made, require, require_decay, require_not_negative, require_params, require_positive


def sgd(
    params: list[nn.Parameter],
    lr: float = 1e-2,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> torch.optim.SGD:
    """Stochastic gradient descent (`torch.optim.SGD`), with optional momentum.

    Args:
        params: The parameters to train.
        lr: Learning rate.
        momentum: Fraction of the last update that is added to the next one; 0.9 is usual.
        dampening: Fraction of the gradient that is not added to the momentum.
        weight_decay: L2 penalty, added to the gradient.
        nesterov: Use Nesterov momentum; needs momentum, and no dampening.
        foreach: Update many parameters at once, by the same operations; when not given, torch does so on accelerators.
        fused: Update in one kernel, which rounds differently: the last bits differ.

    Raises:
        UsageError: For a value out of range, `nesterov` without momentum or with dampening, or `foreach` or
            `fused` where torch cannot.
    """
    require_params("sgd", params)
    require_positive("sgd", lr=lr)
    require_decay("sgd", momentum=momentum)
    require(0 <= dampening <= 1, "sgd", "dampening", dampening, "between 0 and 1")
    require_not_negative("sgd", weight_decay=weight_decay)
    if nesterov and (momentum == 0 or dampening != 0):
        raise UsageError(
            f"sgd: nesterov needs momentum greater than 0 and dampening 0; "
            f"momentum is {momentum}, dampening is {dampening}\n  set momentum, for example to 0.9"
        )
    options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
    return made("sgd", torch.optim.SGD, params, nesterov=nesterov, foreach=foreach, fused=fused, **options)
