"""Declares the settings, run values, conditions and commands of this package; imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any

from wf import Command, Component, Condition, Kind, Nested, Param, RunValue, hookimpl
from wf_run.declared.conditions import CONDITIONS
from wf_run.declared.kinds import KINDS
from wf_run.declared.settings import SETTINGS
from wf_run.declared.values import VALUES


@hookimpl
def wf_kinds() -> list[Kind]:
    """The kinds of further validation sets, plots and report sections."""
    return list(KINDS)


@hookimpl
def wf_settings() -> list[Param]:
    """General keys of runs."""
    return list(SETTINGS)


@hookimpl
def wf_values() -> list[RunValue]:
    """The values that a run itself provides."""
    return list(VALUES)


@hookimpl
def wf_conditions() -> list[Condition]:
    """The conditions that every run records and compares."""
    return list(CONDITIONS)


@hookimpl
def wf_components() -> list[Component]:
    """The only component of kind validation."""
    return [
        Component(
            "validation",
            "sets",
            "wf_run.parts.data.validation:sets",
            "datasets by name, each evaluated with the validation split",
            params=(
                Param(
                    name="NAME",
                    type=Annotated[Any, Nested("dataset")],
                    kind="dataset",
                    any_name=True,
                    help="A dataset by name, or a file; options as --validation.NAME.OPTION.",
                ),
            ),
            default=True,
        )
    ]


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="run",
            section="Train",
            summary="Train a model from components by name, from a run file, or both.",
            target="wf_run.cli.running:run",
            order=10,
            examples=(
                ("wf run", "Train on handwritten digits."),
                ("wf run --loss focal --optimizer adam", "Choose components by name."),
                ("wf run --dataset my.csv --dataset.target y", "Train on your own table."),
            ),
        ),
        Command(
            name="explain",
            section="Train",
            summary="Print the parts of a run, where each one was set, and who provides which value.",
            target="wf_run.cli.explaining:explain",
            alone=True,
            order=12,
        ),
        Command(
            name="schema",
            section="See what there is",
            summary="Print the JSON Schema of run files, with which editors complete, explain and check them.",
            target="wf_run.cli.schema:schema",
            alone=True,
            order=40,
        ),
        Command(
            name="evaluate",
            section="Use a run",
            summary="Evaluate a run's weights on one split, or on the samples of a file.",
            target="wf_run.cli.afterwards:evaluate",
            alone=True,
            order=20,
        ),
        Command(
            name="predict",
            section="Use a run",
            summary="Predict for INPUT: files, folders, standard input (-), or a split of the run.",
            target="wf_run.cli.predicting:predict",
            alone=True,
            order=30,
        ),
        Command(
            name="plot",
            section="Use a run",
            summary="Draw a run: curves, confusion matrix, worst samples and more, as files or in the terminal.",
            target="wf_run.cli.afterwards:plot",
            alone=True,
            order=50,
        ),
    ]
