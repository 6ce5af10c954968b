"""The size of gradients and activations, as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wf import Hook, Loop
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base.shards import whole

_GRADIENT, _ACTIVATION = "gradient_norm", "activation_rms"


class Stats(Hook):
    """Records the norm of the gradients and the size of the activations of modules, every `every` steps.

    ``train/gradient_norm/NAME`` is the L2 norm of the gradients of a module's parameters, before later hooks clip them;
    ``train/gradient_norm/all`` is the norm for the whole model. ``train/activation_rms/NAME`` is the root mean square
    of a module's outputs in the forward pass. Each record has the latest values.

    Args:
        model: The model.
        strategy: Unwraps the model, and takes the activations of all processes together.
        modules: Patterns of module names, such as ``["layer*", "head"]``; by default the model's direct children.
        every: Steps between two measurements, from the first step on. Other steps take no longer.
        activations: Whether to measure activations, too.

    Raises:
        UsageError: If a pattern matches no module, or `every` is below 1.
    """

    figures: ClassVar[Mapping[str, bool | None]] = {f"train/{name}/*": None for name in (_GRADIENT, _ACTIVATION)}

    def __init__(
        self,
        model: nn.Module,
        strategy: Strategy,
        modules: Sequence[str] = (),
        every: int = 100,
        activations: bool = True,
    ) -> None:
        if every < 1:
            raise UsageError(f"stats: every is {every}; it must be at least 1")
        self.model, self.every, self.activations = strategy.bare(model), every, activations
        self.modules = _chosen(self.model, modules)
        self._found: dict[str, Any] = {}
        """The latest figures, as tensors on their device."""
        self._handles: list[Any] = []
        self._strategy = strategy
        self._squares: dict[str, tuple[Tensor, int]] = {}
        """The mean square of this process's outputs in the present step, and their number."""

    def on_run_start(self, run: Loop) -> None:
        """Get ready for the first step."""
        self._prepare(run)

    def on_gradients_ready(self, run: Loop) -> None:
        """Take the norms of the gradients."""
        if self._is_due(run):
            norms = {name: _norm(module) for name, module in {"all": self.model, **self.modules}.items()}
            self._found |= {f"{_GRADIENT}/{name}": norm for name, norm in norms.items() if norm is not None}

    def on_step_end(self, run: Loop) -> None:
        """Get ready for the next step."""
        if self._handles:
            self._found |= self._activations()
        if self._handles or self._is_due(run):
            self._prepare(run)

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Add the latest figures."""
        self._found = {name: float(value) for name, value in self._found.items()}
        record |= self._found

    def on_run_end(self, run: Loop) -> None:
        """Look no more."""
        self._release()

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """Look no more."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """The latest figures, which the next record of a resumed run has, too."""
        return {"found": {name: float(value) for name, value in self._found.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the latest values."""
        self._found = dict(state["found"])

    def _is_due(self, run: Loop) -> bool:
        """Whether the current or next step is measured."""
        return run.progress.step % self.every == 0

    def _prepare(self, run: Loop) -> None:
        """Register forward hooks for the next step, if it is measured."""
        self._release()
        if self.activations and self._is_due(run):
            self._handles = [
                module.register_forward_hook(partial(self._look, name)) for name, module in self.modules.items()
            ]

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _look(self, name: str, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if module.training and isinstance(outputs, Tensor) and outputs.is_floating_point():
            self._squares[name] = outputs.detach().float().square().mean(), outputs.numel()

    def _activations(self) -> dict[str, Tensor]:
        """The root mean squares of the step, over the outputs of all processes."""
        own, self._squares = self._squares, {}
        if self._strategy.world_size == 1:
            return {f"{_ACTIVATION}/{name}": square.sqrt() for name, (square, _) in own.items()}
        sums = torch.zeros(len(self.modules), 2, dtype=torch.float64, device=self._strategy.device)
        for row, name in zip(sums, self.modules, strict=True):
            if name in own:
                square, num = own[name]
                row[0], row[1] = square * num, num
        (sums,) = self._strategy.sum([sums])
        there = (sums[:, 1] > 0).tolist()
        means = zip(self.modules, (sums[:, 0] / sums[:, 1]).sqrt(), there, strict=True)
        return {f"{_ACTIVATION}/{name}": mean for name, mean, is_there in means if is_there}


def _chosen(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules that match a pattern; without patterns the model's direct children."""
    if not patterns:
        return dict(model.named_children())
    named = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UsageError(
                f"stats: no module is called '{pattern}'\n  modules: {', '.join(list(named)[:20]) or 'none'}"
            )
    return {name: one for name, one in named.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _norm(module: nn.Module) -> Tensor | None:
    """The norm of all gradients of a module; None if it has no gradients."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return whole(torch.nn.utils.get_total_norm(gradients)) if gradients else None
