"""The options of ``wf run``: declared from the kinds and the general keys, and grouped for help."""

from __future__ import annotations

from typing import Any

import click

from wf.kinds import DECLARED, KINDS
from wf.plan import DEFAULT_HOOKS, DEFAULT_USE, MODEL_CHOICE
from wf.runfile import GENERAL
from wf_cli.common import together
from wf_run.cli.completing import complete_names

SECTIONS: dict[str, tuple[str, ...]] = {
    "Comparison": ("vary", "repeats", "by", "jobs", "resume"),
    "Components": (*KINDS, "task", "links"),
    "Length and data": (
        *(
            "epochs",
            "steps",
            "batch_size",
            "accumulate",
            "precision",
            "lr",
            "seed",
            "shuffle",
            "drop_last",
            "split",
            "folds",
            "fold",
            "init_from",
            "init_without",
            "workers",
            "serve_from",
            "device",
        ),
    ),
    "Evaluation and checkpoints": (
        "eval_every",
        "eval_splits",
        "checkpoint_every",
        "on_checkpoint_error",
        "keep",
        "monitor",
    ),
    "Output": (
        "name",
        "run_dir",
        "resume_if_there",
        "log_every",
        "quiet",
        "as_json",
        "print_config",
        "dry_run",
        "help",
    ),
}
"""The options as ``wf run --help`` and ``wf compare --help`` group them."""

DEFAULTS: dict[str, str] = {
    **dict.fromkeys(("loss", "metric", "transform"), "what fits the dataset"),
    "hook": ", ".join(DEFAULT_HOOKS),
    "model": MODEL_CHOICE,
}
"""What a run has of a kind where it names none, if that depends on the dataset or is not one name."""

METAVARS: dict[str, str] = {
    "batch_size": "N|full",
    "precision": "PRECISION",
    "split": "A/B/C",
    "fold": "k/K",
    "init_from": "FILE|RUN",
    "init_without": "NAME,...",
    "device": "DEVICE",
    "serve_from": "auto|memory|device|loader",
    "eval_every": "EVERY",
    "eval_splits": "SPLIT,...",
    "checkpoint_every": "EVERY",
    "keep": "last|best",
    "on_checkpoint_error": "stop|continue",
    "monitor": "FIGURE",
    "links": "LINK,...",
    "task": "NAME",
}
"""How the value of a general option is called in help; N where it is not here."""


LISTED = ("eval_splits", "init_without", "links", "plugins")
"""General keys whose values are lists: on the command line names with commas between them."""


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options in groups; one that no group names goes to the last."""
    params = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    records = {str(param.name): param.get_help_record(ctx) for param in params}
    sections = {heading: list(names) for heading, names in SECTIONS.items()}
    grouped = {name for names in sections.values() for name in names}
    sections["Output"] += [name for name in records if name not in grouped]
    for heading, names in sections.items():
        if shown := [record for name in names if (record := records.get(name))]:
            with formatter.section(heading):
                formatter.write_dl(shown)


def kind_options(command: Any) -> Any:
    """Add an option a kind: ``--loss NAME``."""
    for kind in reversed(KINDS):
        several, what = KINDS[kind].several, KINDS[kind].summary
        default = DEFAULTS.get(kind) or DEFAULT_USE.get(kind, "")
        command = click.option(
            f"--{kind}",
            kind,
            multiple=several,
            metavar="[+|no:]NAME" if several else "NAME",
            shell_complete=complete_names(kind),
            help=_with_default(
                f"{what[0].upper()}{what[1:]}{'; repeatable.' if several else '.'}",
                default,
            ),
        )(command)
    return command


def general_options(command: Any) -> Any:
    """Add an option a general key of the run file: ``--batch-size``."""
    for name, param in reversed([*GENERAL.items()]):
        if name == "plugins":
            continue
        if param.type is bool:
            flag = name.replace("_", "-")
            command = click.option(f"--{flag}/--no-{flag}", name, default=None, help=param.help)(command)
            continue
        default = ",".join(param.default) if isinstance(param.default, list) else param.default
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            shell_complete=complete_names(name) if name in DECLARED else None,
            multiple=name in LISTED,
            callback=together if name in LISTED else None,
            metavar=METAVARS.get(name, "N"),
            help=_with_default(param.help, "" if default is None else str(default)),
        )(command)
    return command


def _with_default(text: str, default: str) -> str:
    return f"{text} [{default}]" if default else text
