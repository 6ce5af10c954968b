"""Declares the commands of this package; imports none of them."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="new-plugin",
            section="Write a plugin",
            summary="Write a plugin package to start from, with tests and CI.",
            target="wf_kit.cli.new_plugin:new_plugin",
            alone=True,
            order=10,
        ),
        Command(
            name="check",
            section="Write a plugin",
            summary="Check whether a plugin's components, or one component, conform to their kind.",
            target="wf_kit.cli.check:check",
            alone=True,
            order=20,
        ),
    ]
