"""Finds the checkpoint with the weights that a run keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wf.protocols import Checkpointer

KEPT = "kept"
"""Stands for ``best`` if the run keeps the best weights and has any, else for ``latest``."""


def load_chosen(checkpointer: Checkpointer, which: str, keep: str) -> tuple[Mapping[str, Any], str]:
    """The state of a checkpoint, and the checkpoint's name.

    Args:
        checkpointer: The run's.
        which: ``kept``, or a name for the checkpointer: ``latest``, ``best`` or a checkpoint's name.
        keep: The run file's choice of weights: ``last`` or ``best``.

    Raises:
        DataError: If there is no intact checkpoint.
    """
    return load_kept(checkpointer, keep) if which == KEPT else (checkpointer.load(which), which)


def load_kept(checkpointer: Checkpointer, keep: str) -> tuple[Mapping[str, Any], str]:
    """The state with the weights that the run keeps, and the checkpoint's name, by the same rule as at the end of a
    run."""
    state = checkpointer.load("latest")
    if keep == "best" and state.get("best") is not None:
        return checkpointer.load("best"), "best"
    return state, "latest"
