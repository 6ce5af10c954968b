"""The model, on its device, with its initial weights, prepared by the strategy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wf.declarations.general import GENERAL
from wf.discovery.guard import Guard
from wf.engine.figures import Monitor
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base import Batch, tree
from wf_base.directions import directions
from wf_base.task import TaskRuntime
from wf_base.training.empty import is_empty
from wf_base.training.parts import Parts
from wf_data.fingerprint import of_tensors
from wf_data.serving import RunData
from wf_run.directory.kept import load_kept
from wf_run.directory.rundir import RunDirectory
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.parts.division.warnings import tell_of_norms
from wf_run.parts.initial import mapped, put_into, read_weights
from wf_run.parts.links import check_outputs
from wf_run.parts.precision import autocast_forward
from wf_run.parts.trial import check_smallest_batch
from wf_run.parts.unused import unused_parameters
from wf_run.providers.checkpointer import keeper
from wf_run.providers.training.links import know_num_outputs
from wf_run.providers.training.trainer import prepare_for_trainer
from wf_run.resuming.alike import check_parts
from wf_run.run_build import RunBuild
from wf_run.runfiles.runfile import load


def model(
    run: RunBuild, strategy: Strategy, served: RunData | OwnSamples, total_steps: int, outputs: TaskRuntime
) -> nn.Module:
    """The model to train. Its weights depend only on the run's seed."""
    run.builder.on_demand.settle("model", run.plan["model"])
    torch.manual_seed(run.plan["seed"])
    build = getattr(strategy, "build", None)
    made = (
        run.make("model")
        if build is None
        else build(partial(_made_for_strategy, run, run.plan["model"]), restored=run.values["restored"])
    )
    if not isinstance(made, nn.Module):
        raise UsageError(f"model '{run.name('model')}' is {type(made).__name__}, not a torch.nn.Module")
    if why := getattr(strategy, "built_whole", ""):
        run.messages.append(f"each process builds the whole model: {why}")
    has_values = build is None or not is_empty(made)
    if has_values:
        made.to(strategy.device)
    for part in made.children() if isinstance(made, Parts) else (made,):
        autocast_forward(part, run.plan["precision"], strategy.device)
    _check_scopes(run, strategy)
    if isinstance(served, RunData):
        if has_values:
            _try_outputs(run, made, served, outputs)
        if build is not None:
            before = run.before.values.get("num_outputs") if run.before else None
            know_num_outputs(run, run.of_the_first({"num": run.values.get("num_outputs", before)})["num"])
    if run.plan["init_from"] is not None:
        run.values.need("init_map")  # counts as used, even if only the original run used it
    if run.initialize and run.plan["init_from"] is not None and has_values:
        initialize(run, made)
    if has_values:
        run.not_trained = prepare_for_trainer(run.builder, run.plan["trainer"], made)
    if isinstance(served, RunData):
        if run.initialize and has_values:
            check_smallest(run, made, served, served.num_kept)
        if strategy.world_size > 1 and hasattr(strategy, "unused_parameters"):
            strategy.unused_parameters = unused = unused_parameters(made, served.first("train"))
            if unused:
                run.messages.append(f"no gradient reaches {', '.join(unused)}: each step searches for such parameters")
    check_parts(run, strategy, made, served)
    prepared: nn.Module = strategy.prepare(made)
    tell_of_norms(run, strategy, strategy.bare(prepared))
    return prepared


def _made_for_strategy(run: RunBuild, table: Any) -> Any:
    """The model; one without values is prepared for the trainer at once, as this may need some.

    Args:
        run: The run.
        table: The model's table as it was given; after the first call the run file has the resolved one.
    """
    run.plan["model"] = table
    made, run.not_trained = run.make("model"), []
    if is_empty(made):
        run.not_trained = prepare_for_trainer(run.builder, run.plan["trainer"], made)
    return made


def _check_scopes(run: RunBuild, strategy: Strategy) -> None:
    """Refuse several processes for a trainer with several models: their gradients would not be shared."""
    if run.builder.scopes and (strategy.world_size > 1 or getattr(strategy, "mesh", None) is not None):
        raise UsageError(
            f"trainer '{run.name('trainer')}' has several models, whose gradients several processes would not "
            "share\n  train in one process"
        )


def _try_outputs(run: RunBuild, model: nn.Module, served: RunData, outputs: TaskRuntime) -> None:
    """Refuse a model whose outputs for the first samples do not fit the task."""
    names = {kind: run.name(kind) for kind in ("dataset", "model")}
    shape = (run.values.get("num_outputs"), *served.spec.mask_shape)
    know_num_outputs(run, check_outputs(model, served.first("train"), outputs, shape, names))
    _check_resized(
        run,
        served,
        lambda inputs, sides: check_outputs(model, inputs, outputs, (shape[0], *(sides or shape[1:])), names),
    )


def _check_resized(run: RunBuild, served: RunData, check: Callable[[Tensor, tuple[int, ...]], Any]) -> None:
    """Refuse transforms that change the size only in training if the model does not accept both sizes.

    Args:
        run: The run.
        served: The run's data.
        check: Called with inputs and the ``(H, W)`` of their masks, if any.
    """
    inputs, targets, shapes = served.as_trained()
    evaluated = None if served.spec.input_shape is None else list(served.spec.input_shape)
    if not isinstance(inputs, Tensor) or list(inputs.shape[1:]) == evaluated:
        return
    sides = served.task.facts(targets[0]).get("mask_shape", ()) if isinstance(targets, Tensor) else ()
    try:
        check(inputs, sides)
    except UsageError as error:
        made = run.several("transform")
        words = " and ".join(f"'{made[position].name}' (to {shape})" for position, shape in shapes.items())
        raise UsageError(
            f"transform {words} changes the shape of samples only in training: evaluations have {evaluated}\n"
            f"  {error}\n"
            "  keep the shape, or add a transform that applies to all splits"
        ) from error


def check_smallest(run: RunBuild, model: nn.Module, served: RunData, num: int, where: str = "") -> None:
    """Refuse a last batch of one sample if training reaches it and the model cannot be trained on it."""
    size, num_processes = served.batch_size, run.values["strategy"].world_size
    if served.smallest_part(num) == 1 and run.values["total_steps"] >= served.num_batches:
        trees = [served.as_trained(few)[:2] for few in (1, 2)]
        batches = [Batch(inputs, targets, None, None, tree.length(inputs)) for inputs, targets in trees]
        processes = "" if num_processes == 1 else f" for {num_processes} processes"
        samples = f"{num:,} train samples{where}{processes}"
        check_smallest_batch(
            model,
            run.not_trained,
            batches,
            served.task,
            samples,
            size,
            run.name("model"),
            num_processes=num_processes,
            is_last=served.smallest_part(size * num_processes) > 1,
        )


def initialize(run: RunBuild, model: nn.Module) -> None:
    """Load the weights of the file or the run that ``init_from`` names."""
    weights, source = read_weights(run.plan["init_from"], run.builder.folders, partial(_weights_of, run))
    taken = put_into(model, mapped(weights, run.values["init_map"], source), source, run.plan["init_without"])
    run.init_from = {"source": source, "weights": of_tensors(weights)}
    run.messages.append(f"weights from {source}: {taken.describe()}")


def _weights_of(run: RunBuild, directory: RunDirectory) -> tuple[Any, str]:
    """The weights that another run kept, and the name of their checkpoint."""
    document = load(directory.run_file)
    monitor = document.setdefault("monitor", GENERAL["monitor"].default)
    values = {
        "run_dir": directory.path,
        "monitor": Monitor.read(monitor).figure,
        "directions": {**directions(document, run.builder), **directory.directions},
    }
    nothing = Guard(
        place=str(directory.path),
        hint="a run's code is not run to load its weights: export them to a file, and start from that\n"
        f"  wf export {directory.path} FILE.safetensors",
    )
    if ":" in document["checkpointer"]["use"]:
        nothing.check_target(document["checkpointer"]["use"])
    made = keeper(run, document["checkpointer"], values, run.registry.guarded(nothing))
    state, which = load_kept(made, document.get("keep", "last"))
    return state["parts"]["model"], which
