"""Support for optimizers with groups of parameters, or with separate weights for training and evaluation."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from wf.discovery.modules import describe
from wf.errors import UsageError, WfError
from wf.traits import OptimizerTraits
from wf_base.shards import is_sharded, like
from wf_processes.board import is_of_collective
from wf_processes.failures import is_memory


def param_groups(model: nn.Module, params: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """Divide `params` into two groups, keeping their order; either may be empty.

    Args:
        model: The model; parameters of the loss are not in it.
        params: The trainable parameters.

    Returns:
        ``{"params": [...], "hidden": True}``, the model's weights of two or more dimensions, except embeddings and the
        last weight, which produces the predictions; and ``{"params": [...], "hidden": False}``, all others. The order
        is that of registration in the model, usually the order of its layers.
    """
    weights = [
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if "weight" in name and parameter.ndim >= 2 and not isinstance(module, (nn.Embedding, nn.EmbeddingBag))
    ]
    hidden = {id(parameter) for parameter in weights[:-1] or weights}
    return [
        {"params": [parameter for parameter in params if (id(parameter) in hidden) is flag], "hidden": flag}
        for flag in (True, False)
    ]


def shown_traits(optimizer: Any) -> OptimizerTraits:
    """Traits inferred from the methods of an optimizer that declares none: a step with a closure, train() and
    eval()."""
    needed = [param for param in inspect.signature(optimizer.step).parameters.values() if _is_required(param)]
    modes = all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))
    return OptimizerTraits(step="closure" if needed else "plain", modes=modes)


def _is_required(param: inspect.Parameter) -> bool:
    return param.default is param.empty and param.kind in (param.POSITIONAL_ONLY, param.POSITIONAL_OR_KEYWORD)


def divide_loaded(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Let an optimizer of parameters that are divided among processes load a state with whole tensors, too.

    Raises:
        UsageError: If it has no hooks for that, as a wrapper of another optimizer that is none itself.
    """
    if not hasattr(optimizer, "_optimizer_load_state_dict_pre_hooks"):
        raise UsageError(
            f"optimizer '{name}' wraps another one, and cannot load a state that is divided among processes\n"
            "  use another one, such as adamw, or --strategy ddp"
        )

    def divide(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        places = [place for group in state["param_groups"] for place in group["params"]]
        sharded = {place: one for place, one in zip(places, own, strict=False) if is_sharded(one)}
        return {**state, "state": {place: divided(place, one, sharded) for place, one in state["state"].items()}}

    def divided(place: Any, values: dict[str, Any], sharded: Mapping[Any, Tensor]) -> dict[str, Any]:
        if place not in sharded:
            return values
        for key, value in values.items():
            if isinstance(value, Tensor) and value.numel() > 1 and value.shape != sharded[place].shape:
                raise UsageError(
                    f"optimizer '{name}' has '{key}' of shape {list(value.shape)} for a parameter of shape "
                    f"{list(sharded[place].shape)}: it cannot be divided among processes\n"
                    "  go on with --processes 1, or with --strategy ddp in run.toml"
                )
        return {key: like(one, sharded[place]) if isinstance(one, Tensor) else one for key, one in values.items()}

    optimizer.register_load_state_dict_pre_hook(divide)


def refuse_undivided(optimizer: torch.optim.Optimizer, name: str) -> None:
    """Let an optimizer whose step cannot handle divided parameters say so.

    torch has no divided form of some operations, such as those that mix a parameter with a plain tensor.
    """
    step: Any = optimizer.step

    def explained(_: torch.optim.Optimizer, *args: Any, **options: Any) -> Any:
        try:
            return step(*args, **options)
        except Exception as error:
            if not _is_of_shards(error):
                raise
            raise UsageError(
                f"optimizer '{name}' cannot update parameters that are divided among processes\n"
                f"  {describe(error).partition('. ')[0]}\n"
                "  use another one, such as adamw, or --strategy ddp"
            ) from error

    optimizer.step = MethodType(explained, optimizer)  # type: ignore[method-assign]  # schedules do the same


def refuse_draws(optimizer: Any, name: str) -> None:
    """Let an optimizer of several processes that draws random numbers of torch in its step say so.

    Each process has its own random stream, so their weights would drift apart. A step with a closure is not watched:
    it calls the model, which may draw.
    """
    step: Any = optimizer.step

    def watched(_: Any, *args: Any, **options: Any) -> Any:
        if args or options:
            return step(*args, **options)
        before = _generators()
        made = step()
        if _generators() != before:
            raise UsageError(
                f"optimizer '{name}' draws random numbers, and each process would draw its own: their weights would "
                "drift apart\n  train in one process, or use another one, such as adamw"
            )
        return made

    optimizer.step = MethodType(watched, optimizer)


def _generators() -> bytes:
    """The state of torch's generators on the CPU and on this process's accelerator."""
    cuda = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    return torch.get_rng_state().numpy().tobytes() + cuda


def _is_of_shards(error: Exception) -> bool:
    """Whether an optimizer's step failed because torch cannot do an operation with divided tensors."""
    if isinstance(error, WfError) or is_of_collective(error) or is_memory(error):
        return False
    files = [frame.f_code.co_filename.replace("\\", "/") for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(file.endswith("torch/nn/modules/module.py") for file in files):  # the model failed, called by the optimizer
        return False
    return "DTensor" in str(error) or any("/torch/distributed/tensor/" in file for file in files)


class OptimizerModes:
    """Switches an optimizer with train() and eval(), keeping the trained weights bit for bit.

    eval() followed by train() rounds the weights, so a run with evaluations or checkpoints would diverge from one
    without. So the trained weights are copied, and restored.

    Args:
        optimizer: Has `train`, `eval` and `param_groups`.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._trained: list[Tensor] | None = None

    def to_eval(self) -> None:
        """Put the weights for evaluation into the parameters."""
        self._trained = [parameter.detach().clone() for parameter in self._parameters()]
        self._optimizer.eval()

    def to_train(self) -> None:
        """Put the trained weights back into the parameters."""
        self._optimizer.train()
        if self._trained is not None:
            with torch.no_grad():
                for parameter, trained in zip(self._parameters(), self._trained, strict=True):
                    parameter.copy_(trained)
        self._trained = None

    def state_dict(self) -> dict[str, Any]:
        """The trained weights, while the parameters hold others."""
        return {"trained": self._trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`; `to_train` puts it into the parameters."""
        trained = state["trained"]
        self._trained = trained and [like(one, own) for one, own in zip(trained, self._parameters(), strict=True)]

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
