"""Declares the command of this package; imports nothing of it."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="export",
            section="Use a run",
            summary="Write a trained model for use without wf: weights, a graph, ONNX, or its training as a script.",
            target="wf_export.cli:export",
            order=40,
        ),
    ]
