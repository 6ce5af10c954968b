"""Parts of a run that look at several samples at once: with several processes each looks at its share of a batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from wf.declarations.task import Task
from wf.protocols import Strategy
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
    if strategy.world_size == 1 or run.plan["format"] == 1 or task is None:
        return
    if getattr(run.traits("loss"), "predictions", None) not in task.predictions:
        return
    run.messages.append(
        f"warning: loss '{run.name('loss')}' compares the samples of a batch, and each of {strategy.world_size} "
        "processes has its share of them: fewer pairs than in one process; a larger --batch-size gives as many"
    )
