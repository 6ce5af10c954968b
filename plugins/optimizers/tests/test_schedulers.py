"""The schedules: their learning rates, and continuing a saved schedule."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from wf.errors import UsageError
from wf.traits import SchedulerTraits
from wf_building.built import note_traits
from wf_optimizers.annealing import cosine, onecycle
from wf_optimizers.plateau import Plateau
from wf_optimizers.steps import multistep, step
from wf_optimizers.warmup import LinearWarmup

Build = Callable[[Optimizer], LRScheduler]

TOTAL_STEPS = 24
STEPS_PER_EPOCH = 4


def _marked(scheduler: LRScheduler, interval: Any) -> LRScheduler:
    """A scheduler with its interval noted, as wf does."""
    note_traits(scheduler, SchedulerTraits(interval=interval))
    return scheduler


def _warm(optimizer: Optimizer, then: LRScheduler | None = None, num_steps: int = 6, **options: Any) -> LinearWarmup:
    return LinearWarmup(optimizer, num_steps=num_steps, steps_per_epoch=STEPS_PER_EPOCH, then=then, **options)


BUILDS: dict[str, Build] = {
    "step": lambda optimizer: step(optimizer, step_size=3),
    "multistep": lambda optimizer: multistep(optimizer, [5, 9, 20], gamma=0.5),
    "cosine": lambda optimizer: cosine(optimizer, TOTAL_STEPS, min_lr=1e-3),
    "onecycle": lambda optimizer: onecycle(optimizer, TOTAL_STEPS, max_lr=1.0),
    "plateau": lambda optimizer: Plateau(optimizer, "validation/loss", {}, factor=0.5, patience=1, cooldown=1),
    "linear-warmup": _warm,
    "linear-warmup then cosine": lambda optimizer: _warm(optimizer, _marked(cosine(optimizer, TOTAL_STEPS), "step")),
    "linear-warmup then onecycle": lambda optimizer: _warm(
        optimizer, _marked(onecycle(optimizer, TOTAL_STEPS, max_lr=1.0), "step")
    ),
    "linear-warmup then multistep": lambda optimizer: _warm(
        optimizer, _marked(multistep(optimizer, [1, 3, 4]), "epoch")
    ),
}

PAIRS: list[tuple[Build, Build]] = [
    (BUILDS["step"], lambda optimizer: StepLR(optimizer, 3)),
    (BUILDS["multistep"], lambda optimizer: MultiStepLR(optimizer, [5, 9, 20], 0.5)),
    (BUILDS["cosine"], lambda optimizer: CosineAnnealingLR(optimizer, TOTAL_STEPS, 1e-3)),
    (BUILDS["onecycle"], lambda optimizer: OneCycleLR(optimizer, 1.0, TOTAL_STEPS)),
    (
        BUILDS["plateau"],
        lambda optimizer: ReduceLROnPlateau(optimizer, "min", factor=0.5, patience=1, cooldown=1),
    ),
]


def _optimizer() -> Optimizer:
    groups: list[dict[str, Any]] = [{}, {"lr": 0.4}]
    return SGD([{"params": [nn.Parameter(torch.ones(1))], **group} for group in groups], lr=0.1, momentum=0.9)


def _figure(num_step: int) -> float:
    """A figure that improves now and then."""
    return [1.0, 0.9, 0.95, 0.97, 0.92, 0.8, 0.85, 0.86][num_step % 8] / (1 + num_step // 8)


def _trace(optimizer: Optimizer, scheduler: LRScheduler, begin: int, end: int) -> list[list[tuple[float, float]]]:
    """Learning rate and momentum that each update from `begin` to `end` uses."""
    used = []
    for num_step in range(begin, end):
        used.append([(group["lr"], group["momentum"]) for group in optimizer.param_groups])
        optimizer.step()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(_figure(num_step))
        else:
            scheduler.step()
    return used


def _lrs(build: Build, num_steps: int = TOTAL_STEPS) -> list[float]:
    optimizer = _optimizer()
    return [used[0][0] for used in _trace(optimizer, build(optimizer), 0, num_steps)]


@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
def test_learning_rates_equal_torchs_schedulers(mine: Build, theirs: Build) -> None:
    assert _lrs(mine) == _lrs(theirs)
    assert len(set(_lrs(mine))) > 2


@pytest.mark.parametrize("name", BUILDS)
@given(saved_at=st.integers(0, TOTAL_STEPS - 1))
@settings(max_examples=25, deadline=None)
def test_a_saved_schedule_goes_on_identically(name: str, saved_at: int) -> None:
    optimizer = _optimizer()
    whole = _trace(optimizer, BUILDS[name](optimizer), 0, TOTAL_STEPS)

    first = _optimizer()
    scheduler = BUILDS[name](first)
    begun = _trace(first, scheduler, 0, saved_at)
    saved = copy.deepcopy((first.state_dict(), scheduler.state_dict()))
    _trace(first, scheduler, saved_at, TOTAL_STEPS)  # continuing must not change the saved state

    second = _optimizer()
    resumed = BUILDS[name](second)
    second.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.state_dict() == saved[1]
    if not isinstance(resumed, ReduceLROnPlateau):
        assert resumed.get_last_lr() == [group["lr"] for group in second.param_groups]
    assert begun + _trace(second, resumed, saved_at, TOTAL_STEPS) == whole


def test_cosine_ends_at_min_lr() -> None:
    lrs = _lrs(BUILDS["cosine"], TOTAL_STEPS + 1)
    assert lrs[0] == 0.1
    assert lrs[-1] == pytest.approx(1e-3)


def test_onecycle_peaks_at_the_optimizers_lr_and_leaves_plain_sgd_without_momentum() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    scheduler = onecycle(optimizer, TOTAL_STEPS)
    used = [group for (group,) in _trace(optimizer, scheduler, 0, TOTAL_STEPS)]
    assert max(lr for lr, _ in used) == pytest.approx(0.5, rel=0.05)
    assert {momentum for _, momentum in used} == {0}


def test_onecycle_peaks_at_each_groups_own_lr() -> None:
    optimizer = _optimizer()
    assert [group["max_lr"] for group in onecycle(optimizer, TOTAL_STEPS).optimizer.param_groups] == [0.1, 0.4]


@given(total_steps=st.integers(1, 40), pct_start=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_onecycle_is_refused_at_once_or_valid_for_the_whole_run(total_steps: int, pct_start: float) -> None:
    optimizer = _optimizer()
    if pct_start >= 1 or pct_start * total_steps == 1:
        with pytest.raises(UsageError, match="pct_start"):
            onecycle(optimizer, total_steps, pct_start=pct_start)
        return
    scheduler = onecycle(optimizer, total_steps, pct_start=pct_start)
    assert all(math.isfinite(used[0][0]) and used[0][0] > 0 for used in _trace(optimizer, scheduler, 0, total_steps))


def test_onecycle_moves_adams_first_beta() -> None:
    optimizer = AdamW([nn.Parameter(torch.ones(1))])
    onecycle(optimizer, TOTAL_STEPS)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999)


def test_onecycle_refuses_to_cycle_a_missing_momentum() -> None:
    with pytest.raises(UsageError, match="cycle_momentum is True"):
        onecycle(torch.optim.Adagrad([nn.Parameter(torch.ones(1))]), TOTAL_STEPS, cycle_momentum=True)


@pytest.mark.parametrize(
    ("monitor", "directions", "mode"),
    [
        ("validation/loss", {}, "min"),
        ("validation/accuracy", {"accuracy": True}, "max"),
        ("validation/mae", {"mae": False}, "min"),
    ],
)
def test_plateau_takes_the_direction_of_its_monitor(monitor: str, directions: dict[str, bool], mode: str) -> None:
    scheduler = Plateau(_optimizer(), monitor, directions)
    assert (scheduler.mode, scheduler.monitor) == (mode, monitor)


def test_plateau_refuses_an_unknown_direction() -> None:
    with pytest.raises(UsageError, match=r"larger 'validation/dice' is better(.|\n)*accuracy, loss"):
        Plateau(_optimizer(), "validation/dice", {"accuracy": True})
    assert Plateau(_optimizer(), "validation/dice", {"accuracy": True}, mode="max").mode == "max"
    said = Plateau(_optimizer(), "validation/a/dice:max", {"accuracy": True})
    assert (said.mode, said.monitor) == ("max", "validation/a/dice")


def test_warmup_rises_linearly_from_the_first_update_on() -> None:
    optimizer = _optimizer()
    scheduler = _warm(optimizer, num_steps=4, start_factor=0.2)
    used = _trace(optimizer, scheduler, 0, 7)
    assert [group[0][0] for group in used] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])
    assert [group[1][0] for group in used] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4, 0.4, 0.4])


@given(num_steps=st.integers(1, TOTAL_STEPS), start_factor=st.floats(1e-3, 1.0))
@settings(max_examples=40, deadline=None)
def test_warmup_multiplies_a_schedule_of_steps(num_steps: int, start_factor: float) -> None:
    plain = _lrs(BUILDS["cosine"])
    warm = _lrs(
        lambda optimizer: _warm(
            optimizer, _marked(BUILDS["cosine"](optimizer), "step"), num_steps, start_factor=start_factor
        )
    )
    factors = [start_factor + (1 - start_factor) * min(k / num_steps, 1) for k in range(TOTAL_STEPS)]
    assert warm == pytest.approx([factor * lr for factor, lr in zip(factors, plain, strict=True)])
    assert warm[num_steps:] == plain[num_steps:], "after the warm-up it is the bare schedule, bit for bit"


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unknown"])
def test_warmup_before_a_schedule_of_epochs(marked: bool) -> None:
    def build(optimizer: Optimizer) -> LRScheduler:
        then = multistep(optimizer, [1, 3], gamma=0.1)
        return _warm(optimizer, _marked(then, "epoch") if marked else then, num_steps=6, start_factor=0.5)

    targets = [0.1] * STEPS_PER_EPOCH + [0.01] * (2 * STEPS_PER_EPOCH) + [0.001] * STEPS_PER_EPOCH
    factors = [min(0.5 + 0.5 * k / 6, 1) for k in range(16)]
    assert _lrs(build, 16) == pytest.approx([factor * lr for factor, lr in zip(factors, targets, strict=True)])


def test_warmup_state_contains_the_plain_inner_state() -> None:
    optimizer = _optimizer()
    scheduler = _warm(optimizer, _marked(cosine(optimizer, TOTAL_STEPS), "step"))
    assert scheduler.state_dict()["then"] == cosine(_optimizer(), TOTAL_STEPS).state_dict()


def test_warmup_refuses_a_schedule_of_evaluations() -> None:
    optimizer = _optimizer()
    with pytest.raises(UsageError, match="not with evaluations"):
        _warm(optimizer, Plateau(optimizer, "validation/loss", {}))
    with pytest.raises(UsageError, match="not with evaluations"):
        _warm(optimizer, _marked(step(optimizer, 1), "evaluation"))


BAD: list[tuple[Callable[..., LRScheduler], dict[str, Any], str]] = [
    (step, {"step_size": 0}, "step: step_size is 0"),
    (step, {"step_size": 1, "gamma": 0.0}, "step: gamma is 0.0"),
    (multistep, {"milestones": []}, r"multistep: milestones is \[\]"),
    (multistep, {"milestones": [5, 3]}, r"milestones is \[5, 3\]; it must be ascending"),
    (multistep, {"milestones": [0, 3]}, r"milestones is \[0, 3\]"),
    (multistep, {"milestones": [3], "gamma": math.nan}, "gamma is nan"),
    (cosine, {"total_steps": 0}, "total_steps is 0"),
    (cosine, {"total_steps": 5, "min_lr": -1.0}, "min_lr is -1.0"),
    (onecycle, {"total_steps": 0}, "total_steps is 0"),
    (onecycle, {"total_steps": 5, "max_lr": 0.0}, "max_lr is 0.0"),
    (onecycle, {"total_steps": 5, "pct_start": 1.5}, "pct_start is 1.5"),
    (onecycle, {"total_steps": 10, "pct_start": 0.1}, "pct_start is 0.1(.*)10 updates not just one"),
    (onecycle, {"total_steps": 5, "div_factor": 0.0}, "div_factor is 0.0"),
    (onecycle, {"total_steps": 5, "max_momentum": 1.0}, "max_momentum is 1.0"),
    (Plateau, {"monitor": "validation/loss", "directions": {}, "factor": 1.0}, "factor is 1.0"),
    (Plateau, {"monitor": "validation/loss", "directions": {}, "patience": -1}, "patience is -1"),
    (LinearWarmup, {"num_steps": 0, "steps_per_epoch": 1}, "num_steps is 0"),
    (LinearWarmup, {"num_steps": 5, "steps_per_epoch": 0}, "steps_per_epoch is 0"),
    (LinearWarmup, {"num_steps": 5, "steps_per_epoch": 1, "start_factor": 0.0}, "start_factor is 0.0"),
]


@pytest.mark.parametrize(("build", "options", "message"), BAD)
def test_values_out_of_range(build: Callable[..., LRScheduler], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(_optimizer(), **options)
