"""The trainer, and static methods of its class that are called before it is built."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from wf.errors import UsageError
from wf.protocols import Strategy, Trainer
from wf_base import BaseTrainer
from wf_building.builder import Builder
from wf_building.built import name_of_live
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.parts.precision import make_scaler
from wf_run.run_build import RunBuild


def scaler(run: RunBuild, strategy: Strategy) -> Any:
    """Scales the loss in fp16; None in another precision."""
    return make_scaler(run.plan["precision"], strategy.device)


def trainer(run: RunBuild, strategy: Strategy, served: Any, bare_loss: Any, trained_loss: Any, scaler: Any) -> Trainer:
    """The trainer; it gets the loss with the links of training. It draws random numbers after the loss."""
    if run.plan["accumulate"] > 1:
        _need(run, "accumulate", "add up the gradients of several batches", "--accumulate 1")
    if scaler is not None:
        _need(run, "scaler", "scale the loss, as fp16 needs it", "--precision bf16")
    run.builder.on_demand.settle("trainer", run.plan["trainer"])
    with run.values.within({"loss": trained_loss}):
        made: Trainer = run.make("trainer")
    if isinstance(served, OwnSamples):
        served.trainer = made
    if strategy.world_size > 1:
        _know_processes(run, strategy, made)
    return made


def prepare_for_trainer(builder: Builder, table: Mapping[str, Any], model: nn.Module) -> list[nn.Module]:
    """Let the trainer's class prepare the model, if it has `prepare_model`, see `wf.protocols.Trainer`.

    Returns:
        The parts that stay in evaluation mode, if it returns any.
    """
    stays = called_with_options(builder, table, "prepare_model", model)
    return [*stays] if isinstance(stays, (list, tuple)) else []


def called_with_options(builder: Builder, table: Mapping[str, Any], method: str, *given: Any) -> Any:
    """Call a static method of the trainer's class with the trainer's options named by its parameters; None if it does
    not exist."""
    entry = builder.entry("trainer", table["use"])
    function = getattr(entry.load(), method, None) if entry else getattr(table["use"], method, None)
    if function is None or (entry is None and given):
        return None
    wanted = list(inspect.signature(function).parameters.values())[len(given) :]
    options = builder.options(entry, table, [param.name for param in wanted]) if entry else {}
    lacks = [param.name for param in wanted if param.default is param.empty and param.name not in options]
    if lacks:
        name = entry.component.name if entry else name_of_live(table["use"])
        raise UsageError(
            f"trainer '{name}' has no option '{lacks[0]}', which its {method} takes\n"
            f"  add it to the parameters of __init__, or give it a default in {method}"
        )
    return function(*given, **options)


def _know_processes(run: RunBuild, strategy: Strategy, made: Any) -> None:
    """Give the strategy to a trainer that weights shares by it, and say that others weight none."""
    if isinstance(made, BaseTrainer) and made.strategy is None:
        made.strategy = strategy
    weights = isinstance(made, BaseTrainer) and type(made).train_step is BaseTrainer.train_step
    if run.plan["format"] != 1 and not weights and "strategy" not in run.wanted_by("trainer"):
        run.messages.append(
            f"warning: trainer '{run.name('trainer')}' makes steps of its own and takes no 'strategy': each of "
            f"{strategy.world_size} processes counts the same, even if its share of a batch is smaller, and the losses "
            "of steps are those of process 0; wf_base.BaseTrainer weights them, if it makes the steps"
        )


def _need(run: RunBuild, value: str, what: str, without: str) -> None:
    """Refuse a trainer that lacks a run value required by the run's settings."""
    if value not in run.wanted_by("trainer"):
        raise UsageError(
            f"trainer '{run.name('trainer')}' cannot {what}: it takes no '{value}'\n"
            f"  train with {without}, or with --trainer supervised"
        )
