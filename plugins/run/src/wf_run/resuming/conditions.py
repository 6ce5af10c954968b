"""The conditions of a run, as stored in ``manifest.json`` and compared by `wf_run.resuming.drift`."""

from __future__ import annotations

import json
import os
import platform
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import wf
from wf.declarations.general import GENERAL, value_settings
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.discovery.modules import import_module, is_path
from wf.discovery.plugins import Plugin
from wf.typed import finite
from wf_run.parts.precision import products
from wf_run.resuming.sources import plugin_code, with_neighbours
from wf_run.runfiles.runfile import dump
from wf_state import codec
from wf_storage.checksums import sha256_of

if TYPE_CHECKING:
    from wf_run.assembly import Assembly


def conditions_of(parts: Assembly) -> dict[str, Any]:
    """The manifest fields that are compared on resume, as JSON values."""
    device, own = parts.strategy.device, own_files(parts)
    code = of_code(parts.builder.made, own)
    found = {
        "seed": parts.plan["seed"],
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "openmp": {name: os.environ[name] for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if name in os.environ},
        "world_size": parts.strategy.world_size,
        "precision": precision(),
        "determinism": determinism(),
        "versions": code["versions"],
        "schema": codec.SCHEMA,
        "components": code["components"],
        "plugin_code": code["plugin_code"],
        "dataset": parts.fingerprint(),
        "run_file": tomllib.loads(dump(parts.plan)),
        "code": code["code"],
    }
    if contributed := parts.builder.conditions():
        found["conditions"] = contributed
    return dict(json.loads(json.dumps(finite(found), default=str)))


def of_code(made: Iterable[Entry], own: Sequence[Path]) -> dict[str, Any]:
    """The manifest fields about code: versions, components, and checksums.

    Args:
        made: The components; those of plugins are imported.
        own: The user's files, with the modules that they import.
    """
    return {
        "versions": {
            "wf": wf.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "components": _provenance(made),
        "plugin_code": plugin_code(made, own),
        "code": [{"file": file.name, "sha256": sha256_of(file)} for file in own],
    }


def keys_of(parts: Assembly) -> list[dict[str, Any]]:
    """The keys of the run file that plugins added, with these plugins."""
    added = {name: GENERAL.owner(name) for name in value_settings()}
    added |= {name: KINDS.owner(name) for name in KINDS.on_demand}
    owners = {name: owner for name, owner in added.items() if name in parts.plan}
    plugins = {plugin.name: plugin for plugin in parts.registry.plugins}
    return [{"key": name, **_origin(plugins.get(owner))} for name, owner in owners.items()]


def own_files(parts: Assembly) -> list[Path]:
    """The user's files that a run uses, including those of nested components, with the modules that they import."""
    files = {file for entry in parts.builder.made if (file := _own_file(entry))}
    return sorted(with_neighbours(files | {Path(name).resolve() for name in parts.plan["plugins"] if is_path(name)}))


def device_name(device: torch.device) -> str:
    """The model of a device; for a CPU also the instruction set that torch's kernels use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def precision() -> dict[str, Any]:
    """The settings that affect rounding."""
    matmul = torch.backends.cuda.matmul
    return {
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        **products(),
        "fp16_reduced_sums": matmul.allow_fp16_reduced_precision_reduction,
        "bf16_reduced_sums": matmul.allow_bf16_reduced_precision_reduction,
    }


def determinism() -> dict[str, bool]:
    """The settings that affect the choice of kernels."""
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def _provenance(made: Iterable[Entry]) -> list[dict[str, Any]]:
    """The origin of each component, without duplicates."""
    records: list[dict[str, Any]] = []
    for component, plugin in ((entry.component, entry.plugin) for entry in made):
        record: dict[str, Any] = {
            "kind": component.kind,
            "name": component.name,
            "target": component.target_name,
            **_origin(plugin),
        }
        if component.moved_from:
            record["moved_from"] = dict(component.moved_from)
        if record not in records:
            records.append(record)
    return records


def _origin(plugin: Plugin | None) -> dict[str, str | None]:
    """The manifest fields that name the plugin of a component."""
    return {
        "plugin": plugin.name if plugin else None,
        "distribution": plugin.distribution if plugin else None,
        "version": plugin.version if plugin else None,
    }


def _own_file(entry: Entry) -> Path | None:
    """The source file of the user's own code."""
    if entry.plugin is not None or not isinstance(entry.component.target, str):
        return None
    file = import_module(entry.component.target.rpartition(":")[0]).__file__
    return Path(file).resolve() if file else None


def _processor() -> str:
    """The processor's model, as far as the system tells."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
