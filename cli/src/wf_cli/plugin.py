"""Declares the verbs of this package; imports none of them."""

from __future__ import annotations

from wf import Command, hookimpl


@hookimpl
def wf_commands() -> list[Command]:
    """The verbs of this package."""
    return [
        Command(
            name="run",
            section="Train",
            summary="Train a model from components by name, from a run file, or both.",
            target="wf_cli.running:run",
            order=10,
            examples=(
                ("wf run", "Train on handwritten digits."),
                ("wf run --loss focal --optimizer adam", "Choose components by name."),
                ("wf run --dataset my.csv --dataset.target y", "Train on your own table."),
            ),
        ),
        Command(
            name="resume",
            section="Train",
            summary="Go on with a run from its newest checkpoint.",
            target="wf_cli.afterwards:resume",
            order=20,
        ),
        Command(
            name="compare",
            section="Train",
            summary="Train rows of runs with the same seeds and compare them, or compare finished runs.",
            target="wf_cli.compare:compare",
            order=30,
        ),
        Command(
            name="list",
            section="See what there is",
            summary="The components that can be chosen, of one KIND (losses, models, ...) or of all.",
            target="wf_cli.listing:list_components",
            order=10,
            examples=(("wf list losses", "See the names there are."),),
        ),
        Command(
            name="show",
            section="See what there is",
            summary="One component: its options, documentation, traits, provider and place.",
            target="wf_cli.listing:show",
            order=20,
            examples=(("wf show focal", "See what one does, and its options."),),
        ),
        Command(
            name="list-plugins",
            section="See what there is",
            summary="The plugins: name, version, status and what they bring.",
            target="wf_cli.listing:list_plugins",
            order=30,
        ),
        Command(
            name="doctor",
            section="See what there is",
            summary="Whether the installation is in order: python, torch, plugins, names, settings and folders.",
            target="wf_cli.doctor:doctor",
            order=40,
        ),
        Command(
            name="runs",
            section="Use a run",
            summary="The runs below runs/ or FOLDER, oldest first: what was trained, how it ended, and its figures.",
            target="wf_cli.runs:runs",
            order=10,
        ),
        Command(
            name="evaluate",
            section="Use a run",
            summary="Evaluate a run's weights on one split.",
            target="wf_cli.afterwards:evaluate",
            order=20,
        ),
        Command(
            name="predict",
            section="Use a run",
            summary="Predict for INPUT: a split, or a file of inputs.",
            target="wf_cli.afterwards:predict",
            order=30,
        ),
        Command(
            name="export",
            section="Use a run",
            summary="Write the model's state_dict to FILE: .safetensors, .pt or .pth.",
            target="wf_cli.afterwards:export",
            order=40,
        ),
        Command(
            name="plot",
            section="Use a run",
            summary="Draw a run's curves and predictions into RUN/plots/.",
            target="wf_cli.afterwards:plot",
            order=50,
        ),
        Command(
            name="replay",
            section="Use a run",
            summary="Run a run again from its run file, and compare each figure and the weights.",
            target="wf_cli.replay:replay",
            order=60,
        ),
        Command(
            name="prove-resume",
            section="Use a run",
            summary="Train a run straight and with kill -9 after some steps, and compare everything bit for bit.",
            target="wf_cli.prove_resume:prove_resume",
            order=70,
        ),
        Command(
            name="new-plugin",
            section="Write a plugin",
            summary="Write a plugin package to start from, with tests and CI.",
            target="wf_cli.new_plugin:new_plugin",
            order=10,
        ),
        Command(
            name="check",
            section="Write a plugin",
            summary="Whether a plugin's components, or one component, keep to what is expected of their kind.",
            target="wf_cli.check:check",
            order=20,
        ),
    ]
