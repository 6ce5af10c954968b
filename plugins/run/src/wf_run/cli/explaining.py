"""``wf explain``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from wf.declarations.general import GENERAL
from wf.declarations.values import VALUES
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json, table
from wf_run.cli.running import RUN_FILES, VARIANT, RunCommand, assemble, from_line
from wf_run.cli.starting import uncollected
from wf_run.planning.plan import prepare
from wf_run.runfiles.origins import DEFAULT, Origins
from wf_run.runfiles.said import said_in

if TYPE_CHECKING:
    from wf_run.experiment import Experiment

SHOWN = 60
"""The maximum number of characters of a value that is shown in full."""


@click.command("explain", cls=RunCommand)
@RUN_FILES
@VARIANT
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@JSON
@click.pass_context
def explain(
    ctx: click.Context,
    /,
    run_files: tuple[str, ...],
    variant: str | None,
    lr: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Print the parts of a run, where each one was set, and who provides which value.

    Takes the options of wf run. The parts are built as for a run and data are read, but nothing is trained or written.
    """
    document, folders, registry = assemble(ctx, run_files, variant, lr, settings)
    line = from_line(settings, ctx.meta["options"], lr)
    plan = prepare(document, registry, folders)
    logging.getLogger("wf").setLevel(logging.WARNING)
    with uncollected("loading torch and data ..."):
        from wf_run.experiment import Experiment

        experiment = Experiment(plan, registry, save=False, folders=folders, quiet=True)
    with experiment:
        origins = Origins(said_in(document).places, line)
        found = {
            "settings": list(_settings(experiment.plan, origins)),
            "components": list(_components(experiment, origins)),
            "groups": list(_groups(experiment)),
            "values": list(_values(experiment)),
        }
    if as_json:
        print_json(found)
        return
    shown = (_shown_components(found), _shown_groups(found), _shown_settings(found), _shown_values(found))
    echo("\n\n".join(filter(None, shown)))


def _settings(plan: Mapping[str, Any], origins: Origins) -> Iterator[dict[str, Any]]:
    """The general keys with their values and where these came from."""
    for key in GENERAL:
        if key in plan:
            yield {"name": key, "value": plan[key], "from": origins.of(key)}


def _components(experiment: Experiment, origins: Origins) -> Iterator[dict[str, Any]]:
    """The components that were made, each with its provider and the origin of its options."""
    for kind, made in experiment.made().items():
        places = [(one, number) for number, one in enumerate(made)] if isinstance(made, list) else [(made, None)]
        for built, position in places:
            options = [
                {"name": name, "value": value, "from": origins.of_option(kind, name, built.name, position)}
                for name, value in built.options.items()
            ]
            yield {
                "kind": kind,
                "name": built.name,
                "provider": "" if built.scopes else built.entry.provider if built.entry else "a live object",
                "from": origins.of_component(kind, built.name, position),
                "options": options,
            }


def _groups(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """The groups of parameters that the run file asks for."""
    for owner, group in experiment.groups:
        yield {
            "optimizer": owner,
            "group": group.title,
            "parameters": list(group.names),
            "size": group.num_parameters,
            "options": dict(group.options),
        }


def _values(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """The requested run values: their providers, and who asked for them."""
    values = experiment.values
    for name, asked_by in sorted(values.asked_by.items()):
        if name in VALUES:
            yield {"name": name, "provider": values.provider(name), "asked_by": asked_by}


def _shown_components(found: Mapping[str, Any]) -> str:
    rows: list[tuple[str, ...]] = []
    for one in found["components"]:
        rows.append((one["kind"], one["name"], one["provider"], one["from"]))
        rows += [
            ("", f"  {option['name']} = {_short(option['value'])}", "", option["from"]) for option in one["options"]
        ]
    return f"components\n{table([('kind', 'component', 'provider', 'from'), *rows], indent='  ')}"


def _shown_groups(found: Mapping[str, Any]) -> str:
    rows = [
        (one["optimizer"], one["group"], str(len(one["parameters"])), f"{one['size']:,}", _short(one["options"]))
        for one in found["groups"]
    ]
    heads = ("optimizer", "group", "tensors", "parameters", "options")
    return f"groups of parameters\n{table([heads, *rows], indent='  ')}" if rows else ""


def _shown_settings(found: Mapping[str, Any]) -> str:
    rows = [(one["name"], _short(one["value"]), one["from"]) for one in found["settings"] if one["from"] != DEFAULT]
    rest = sum(one["from"] == DEFAULT for one in found["settings"])
    more = f"  {rest} more have their defaults: wf run --help"
    return "settings\n" + "\n".join(filter(None, [table(rows, indent="  ") if rows else "", more]))


def _shown_values(found: Mapping[str, Any]) -> str:
    rows = [(one["name"], one["provider"], ", ".join(one["asked_by"])) for one in found["values"]]
    return f"run values\n{table([('value', 'from', 'asked for by'), *rows], indent='  ')}"


def _short(value: Any) -> str:
    text = str(value) if not isinstance(value, Mapping) or "use" not in value else str(value["use"])
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
