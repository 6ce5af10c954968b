"""Makers build the library's optimizers: from parameters, from the model, or around another optimizer.

A maker takes the library's class, the run values and options that its signature names, and the options of the class.
It passes the parameters `FILLED` to the class itself.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from pytorch_optimizer import GSAM, SPlus
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from wf import FromRun, Nested
from wf.errors import UsageError
from wf.traits import OptimizerTraits
from wf_building.built import traits_of

FILLED = ("params", "model", "optimizer", "base_optimizer", "rho_scheduler")
"""Parameters of the library's classes that the makers fill in."""

Kind = Callable[..., Optimizer]
Params = list[nn.Parameter]
Base = Annotated[Optimizer | None, Nested("optimizer")]

HELP = {
    "params": "The parameters to train.",
    "model": "The model to train.",
    "seed": "The run's seed.",
    "param_groups": "The parameters to train in two groups: hidden weight matrices, and the others.",
    "base": "The wrapped optimizer; torch's AdamW by default.",
    "lr": "Learning rate of the default base AdamW, 0.001 by default; with another base set base.lr instead.",
    "rank": "Dimension of the subspace to which gradients of matrices are projected.",
    "update_proj_gap": "Number of updates between two computations of the projection.",
    "scale": "Factor of the update after projecting it back.",
    "projection_type": "The projected side of the matrix; std takes the shorter one.",
    "rho": "Radius of the neighbourhood in which the loss should be flat.",
}
"""Descriptions of the makers' parameters that the library does not document."""


def plain(kind: Kind, params: Params, **options: Any) -> Optimizer:
    """Build from the parameters."""
    return kind(params, **options)


def counted(
    kind: Kind, params: Params, num_iterations: Annotated[int, FromRun("total_steps")], **options: Any
) -> Optimizer:
    """Build from the parameters and the length of the run."""
    return kind(params, num_iterations=num_iterations, **options)


def seeded(kind: Kind, params: Params, seed: int, **options: Any) -> Optimizer:
    """Build from the parameters and the run's seed, for optimizers that draw with numpy or Python's random."""
    made: Any = kind(params, **options)
    made.seed = seed
    return made  # type: ignore[no-any-return]  # Any, to take the attribute


def matrices(kind: Kind, params: Params, **options: Any) -> Optimizer:
    """Build from parameters that are all matrices.

    Raises:
        UsageError: If a parameter does not have two dimensions.
    """
    others = [list(param.shape) for param in params if param.dim() != 2]
    if others:
        raise UsageError(
            f"it updates only matrices, but {len(others)} of {len(params)} parameters are no matrices; the first has "
            f"shape {others[0]}\n  use a model without biases, or pytorch-optimizer/muon, which takes both"
        )
    return kind(params, **options)


def flagged(kind: Kind, param_groups: list[dict[str, Any]], **options: Any) -> Optimizer:
    """Build from two groups: hidden weight matrices, and the rest, which is updated by AdamW."""
    groups = [{"params": group["params"], "use_muon": group["hidden"]} for group in param_groups if group["params"]]
    return kind(groups, **options)


def projected(
    kind: Kind,
    params: Params,
    rank: Annotated[int, Field(gt=0)] = 128,
    update_proj_gap: Annotated[int, Field(gt=0)] = 50,
    scale: float = 1.0,
    projection_type: Literal["std", "reverse_std", "right", "left", "full", "random"] = "std",
    **options: Any,
) -> Optimizer:
    """Build from two groups: matrices, whose gradients are projected, and the rest."""
    projection = {"rank": rank, "update_proj_gap": update_proj_gap, "scale": scale, "projection_type": projection_type}
    groups: list[dict[str, Any]] = [
        {"params": [param for param in params if param.dim() == 2], **projection},
        {"params": [param for param in params if param.dim() != 2]},
    ]
    return kind([group for group in groups if group["params"]], **options)


def pairs(
    kind: Kind, params: Params, model: nn.Module, lora_l_dim: int = 0, lora_r_dim: int = -1, **options: Any
) -> Optimizer:
    """Build from the pairs of LoRA factors of a model, named ``..lora_a..`` and ``..lora_b..``.

    Raises:
        UsageError: If another parameter is trainable, or the factors of a pair differ in rank.
    """
    named = {name.lower(): param for name, param in model.named_parameters() if param.requires_grad}
    lefts = [name for name in named if "lora_a" in name and name.replace("lora_a", "lora_b") in named]
    found = [(named[name], named[name.replace("lora_a", "lora_b")]) for name in lefts]
    ordered = [param for pair in found for param in pair]
    _check_covers(
        ordered,
        params,
        "it updates only pairs of LoRA factors, named ..lora_a.. and ..lora_b..; freeze the other parameters",
    )
    for left, right in found:
        _check_rank(left.shape, right.shape, lora_l_dim, lora_r_dim)
    return kind(ordered, lora_l_dim=lora_l_dim, lora_r_dim=lora_r_dim, **options)


def of_model(kind: Kind, params: Params, model: nn.Module, **options: Any) -> Optimizer:
    """Build from the model; the names of its parameters determine how they are updated."""
    _check_covers(model.parameters(), params, "it updates only the model's parameters; use a loss without parameters")
    return kind(model, **options)


def fused(kind: Kind, params: Params, model: nn.Module, **options: Any) -> Optimizer:
    """Build from the model; each parameter is updated as soon as its gradient is computed."""
    if isinstance(model, DistributedDataParallel):
        raise UsageError(
            "it updates during the backward pass, before processes exchange their gradients; use one process"
        )
    _check_no_scalars(params)
    return of_model(kind, params, model, **options)


def without_scalars(
    kind: Kind, params: Params, base: Base = None, lr: float | None = None, **options: Any
) -> Optimizer:
    """Like `around`, for wrappers that cannot update 0-d parameters."""
    _check_no_scalars(params)
    return around(kind, params, base, lr, **options)


def around(kind: Kind, params: Params, base: Base = None, lr: float | None = None, **options: Any) -> Optimizer:
    """Build around another optimizer."""
    return kind(_base(params, base, lr), **options)


def sharpness(kind: Kind, params: Params, base: Base = None, lr: float | None = None, **options: Any) -> Optimizer:
    """Build a sharpness-aware wrapper around another optimizer."""
    return kind(params, _as_class(_base(params, base, lr)), **options)


def sharpness_of_model(
    kind: Kind,
    params: Params,
    model: nn.Module,
    base: Base = None,
    lr: float | None = None,
    **options: Any,
) -> Optimizer:
    """Like `sharpness`, for wrappers that switch the model's running statistics off and on."""
    return kind(model, params, _as_class(_base(params, base, lr)), **options)


def surrogate_gap(
    kind: Kind,
    params: Params,
    model: nn.Module,
    base: Base = None,
    lr: float | None = None,
    rho: float = 0.05,
    **options: Any,
) -> Optimizer:
    """Like `sharpness_of_model`, for GSAM, with a constant radius instead of a scheduled one."""
    return kind(params, _base(params, base, lr), model, ConstantRadius(rho), **options)


class ConstantRadius:
    """A scheduler of GSAM's radius that always returns the same value."""

    def __init__(self, rho: float) -> None:
        self.rho = rho

    def step(self) -> float:
        """The radius."""
        return self.rho


class GapSAM(GSAM):
    """GSAM whose closure returns the loss, and whose gradients are averaged over processes by DDP.

    The library averages them itself, after each process has perturbed its weights by its own gradient. Restoring the
    weights then rounds differently in each process.
    """

    def maybe_no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Leave the synchronization to DDP."""
        return contextlib.nullcontext()

    def sync_grad(self) -> None:
        """Do nothing; DDP has averaged the gradients."""

    def step(self, closure: Any = None) -> Any:
        """Make one update from two passes; returns the loss of the first pass."""
        both: Any = lambda: (None, closure())  # noqa: E731 - the library's annotation of it is wrong
        return super().step(both)[1]


class EarlySPlus(SPlus):
    """SPlus that can be evaluated before its first update, and with parameters that were never updated."""

    def eval(self) -> None:
        """Replace the parameters by their averages, where an average exists."""
        every = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [param for param in group["params"] if "ema" in self.state.get(param, {})]
        try:
            super().eval()  # type: ignore[no-untyped-call]  # the library's
        finally:
            for group, params in zip(self.param_groups, every, strict=True):
                group["params"] = params


class Seeded(Optimizer):
    """Mixin, before the library's class: seeds the draws of each step by the run's seed and the step.

    Other code in the process draws from the same generators of numpy and Python, and checkpoints do not hold them.
    """

    seed = 0

    def step(self, closure: Any = None) -> Any:
        """Make one update."""
        kept = random.getstate(), np.random.get_state()
        key = (self.seed * 1_000_003 + int(self.param_groups[0].get("step", 0))) % 2**32
        random.seed(key)
        np.random.seed(key)
        try:
            return super().step(closure)
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])


class Fused:
    """Mixin, before the library's class: turns LOMO's updates during the backward pass into a step with a closure."""

    def step(self: Any, closure: Callable[[], Any]) -> Any:
        """Make one update; returns the loss before it."""
        self.lr = self.param_groups[0]["lr"]
        self.num_steps = getattr(self, "num_steps", 0) + 1
        with torch.enable_grad():
            loss = closure()
        self.grad_func(0)  # update the parameters whose hooks have not run
        return loss


def _base(params: Params, base: Optimizer | None, lr: float | None) -> Optimizer:
    """The optimizer to wrap."""
    if base is None:
        return torch.optim.AdamW(params, lr=1e-3 if lr is None else lr)
    if lr is not None:
        raise UsageError("lr is the learning rate of the default base, AdamW\n  with another base set base.lr")
    traits = traits_of(base)
    if isinstance(traits, OptimizerTraits) and (traits.step != "plain" or traits.modes):
        need = "train and eval modes" if traits.modes else f"a special step ({traits.step})"
        raise UsageError(
            f"its base must be a plain optimizer, but {type(base).__name__} has {need}\n  plain: sgd, adam"
        )
    return base


def _as_class(base: Optimizer) -> Callable[..., Optimizer]:
    """A stand-in for the class of the base: SAM calls it with parameter groups that hold SAM's options."""

    def made(groups: list[dict[str, Any]], **_: Any) -> Optimizer:
        own = {key: value for key, value in groups[0].items() if key != "params"}
        for group in base.param_groups:
            group.update({key: value for key, value in own.items() if key not in group})
        return base

    return made


def _check_no_scalars(params: Params) -> None:
    if any(param.dim() == 0 for param in params):
        raise UsageError("it cannot update a 0-d parameter; give the scalar the shape [1]")


def _check_rank(left: torch.Size, right: torch.Size, left_dim: int, right_dim: int) -> None:
    both = (("lora_l_dim", left_dim, left), ("lora_r_dim", right_dim, right))
    for name, dim, shape in both:
        if not -len(shape) <= dim < len(shape):
            raise UsageError(f"{name} is {dim}, but a factor has the shape {list(shape)}")
    if left[left_dim] != right[right_dim]:
        raise UsageError(
            f"lora_l_dim={left_dim} of shape {list(left)} and lora_r_dim={right_dim} of shape {list(right)} must both "
            "select the rank of the pair, but the sizes differ"
        )


def _check_covers(updated: Iterable[nn.Parameter], params: Params, why: str) -> None:
    """Raise `UsageError` if a trainable parameter would not be updated."""
    ids = {id(param) for param in updated}
    if any(id(param) not in ids for param in params):
        raise UsageError(why)
