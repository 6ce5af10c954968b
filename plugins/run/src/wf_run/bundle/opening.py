"""Opens a bundle: the model in it, made again with its weights and what comes before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_building.builder import Builder
from wf_run.bundle.folder import DATA, STATE, STATE_TENSORS, WEIGHTS, BundleFolder
from wf_run.description import read_description
from wf_run.using.trained import Trained, made_again
from wf_state import codec


def open_bundle(
    bundle: BundleFolder,
    document: Mapping[str, Any],
    registry: Registry,
    folders: Sequence[Path],
    model: nn.Module | None = None,
) -> Trained:
    """The trained model of a bundle; neither the training data nor the dataset's plugin are needed.

    Args:
        bundle: The folder, verified.
        document: Its run file.
        registry: Where names are looked up.
        folders: Where its code is.
        model: A module for its weights, where the bundle says that it has weights only.

    Raises:
        UsageError: When it has weights only, and no model is given or none would help.
    """
    rebuild = bundle.manifest["rebuild"]
    if bundle.rebuild == "weights only" and (model is None or rebuild["lacks"] != "model"):
        lines = [f"{bundle.path} has weights only: {rebuild['why']}"]
        if rebuild["lacks"] == "model":
            lines.append(f"give the module that they are for: wf.load_model({str(bundle.path)!r}, model=...)")
        lines.append(f"read them without wf: safetensors.torch.load_file({str(bundle.path / WEIGHTS)!r})")
        raise UsageError("\n  ".join(lines))
    description = read_description(bundle.path)
    if description is None:
        raise DataError(f"bundle {bundle.path} is damaged: it has no {DATA}")

    def load(builder: Builder, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        return states_of(bundle)

    return made_again(bundle.path, bundle.manifest, description, document, registry, folders, load, model)


def states_of(bundle: BundleFolder) -> dict[str, Any]:
    """The states in a bundle, by the names that they have in checkpoints."""
    state = codec.decode(bundle.json(STATE), bundle.tensors(STATE_TENSORS))
    return {**state["parts"], "model": {**bundle.tensors(WEIGHTS), **state["model"]}}
