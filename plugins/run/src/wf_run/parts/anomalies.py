"""``--detect-anomaly``: names the module and the operation at which the first NaN or infinite number arises."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode, resolve_name

from wf.engine.loop import Loop
from wf.errors import DivergedError

_UNFILLED = ("empty", "empty_like", "new_empty", "empty_strided", "resize_")
"""Operations that return uninitialized memory."""
_ACCUMULATE = "AccumulateGrad"
_OWN = "wf module"
"""The key of the module in a node's metadata; None for a node outside of the model."""


def detecting(loop: Loop, model: nn.Module, *, on: bool, forward_only: bool = False) -> AbstractContextManager[None]:
    """While a loop runs, raise at the first number that is not finite.

    Args:
        loop: The loop, for the step.
        model: The model, whose modules are named.
        on: False does nothing.
        forward_only: Whether gradients may be infinite, as with an fp16 scaler, which skips such steps.

    Raises:
        DivergedError: Naming the step, the module and the operation.
    """
    return _detecting(_Watch(loop, model, forward_only=forward_only)) if on else nullcontext()


@contextmanager
def _detecting(watch: _Watch) -> Iterator[None]:
    handles = list(watch.install())
    try:
        with watch:
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Checks the result of each operation, and the gradients of each node of the autograd graph."""

    def __init__(self, loop: Loop, model: nn.Module, *, forward_only: bool) -> None:
        super().__init__()
        self._loop, self._model, self._forward_only = loop, model, forward_only
        self._within: list[tuple[str, set[Node]]] = []
        """The modules that are being called, outermost first, and the nodes of their inputs."""
        self._looking = False

    def install(self) -> Iterator[Any]:
        """Register hooks on each module."""
        for name, module in self._model.named_modules():
            yield module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
            yield module.register_forward_hook(self._leave, with_kwargs=True, always_call=True)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._looking:
            return result
        self._looking = True
        try:
            self._look(func, args, kwargs or {}, result)
        finally:
            self._looking = False
        return result

    def _look(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        outputs, inputs = list(_tensors(result)), list(_tensors((args, kwargs)))
        name = getattr(func, "__name__", str(func))
        if not inputs or name in _UNFILLED:
            return
        for output in outputs:
            if torch.isnan(output).any():
                if not any(torch.isnan(tensor).any() for tensor in inputs):
                    raise self._error(f"the first NaN is a result of {_called(func)}{self._place()}", inputs)
            elif torch.isinf(output).any() and not _has_infinite((*args, *kwargs.values()), inputs):
                raise self._error(f"the first infinite number is a result of {_called(func)}{self._place()}", inputs)
            if not self._within and output.grad_fn is not None and not self._forward_only:
                self._watch_gradients(output.grad_fn, None, set())

    def _enter(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        tensors = list(_tensors((args, kwargs)))
        if not self._within:
            self._check_start(module, tensors)
        self._within.append((name, {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}))

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], outputs: Any) -> None:
        name, before = self._within.pop()
        if not self._forward_only:
            for tensor in _tensors(outputs):
                if tensor.grad_fn is not None:
                    self._watch_gradients(tensor.grad_fn, name, before)

    def _check_start(self, module: nn.Module, inputs: Iterable[Tensor]) -> None:
        """Check the inputs and the weights of the model."""
        self._looking = True
        try:
            if any(not torch.isfinite(tensor).all() for tensor in inputs):
                raise self._error("the inputs of the model are not finite", (), "look at the data and the transforms")
            for name, weight in module.named_parameters():
                if not torch.isfinite(weight).all():
                    raise self._error(f"the weight '{name}' is not finite since the last update", ())
        finally:
            self._looking = False

    def _watch_gradients(self, node: Node, name: str | None, before: set[Node]) -> None:
        """Watch the nodes between the outputs of a module and its inputs, except those of inner modules."""
        waiting, seen = [node], set(before)
        while waiting:
            found = waiting.pop()
            if found in seen:
                continue
            seen.add(found)
            if _OWN not in _metadata(found):
                _metadata(found)[_OWN] = name
                if not found.name().endswith(_ACCUMULATE):
                    found.register_hook(partial(self._look_at_gradients, found))
            waiting += [inner for inner, _ in found.next_functions if inner is not None]

    def _look_at_gradients(self, node: Node, given: tuple[Any, ...], taken: tuple[Any, ...]) -> None:
        """Check the gradients that a node returns, computed from those that it received."""
        self._looking = True
        try:
            bad = any(not torch.isfinite(tensor).all() for tensor in _tensors(given))
            if bad and all(torch.isfinite(tensor).all() for tensor in _tensors(taken)):
                where = _module_words(_metadata(node)[_OWN])
                name = node.name().removesuffix("0").removesuffix("Backward")
                raise self._error(f"the first gradient that is not finite is the gradient of {name}{where}", ())
        finally:
            self._looking = False

    def _place(self) -> str:
        return _module_words(self._within[-1][0] if self._within else None)

    def _error(self, words: str, inputs: Iterable[Tensor], advice: str = "") -> DivergedError:
        step = self._loop.progress.step + 1
        when = "in an evaluation after step" if not self._model.training else "in step"
        lines = [f"{when} {step if self._model.training else step - 1:,}: {words}"]
        ranges = ", ".join(_range(tensor) for tensor in inputs)
        lines += [f"its inputs: {ranges}"] if ranges else []
        lines.append(
            advice
            or "try a smaller --lr, --hook +gradient-clip, inputs on one scale (--transform standardize), "
            "or an eps in a division, root or logarithm"
        )
        return DivergedError("\n  ".join(lines))


def _metadata(node: Node) -> dict[str, Any]:
    return node.metadata  # type: ignore[return-value]  # declared as a method, and it is a property


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of floating numbers in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.layout == torch.strided:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)


def _has_infinite(args: Iterable[Any], inputs: Iterable[Tensor]) -> bool:
    """Whether an argument is itself not finite, as with a mask filled with -inf."""
    numbers = any(isinstance(value, float) and not math.isfinite(value) for value in args)
    return numbers or not all(torch.isfinite(tensor).all() for tensor in inputs)


def _called(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", func))


def _module_words(name: str | None) -> str:
    """The place as text; "" is the model itself, None is outside of it."""
    if name is None:
        return ", outside the model (the loss, or the optimizer)"
    return f", in module '{name}'" if name else ", in the model itself"


def _range(tensor: Tensor) -> str:
    shape, values = "x".join(map(str, tensor.shape)) or "a number", tensor.detach()
    return f"{shape} from {float(values.min()):.4g} to {float(values.max()):.4g}" if tensor.numel() else "nothing"
