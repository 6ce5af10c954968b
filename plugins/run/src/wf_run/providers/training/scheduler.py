"""The scheduler."""

from __future__ import annotations

from typing import Any

import torch

from wf.errors import UsageError
from wf.traits import SchedulerTraits
from wf_data.serving import RunData
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.run_build import RunBuild


def scheduler(run: RunBuild, served: RunData | OwnSamples, stepping: None) -> Any:
    """The scheduler, and its stepping interval; None if the run has none."""
    run.values["scheduler_interval"] = "epoch"
    if not run.plan.get("scheduler"):
        return None
    if "optimizer" in run.builder.scopes:
        raise UsageError(
            f"trainer '{run.name('trainer')}' has several optimizers, and scheduler '{run.name('scheduler')}' "
            "changes one\n  leave it out"
        )
    _check_has_rate(run)
    made = run.make("scheduler")
    if run.is_live("scheduler") and getattr(made, "optimizer", None) is not run.values["optimizer"]:
        raise UsageError(
            f"scheduler '{run.name('scheduler')}' belongs to another optimizer than the run's\n"
            "  pass its optimizer to the run as well, or a function of `optimizer` that makes the scheduler"
        )
    traits = run.traits("scheduler")
    waits = isinstance(made, torch.optim.lr_scheduler.ReduceLROnPlateau)
    default = "evaluation" if waits else "epoch"
    interval = traits.interval if isinstance(traits, SchedulerTraits) else default
    if interval == "epoch" and served.num_batches is None:
        raise UsageError(
            f"scheduler '{run.name('scheduler')}' counts epochs, but trainer '{run.name('trainer')}' does not give "
            "the length of an epoch\n"
            "  use one that counts steps, or return steps_per_epoch from its run_values"
        )
    run.values["scheduler_interval"] = interval
    return made


def _check_has_rate(run: RunBuild) -> None:
    """Refuse a scheduler for an optimizer without a learning rate."""
    optimizer = run.values.get("optimizer")
    if any(group.get("lr") is None for group in getattr(optimizer, "param_groups", ())):
        raise UsageError(
            f"optimizer '{run.name('optimizer')}' has no learning rate that scheduler '{run.name('scheduler')}' "
            "could change\n  leave the scheduler out, or use an optimizer with a learning rate, such as adam"
        )
