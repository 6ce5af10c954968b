"""Opens a bundle: rebuilds its model with the weights and the transforms before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_building.builder import Builder
from wf_building.built import LIVE
from wf_run.bundle.folder import DATA, GRAPH, STATE, STATE_TENSORS, WEIGHTS, BundleFolder
from wf_run.bundle.graph import read_graph
from wf_run.bundle.rebuild import OWN_KEYS, texts
from wf_run.description import read_description
from wf_run.runfiles.runfile import RunFile
from wf_run.using.opening import GraphOf, made_again
from wf_run.using.trained import Trained
from wf_state import codec


def open_bundle(
    bundle: BundleFolder,
    document: Mapping[str, Any],
    registry: Registry,
    folders: Sequence[Path],
    model: nn.Module | None = None,
    device: str | None = None,
    *,
    by_graph: bool = False,
) -> Trained:
    """The trained model of a bundle; neither the training data nor the dataset's plugin are needed.

    Args:
        bundle: The folder, verified.
        document: Its run file.
        registry: Where names are looked up.
        folders: The folders with its code.
        model: A module for its weights, where the bundle says that its own cannot be made again.
        device: As for `wf_run.api.load_model`.
        by_graph: Whether its exported graph stands for the model, rather than its components.

    Raises:
        UsageError: If it has only weights, and no model is given or none would help.
    """
    rebuild = bundle.manifest["rebuild"]
    if (
        not by_graph
        and bundle.rebuild in ("weights only", "exported graph")
        and (model is None or rebuild["lacks"] != "model")
    ):
        lines = [f"{bundle.path} has weights only: {rebuild['why']}"]
        if rebuild["lacks"] == "model":
            lines.append(f"give their module: wf.load_model({str(bundle.path)!r}, model=...)")
        lines.append(f"read them without wf: safetensors.torch.load_file({str(bundle.path / WEIGHTS)!r})")
        raise UsageError("\n  ".join(lines))
    description = read_description(bundle.path)
    if description is None:
        raise DataError(f"bundle {bundle.path} is damaged: it has no {DATA}")

    def load(builder: Builder, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        return states_of(bundle)

    graph = None
    if by_graph:
        read = partial(read_graph, bundle.path / GRAPH, str(bundle.path / GRAPH))
        graph = GraphOf(read=read, target_transforms=tuple(rebuild.get("target_transforms", ())))
    return made_again(
        bundle.path, bundle.manifest, description, document, registry, folders, load, model, graph, device
    )


def document_by_graph(document: Mapping[str, Any], rebuild: Mapping[str, Any]) -> RunFile:
    """The run file of a bundle for its graph: without the components that are in it, and without any code.

    Args:
        document: The bundle's.
        rebuild: What the bundle says of its rebuilding.
    """
    kept = {
        key: value
        for key, value in document.items()
        if key in ("format", "dataset", "task", "transform") or key in OWN_KEYS
    }
    kept.pop("plugins", None)
    for key in ("loss", "evaluator"):
        if key in document and not _names_code(document[key]):
            kept[key] = document[key]
    kept["metric"] = [table for table in document.get("metric", ()) if not _names_code(table)]
    numbers = rebuild.get("target_transforms", ())
    live = {"use": f"{LIVE}graph"}
    kept["transform"] = [one if at in numbers else live for at, one in enumerate(document.get("transform", ()))]
    return kept


def _names_code(table: Any) -> bool:
    """Whether a component is the user's own code, or has an option that is."""
    return any(":" in text for text in texts(table))


def states_of(bundle: BundleFolder) -> dict[str, Any]:
    """The states in a bundle, by their names in checkpoints."""
    state = codec.decode(bundle.json(STATE), bundle.tensors(STATE_TENSORS))
    return {**state["parts"], "model": {**bundle.tensors(WEIGHTS), **state["model"]}}
