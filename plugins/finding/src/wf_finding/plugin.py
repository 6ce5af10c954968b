"""Declares the commands of this package; imports none of them."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="find-lr",
            section="Train",
            summary="Try rising learning rates for some steps, and suggest one.",
            target="wf_finding.cli:find_lr",
            alone=True,
            order=32,
            examples=(("wf find-lr --dataset iris --optimizer sgd", "A learning rate for that run."),),
        ),
        Command(
            name="find-batch-size",
            section="Train",
            summary="Try growing batches, and suggest the one that trains fastest and fits the memory.",
            target="wf_finding.cli:find_batch_size",
            alone=True,
            order=34,
        ),
    ]
