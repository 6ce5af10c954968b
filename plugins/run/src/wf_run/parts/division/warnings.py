"""Parts of a run that look at several samples at once: several processes see shares of a batch, an update its parts."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from wf.declarations.task import Task
from wf.protocols import Strategy
from wf_base import Batch, TaskRuntime, tree
from wf_data.serving import RunData
from wf_run.parts.division.comparing import FEW, computes_own, try_parts
from wf_run.run_build import RunBuild


def tell_of_norms(run: RunBuild, strategy: Strategy, model: nn.Module) -> None:
    """Say that batch norms take their means from a share of each batch."""
    still = {id(inner) for part in run.not_trained for inner in part.modules()}
    norms = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm) and id(module) not in still
    ]
    if strategy.world_size == 1 or run.plan["format"] == 1 or not norms:
        return
    advice = "" if strategy.device.type != "cuda" else "; --strategy.sync_batch_norm takes those of the whole batch"
    more = f" and {len(norms) - 1} more" if len(norms) > 1 else ""
    run.messages.append(
        f"warning: batch norm {norms[0]}{more}: means and deviations are those of each process's share of a batch, so "
        f"the figures are not those of one process{advice}"
    )


def tell_of_comparing(run: RunBuild, strategy: Strategy, task: Task | None) -> None:
    """Say that a loss which compares samples compares those of a share of each batch."""
    if strategy.world_size == 1 or run.plan["format"] == 1 or not _compares(run, task):
        return
    run.messages.append(
        f"warning: loss '{run.name('loss')}' compares the samples of a batch, and each of {strategy.world_size} "
        "processes has its share of them: fewer pairs than in one process; a larger --batch-size gives as many"
    )


def tell_of_parts(run: RunBuild, strategy: Strategy, model: Any, task: Task | None, outputs: TaskRuntime) -> None:
    """Say that loss or outputs of a batch are not those of its parts, as a few train samples show."""
    served, accumulate, num = run.values["run.served"], run.plan["accumulate"], strategy.world_size
    is_divided = (num > 1 and run.plan["format"] != 1) or accumulate > 1
    if not is_divided or not run.initialize or not isinstance(served, RunData) or run.builder.scopes:
        return
    losses = (run.values["run.trained_loss"], run.values["run.bare_loss"])
    inputs, targets, _ = served.as_trained(min(served.batch_size, FEW))
    batch = Batch(inputs, targets, None, None, tree.length(inputs))
    rough = run.plan["precision"] != "fp32"
    found = try_parts(strategy.bare(model), *losses, run.values["trainer"], outputs, batch, rough=rough)
    several, whole_run = f"each of {num} processes", "one process"
    if num == 1:
        several, whole_run = f"each of {accumulate} batches of an update", "one large batch"
    if found.loss is not None and not _compares(run, task):
        whole, mean = found.loss
        own = computes_own(run.values["trainer"])
        what = f"the loss of trainer '{run.name('trainer')}'" if own else f"loss '{run.name('loss')}'"
        run.messages.append(
            f"warning: {what} of {batch.size} samples is {whole:.4g}, and {mean:.4g} as the mean of its parts; "
            f"{several} computes its own, so the figures are not those of {whole_run}: a loss that averages over "
            "something other than samples needs total_weight(targets), and one that adds samples up reduction = 'sum'"
        )
    if found.state and num > 1:
        run.messages.append(
            f"warning: loss '{run.name('loss')}' changes its buffer '{found.state[0]}' when it is called, and "
            f"{several} has one of its own, for its share of a batch"
        )
    if found.crosses:
        run.messages.append(
            f"warning: model '{run.name('model')}': the outputs for a sample depend on the other samples of a batch, "
            f"and {several} has its own, so the figures are not those of {whole_run}"
        )


def _compares(run: RunBuild, task: Task | None) -> bool:
    """Whether the loss compares samples."""
    if task is None or "loss" not in run.plan:
        return False
    return getattr(run.traits("loss"), "predictions", None) in task.predictions
