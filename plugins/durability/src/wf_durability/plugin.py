"""Declares the checkpointer, the commands and the setting of this package; imports none of them."""

from __future__ import annotations

from wf import Command, Component, Param, hookimpl


@hookimpl
def wf_components() -> list[Component]:
    """The checkpointer of this package."""
    return [
        Component(
            "checkpointer",
            "directory",
            "wf_durability.checkpointer:DirectoryCheckpointer",
            "one directory per checkpoint, committed atomically",
            default=True,
            moved_from={"wf-training": "wf_training.checkpointer:DirectoryCheckpointer"},
        ),
    ]


@hookimpl
def wf_settings() -> list[Param]:
    """The general key of this package."""
    text = "Number of newest checkpoints to keep, besides the best one; short for --checkpointer.keep_last."
    return [Param(name="keep_checkpoints", type=int | None, default=None, help=text, may_change=True, metavar="N")]


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="resume",
            section="Train",
            summary="Resume a run from its newest checkpoint.",
            target="wf_durability.cli.resuming:resume",
            order=20,
        ),
        Command(
            name="replay",
            section="Use a run",
            summary="Run a run again from its run file, and compare each figure and the weights.",
            target="wf_durability.cli.replay:replay",
            order=60,
        ),
        Command(
            name="prove-resume",
            section="Use a run",
            summary="Train a run twice, uninterrupted and with kill -9, and compare everything bit for bit.",
            target="wf_durability.cli.prove_resume:prove_resume",
            alone=True,
            order=70,
        ),
    ]
