"""The length of the run."""

from __future__ import annotations

import math

from wf.declarations.general import GENERAL
from wf.errors import UsageError
from wf_data.serving import RunData
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.run_build import RunBuild

TARGET_STEPS, MAX_EPOCHS = 1000, 200
"""The default length of a run: about this many steps, but at most this many epochs."""


def total_steps(run: RunBuild, served: RunData | OwnSamples) -> int:
    """The number of updates of the run, and of its epochs, if these have an end."""
    plan, num_batches = run.plan, served.num_batches
    if num_batches is None:
        return _steps_without_epochs(run)
    if plan["epochs"] is None and plan["steps"] is None:
        plan["epochs"] = max(1, min(MAX_EPOCHS, math.ceil(TARGET_STEPS / num_batches)))
        run.messages.append(f"epochs {plan['epochs']} (for about {TARGET_STEPS:,} steps; set it with --epochs)")
    total: int = max(1, plan["steps"] if plan["epochs"] is None else num_batches * plan["epochs"])
    run.values["total_epochs"] = math.ceil(total / num_batches)
    return total


def _steps_without_epochs(run: RunBuild) -> int:
    """The length of a run whose epochs have no end."""
    plan, name = run.plan, run.name("trainer")
    fix = "\n  count steps, or return steps_per_epoch from the trainer's run_values"
    if plan["epochs"] is not None:
        raise UsageError(f"trainer '{name}' does not give the length of an epoch: --epochs {plan['epochs']}{fix}")
    for key, cadence in (("eval_every", run.eval_every), ("checkpoint_every", run.checkpoint_every)):
        if cadence is None or cadence.unit != "epochs" or (key == "eval_every" and "evaluator" not in plan):
            continue
        if plan[key] != GENERAL[key].default:
            raise UsageError(f"trainer '{name}' does not give the length of an epoch: {key} {plan[key]}{fix}")
        run.messages.append(f"warning: evaluated only at the end: trainer {name} has no epochs; see --eval-every")
    if plan["steps"] is None:
        plan["steps"] = TARGET_STEPS
        run.messages.append(f"steps {plan['steps']:,} (set it with --steps)")
    return max(1, int(plan["steps"]))
