"""The members of the catalogue ``torch/<optimizer>``: the classes of `torch.optim` in lower case."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Lt
from torch import nn

from wf.errors import UsageError
from wf_catalogues.members import option
from wf_torch.members import Member, made
from wf_torch.muon import MuonAndAdamW

_WITHOUT = ("differentiable", "capturable")  # for a backward pass through step(), and for CUDA graphs
_PARAMS = option("params", list[nn.Parameter])
_HELP = {
    "params": "The parameters to train.",
    "lr": "Learning rate.",
    "foreach": "Update many parameters at once, by the same operations; when not given, torch does so on accelerators.",
    "fused": "Update in one kernel, which rounds in other places: the last bits differ.",
    "maximize": "Go uphill.",
    "betas": "Decay rates of the running averages of the gradient and of its square.",
}
_optimizer = partial(Member, module="torch.optim", group="plain", without=_WITHOUT, more=(_PARAMS,), help=_HELP)

MEMBERS: dict[str, Member] = {
    "adadelta": _optimizer(torch.optim.Adadelta, "steps from running averages of gradients and of steps"),
    "adafactor": _optimizer(torch.optim.Adafactor, "Adam with a factored second moment, in little memory"),
    "adagrad": _optimizer(torch.optim.Adagrad, "gradients divided by the root of their squares' sum so far"),
    "adam": _optimizer(torch.optim.Adam, "Adam: a step size for each parameter from running moments"),
    "adamax": _optimizer(torch.optim.Adamax, "Adam with the infinity norm"),
    "adamw": _optimizer(torch.optim.AdamW, "Adam with decoupled weight decay"),
    "asgd": _optimizer(torch.optim.ASGD, "averaged stochastic gradient descent"),
    "lbfgs": _optimizer(
        torch.optim.LBFGS,
        "L-BFGS: quasi-Newton, evaluates a batch many times a step",
        group="closure",
        types={
            "max_iter": Annotated[int, Ge(1)],
            "history_size": Annotated[int, Ge(1)],
            "line_search_fn": Literal["strong_wolfe"] | None,
        },
        help={**_HELP, "line_search_fn": "How the length of a step is found; when not given it is the learning rate."},
    ),
    "muon": _optimizer(
        torch.optim.Muon,
        "orthogonalized momentum for the hidden matrices, AdamW for all others",
        group="groups",
        more=(
            option("param_groups", list[dict[str, Any]]),
            option("adamw_lr", float | None, None),
            option("adamw_betas", tuple[float, float], (0.9, 0.999)),
        ),
        without=("params",),
        types={
            "ns_steps": Annotated[int, Ge(1), Lt(100)],
            "adjust_lr_fn": Literal["original", "match_rms_adamw", "spectral_unclamped"] | None,
        },
        help={
            "param_groups": "The parameters to train, the hidden matrices apart.",
            "lr": "Learning rate of the matrices.",
            "adamw_lr": "Learning rate of all others; the matrices' when not given.",
            "adamw_betas": "Decay rates of AdamW's running averages.",
            "weight_decay": "Every step takes lr * weight_decay of each parameter away.",
            "ns_coefficients": "Coefficients (a, b, c) of the Newton-Schulz polynomial.",
            "ns_steps": "Newton-Schulz iterations.",
            "adjust_lr_fn": "How the learning rate follows a matrix's shape; match_rms_adamw makes its steps as long "
            "as AdamW's, so that one learning rate does for all.",
        },
    ),
    "nadam": _optimizer(torch.optim.NAdam, "Adam with Nesterov momentum"),
    "radam": _optimizer(torch.optim.RAdam, "Adam, its first steps rectified"),
    "rmsprop": _optimizer(torch.optim.RMSprop, "gradients divided by their running root mean square"),
    "rprop": _optimizer(torch.optim.Rprop, "resilient propagation: signs of the gradient alone, for whole batches"),
    "sgd": _optimizer(torch.optim.SGD, "stochastic gradient descent, with optional momentum"),
}
"""Those that can be used, by name."""

REFUSED: dict[str, str] = {
    "sparseadam": "it takes sparse gradients alone, and all but those of nn.Embedding(sparse=True) are dense; "
    "torch/adam trains"
}
"""Those that cannot, with the reason."""


def described(name: str) -> Callable[..., None]:
    """The object with the signature and docstring of a member."""
    return MEMBERS[name].described()


def build(name: str, **options: Any) -> torch.optim.Optimizer:
    """An optimizer of torch.

    Args:
        name: Its name, as ``adamw``.
        options: The parameters of `described`.

    Raises:
        UsageError: For a value out of range, or where there is nothing to train.
    """
    owner = f"optimizer 'torch/{name}'"
    if not options.get("params", options.get("param_groups")):
        raise UsageError(f"{owner}: the model and the loss have no trainable parameters, so nothing can be trained")
    kind: Any = MuonAndAdamW if name == "muon" else MEMBERS[name].kind
    optimizer: torch.optim.Optimizer = made(owner, kind, **options)
    return optimizer
