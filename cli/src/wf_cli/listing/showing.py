"""``wf show``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from wf.declarations.component import REQUIRED, Param
from wf.declarations.declared import summaries
from wf.declarations.kinds import KINDS, option_prefix
from wf.discovery.entry import Entry
from wf.errors import UsageError
from wf.parameters import NULL, type_name
from wf_cli.common import WfCommand, registry_of, registry_quietly
from wf_cli.listing.finding import component_record, find_any
from wf_cli.listing.listing import JSON, complete_words
from wf_cli.listing.words import word_kind, word_record, word_table
from wf_cli.output import definitions, echo, paragraphs, print_json, table


@click.command("show", cls=WfCommand)
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="[KIND] NAME",
    shell_complete=lambda ctx, param, typed: _complete_show(ctx, typed),
)
@click.option("--source", is_flag=True, help="Print the source code.")
@JSON
@click.pass_context
def show(ctx: click.Context, words: tuple[str, ...], source: bool, as_json: bool) -> None:
    """Show one component: options, documentation, traits, provider and source file.

    KIND may also be kind, setting, value or condition.
    """
    registry = registry_of(ctx)
    if len(words) == 2 and (kind := word_kind(words[0])) and not (source and registry.has(kind, words[1])):
        record = word_record(kind, words[1])
        if as_json:
            print_json(record)
        else:
            head = paragraphs(f"{kind} {record['name']}: {record['summary']}")
            echo(f"{head}\n\n{table(word_table(kind, words[1]), indent='  ')}")
        return
    entry = find_any(registry, words)
    if source:
        echo(_source(entry))
    elif as_json:
        print_json(_details(entry))
    else:
        echo(describe(entry))


def describe(entry: Entry) -> str:
    """The description that ``wf show`` prints."""
    component, plugin = entry.component, entry.plugin
    provider = f"{plugin.distribution or plugin.name} {plugin.version or ''}".strip() if plugin else "own code"
    head = [("provider", provider), ("target", component.target_name)]
    if place := entry.place():
        head.append(("place", _shortest(place)))
    if component.aliases:
        head.append(("aliases", ", ".join(component.aliases)))
    head += [(name, _trait_words(value)) for name, value in _traits(entry).items() if value not in (None, (), "", {})]
    parts = [paragraphs(title(entry)), table(head, indent="  ")]
    if text := _documentation(entry):
        parts.append(paragraphs(text.replace("``", ""), indent="  "))
    if component.kind in KINDS:
        parts.append(options_table(entry, component.name if plugin else component.target_name))
    return "\n\n".join(part for part in parts if part)


def _shortest(place: str) -> str:
    """A path, relative to the working directory if that is shorter."""
    try:
        return min(place, os.path.relpath(place), key=len)
    except OSError:  # the working directory was deleted
        return place


def title(entry: Entry) -> str:
    """Kind, name and summary of a component on one line."""
    component = entry.component
    return f"{component.kind} {component.name}" + (f": {component.summary}" if component.summary else "")


def options_table(entry: Entry, use: str) -> str:
    """The table of a component's options: how to write them, type, default and description.

    Args:
        entry: The component.
        use: The name by which the run uses it.
    """
    params = entry.params()
    if not params:
        return "  no options"
    prefix = f"--{option_prefix(entry.component.kind, use)}"
    return definitions(
        [
            (f"{prefix}.{param.name}  {type_name(param.type)}, {_default(param)}", param.help.replace("``", ""))
            for param in params
        ],
        indent="  ",
    )


def _default(param: Param) -> str:
    if param.any_name:
        return "any number"
    if param.source is not None:
        return "from the run"
    if param.default is REQUIRED:
        return "required"
    default = str(param.default).lower() if isinstance(param.default, bool) else param.default
    return f"default {NULL if default is None else default}"


def _source(entry: Entry) -> str:
    try:
        return entry.source().rstrip()
    except (TypeError, OSError) as error:
        raise UsageError(f"the source of {title(entry)} cannot be shown: {error}") from error


def _documentation(entry: Entry) -> str:
    """The docstring without sections such as ``Args:``, which the table of options replaces."""
    kept, skipping = [], False
    for line in entry.doc().splitlines():
        if line.rstrip() in ("Args:", "Arguments:", "Parameters:", "Returns:", "Raises:"):
            skipping = True
        elif skipping and line and not line.startswith(" "):
            skipping = False
        if not skipping:
            kept.append(line)
    return "\n".join(kept).strip()


def _traits(entry: Entry) -> dict[str, Any]:
    traits, said = entry.component.traits, ("name", "target", "summary", "aliases")  # shown elsewhere
    fields = [] if traits is None else [field.name for field in dataclasses.fields(traits)]
    values = {name: getattr(traits, name) for name in fields if entry.component.kind in KINDS or name not in said}
    return {
        name: f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else value
        for name, value in values.items()
    }


def _trait_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_trait_words(inner)}" for name, inner in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(_trait_words, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _details(entry: Entry) -> dict[str, Any]:
    params = entry.params()
    return {
        **component_record(entry),
        "aliases": list(entry.component.aliases),
        "traits": _traits(entry),
        "place": entry.place(),
        "doc": _documentation(entry),
        "options": [
            {
                "name": param.name,
                "type": type_name(param.type),
                "required": param.is_required,
                "default": None if param.default is REQUIRED else param.default,
                "from_run": param.source,
                "help": param.help,
            }
            for param in params
        ],
    }


def _complete_show(ctx: click.Context, typed: str) -> list[CompletionItem]:
    registry, words = registry_quietly(ctx), ctx.params.get("words") or ()
    kind = words[0] if words and words[0] in summaries() else None
    names = [entry.component.name for entry in registry.entries(kind, catalogues="/" in typed)]
    names += [f"{catalogue.prefix}/" for catalogue, _ in registry.catalogues(kind) if "/" not in typed]
    return complete_words(typed, names if kind else [*summaries(), *names])
