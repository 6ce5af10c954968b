"""``wf list-plugins``, ``wf list`` and ``wf show``."""

from __future__ import annotations

import dataclasses
import inspect
import os
import textwrap
from typing import Any

import click
from click.shell_completion import CompletionItem

from wf.component import KINDS, REQUIRED, Catalogue, Param
from wf.errors import UsageError
from wf.parameters import parameters, type_name
from wf.registry import Entry, Registry, read_kind
from wf_cli.common import registry_of
from wf_cli.output import print_json, table

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("list-plugins")
@JSON
@click.pass_context
def list_plugins(ctx: click.Context, as_json: bool) -> None:
    """Plugins: name, version, status, components."""
    plugins = registry_of(ctx).plugins
    if as_json:
        print_json([_plugin_record(plugin) for plugin in plugins])
        return
    rows = [("PLUGIN", "VERSION", "STATUS", "COMPONENTS")]
    for plugin in plugins:
        brought = plugin.error or _summary(plugin.components)
        rows.append((plugin.name, plugin.version or "-", plugin.status, brought))
    click.echo(table(rows) if plugins else "no plugins are installed")


@click.command("list")
@click.argument("kind", required=False, shell_complete=lambda *_: [CompletionItem(kind) for kind in KINDS])
@click.option("--all", "catalogues", is_flag=True, help="Open the catalogues, too.")
@click.option("--search", metavar="WORD", help="Only those with WORD in name or summary; looks into catalogues.")
@JSON
@click.pass_context
def list_components(ctx: click.Context, kind: str | None, catalogues: bool, search: str | None, as_json: bool) -> None:
    """Components of a KIND (singular or plural), or all."""
    wanted = read_kind(kind) if kind else None
    registry = registry_of(ctx)
    entries = list(registry.entries(wanted, catalogues=catalogues or search is not None))
    if search is not None:
        entries = [entry for entry in entries if search.lower() in _searchable(entry)]
    if as_json:
        print_json([_component_record(entry) for entry in entries])
        return
    for name in KINDS:
        rows = [_row(entry) for entry in entries if entry.component.kind == name]
        if not catalogues and search is None and wanted in (None, name):
            rows += [_catalogue_row(catalogue, plugin.name) for catalogue, plugin in registry.catalogues(name)]
        if rows:
            click.echo(f"{name}\n{table(rows, indent='  ')}")
    if not entries:
        click.echo(f"nothing found{f' for {search!r}' if search else ''}", err=True)


@click.command("show")
@click.argument(
    "words", nargs=-1, required=True, metavar="[KIND] NAME", shell_complete=lambda c, p, i: _complete_show(c, i)
)
@click.option("--source", is_flag=True, help="Print the source code.")
@JSON
@click.pass_context
def show(ctx: click.Context, words: tuple[str, ...], source: bool, as_json: bool) -> None:
    """One component: its options, documentation, traits, provider and place."""
    entry = find_any(registry_of(ctx), words)
    if source:
        click.echo(inspect.getsource(inspect.unwrap(entry.load())).rstrip())
    elif as_json:
        print_json(_details(entry))
    else:
        click.echo(describe(entry))


def find_any(registry: Registry, words: tuple[str, ...]) -> Entry:
    """The entry that ``[KIND] NAME`` says.

    Raises:
        UsageError: For an unknown kind or name, or a name of several kinds.
    """
    if len(words) > 2:
        raise UsageError(f"too many words: {' '.join(words)}\n  write: wf show [KIND] NAME")
    if len(words) == 2:
        return registry.find(read_kind(words[0]), words[1])
    kinds = registry.kinds_of(words[0])
    if len(kinds) == 1:
        return registry.find(kinds[0], words[0])
    if kinds:
        raise UsageError(
            f"'{words[0]}' is of several kinds\n  say which: " + " or ".join(f"wf show {k} {words[0]}" for k in kinds)
        )
    from wf.errors import unknown

    names = [name for kind in KINDS for name in registry.names(kind)]
    raise UsageError(unknown("component", words[0], names, "see: wf list"))


def describe(entry: Entry) -> str:
    """A component for reading: what ``wf show`` prints."""
    component, plugin = entry.component, entry.plugin
    provider = f"{plugin.distribution or plugin.name} {plugin.version or ''}".strip() if plugin else "own code"
    head = [("provider", provider), ("target", component.target_name)]
    if place := entry.place():
        head.append(("place", os.path.relpath(place) if len(os.path.relpath(place)) < len(place) else place))
    if component.aliases:
        head.append(("aliases", ", ".join(component.aliases)))
    head += [(name, _trait_words(value)) for name, value in _traits(entry).items() if value not in (None, (), "")]
    parts = [f"{component.kind} {component.name}: {component.summary}", table(head, indent="  ")]
    if text := _documentation(entry):
        parts.append(textwrap.indent(text, "  "))
    parts.append(options_table(entry))
    return "\n\n".join(part for part in parts if part)


def options_table(entry: Entry, *, prefix: bool = True) -> str:
    """The options of a component: how they are written, their types, defaults and descriptions."""
    params = parameters(entry.component, entry.load)
    if not params:
        return "  no options"
    kind = (
        f"{entry.component.kind}.{entry.component.name}"
        if entry.component.kind in ("hook", "metric", "transform")
        else entry.component.kind
    )
    rows = [
        (f"--{kind}.{param.name}" if prefix else param.name, type_name(param.type), _default(param), param.help)
        for param in params
    ]
    return table([("option", "type", "default", "meaning"), *rows], indent="  ")


def _default(param: Param) -> str:
    if param.source is not None:
        return "from the run"
    return str(param.default) if param.default is not None else "null"


def _documentation(entry: Entry) -> str:
    """The docstring without its list of arguments, which the table of options shows."""
    text = inspect.getdoc(entry.load()) or ""
    kept, skipping = [], False
    for line in text.splitlines():
        if line.rstrip() in ("Args:", "Arguments:", "Parameters:"):
            skipping = True
        elif skipping and line and not line.startswith(" "):
            skipping = False
        if not skipping:
            kept.append(line)
    return "\n".join(kept).strip()


def _traits(entry: Entry) -> dict[str, Any]:
    traits = entry.component.traits
    return {} if traits is None else {field.name: getattr(traits, field.name) for field in dataclasses.fields(traits)}


def _trait_words(value: Any) -> str:
    return (
        ", ".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _details(entry: Entry) -> dict[str, Any]:
    params = parameters(entry.component, entry.load)
    return {
        **_component_record(entry),
        "aliases": list(entry.component.aliases),
        "traits": _traits(entry),
        "place": entry.place(),
        "doc": _documentation(entry),
        "options": [
            {
                "name": param.name,
                "type": type_name(param.type),
                "required": param.default is REQUIRED and param.source is None,
                "default": None if param.default is REQUIRED else param.default,
                "from_run": param.source,
                "help": param.help,
            }
            for param in params
        ],
    }


def _plugin_record(plugin: Any) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": plugin.status,
        "error": plugin.error,
        "import_ms": plugin.import_ms,
        "components": [
            {
                "kind": component.kind,
                "name": f"{component.prefix}/*" if isinstance(component, Catalogue) else component.name,
            }
            for component in plugin.components
        ],
    }


def _component_record(entry: Entry) -> dict[str, Any]:
    component, plugin = entry.component, entry.plugin
    return {
        "kind": component.kind,
        "name": component.name,
        "summary": component.summary,
        "plugin": entry.provider,
        "distribution": plugin.distribution if plugin else None,
        "version": plugin.version if plugin else None,
        "target": component.target_name,
    }


def _summary(components: Any) -> str:
    """``3 losses: l1, mse, nll`` a kind."""
    parts = []
    for kind in KINDS:
        names = [f"{c.prefix}/*" if isinstance(c, Catalogue) else c.name for c in components if c.kind == kind]
        if names:
            parts.append(f"{kind}: {', '.join(names)}")
    return "; ".join(parts)


def _row(entry: Entry) -> tuple[str, str, str]:
    aliases = f" (also {', '.join(entry.component.aliases)})" if entry.component.aliases else ""
    return entry.component.name, entry.provider, entry.component.summary + aliases


def _catalogue_row(catalogue: Catalogue, provider: str) -> tuple[str, str, str]:
    number = len(catalogue.names())
    return f"{catalogue.prefix}/...", provider, f"{catalogue.summary} ({number} names; wf list {catalogue.kind} --all)"


def _searchable(entry: Entry) -> str:
    return " ".join((entry.component.name, entry.component.summary, *entry.component.aliases)).lower()


def _complete_show(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    names = [entry.component.name for entry in registry_of(ctx).entries()]
    return [CompletionItem(name) for name in dict.fromkeys([*KINDS, *names]) if name.startswith(incomplete)]
