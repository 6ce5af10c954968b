"""The loss, with the links before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from wf.declarations.task import Task
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base.task import TaskRuntime
from wf_run.parts.division.warnings import tell_of_comparing
from wf_run.parts.links import link_loss
from wf_run.providers.training.links import Links
from wf_run.run_build import RunBuild


def bare_loss(run: RunBuild, strategy: Strategy, model: nn.Module, task: Task | None) -> Any:
    """The loss itself; None if the run has none. Its random numbers follow those of the model."""
    if "loss" not in run.plan:
        return None
    made = run.make("loss")
    tell_of_comparing(run, strategy, task)
    if isinstance(made, nn.Module):
        made.to(strategy.device)
        _check_shared(run, strategy, made)
    return made


def trained_loss(run: RunBuild, bare_loss: Any, links: Links, outputs: TaskRuntime) -> Any:
    """The loss for the trainer: with links for the transformed targets."""
    found = _linked(run, bare_loss, links.trained, outputs)
    if given := getattr(found, "given", None):
        name = found.links[-1]
        run.messages.append(f"link {name}: reduction=none cannot be backpropagated, so the trainer takes the {given}")
    return found


def loss(run: RunBuild, bare_loss: Any, trained_loss: Any, links: Links, outputs: TaskRuntime) -> Any:
    """The loss for all other parts: with links for the dataset's own targets."""
    return trained_loss if links.judged == links.trained else _linked(run, bare_loss, links.judged, outputs)


def _linked(run: RunBuild, bare_loss: Any, names: Sequence[str], outputs: TaskRuntime) -> Any:
    """The loss with links before it."""
    if bare_loss is None:
        return None
    return link_loss(bare_loss, names, run.registry, run.values, single_logit=outputs.single_logit)


def _check_shared(run: RunBuild, strategy: Strategy, loss: nn.Module) -> None:
    """Refuse a loss with parameters if several processes train: the strategy shares only the model's gradients."""
    if strategy.world_size > 1 and any(param.requires_grad for param in loss.parameters()):
        raise UsageError(
            f"loss '{run.name('loss')}' has its own parameters, which several processes would not share\n"
            "  train in one process, or use a loss without parameters"
        )
