"""The loop, the states that its checkpoints hold, and its failure policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from wf.engine.loop import Loop
from wf.engine.watching import Sources
from wf.errors import UsageError
from wf.protocols import Checkpointer, Evaluator, Stateful, Strategy, Trainer
from wf_base.random import TrainStream
from wf_run.directory.hook_failures import HookFailures
from wf_run.directory.save_failures import SaveFailures
from wf_run.parts.optimizers import OptimizerModes
from wf_run.providers.hooks import watches
from wf_run.providers.monitor import checked_monitor
from wf_run.providers.training.links import evaluated_splits
from wf_run.resuming.collective import collective
from wf_run.run_build import RunBuild
from wf_run.using.opening import OWN

DATASET, TRANSFORM = "dataset", "transform/"
"""The names of states of samples, and the beginning of those of transforms."""


def loop(
    run: RunBuild,
    strategy: Strategy,
    served: Any,
    trainer: Trainer,
    evaluator: Evaluator | None,
    checkpointer: Checkpointer | None,
    hooks: Sequence[Any],
    modes: Any,
    saved: Mapping[str, Stateful],
    hook_failures: HookFailures,
    save_failures: SaveFailures,
) -> Loop:
    """The loop of the run; the cadences are those of the run file."""
    plan, evaluated = run.plan, evaluated_splits(run, served)
    monitor = checked_monitor(run, sources(run, trainer, evaluator, checkpointer, hooks), evaluated)
    return Loop(
        trainer,
        evaluator,
        collective(checkpointer, strategy),
        hooks,
        log_every=plan["log_every"],
        eval_every=run.eval_every,
        eval_splits=[name for name in plan["eval_splits"] if name in evaluated],
        final_splits=evaluated,
        checkpoint_every=run.checkpoint_every,
        keep=plan["keep"],
        monitor=monitor.figure,
        larger_is_better=monitor.larger_is_better,
        parts=saved,
        agree=bool if strategy.world_size == 1 else strategy.agree,
        name_of=hook_failures.name_of,
        hook_failed=hook_failures,
        watches=hook_failures.watches,
        save_failed=save_failures,
        modes=modes,
        of_first=run.of_the_first,
        reading=[name for name in saved if name == DATASET or name.startswith((OWN, TRANSFORM))],
    )


def sources(
    run: RunBuild,
    trainer: Trainer,
    evaluator: Evaluator | None,
    checkpointer: Checkpointer | None,
    hooks: Sequence[Any],
) -> Sources:
    """The sources of all figures of the run."""
    names = {id(built.value): f"hook '{built.name}'" for built in run.several("hook")}
    return Sources(trainer, evaluator, (checkpointer, *hooks), lambda part: names.get(id(part), "a part"))


def modes(run: RunBuild, stepping: None, hooks: Sequence[Any]) -> Any:
    """Separate evaluation weights: the `Modes` of the optimizer or of a hook, or None.

    Raises:
        UsageError: If several parts have them.
    """
    found: list[tuple[str, Any]] = []
    traits = run.values.get("optimizer_traits")
    if traits is not None and traits.modes:
        found = [(f"optimizer '{run.name('optimizer')}'", OptimizerModes(run.values["optimizer"]))]
    found += [
        (f"hook '{built.name}'", built.value.modes)
        for built in run.several("hook")
        if getattr(built.value, "modes", None) is not None
    ]
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise UsageError(f"{names} both determine the weights for evaluation\n  leave out all but one of them")
    return found[0][1] if found else None


def saved(
    run: RunBuild,
    strategy: Strategy,
    model: nn.Module,
    bare_loss: Any,
    served: Any,
    stepping: None,
    scheduler: Any,
    scaler: Any,
    modes: Any,
) -> dict[str, Stateful]:
    """The contents of a checkpoint besides the loop's own state."""
    bare = strategy.bare(model)
    stepped = {"optimizer": run.values.get("optimizer"), "scheduler": scheduler, "scaler": scaler}
    found: dict[str, Any] = {"model": bare, "random": TrainStream()}
    found |= {name: part for name, part in stepped.items() if part is not None}
    found |= {f"optimizer/{name}": one for name, one in run.values.get("optimizers", {}).items()}
    if isinstance(bare_loss, nn.Module) and bare_loss.state_dict():
        found["loss"] = bare_loss
    if modes is not None:
        found["modes"] = modes
    if run.stateful_samples is not None:
        found[DATASET] = run.stateful_samples
    found |= run.builder.states(bare.modules())
    for number, own in enumerate(served.own_transforms):
        found[f"{OWN}{number}"] = own
    for number, built in enumerate(run.several("transform")):
        if isinstance(built.value, Stateful):
            found[f"{TRANSFORM}{number}-{built.name}"] = built.value
    return found


def hook_failures(run: RunBuild, strategy: Strategy, hooks: Sequence[Any]) -> HookFailures:
    """The failure policy for hooks, and the names of the parts."""
    watching = [hook.name for hook in run.several("hook") if watches(hook) and run.on_error[hook.name] == "disable"]
    rank = None if strategy.world_size == 1 else strategy.rank
    return HookFailures({**run.built, **run.builder.on_demand.made}, run.on_error, rank, watching)


def save_failures(run: RunBuild) -> SaveFailures:
    """The failure policy for checkpoints and records."""
    return SaveFailures(run.plan["on_checkpoint_error"])
