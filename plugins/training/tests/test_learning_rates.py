"""Scaling the learning rates of a started run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as schedulers

from wf_training.learning_rates import rates, scale_rates

SCHEDULES: dict[str, Callable[[Optimizer, float], Any]] = {
    "none": lambda optimizer, lr: None,
    "step": lambda optimizer, lr: schedulers.StepLR(optimizer, 4),
    "multistep": lambda optimizer, lr: schedulers.MultiStepLR(optimizer, [3, 9]),
    "lambda": lambda optimizer, lr: schedulers.LambdaLR(optimizer, lambda step: 0.9**step),
    "linear": lambda optimizer, lr: schedulers.LinearLR(optimizer, total_iters=9),
    "polynomial": lambda optimizer, lr: schedulers.PolynomialLR(optimizer, total_iters=20),
    "cosine": lambda optimizer, lr: schedulers.CosineAnnealingLR(optimizer, 20, eta_min=lr / 10),
    "restarts": lambda optimizer, lr: schedulers.CosineAnnealingWarmRestarts(optimizer, 4, eta_min=lr / 10),
    "cyclic": lambda optimizer, lr: schedulers.CyclicLR(optimizer, lr / 10, lr, step_size_up=3, cycle_momentum=False),
    "onecycle": lambda optimizer, lr: schedulers.OneCycleLR(optimizer, lr, 20, cycle_momentum=False),
    "plateau": lambda optimizer, lr: schedulers.ReduceLROnPlateau(optimizer, patience=1, min_lr=lr / 100),
    "one after the other": lambda optimizer, lr: schedulers.SequentialLR(
        optimizer, [schedulers.ConstantLR(optimizer, 0.5, 3), schedulers.ExponentialLR(optimizer, 0.9)], [7]
    ),
    "both": lambda optimizer, lr: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(optimizer, 0.5, 3), schedulers.ExponentialLR(optimizer, 0.9)]
    ),
}


def laid_out(name: str, lr: float) -> tuple[Optimizer, Any]:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)]
    optimizer = SGD(groups, lr=lr)
    return optimizer, SCHEDULES[name](optimizer, lr)


def follow(optimizer: Optimizer, scheduler: Any, num_steps: int) -> list[list[float]]:
    """The rates after each step."""
    seen = []
    for _ in range(num_steps):
        optimizer.step()
        if scheduler is not None:
            scheduler.step(*([1.0] if isinstance(scheduler, schedulers.ReduceLROnPlateau) else []))
        seen.append(rates(optimizer))
    return seen


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # SequentialLR's own call
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("name", SCHEDULES)
def test_scaled_rates_follow_the_schedule_of_the_new_rates(name: str, resumed: bool) -> None:
    optimizer, scheduler = laid_out(name, 0.5)
    expected = follow(*laid_out(name, 0.125), 14)[5:]
    follow(optimizer, scheduler, 5)
    scale_rates(optimizer, scheduler, 0.25)
    if resumed:
        states = optimizer.state_dict(), None if scheduler is None else scheduler.state_dict()
        optimizer, scheduler = laid_out(name, 0.5)
        optimizer.load_state_dict(states[0])
        if scheduler is not None:
            scheduler.load_state_dict(states[1])
    found = follow(optimizer, scheduler, 9)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12)


def test_scaling_leaves_other_options_unchanged() -> None:
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))], lr=0.5, lr_decay=0.1)
    scale_rates(optimizer, None, 0.5)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["lr_decay"]) == (0.25, 0.1)
    assert rates(None) == []
