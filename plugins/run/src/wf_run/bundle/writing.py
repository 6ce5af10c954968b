"""Makes the bundle of a run: the model with everything needed to use it elsewhere."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from wf.discovery.distributions import builtin_names
from wf.discovery.modules import normalize
from wf.errors import UsageError
from wf.protocols import Stateful
from wf.typed import finite
from wf_base.shards import is_sharded, whole_state
from wf_run.assembly import Assembly
from wf_run.bundle import card, folder, schema
from wf_run.bundle.graph import graph_file
from wf_run.bundle.rebuild import Rebuild, document_of
from wf_run.directory.rundir import RunDirectory
from wf_run.resuming.conditions import own_files
from wf_run.runfiles.runfile import dump
from wf_run.trust.records import record, record_graph
from wf_run.using.network import TrainedModel
from wf_state import codec
from wf_storage import files

_FROM_RUN = ("precision", "versions", "device", "started", "samples", "dataset")
"""The fields of the run's manifest that its bundle repeats."""


MOST = 50_000_000
"""A model with more parameters has a graph beside its components only where it needs one."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run, for its bundle."""

    rebuild: Rebuild
    states: Mapping[str, Mapping[str, Any]]
    """The states of the model and of what is kept with it, by their names in checkpoints."""
    metrics: Mapping[str, Any]
    steps: int
    epochs: int
    best: bool
    """Whether the weights are the best ones, rather than the last."""


def states_for(parts: Mapping[str, Stateful]) -> dict[str, Mapping[str, Any]]:
    """The states for a bundle, with whole tensors; processes of which each holds a part of the model call it together.

    Args:
        parts: The parts of the run that have a state, by their names in checkpoints.
    """
    kept = [name for name in parts if name in ("model", "loss") or name.startswith("transform/")]
    return {name: whole_state(parts[name].state_dict()) for name in kept}


def write_bundle(parts: Assembly, directory: RunDirectory, made: Outcome) -> Rebuild:
    """Write ``bundle/`` into a run directory; returns how its model is made again, now that it was tried.

    Raises:
        SaveError: When it cannot be written.
        CodecError: For a state that cannot be saved without a pickle.
    """
    place, manifest, rebuild = directory.path / folder.NAME, directory.manifest, made.rebuild
    description = parts.describe_data()
    document = _relocated(document_of(parts), _copies(parts, manifest))
    weights, others = _weights(made.states["model"])
    fitted = {name: state for name, state in made.states.items() if name != "model"}
    state, tensors = codec.encode({"parts": fitted, "model": others})
    contents = {
        folder.RUN_FILE: dump(document).encode(),
        folder.DATA: (json.dumps(description.record(), allow_nan=False) + "\n").encode(),
        folder.WEIGHTS: save(weights),
        folder.STATE: (json.dumps(state) + "\n").encode(),
        folder.STATE_TENSORS: save({name: tensor.contiguous() for name, tensor in tensors.items()}),
    }
    if rebuild.by == "exported graph" or (rebuild.by == "components" and _is_elsewhere(parts)):
        try:
            if any(map(is_sharded, parts.values["model"].parameters())):
                raise UsageError("the model is divided among processes, and a graph of one process would lack the rest")
            contents[folder.GRAPH] = graph_file(_network(parts))
        except UsageError as error:
            rebuild = replace(rebuild, **_without_graph(rebuild, str(error)))
    if made.rebuild.by == "code":
        contents |= {
            f"code/{file.relative_to(directory.path / 'code').as_posix()}": files.read(file)
            for file in sorted((directory.path / "code").rglob("*"))
            if file.is_file()
        }
    needed = {kind for kind in document if kind in ("dataset", "transform", "model", "trainer", "loss", "metric")}
    needed |= {"task", *(kind for kind in document if kind in parts.builder.on_demand.made)}
    says = {
        "name": directory.path.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "rebuild": asdict(rebuild),
        "task": description.task,
        "class_names": list(description.spec.class_names),
        "model": {"use": document["model"]["use"], "parameters": _num_parameters(parts.values["model"])},
        "transforms": [_name_of(step) for step in parts.data.steps if not step.train_only],
        "inputs": schema.inputs_of(description, parts.reader),
        "outputs": schema.outputs_of(description),
        "training": {
            "dataset": description.spec.name,
            "steps": made.steps,
            "epochs": made.epochs,
            "weights": "best" if made.best else "last",
            "metrics": dict(made.metrics),
        },
        "components": [one for one in manifest.get("components", ()) if one["kind"] in needed],
        **{key: manifest[key] for key in _FROM_RUN if key in manifest},
    }
    says = json.loads(json.dumps(finite(says), default=str))
    contents[folder.CARD] = card.text(says).encode()
    folder.write(place, says, contents)
    if made.rebuild.by == "code":
        record(place, [(document, (place, place / "code"))], parts.registry)
    if folder.GRAPH in contents:
        record_graph(place, folder.GRAPH, hashlib.sha256(contents[folder.GRAPH]).hexdigest())
    return rebuild


def _network(parts: Assembly) -> TrainedModel:
    """The model with its preprocessing on the CPU, apart from the run's."""
    model, steps = parts.values["model"], parts.data.steps
    try:
        network = copy.deepcopy(TrainedModel(model, parts.data.inputs, steps))
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UsageError(f"it cannot be copied: {error}") from error
    return network.cpu().eval()


def _is_elsewhere(parts: Assembly) -> bool:
    """Whether the model comes from a plugin that is not part of wf, and may be missing where the bundle is used."""
    entry = parts.entry("model")
    plugin = None if entry is None else entry.plugin
    if plugin is None or plugin.distribution is None or normalize(plugin.distribution) in builtin_names():
        return False
    return _num_parameters(parts.values["model"]) <= MOST


def _without_graph(rebuild: Rebuild, why: str) -> dict[str, Any]:
    """What changes where no graph could be written."""
    if rebuild.by == "components":
        return {"why": f"without a graph beside them: {why}"}
    return {"by": "weights only", "why": f"{rebuild.why}; {why}"}


def _weights(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a state_dict, none sharing memory, and its other values."""
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in state.items()
        if isinstance(value, Tensor) and value.layout == torch.strided
    }
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def _num_parameters(model: nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


def _name_of(step: Any) -> str:
    return str(step.table.get("use", type(step.transform).__name__))


def _copies(parts: Assembly, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The path in the bundle of each user's file, by its original path."""
    return {
        str(file): f"code/{copy['file']}"
        for file, copy in zip(own_files(parts), manifest.get("code", ()), strict=False)
    }


def _relocated(value: Any, copies: Mapping[str, str]) -> Any:
    """A run file whose user code is replaced by the copies beside it."""
    if isinstance(value, Mapping):
        return {key: _relocated(one, copies) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_relocated(one, copies) for one in value]
    if not isinstance(value, str) or not copies:
        return value
    head, colon, attribute = value.rpartition(":")
    path = head if colon and attribute.isidentifier() else value
    if not path.endswith(".py"):
        return value
    copy = copies.get(str(Path(path).expanduser().resolve()))
    return value if copy is None else f"{copy}{value[len(path) :]}"
