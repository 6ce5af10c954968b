"""Schedules that change the learning rate smoothly over the whole run."""

from __future__ import annotations

from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from wf_optimizers.checks import require, require_not_negative, require_positive


def cosine(optimizer: Optimizer, total_steps: int, min_lr: float = 0.0) -> CosineAnnealingLR:
    """Anneal the learning rate along half a cosine, from the optimizer's down to `min_lr`, without restarts.

    Loshchilov and Hutter 2017, equation 5.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        total_steps: Updates until `min_lr` is reached.
        min_lr: Learning rate at the end.

    Raises:
        UsageError: For a value out of range.
    """
    require(total_steps >= 1, "cosine", "total_steps", total_steps, "at least 1")
    require_not_negative("cosine", min_lr=min_lr)
    return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_lr)


def onecycle(
    optimizer: Optimizer,
    total_steps: int,
    max_lr: float | None = None,
    pct_start: float = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    cycle_momentum: bool | None = None,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
) -> OneCycleLR:
    """Raise the learning rate to `max_lr`, then anneal it far below its initial value, once over the run.

    Smith and Topin 2018.

    Args:
        optimizer: The optimizer whose learning rate and momentum it sets.
        total_steps: Updates in the cycle; training beyond it is an error.
        max_lr: Learning rate at the peak; the optimizer's own when not given.
        pct_start: Fraction of the cycle with a rising rate: less than 1, and not just one update.
        anneal: Shape of both phases.
        div_factor: The first learning rate is `max_lr / div_factor`.
        final_div_factor: The last learning rate is the first one divided by this.
        cycle_momentum: Move momentum (or Adam's first beta) opposite to the learning rate; by default if the
            optimizer has betas or momentum greater than 0.
        base_momentum: Momentum at the peak of the learning rate.
        max_momentum: Momentum at both ends.

    Raises:
        UsageError: For a value out of range, or `cycle_momentum` with an optimizer that has none.
    """
    peaks = [float(group["lr"]) if max_lr is None else max_lr for group in optimizer.param_groups]
    require(total_steps >= 1, "onecycle", "total_steps", total_steps, "at least 1")
    require_positive("onecycle", max_lr=min(peaks), div_factor=div_factor, final_div_factor=final_div_factor)
    rise = f"at least 0, less than 1, and its share of {total_steps} updates not just one"
    require(0 <= pct_start < 1 and pct_start * total_steps != 1, "onecycle", "pct_start", pct_start, rise)
    for option, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
        require(0 <= value < 1, "onecycle", option, value, "at least 0 and less than 1")
    has_momentum = "betas" in optimizer.defaults or "momentum" in optimizer.defaults
    if cycle_momentum:
        allowed = "false for an optimizer without momentum or betas"
        require(has_momentum, "onecycle", "cycle_momentum", cycle_momentum, allowed)
    uses_momentum = "betas" in optimizer.defaults or bool(optimizer.defaults.get("momentum"))
    return OneCycleLR(
        optimizer,
        max_lr=peaks,
        total_steps=total_steps,
        pct_start=pct_start,
        anneal_strategy=anneal,
        cycle_momentum=uses_momentum if cycle_momentum is None else cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )
