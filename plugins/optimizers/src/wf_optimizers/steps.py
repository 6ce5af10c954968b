"""Schedules that lower the learning rate at certain epochs."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR, StepLR

from wf_optimizers.checks import require


def step(optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> StepLR:
    """Multiply the learning rate by `gamma` every `step_size` epochs.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        step_size: Epochs between two changes.
        gamma: Factor applied at each change.

    Raises:
        UsageError: For a value out of range.
    """
    require(step_size >= 1, "step", "step_size", step_size, "at least 1")
    _check_gamma("step", gamma)
    return StepLR(optimizer, step_size, gamma)


def multistep(optimizer: Optimizer, milestones: list[int], gamma: float = 0.1) -> MultiStepLR:
    """Multiply the learning rate by `gamma` when each of `milestones` is reached.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        milestones: Completed epochs at which it changes, ascending, as ``[30, 60, 80]``.
        gamma: Factor applied at each change.

    Raises:
        UsageError: For a value out of range.
    """
    ascending = milestones == sorted(set(milestones)) and all(milestone >= 1 for milestone in milestones)
    require(bool(milestones) and ascending, "multistep", "milestones", milestones, "ascending epochs from 1 on")
    _check_gamma("multistep", gamma)
    return MultiStepLR(optimizer, milestones, gamma)


def _check_gamma(name: str, gamma: float) -> None:
    require(0 < gamma < math.inf, name, "gamma", gamma, "greater than 0")
