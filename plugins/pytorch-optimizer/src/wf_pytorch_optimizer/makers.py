"""How the library's optimizers are made: from parameters, from the model, around another optimizer.

A maker is called with the library's class, the run values and options that its own parameters name, and the options of
the class; those that it fills in itself are `FILLED`.
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
    "model": "The model that is trained.",
    "seed": "The run's seed.",
    "param_groups": "The parameters to train in two groups: hidden weight matrices, and the others.",
    "base": "The optimizer that makes the update; torch's AdamW when not given.",
    "lr": "Learning rate of AdamW when no base is given, 0.001 if it is not set; set base.lr with a base.",
    "rank": "Dimensions of the subspace in which the gradients of matrices are kept.",
    "update_proj_gap": "Updates between two choices of the subspace.",
    "scale": "Factor of an update that comes back from the subspace.",
    "projection_type": "Side of the matrix that is projected; std takes the shorter one.",
    "rho": "Radius of the neighbourhood in which the loss is to be flat.",
}
"""Descriptions of the makers' parameters that the library does not document."""


def plain(kind: Kind, params: Params, **options: Any) -> Optimizer:
    """From the parameters."""
    return kind(params, **options)


def counted(
    kind: Kind, params: Params, num_iterations: Annotated[int, FromRun("total_steps")], **options: Any
) -> Optimizer:
    """From the parameters and the length of the run."""
    return kind(params, num_iterations=num_iterations, **options)


def seeded(kind: Kind, params: Params, seed: int, **options: Any) -> Optimizer:
    """From the parameters and the run's seed, for one that draws with numpy or Python's random."""
    made: Any = kind(params, **options)
    made.seed = seed
    return made  # type: ignore[no-any-return]  # Any, to take the attribute


def matrices(kind: Kind, params: Params, **options: Any) -> Optimizer:
    """From parameters that are all matrices."""
    others = [list(param.shape) for param in params if param.dim() != 2]
    if others:
        raise UsageError(
            f"it updates matrices alone, but {len(others)} of {len(params)} parameters are none, the first is of shape "
            f"{others[0]}\n  use it with a model without biases, or pytorch-optimizer/muon, which takes both"
        )
    return kind(params, **options)


def flagged(kind: Kind, param_groups: list[dict[str, Any]], **options: Any) -> Optimizer:
    """From two groups: the hidden weight matrices, and the rest, which such an optimizer updates as AdamW does."""
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
    """From two groups: the matrices, whose gradients are projected, and the rest."""
    projection = {"rank": rank, "update_proj_gap": update_proj_gap, "scale": scale, "projection_type": projection_type}
    groups: list[dict[str, Any]] = [
        {"params": [param for param in params if param.dim() == 2], **projection},
        {"params": [param for param in params if param.dim() != 2]},
    ]
    return kind([group for group in groups if group["params"]], **options)


def pairs(
    kind: Kind, params: Params, model: nn.Module, lora_l_dim: int = 0, lora_r_dim: int = -1, **options: Any
) -> Optimizer:
    """From the pairs of LoRA factors of a model, whose names differ in ``lora_a`` and ``lora_b``."""
    named = {name.lower(): param for name, param in model.named_parameters() if param.requires_grad}
    lefts = [name for name in named if "lora_a" in name and name.replace("lora_a", "lora_b") in named]
    found = [(named[name], named[name.replace("lora_a", "lora_b")]) for name in lefts]
    ordered = [param for pair in found for param in pair]
    _check_covers(
        ordered,
        params,
        "it updates pairs of LoRA factors alone, parameters named ..lora_a.. and ..lora_b..; freeze others",
    )
    for left, right in found:
        _check_rank(left.shape, right.shape, lora_l_dim, lora_r_dim)
    return kind(ordered, lora_l_dim=lora_l_dim, lora_r_dim=lora_r_dim, **options)


def of_model(kind: Kind, params: Params, model: nn.Module, **options: Any) -> Optimizer:
    """From the model, whose parameters' names tell how they are updated."""
    _check_covers(model.parameters(), params, "it updates the model's parameters alone; use a loss without any")
    return kind(model, **options)


def fused(kind: Kind, params: Params, model: nn.Module, **options: Any) -> Optimizer:
    """From the model, each of whose parameters is updated as soon as its gradient is there."""
    if isinstance(model, DistributedDataParallel):
        raise UsageError("it updates during the backward pass, before processes have shared their gradients; use one")
    _check_no_scalars(params)
    return of_model(kind, params, model, **options)


def without_scalars(
    kind: Kind, params: Params, base: Base = None, lr: float | None = None, **options: Any
) -> Optimizer:
    """As `around`, for one that cannot take a parameter of no dimensions."""
    _check_no_scalars(params)
    return around(kind, params, base, lr, **options)


def around(kind: Kind, params: Params, base: Base = None, lr: float | None = None, **options: Any) -> Optimizer:
    """Around another optimizer."""
    return kind(_base(params, base, lr), **options)


def sharpness(kind: Kind, params: Params, base: Base = None, lr: float | None = None, **options: Any) -> Optimizer:
    """Around another optimizer, for a flat minimum."""
    return kind(params, _as_class(_base(params, base, lr)), **options)


def sharpness_of_model(
    kind: Kind,
    params: Params,
    model: nn.Module,
    base: Base = None,
    lr: float | None = None,
    **options: Any,
) -> Optimizer:
    """As `sharpness`, for one that switches the model's running statistics."""
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
    """As `sharpness_of_model`, with a constant radius in the place of a scheduled one."""
    return kind(params, _base(params, base, lr), model, ConstantRadius(rho), **options)


class ConstantRadius:
    """The value that GSAM needs for its radius."""

    def __init__(self, rho: float) -> None:
        self.rho = rho

    def step(self) -> float:
        """The radius."""
        return self.rho


class GapSAM(GSAM):
    """GSAM with a closure that gives the loss, and shares gradients among processes, as for other optimizers.

    The library's own sharing goes uphill in each process by itself; the weights come back rounded, in each in its way.
    """

    def maybe_no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Leave the sharing to the model's wrapper."""
        return contextlib.nullcontext()

    def sync_grad(self) -> None:
        """Nothing: it is done."""

    def step(self, closure: Any = None) -> Any:
        """One update of two passes; the loss of the first."""
        both: Any = lambda: (None, closure())  # noqa: E731 - the library's annotation of it is wrong
        return super().step(both)[1]


class EarlySPlus(SPlus):
    """SPlus that can be judged before its first update, and with parameters that have had none."""

    def eval(self) -> None:
        """Put the averages into the parameters that have one."""
        every = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [param for param in group["params"] if "ema" in self.state.get(param, {})]
        try:
            super().eval()  # type: ignore[no-untyped-call]  # the library's
        finally:
            for group, params in zip(self.param_groups, every, strict=True):
                group["params"] = params


class Seeded(Optimizer):
    """What it draws is a function of the run's seed and the step; comes before the library's class among the bases.

    The generators of numpy and Python are shared by everything in a process, and no checkpoint holds them.
    """

    seed = 0

    def step(self, closure: Any = None) -> Any:
        """One update."""
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
    """LOMO's updates during the backward pass, as a step with a closure; comes before the library's class."""

    def step(self: Any, closure: Callable[[], Any]) -> Any:
        """One update; the loss before it."""
        self.lr = self.param_groups[0]["lr"]
        self.num_steps = getattr(self, "num_steps", 0) + 1
        with torch.enable_grad():
            loss = closure()
        self.grad_func(0)  # what is left where hooks have not run
        return loss


def _base(params: Params, base: Optimizer | None, lr: float | None) -> Optimizer:
    """The optimizer that is wrapped."""
    if base is None:
        return torch.optim.AdamW(params, lr=1e-3 if lr is None else lr)
    if lr is not None:
        raise UsageError("lr is that of AdamW, which is wrapped when no base is given\n  set base.lr")
    traits = traits_of(base)
    if isinstance(traits, OptimizerTraits) and (traits.step != "plain" or traits.modes):
        need = "train and eval modes" if traits.modes else f"a step of its own kind ({traits.step})"
        raise UsageError(
            f"its base must be a plain optimizer, but {type(base).__name__} has {need}\n  plain: sgd, adam"
        )
    return base


def _as_class(base: Optimizer) -> Callable[..., Optimizer]:
    """The finished base in the place of its class, which SAM calls with its own groups: they hold SAM's options."""

    def made(groups: list[dict[str, Any]], **_: Any) -> Optimizer:
        own = {key: value for key, value in groups[0].items() if key != "params"}
        for group in base.param_groups:
            group.update({key: value for key, value in own.items() if key not in group})
        return base

    return made


def _check_no_scalars(params: Params) -> None:
    if any(param.dim() == 0 for param in params):
        raise UsageError("it cannot update a parameter of no dimensions; give the scalar the shape [1]")


def _check_rank(left: torch.Size, right: torch.Size, left_dim: int, right_dim: int) -> None:
    both = (("lora_l_dim", left_dim, left), ("lora_r_dim", right_dim, right))
    for name, dim, shape in both:
        if not -len(shape) <= dim < len(shape):
            raise UsageError(f"{name} is {dim}, and a factor has the shape {list(shape)}")
    if left[left_dim] != right[right_dim]:
        raise UsageError(
            f"dimensions lora_l_dim={left_dim} of {list(left)} and lora_r_dim={right_dim} of {list(right)} must be "
            "the rank of the pair, and differ"
        )


def _check_covers(updated: Iterable[nn.Parameter], params: Params, why: str) -> None:
    """Refuse to silently skip a trainable parameter."""
    ids = {id(param) for param in updated}
    if any(id(param) not in ids for param in params):
        raise UsageError(why)
