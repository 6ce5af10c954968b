"""The optimizers of timm, as the catalogue ``timm/<name>``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from timm.optim import Adahessian, get_optimizer_class, get_optimizer_info, list_optimizers
from torch import nn
from torch.optim import Optimizer

from wf.errors import UsageError, unknown
from wf_catalogues.members import descriptions, option, parameters_of, stand_in, writable

DType = Literal["bfloat16", "float16", "float32"]
_DTYPES = {torch.dtype: DType, str | torch.dtype: DType, str | torch.dtype | None: DType | None}
SECOND_ORDER = ("adahessian",)
"""Optimizers that need gradients with their graph."""
NEEDS = {
    "bnb": "bitsandbytes, and a GPU",
    "fused": "NVIDIA's apex, and a GPU",
    "kron": "opt_einsum, or its matrix products fill the memory; use pytorch-optimizer/kron",
}
"""Required libraries, by the prefix of the name."""
_HELP = {
    "params": "The parameters to train.",
    "lr": "Step size.",
    "weight_decay": "Weight decay: how strongly weights are pulled towards zero.",
    "momentum": "Momentum: the share of the last step that is repeated.",
    "betas": "Decay of the running averages of the gradient and its square.",
    "eps": "Added to denominators.",
    "foreach": "Update all parameters at once; null lets the optimizer choose.",
    "nesterov": "Whether to use Nesterov momentum.",
    "maximize": "Whether to maximize instead of minimize.",
}
"""For options that a class does not describe."""
_COUNTS = ("n_samples", "update_each")
_LEFT_OUT = ("capturable", "differentiable", "verbose")


class _Adahessian(Adahessian):
    """Adds its random state to the optimizer state, so that a resumed run is exact."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        self.generator = torch.Generator(self.param_groups[0]["params"][0].device)
        self.generator.set_state(state.pop("generator"))
        super().load_state_dict(state)


def build(name: str, params: list[nn.Parameter], **options: Any) -> Optimizer:
    """An optimizer of timm.

    Args:
        name: Its name in timm, such as ``adamw``.
        params: The parameters to train.
        options: The options of `described`.

    Raises:
        UsageError: For an unknown name, an optimizer that needs another library, or an option out of range.
    """
    kind, defaults = _class(name)
    given = {key: getattr(torch, value) if key.endswith("dtype") and value else value for key, value in options.items()}
    try:
        made: Optimizer = kind(params, **{**defaults, **given})
    except (ValueError, AssertionError) as error:
        raise UsageError(f"optimizer 'timm/{name}': {error}") from error
    return made


def described(name: str) -> Callable[..., None]:
    """A function with the signature and docstring of `build` for one name; it must not be called."""
    kind, defaults = _class(name)
    theirs = [one for key, one in parameters_of(kind).items() if key not in ("params", *_LEFT_OUT)]
    options = [option("params", list), *filter(None, (_option(one, defaults) for one in theirs))]
    others = {one.name: f"See {kind.__module__}." for one in options}
    return stand_in(kind, options, f"{summary(name)}.", {**others, **_HELP, **descriptions(kind, markup=True)})


def names() -> list[str]:
    """Every optimizer of the installed timm."""
    return sorted(map(str, list_optimizers()))


def summary(name: str) -> str:
    """A one-line description."""
    return str(get_optimizer_info(name).description).rstrip(".")


def refused() -> dict[str, str]:
    """The optimizers that cannot be used, with the reason."""
    found = {}
    for name in names():
        for prefix, needed in NEEDS.items():
            if name.startswith(prefix):
                found[name] = f"it needs {needed}"
    return found


def _class(name: str) -> tuple[type[Optimizer], dict[str, Any]]:
    """Its class, and the options that distinguish it from others of that class."""
    if name not in names():
        raise UsageError(unknown("timm optimizer", name, names()))
    if name in refused():
        raise UsageError(f"optimizer 'timm/{name}' cannot be used: {refused()[name]}")
    info = get_optimizer_info(name)
    defaults = dict(info.defaults or {})
    if info.has_momentum:
        defaults.setdefault("momentum", 0.9)  # as timm.optim.create_optimizer_v2 does
    kind: Any = _Adahessian if name == "adahessian" else get_optimizer_class(name, bind_defaults=False)
    return kind, defaults


def _option(parameter: inspect.Parameter, defaults: dict[str, Any]) -> inspect.Parameter | None:
    """A parameter in a form for run files; None if no file can hold its values."""
    default = defaults.get(parameter.name, parameter.default)
    if isinstance(default, torch.dtype):
        default = str(default).removeprefix("torch.")
    annotation = writable(parameter.annotation, _DTYPES)
    if parameter.annotation is parameter.empty:
        annotation = int if parameter.name in _COUNTS else _of_default(default)
    if type(default).__name__ == "_RequiredParameter":  # older optimizers of torch mark required options this way
        default, annotation = parameter.empty, float
    if annotation is None:
        return None
    if annotation is float and type(default) is int:
        default = float(default)
    return option(parameter.name, annotation, default)


def _of_default(default: Any) -> Any:
    """The type of an option without annotation, from its default: 0 is a float, except for counts."""
    if isinstance(default, tuple):
        return tuple[(float,) * len(default)]  # type: ignore[misc]  # made, not written
    if default is None or isinstance(default, bool):
        return bool if default is not None else Any
    return float if isinstance(default, (int, float)) else type(default)
