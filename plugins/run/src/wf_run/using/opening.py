"""Opens the trained model of a run: its parts are built again without the training data, and get their saved states."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wf.blame import FAILURES, naming_culprit
from wf.declarations.general import GENERAL, value_settings
from wf.declarations.values import VALUES
from wf.discovery.modules import describe
from wf.errors import DataError, UsageError, WfError
from wf.registry import Registry
from wf.traits import DatasetTraits
from wf.typed import finite
from wf_base.random import own_stream
from wf_base.reading import Reader
from wf_base.training.parts import Parts
from wf_building.builder import Builder
from wf_building.built import LIVE, Built
from wf_building.defaults import default_of, missing
from wf_building.resolver import Resolver
from wf_data.transforms.step import Step
from wf_run.description import Description
from wf_run.directory.kept import KEPT, load_chosen
from wf_run.directory.rundir import RunDirectory
from wf_run.parts.device import choose_device, or_another
from wf_run.parts.precision import autocast_forward, default_dtype, dtype_named
from wf_run.providers.data.transforms import transform_of
from wf_run.providers.training.trainer import prepare_for_trainer
from wf_run.runfiles.runfile import own_table
from wf_run.using.network import GraphModel, TrainedModel
from wf_run.using.trained import Trained
from wf_storage.folders import data_dir

OWN = "transform/dataset-"
"""The name of the dataset's own transforms in checkpoints, followed by their number."""


def open_trained(
    directory: RunDirectory,
    description: Description,
    document: Mapping[str, Any],
    registry: Registry,
    folders: Sequence[Path] = (),
    checkpoint: str = KEPT,
    model: nn.Module | None = None,
    device: str | None = None,
) -> Trained:
    """The model of a run directory with its weights, without its data or dataset.

    Args:
        directory: The run directory.
        description: The description of its data.
        document: Its run file.
        registry: Where names are looked up.
        folders: Where relative paths of the run file are looked up.
        checkpoint: ``kept``, ``latest``, ``best`` or a checkpoint's name, see `wf_run.directory.kept`.
        model: The module for the weights, if the run file's model cannot be rebuilt.
        device: As for `wf_run.api.load_model`.

    Raises:
        DataError: If no such checkpoint is intact.
        UsageError: If a component cannot be built, or a fitted transform has no saved state.
    """

    def load(builder: Builder, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        checkpointer = builder.build("checkpointer", plan["checkpointer"]).value
        saved: Mapping[str, Any] = load_chosen(checkpointer, checkpoint, plan["keep"])[0]["parts"]
        return saved

    source = directory.path, directory.manifest, description
    return made_again(*source, document, registry, folders, load, model, device=device)


Load = Callable[[Builder, Mapping[str, Any]], Mapping[str, Any]]
"""A function of the run's builder and plan that returns the states of the parts, by their names in checkpoints."""


@dataclass(frozen=True, kw_only=True)
class GraphOf:
    """An exported graph, for the model and the transforms of inputs of a run."""

    read: Callable[[torch.device], nn.Module]
    """Gives the graph as a module on a device."""
    target_transforms: tuple[int, ...]
    """The transforms of targets, by their numbers in the run file: these are not in the graph."""


def made_again(
    place: Path,
    manifest: Mapping[str, Any],
    description: Description,
    document: Mapping[str, Any],
    registry: Registry,
    folders: Sequence[Path],
    load: Load,
    model: nn.Module | None = None,
    graph: GraphOf | None = None,
    device: str | None = None,
) -> Trained:
    """A trained model from its parts: a run directory's, or a bundle's.

    Args:
        place: Its directory.
        manifest: Its manifest.
        description: The description of the run's data.
        document: Its run file, with at least the needed components.
        registry: Where names are looked up.
        folders: Where relative paths of the run file are looked up.
        load: Returns the states.
        model: The module for the weights, if the model cannot be rebuilt; None builds the run file's model.
        graph: The exported graph to take in the place of the model and the transforms of inputs.
        device: As for `wf_run.api.load_model`.

    Raises:
        UsageError: If a component cannot be built, or a fitted transform has no saved state.
    """
    plan = {**{name: param.default for name, param in GENERAL.items()}, **document}
    values = {"seed": plan["seed"], "data_dir": data_dir(), "run_dir": place, "monitor": plan["monitor"]}
    values["restored"] = True
    values |= {name: plan[name] for name in value_settings()}
    values |= {**description.spec.values(), **description.values, "learned": description.learned}
    placed = values["device"] = choose_device(device or or_another(plan["device"]))[0]
    builder = Builder(registry, values, folders, dict(plan), partial(own_stream, plan["seed"]))
    dtype = dtype_named(manifest.get("precision", {}).get("default_dtype"))
    with naming_culprit(registry.plugins), default_dtype(dtype):
        strategy = default_of(registry, "strategy")  # one process, however it was trained
        if strategy is None:
            raise missing(registry, "strategy")
        builder.values["strategy"] = builder.build("strategy", {"use": strategy}).value
        saved = load(builder, plan)
        if graph is not None:
            model = graph.read(placed)
        elif model is None:
            _refuse_live(plan["model"]["use"], place)
            torch.manual_seed(plan["seed"])
            model = builder.build("model", plan["model"]).value
            if not isinstance(model, nn.Module):
                raise UsageError(f"model '{plan['model']['use']}' is {type(model).__name__}, not a torch.nn.Module")
            model.to(placed)
            for part in model.children() if isinstance(model, Parts) else (model,):
                autocast_forward(part, plan["precision"], placed)
            if "trainer" in plan:
                prepare_for_trainer(builder, plan["trainer"], model)
        if graph is None:
            model.to(placed).load_state_dict(saved["model"])
        builder.values["model"] = model
        reader = _reader(builder, str(plan["dataset"]["use"]), description) if "dataset" in plan else None
        own = () if graph else _own_transforms(reader, saved)
        tables = dict(enumerate(plan.get("transform", [])))
        if graph is not None:
            tables = {number: tables[number] for number in graph.target_transforms}
        steps = _steps(own, _transforms(builder, tables, saved))
        if description.inputs is not None:
            steps = [step.placed(description.inputs) for step in steps]
        network = (GraphModel if graph else TrainedModel)(model, description.inputs, steps)
        if isinstance(network, GraphModel):
            network.before = _before(manifest, saved)
    return Trained(network.eval(), description, plan, builder, reader, saved.get("loss"))


def _refuse_live(use: Any, place: Path) -> None:
    """Refuse a model that came from a Python session, with advice."""
    if isinstance(use, str) and use.startswith(LIVE):
        raise UsageError(
            f"model: this run used a live object ({use.removeprefix(LIVE)}), which cannot be rebuilt from its file\n"
            f"  give one: wf.load_model({str(place)!r}, model=...)"
        )


def _reader(builder: Builder, use: str, description: Description) -> Reader | WfError | None:
    """The dataset's reader, or the reason why it cannot be made; its class is named by the dataset's plugin.
    Parameters missing from its description are run values, such as a `tokenizer`.
    """
    if description.reader is None or ":" in use or use.startswith(LIVE):
        return None
    try:
        entry = builder.registry.find("dataset", use)
        traits = entry.component.traits
        if not isinstance(traits, DatasetTraits) or traits.reader is None:
            return None
        target: Any = traits.reader if isinstance(traits.reader, type) else entry.imported(traits.reader)
        try:
            made: Reader = target(**description.reader, **_of_run(target, description.reader, builder.values))
        except FAILURES as error:
            if isinstance(error, WfError):
                raise
            why = f"the run's description does not fit the reader {traits.reader}: {describe(error)}"
            raise DataError(why) from error
    except WfError as error:
        return error
    return made


def _of_run(target: Any, given: Mapping[str, Any], values: Resolver) -> dict[str, Any]:
    """The run values that a reader's class takes in addition to its description."""
    params = inspect.signature(target).parameters.values()
    wanted = [one.name for one in params if one.default is one.empty and one.name in VALUES and one.name not in given]
    return {name: values.need(name) for name in wanted if values.provides(name)}


def _own_transforms(reader: Reader | WfError | None, saved: Mapping[str, Any]) -> list[Any]:
    """The dataset's own transforms, applied before all others, made by its reader and with their states loaded."""
    names = [name for name in saved if name.startswith(OWN)]
    if not names:
        return []
    if isinstance(reader, WfError):
        raise reader
    found = list(getattr(reader, "transforms", tuple)())
    if len(found) != len(names):
        raise UsageError(
            "the dataset's own transforms are unknown without its data: its reader does not make them\n"
            "  the reader needs a method transforms(), see Dataset.transforms"
        )
    for number, own in enumerate(found):
        own.load_state_dict(saved[f"{OWN}{number}"])
    return found


def _steps(own: Sequence[Any], transforms: Sequence[tuple[Built, str | None]]) -> list[Step]:
    """The dataset's transforms and the run's, in the order in which they are applied."""
    given = [(one, False) for one in own] + [transform_of(built, leaf) for built, leaf in transforms]
    return [Step.of(position, *one) for position, one in enumerate(given)]


def _transforms(
    builder: Builder, tables: Mapping[int, Any], saved: Mapping[str, Any]
) -> list[tuple[Built, str | None]]:
    """The transforms of a run file, by their numbers in it, with their states, and the leaf that each one changes."""
    found = []
    for number, table in tables.items():
        built = builder.build("transform", own_table("transform", table))
        state = saved.get(f"transform/{number}-{built.name}")
        if state is not None:
            built.value.load_state_dict(state)
        elif hasattr(built.value, "fit") and _is_deterministic(built):
            raise UsageError(
                f"transform '{built.name}' was fitted, but no checkpoint has its state: it has no state_dict and "
                "load_state_dict\n"
                "  without them the model can be used only in the same process, right after fit()"
            )
        found.append((built, table.get("leaf")))
    return found


def _is_deterministic(built: Built) -> bool:
    """Whether a transform is also applied in evaluations."""
    return not Step.of(0, *transform_of(built, None)).train_only


def _before(manifest: Mapping[str, Any], saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The preprocessing of a bundle by its names and its fitted values, without the transforms themselves."""
    states = {name.partition("-")[2]: state for name, state in saved.items() if name.startswith("transform/")}
    return [
        {"use": name, **({"fitted": finite(dict(states[name]))} if states.get(name) else {})}
        for name in manifest.get("transforms", ())
    ]
