"""What schedulers keep to."""

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
"""What a scheduler that watches an evaluation is told, over and over."""


@check("scheduler-traits", "scheduler", fix="declare when it is stepped: SchedulerTraits(interval=...)")
def traits(subject: Subject) -> None:
    """Its step takes the monitored figure just when it declares the interval 'evaluation'."""
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
    fix="look at its first and last steps and at groups of other rates",
)
def rates(subject: Subject) -> None:
    """The learning rates that it sets are finite and not negative, over a whole run and for every group."""
    optimizer, scheduler, total = _scheduled(subject)
    for position, row in enumerate(_rates(subject, optimizer, scheduler, range(total))):
        text = f"after {position} of {total} steps the learning rates are {row}"
        expect(all(math.isfinite(rate) and rate >= 0 for rate in row), text)


@check(
    "scheduler-resumes",
    "scheduler",
    after=("made", "scheduler-rates"),
    fix="keep all that step() uses in attributes of its state_dict",
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
    expect(not apart, f"its state after a restore is another one: {next(iter(apart), '')}")
    found = _rates(subject, optimizer, scheduler, range(half, total))
    expect(found == wanted, f"after a restore the learning rates are {found}, and without it {wanted}")


def _optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.02)]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def _scheduled(subject: Subject) -> tuple[torch.optim.Optimizer, Any, int]:
    """An optimizer, its scheduler, and the steps in a run."""
    optimizer = _optimizer()
    with values(subject) as known:
        return optimizer, make(subject, {**known, "optimizer": optimizer}), _num_steps(subject, known)


def _num_steps(subject: Subject, known: Mapping[str, Any]) -> int:
    """How often it is stepped in a run: as often as the run says where it takes the run's length."""
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
