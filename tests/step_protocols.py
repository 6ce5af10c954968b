"""Minimal optimizers of every step protocol: a plugin for tests, ``-p tests/step_protocols.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter

from wf import Component, hookimpl
from wf.traits import OptimizerTraits


class Sharpness(torch.optim.SGD):
    """Sharpness-aware minimization (Foret et al. 2021), as the libraries write it."""

    def __init__(self, params: Iterable[Parameter], lr: float = 0.05) -> None:
        super().__init__(params, lr=lr, momentum=0.9)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Ascend, evaluate there, and step from the original point."""
        params = [param for group in self.param_groups for param in group["params"]]
        norm = torch.stack([param.grad.norm() for param in params]).norm()
        moves = [param.grad * 0.05 / norm for param in params]
        for param, move in zip(params, moves, strict=True):
            param.add_(move)
        assert closure is not None
        closure()
        for param, move in zip(params, moves, strict=True):
            param.sub_(move)
        super().step()


class Polyak(torch.optim.SGD):
    """Gradient descent with Polyak's step size (Polyak 1987), which depends on the loss."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate, and step."""
        assert closure is not None
        loss = closure()
        params = [param for group in self.param_groups for param in group["params"]]
        length = 0.1 * loss / torch.stack([param.grad.square().sum() for param in params]).sum()
        for param in params:
            param.sub_(length * param.grad)


class Curvature(torch.optim.SGD):
    """Divides gradients by the diagonal of the Hessian, estimated with one vector of random signs."""

    def __init__(self, params: Iterable[Parameter], lr: float = 0.05) -> None:
        super().__init__(params, lr=lr)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Differentiate the gradients, and step."""
        params = [param for group in self.param_groups for param in group["params"]]
        signs = [torch.randint_like(param, 2) * 2 - 1 for param in params]
        products = torch.autograd.grad([param.grad for param in params], params, grad_outputs=signs)
        for param, sign, product in zip(params, signs, products, strict=True):
            param.sub_(self.param_groups[0]["lr"] * param.grad / (1 + (sign * product).abs()))


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free gradient descent (Defazio et al. 2024): trained at y, evaluated at the average x."""

    def __init__(self, params: Iterable[Parameter], lr: float = 0.5, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "training": True, "num_steps": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the iterate z, average it into x, and go to y between them."""
        for group in self.param_groups:
            assert group["training"], "stepped in evaluation mode"
            group["num_steps"] += 1
            for param in group["params"]:
                z = self.state[param].setdefault("z", param.clone())
                param.lerp_(z, 1 - 1 / group["beta"])
                z.sub_(param.grad, alpha=group["lr"])
                param.lerp_(z, 1 / group["num_steps"])
                param.lerp_(z, 1 - group["beta"])

    def eval(self) -> None:
        """Put x into the parameters."""
        self._switch(training=False)

    def train(self) -> None:
        """Put y into the parameters."""
        self._switch(training=True)

    @torch.no_grad()
    def _switch(self, *, training: bool) -> None:
        for group in self.param_groups:
            weight = 1 - group["beta"] if training else 1 - 1 / group["beta"]
            for param in group["params"] if group["training"] != training else ():
                if "z" in self.state[param]:
                    param.lerp_(self.state[param]["z"], weight)
            group["training"] = training


def lbfgs(params: list[Parameter], lr: float = 0.1) -> torch.optim.LBFGS:
    """Quasi-Newton.

    Args:
        params: The parameters to train.
        lr: Learning rate.
    """
    return torch.optim.LBFGS(params, lr=lr, max_iter=3)


def of_model(model: nn.Module, lr: float = 0.05) -> torch.optim.SGD:
    """Gradient descent that takes the model and collects its parameters.

    Args:
        model: Has them.
        lr: Learning rate.
    """
    return torch.optim.SGD(model.parameters(), lr=lr)


def of_groups(param_groups: list[dict[str, Any]], lr: float = 0.05) -> torch.optim.SGD:
    """Gradient descent, with momentum for hidden matrices.

    Args:
        param_groups: Groups of hidden matrices and other parameters.
        lr: Learning rate.
    """
    groups = [{"params": one["params"], "momentum": 0.9 if one["hidden"] else 0.0} for one in param_groups]
    return torch.optim.SGD(groups, lr=lr)


@hookimpl
def wf_components() -> list[Component]:
    """One optimizer of each protocol."""
    return [
        Component("optimizer", "closure", lbfgs, traits=OptimizerTraits(step="closure")),
        Component("optimizer", "polyak", Polyak, traits=OptimizerTraits(step="closure")),
        Component("optimizer", "two-step", Sharpness, traits=OptimizerTraits(step="two_step")),
        Component("optimizer", "create-graph", Curvature, traits=OptimizerTraits(step="create_graph")),
        Component("optimizer", "modes", ScheduleFree, traits=OptimizerTraits(modes=True)),
        Component("optimizer", "of-model", of_model, traits=OptimizerTraits(built_from="model")),
        Component("optimizer", "of-groups", of_groups, traits=OptimizerTraits(built_from="groups")),
    ]
