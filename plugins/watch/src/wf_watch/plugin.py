"""Declares the commands of this package; imports none of them."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="runs",
            section="Use a run",
            summary="List the runs below runs/ or FOLDER, by dataset, with their settings, progress and results.",
            target="wf_watch.cli.runs:runs",
            alone=True,
            order=10,
        ),
        Command(
            name="watch",
            section="Use a run",
            summary="Watch a run that trains on this machine: curves, load and the last records.",
            target="wf_watch.cli.watching:watch",
            alone=True,
            order=15,
        ),
    ]
