"""The options of ``wf run``: declared from the kinds and the general keys, and grouped for help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import click

from wf.declarations.component import Param
from wf.declarations.declared import DECLARATIONS
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS, Kind
from wf.parameters import takes_list
from wf_building.defaults import default_hooks
from wf_cli.common import registry_quietly, together
from wf_run.cli.completing import complete_names, default_name
from wf_run.declared.settings import OWN_PLUGIN

SECTIONS: dict[str, tuple[str, ...]] = {
    "Comparison": ("vary", "repeats", "by", "jobs", "resume"),
    "Components": ("task", "links"),
    "Length and data": (
        *(
            "epochs",
            "steps",
            "max_time",
            "batch_size",
            "accumulate",
            "precision",
            "deterministic",
            "detect_anomaly",
            "lr",
            "seed",
            "shuffle",
            "drop_last",
            "split",
            "folds",
            "fold",
            "init_from",
            "init_without",
            "init_map",
            "workers",
            "serve_from",
            "device",
        ),
    ),
    "Evaluation and checkpoints": (
        "eval_every",
        "eval_splits",
        "checkpoint_every",
        "keep_checkpoints",
        "on_checkpoint_error",
        "keep",
        "monitor",
    ),
    "Processes": ("processes", "max_restarts"),
    "Output": (
        "name",
        "run_dir",
        "resume_if_there",
        "log_every",
        "quiet",
        "as_json",
        "print_config",
        "dry_run",
        "summary",
        "help",
    ),
}
"""The options as ``wf run --help`` and ``wf compare --help`` group them."""

IN_FILES = ("plugins", "format")
"""General keys that are no options: ``-p`` names plugins, and what a line says has the meaning of now."""
LISTED = ("links",)
"""General keys that take a list, or None."""


def write_options(
    command: click.Command,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    first: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Write the options in groups; one that no group names goes to the last.

    Args:
        command: The command.
        ctx: Its context.
        formatter: Takes the text.
        first: Groups of the command itself, which come first.
    """
    params = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    records = {str(param.name): param.get_help_record(ctx) for param in params}
    own = {name for names in first.values() for name in names}
    others = {heading: [name for name in names if name not in own] for heading, names in SECTIONS.items()}
    sections = {**{heading: list(names) for heading, names in first.items()}, **others}
    sections["Components"] = [*(kind.replace("-", "_") for kind in KINDS.of_runs), *sections["Components"]]
    grouped = {name for names in sections.values() for name in names}
    sections["Output"] += [name for name in records if name not in grouped]
    for heading, names in sections.items():
        if shown := [record for name in names if (record := records.get(name))]:
            with formatter.section(heading):
                formatter.write_dl(shown)


def run_options() -> list[click.Parameter]:
    """An option for each kind and each general key: ``--loss NAME``, ``--batch-size``; those for every run first."""
    settings = sorted(GENERAL, key=lambda name: GENERAL.owner(name) != OWN_PLUGIN)
    shown = tuple(name for name in settings if name not in IN_FILES)
    return _options(tuple(KINDS[name] for name in KINDS.of_runs), shown)


@cache
def _options(kinds: tuple[Kind, ...], settings: tuple[str, ...]) -> list[click.Parameter]:
    return [*map(_kind_option, kinds), *(_general_option(GENERAL[name]) for name in settings)]


def kind_of(option: str) -> str | None:
    """The kind of component that a command-line option chooses; `option` is its name in click."""
    kind = option.replace("_", "-")
    return kind if kind in KINDS.of_runs else None


def takes_names(setting: str) -> bool:
    """Whether the value of a general key is a list: on the command line names with commas between them."""
    return setting in LISTED or takes_list(GENERAL[setting].type)


class KindOption(click.Option):
    """An option that chooses components of a kind; its help shows the default."""

    kind: Kind

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The help text."""
        record = super().get_help_record(ctx)
        return record and (record[0], _with_default(record[1], chosen_by_default(ctx, self.kind)))


def chosen_by_default(ctx: click.Context, kind: Kind) -> str:
    """The default of a kind, for help; empty without one."""
    if kind.chosen_by:
        return "one that fits the dataset"
    registry = registry_quietly(ctx)
    if kind.name == "hook":
        return ", ".join(default_hooks(registry))
    name = default_name(ctx, kind.name)
    if kind.name != "model":
        return name
    own = [
        f"{one.component.name} for {one.component.default}"
        for one in registry.claims.get(kind.name, ())
        if isinstance(one.component.default, str)
    ]
    return ", ".join([*([name] if name else []), *own, "or the task's"])


def _kind_option(kind: Kind) -> click.Option:
    what = f"{kind.summary[:1].upper()}{kind.summary[1:]}"
    option = KindOption(
        [f"--{kind.name}"],
        multiple=kind.several,
        metavar="[+|no:]NAME" if kind.several else "NAME",
        shell_complete=complete_names(kind.name),
        help=f"{what}{'; repeatable.' if kind.several else '.'}",
    )
    option.kind = kind
    return option


def _general_option(param: Param) -> click.Option:
    flag = param.name.replace("_", "-")
    if param.type is bool:
        return click.Option([f"--{flag}/--no-{flag}"], default=None, help=param.help)
    default = ",".join(map(str, param.default)) if isinstance(param.default, list) else param.default
    several = takes_names(param.name)
    return click.Option(
        [f"--{flag}"],
        shell_complete=complete_names(param.name) if param.name in DECLARATIONS else None,
        multiple=several,
        callback=together if several else None,
        metavar=_metavar(param),
        help=_with_default(param.help, "" if default is None else str(default)),
    )


def _metavar(param: Param) -> str:
    """What help calls the value of a general key."""
    return param.metavar or "|".join(param.choices) or ("N" if param.least is not None else "VALUE")


def _with_default(text: str, default: str) -> str:
    return f"{text} [{default}]" if default else text
