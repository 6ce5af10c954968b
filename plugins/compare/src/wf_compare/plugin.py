"""Declares the commands of this package; imports none of them."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="compare",
            section="Train",
            summary="Train rows of runs with the same seeds and compare them, or compare finished runs.",
            target="wf_compare.cli:compare",
            order=30,
        ),
    ]
