"""Declares the command of this package; imports nothing of it."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="serve",
            section="Use a run",
            summary="Answer HTTP with a trained model, by default only for this machine.",
            target="wf_serve.cli:serve",
            alone=True,
            order=45,
        ),
    ]
