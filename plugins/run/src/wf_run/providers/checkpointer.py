"""The checkpointer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wf.protocols import Checkpointer
from wf.registry import Registry
from wf_building.builder import Builder
from wf_run.run_build import RunBuild


def checkpointer(run: RunBuild) -> Checkpointer | None:
    """The checkpointer; None if nothing is written."""
    return run.make("checkpointer") if run.save else None


def keeper(
    run: RunBuild, table: Mapping[str, Any], values: Mapping[str, Any], registry: Registry | None = None
) -> Checkpointer:
    """Build a checkpointer from a table, for another run."""
    builder = Builder(registry or run.registry, values, run.builder.folders)
    made: Checkpointer = builder.build("checkpointer", table).value
    return made
