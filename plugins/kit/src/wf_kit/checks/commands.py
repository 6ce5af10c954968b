"""Checks of commands."""

from __future__ import annotations

from wf_kit.kit import Subject, check, expect


@check("command-help", "command", after=("loads",), fix="decorate it with @click.command(), and give it a docstring")
def explains_itself(subject: Subject) -> None:
    """Its target is a click command with a help text."""
    import click  # only needed for commands

    command = subject.entry.load()
    expect(isinstance(command, click.Command), f"its target is {type(command).__name__}, not a click command")
    assert isinstance(command, click.Command)
    expect((command.help or "").strip(), "it has no help")
