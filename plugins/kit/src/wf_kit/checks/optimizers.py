"""Checks of optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wf.traits import OptimizerTraits
from wf_kit.checks.states import restored, saved
from wf_kit.kit import NotChecked, Subject, check, expect
from wf_kit.making import make, values
from wf_kit.reference import step
from wf_run.parts.optimizers import param_groups

STEPS = 60
SOURCES = {"params": {"params"}, "groups": {"params", "param_groups"}, "model": {"model"}}
"""The run values that an optimizer takes, by `built_from`."""


class Bowl(nn.Module):
    """A convex function of a matrix and a vector, flatter in the vector; both start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self) -> Tensor:
        """The function value, 0 at the minimum."""
        weight, bias = torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([0.5, 4.0])
        return (self.weight - weight).square().sum() + 0.3 * (self.bias - bias).square().sum()


class Gaps(Bowl):
    """A bowl with one unused parameter, and one without effect."""

    def __init__(self) -> None:
        super().__init__()
        self.unused, self.level = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def forward(self) -> Tensor:
        """Same as for the bowl."""
        return super().forward() + (0 * self.level).sum()


@check(
    "optimizer-traits",
    "optimizer",
    fix="declare its step protocol: OptimizerTraits(step=..., built_from=..., modes=...)",
)
def traits(subject: Subject) -> None:
    """It is built and stepped as it declares, and has train() and eval() if and only if it declares modes."""
    declared = subject.traits
    if not isinstance(declared, OptimizerTraits):
        raise NotChecked("it declares no traits")
    sources = {param.source for param in subject.params}
    wanted = SOURCES[declared.built_from]
    text = f"it declares built_from='{declared.built_from}' but takes no {' or '.join(sorted(wanted))} from the run"
    expect(wanted & sources, text)
    optimizer = _optimizer(subject, Bowl())
    has = hasattr(optimizer, "train") and hasattr(optimizer, "eval")
    expect(
        has == declared.modes, f"it declares modes={declared.modes}, but has {'' if has else 'no '}train() and eval()"
    )


@check(
    "optimizer-descends", "optimizer", after=("made", "optimizer-traits"), fix="check the sign and size of its update"
)
def descends(subject: Subject) -> None:
    """It reduces a convex function in sixty steps with its default options."""
    bowl = Bowl()
    heights = _descend(subject, _optimizer(subject, bowl), bowl, STEPS)
    final = float(bowl().detach())
    expect(final < heights[0], f"the function was {heights[0]:.6g}, and is {final:.6g} after {STEPS} steps")


@check(
    "optimizer-resumes",
    "optimizer",
    after=("made", "optimizer-descends"),
    fix="keep everything that a step uses in `state` or the groups",
)
def resumes(subject: Subject) -> None:
    """Its state_dict, saved and restored by wf's codec, continues bit for bit."""
    straight, resumed = Bowl(), Bowl()
    optimizer = _optimizer(subject, straight)
    _descend(subject, optimizer, straight, 5)
    weights, state = saved(straight.state_dict()), saved(optimizer.state_dict())
    _descend(subject, optimizer, straight, 5)
    resumed.load_state_dict(restored(weights))
    again = _optimizer(subject, resumed)
    again.load_state_dict(restored(state))
    _descend(subject, again, resumed, 5)
    same = saved(straight.state_dict()) == saved(resumed.state_dict())
    expect(same, "five steps after a restore give different parameters than without it")
    expect(saved(optimizer.state_dict()) == saved(again.state_dict()), "its state changes in a restore")


@check(
    "optimizer-groups",
    "optimizer",
    after=("made", "optimizer-descends"),
    fix="read lr from each of param_groups at every step",
)
def groups(subject: Subject) -> None:
    """A parameter group with its own learning rate is stepped with that rate."""
    bowl = Bowl()
    optimizer = _optimizer(subject, bowl)
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if parameter is not bowl.bias]
    options = {name: value for name, value in optimizer.param_groups[0].items() if name != "params"}
    optimizer.add_param_group({**options, "params": [bowl.bias], "lr": 0.0})
    _descend(subject, optimizer, bowl, 3)
    expect(not bowl.bias.detach().any(), "a group with learning rate 0 was changed")
    expect(bool(bowl.weight.detach().any()), "a group with the default learning rate was not changed")


@check(
    "optimizer-gaps",
    "optimizer",
    after=("made", "optimizer-descends"),
    fix="skip parameters whose grad is None; divide by norms + eps",
)
def gaps(subject: Subject) -> None:
    """Parameters without a gradient do not change, and zero gradients keep everything finite."""
    bowl = Gaps()
    _descend(subject, _optimizer(subject, bowl), bowl, 3)
    expect(torch.equal(bowl.unused.detach(), torch.ones(2)), "a parameter without a gradient was changed")
    for name, parameter in {"with a gradient of zero": bowl.level, "beside it": bowl.weight}.items():
        expect(bool(torch.isfinite(parameter).all()), f"a parameter {name} became {parameter.detach().tolist()}")


def _optimizer(subject: Subject, bowl: Bowl) -> Any:
    params = list(bowl.parameters())
    own = {"model": bowl, "params": params, "param_groups": param_groups(bowl, params)}
    with values(subject) as known:
        optimizer = make(subject, {**known, **own})
    if hasattr(optimizer, "train"):
        optimizer.train()
    return optimizer


def _descend(subject: Subject, optimizer: Any, bowl: Bowl, num_steps: int) -> list[float]:
    """Make steps; returns the function value before each."""
    return [float(step(optimizer, _protocol(subject), bowl).detach()) for _ in range(num_steps)]


def _protocol(subject: Subject) -> str:
    return subject.traits.step if isinstance(subject.traits, OptimizerTraits) else "plain"
