"""Declares the commands of this package; imports none of them."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="list",
            section="See what there is",
            summary="List components, of one KIND (losses, models, ...) or of all kinds.",
            target="wf_cli.listing.listing:list_components",
            alone=True,
            order=10,
            examples=(("wf list losses", "List names."),),
        ),
        Command(
            name="show",
            section="See what there is",
            summary="Show one component: options, documentation, traits, provider and source file.",
            target="wf_cli.listing.showing:show",
            alone=True,
            order=20,
            examples=(("wf show focal", "Show one component and its options."),),
        ),
        Command(
            name="list-plugins",
            section="See what there is",
            summary="List the plugins: name, version, status and components.",
            target="wf_cli.listing.listing:list_plugins",
            alone=True,
            order=30,
        ),
        Command(
            name="doctor",
            section="See what there is",
            summary="Check the installation: python, torch, plugins, names, settings and folders.",
            target="wf_cli.doctor.command:doctor",
            alone=True,
            order=40,
        ),
    ]
