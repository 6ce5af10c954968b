"""The optimizer, and the parameters that it trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base.training.parts import Parts
from wf_building.built import Built
from wf_run.declared.kinds import GROUP_KEYS
from wf_run.parts.groups import Grouping, regroup, shown
from wf_run.parts.optimizers import divide_loaded, refuse_draws, refuse_undivided, shown_traits
from wf_run.parts.optimizers import param_groups as in_groups
from wf_run.run_build import RunBuild, traits_of
from wf_run.runfiles.runfile import own_table


def params(model: nn.Module, bare_loss: Any) -> list[nn.Parameter]:
    """The trained parameters, of model and loss."""
    modules = [module for module in (model, bare_loss) if isinstance(module, nn.Module)]
    return [param for module in modules for param in module.parameters() if param.requires_grad]


def param_groups(model: nn.Module, params: list[nn.Parameter]) -> list[dict[str, Any]]:
    """The trained parameters in two groups."""
    return in_groups(model, params)


def stepping(run: RunBuild, strategy: Strategy, model: nn.Module, bare_loss: Any) -> None:
    """The optimizer, or the optimizers of the trainer's scopes; none if it takes none."""
    if "optimizer" in run.builder.scopes:
        _make_optimizers(run, strategy.bare(model), bare_loss)
    elif "optimizer" in run.wanted_by("trainer"):
        asked, run.plan["optimizer"] = run.plan["optimizer"], own_table("optimizer", run.plan["optimizer"])
        optimizer, declared = run.make("optimizer"), run.traits("optimizer")
        traits = declared if declared is not None else shown_traits(optimizer)
        _divide(run, "optimizer", asked, run.built["optimizer"], strategy.bare(model), bare_loss)
        if getattr(strategy, "mesh", None) is not None and isinstance(optimizer, torch.optim.Optimizer):
            divide_loaded(optimizer, run.name("optimizer"))
            refuse_undivided(optimizer, run.name("optimizer"))
        if strategy.world_size > 1:
            refuse_draws(optimizer, run.name("optimizer"))
        run.take("optimizer", optimizer=optimizer, optimizer_traits=traits)
        if run.is_live("optimizer"):
            _check_live_optimizer(run, optimizer)
        if traits.built_from == "model":
            _check_loss_trained(run, bare_loss)
    else:
        run.plan.pop("optimizer", None)


def _make_optimizers(run: RunBuild, model: nn.Module, bare_loss: Any) -> None:
    """The optimizer of each scope, with the parameters of the model of that name, or of all models."""
    for name in run.builder.scopes["optimizer"]:
        part = model[name] if isinstance(model, Parts) and name in model else model
        params = [param for param in part.parameters() if param.requires_grad]
        own = {"model": part, "params": params, "param_groups": in_groups(part, params)}
        run.builder.within[f"optimizer.{name}"] = own
    asked = {name: table for name, table in run.plan["optimizer"].items() if name != "use"}
    tables = {name: own_table("optimizer", table) for name, table in asked.items()}
    run.plan["optimizer"] = {**run.plan["optimizer"], **tables}
    run.take("optimizer", optimizers=run.make("optimizer"))
    made = run.built["optimizer"]
    assert isinstance(made, Built)
    for name, one in made.scopes.items():
        part = run.builder.within[f"optimizer.{name}"]["model"]
        _divide(run, f"optimizer.{name}", asked[name], one, part, bare_loss)
        traits = traits_of(one) or shown_traits(one.value)
        if traits.step != "plain" or traits.modes:
            raise UsageError(
                f"optimizer.{name} '{one.name}' is stepped as '{traits.step}'{' and has modes' * traits.modes}: "
                f"trainer '{run.name('trainer')}' needs plain steps for each\n  use another, such as adam or sgd"
            )


def _divide(run: RunBuild, owner: str, asked: Any, made: Built | list[Built], model: nn.Module, bare_loss: Any) -> None:
    """Divide the parameters of an optimizer into the groups of its table, and report them."""
    grouping = Grouping.read(asked, owner)
    if grouping is None:
        return
    assert isinstance(made, Built)
    if made.entry is None:
        raise UsageError(f"{owner} is a finished object, which has its own groups of parameters")
    traits = made.entry.component.traits or shown_traits(made.value)
    found = regroup(made.value, grouping, traits, model, bare_loss, name=made.name, owner=owner)
    run.groups += [(owner, group) for group in found]
    run.messages += [f"{owner} group {group.describe()}" for group in shown(found)]
    table = run.plan["optimizer"] if owner == "optimizer" else run.plan["optimizer"][owner.partition(".")[2]]
    table.update({key: asked[key] for key in GROUP_KEYS if key in asked})


def _check_loss_trained(run: RunBuild, bare_loss: Any) -> None:
    """Refuse an optimizer that takes the model, and so misses the loss's parameters, if the loss has any."""
    if isinstance(bare_loss, nn.Module) and any(param.requires_grad for param in bare_loss.parameters()):
        raise UsageError(
            f"optimizer '{run.name('optimizer')}' trains only the model, but loss '{run.name('loss')}' has its own "
            "parameters\n"
            "  use an optimizer that takes parameters, such as adam"
        )


def _check_live_optimizer(run: RunBuild, optimizer: Any) -> None:
    """Refuse a live optimizer with other parameters, and warn about parameters that it does not train."""
    groups = getattr(optimizer, "param_groups", ())
    its = {id(param) for group in groups for param in group["params"]}
    own = [id(param) for param in run.values.need("params")]
    if its - set(own):
        raise UsageError(
            f"optimizer '{run.name('optimizer')}' has parameters that are not among the model's\n"
            "  give it the parameters of the run's own model object, model.parameters(), "
            'or let the run make it: optimizer={"use": torch.optim.SGD, "lr": 0.1}'
        )
    if left := len(own) - len(its):
        run.messages.append(f"warning: the optimizer has only {len(its)} of {len(own)} tensors; {left} stay")
