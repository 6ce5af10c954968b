"""Checks of schedulers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from wf.traits import SchedulerTraits
from wf_kit.checks.states import restored, saved
from wf_kit.kit import Defect, NotChecked, Subject, check, expect, told
from wf_kit.making import make, values
from wf_state.differences import differences

FIGURES = (1.0, 0.9, 0.9, 0.9, 1.2, 1.1, 1.3, 0.8)
"""The figure passed to a scheduler that watches evaluations, in every step."""


@check("scheduler-traits", "scheduler", fix="declare its interval: SchedulerTraits(interval=...)")
def traits(subject: Subject) -> None:
    """Its step takes the monitored figure if and only if it declares the interval 'evaluation'."""
    if not isinstance(subject.traits, SchedulerTraits):
        raise NotChecked("it declares no traits")
    with values(subject) as known:
        signature = inspect.signature(make(subject, {**known, "optimizer": _optimizer()}).step)
    figures = [0.5] if subject.traits.interval == "evaluation" else []
    try:
        signature.bind(*figures)
    except TypeError as error:
        text = f"with interval '{subject.traits.interval}' it is called as step({', '.join(map(str, figures))})"
        raise Defect(f"{text}: {told(error)}") from error


@check(
    "scheduler-rates",
    "scheduler",
    after=("made", "scheduler-traits"),
    fix="check its first and last steps and groups with different rates",
)
def rates(subject: Subject) -> None:
    """Its learning rates are finite and not negative, over a whole run and for every group."""
    optimizer, scheduler, total = _scheduled(subject)
    for position, row in enumerate(_rates(subject, optimizer, scheduler, range(total))):
        text = f"after {position} of {total} steps the learning rates are {row}"
        expect(all(math.isfinite(rate) and rate >= 0 for rate in row), text)


@check(
    "scheduler-resumes",
    "scheduler",
    after=("made", "scheduler-rates"),
    fix="keep everything that step() uses in state_dict",
)
def resumes(subject: Subject) -> None:
    """Its state_dict, saved and restored by wf's codec, continues with the same learning rates."""
    optimizer, scheduler, total = _scheduled(subject)
    half = total // 2
    _rates(subject, optimizer, scheduler, range(half))
    states = saved([optimizer.state_dict(), scheduler.state_dict()])
    wanted = _rates(subject, optimizer, scheduler, range(half, total))
    optimizer, scheduler, _ = _scheduled(subject)
    for part, state in zip((optimizer, scheduler), restored(states), strict=True):
        part.load_state_dict(state)
    apart = list(differences(restored(states), [optimizer.state_dict(), scheduler.state_dict()]))
    expect(not apart, f"its state changes in a restore: {next(iter(apart), '')}")
    found = _rates(subject, optimizer, scheduler, range(half, total))
    expect(found == wanted, f"after a restore the learning rates are {found}, but {wanted} without it")


def _optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.02)]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def _scheduled(subject: Subject) -> tuple[torch.optim.Optimizer, Any, int]:
    """An optimizer, its scheduler, and the number of steps in a run."""
    optimizer = _optimizer()
    with values(subject) as known:
        return optimizer, make(subject, {**known, "optimizer": optimizer}), _num_steps(subject, known)


def _num_steps(subject: Subject, known: Mapping[str, Any]) -> int:
    """The number of its steps in a run: the run's own length if it takes that as a run value."""
    return int(known["total_steps"]) if subject.param("total_steps") else 2 * len(FIGURES)


def _rates(
    subject: Subject, optimizer: torch.optim.Optimizer, scheduler: Any, steps: Sequence[int]
) -> list[list[float]]:
    watches = isinstance(subject.traits, SchedulerTraits) and subject.traits.interval == "evaluation"
    rows = []
    for number in steps:
        rows.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step(*([FIGURES[number % len(FIGURES)]] if watches else []))
    return rows
