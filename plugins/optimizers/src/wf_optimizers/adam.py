"""Adam and its variant with decoupled weight decay."""

from __future__ import annotations

import torch
from torch import nn

from wf_optimizers.checks import made, require_decay, require_not_negative, require_params, require_positive


def adam(
    params: list[nn.Parameter],
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> torch.optim.Adam:
    """Adam (`torch.optim.Adam`). Kingma and Ba 2015.

    Args:
        params: The parameters to train.
        lr: Learning rate.
        betas: Decay rates of the running averages of the gradient and of its square.
        eps: Added to the denominator.
        weight_decay: L2 penalty, added to the gradient.
        amsgrad: Divide by the largest running average so far (Reddi, Kale and Kumar 2018).
        foreach: Update many parameters at once, by the same operations; when not given, torch does so on accelerators.
        fused: Update in one kernel, which rounds differently: the last bits differ.

    Raises:
        UsageError: For a value out of range, or `foreach` or `fused` where torch cannot.
    """
    _check("adam", params, lr, betas, eps, weight_decay)
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
    return made("adam", torch.optim.Adam, params, foreach=foreach, fused=fused, **options)


def adamw(
    params: list[nn.Parameter],
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay (`torch.optim.AdamW`). Loshchilov and Hutter 2019.

    Args:
        params: The parameters to train.
        lr: Learning rate.
        betas: Decay rates of the running averages of the gradient and of its square.
        eps: Added to the denominator.
        weight_decay: Every step multiplies each parameter by `1 - lr * weight_decay`.
        amsgrad: Divide by the largest running average so far (Reddi, Kale and Kumar 2018).
        foreach: Update many parameters at once, by the same operations; when not given, torch does so on accelerators.
        fused: Update in one kernel, which rounds differently: the last bits differ.

    Raises:
        UsageError: For a value out of range, or `foreach` or `fused` where torch cannot.
    """
    _check("adamw", params, lr, betas, eps, weight_decay)
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
    return made("adamw", torch.optim.AdamW, params, foreach=foreach, fused=fused, **options)


def _check(
    name: str, params: list[nn.Parameter], lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> None:
    require_params(name, params)
    require_positive(name, lr=lr)
    require_decay(name, **{f"betas[{place}]": beta for place, beta in enumerate(betas)})
    require_not_negative(name, eps=eps, weight_decay=weight_decay)
