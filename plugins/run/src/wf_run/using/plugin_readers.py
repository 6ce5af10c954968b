"""The readers of plugins: inputs for predictions from files with an ending of their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from wf.blame import FAILURES, blame
from wf.discovery.entry import Entry
from wf.errors import PluginError, UsageError, WfError
from wf.registry import Registry
from wf_base.tree import Tree
from wf_building.built import origin_of
from wf_data.inputs import Read


def file_readers(registry: Registry) -> dict[str, Read]:
    """The readers of plugins, by the ending of the files."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in registry.entries("reader"):
        for ending in entry.component.traits.endings:
            found.setdefault(ending, {})[entry.component.name] = entry
    return {ending: partial(_read_by, registry, entries) for ending, entries in found.items()}


def _read_by(registry: Registry, entries: Mapping[str, Entry], path: Path) -> Tree:
    """The inputs that a plugin's reader finds in a file; `entries` are the readers for its ending, by name.

    Raises:
        UsageError: If several plugins read such files.
        PluginError: If it does not return tensors.
    """
    if len(entries) > 1:
        choices = " and ".join(f"'{name}' of {entry.provider}" for name, entry in entries.items())
        leave = " or ".join(f"-p no:{entry.provider}" for entry in entries.values())
        raise UsageError(f"several readers read files like '{path}': {choices}\n  leave one of them out: {leave}")
    entry = registry.find("reader", *entries)
    owner = f"reader '{entry.component.name}' of {origin_of(entry)}"
    try:
        found: Tree = entry.load()(path)
    except WfError:
        raise
    except FAILURES as error:
        blame(error, f"{owner}, reading {path}")
        raise
    if not isinstance(found, (Mapping, tuple, list)) and not hasattr(found, "shape"):
        raise PluginError(f"{owner} gave {type(found).__name__} for {path}; it must return the inputs, [N, ...]")
    return found
