"""``wf list-plugins`` and ``wf list``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from wf.declarations.component import Catalogue
from wf.declarations.declared import summaries
from wf.declarations.vocabulary import VOCABULARIES
from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf.terminal import plural
from wf_cli.commands import everywhere_of
from wf_cli.common import WfCommand, check_strict, discover, registry_of
from wf_cli.listing.finding import component_record, find_any, kind_of
from wf_cli.listing.fits import find_other, fitting_entries, nothing_note, unknown_note
from wf_cli.listing.words import word_kind, word_record, word_rows
from wf_cli.output import echo, keep_stdout, paragraphs, print_json, table, tell


def keep_stdout_if(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """Reserve standard output for machine-readable results, if an option asks for them."""
    if value and not ctx.resilient_parsing:
        keep_stdout()
    return value


JSON = click.option("--json", "as_json", is_flag=True, callback=keep_stdout_if, help="Print JSON.")


@click.command("list-plugins", cls=WfCommand)
@JSON
@click.pass_context
def list_plugins(ctx: click.Context, as_json: bool) -> None:
    """List the plugins: name, version, status and components."""
    plugins = discover(ctx).plugins
    if as_json:
        print_json([_plugin_record(plugin) for plugin in plugins])
    elif plugins:
        echo("\n\n".join(_plugin_block(plugin) for plugin in plugins))
    else:
        off = "WF_DISABLE_PLUGIN_AUTOLOAD" in os.environ
        echo(f"no plugins {'were requested: WF_DISABLE_PLUGIN_AUTOLOAD is set' if off else 'are installed'}")
    for plugin in plugins:
        if plugin.details and everywhere_of(ctx).traceback:
            echo(f"\n{plugin.name}:\n{plugin.details}", err=True)
    check_strict(ctx, plugins)


@click.command("list", cls=WfCommand)
@click.argument("kind", required=False, shell_complete=lambda ctx, param, typed: complete_words(typed, _kinds()))
@click.option("--all", "catalogues", is_flag=True, help="List the members of catalogues, too.")
@click.option(
    "--search", metavar="WORD", help="Only components with WORD in name or summary, catalogue members included."
)
@click.option(
    "--fits", metavar="[KIND/]NAME", help="Only components that fit this one: --fits digits, --fits loss/mse."
)
@JSON
@click.pass_context
def list_components(
    ctx: click.Context, kind: str | None, catalogues: bool, search: str | None, fits: str | None, as_json: bool
) -> None:
    """List components, of one KIND (losses, models, ...) or of all kinds.

    KIND may also be kinds, settings, values or conditions, which plugins can add, too.
    """
    registry = registry_of(ctx)
    if kind and (words := word_kind(kind)) and (fits is None or words not in summaries()):
        if fits is not None:
            raise UsageError(f"--fits lists components, but {words}s are not components\n  use: wf list {words}s")
        _list_words(words, search, as_json=as_json)
        return
    wanted = kind_of(kind, registry) if kind else None
    if fits is not None:
        _list_fitting(registry, wanted, fits, catalogues=catalogues, search=search, as_json=as_json)
        return
    entries = list(registry.entries(wanted, catalogues=catalogues or search is not None))
    if search is not None:
        entries = [entry for entry in entries if search.lower() in _searchable(entry)]
    if as_json:
        print_json([component_record(entry) for entry in entries])
        return
    rows = {name: [_row(entry) for entry in entries if entry.component.kind == name] for name in summaries()}
    if not catalogues and search is None:
        for catalogue, plugin in registry.catalogues(wanted):
            rows[catalogue.kind].append(_catalogue_row(catalogue, plugin.name))
    if not _print_blocks(rows):
        tell(f"nothing found{f' for {search!r}' if search else ''}{_left_out(registry.plugins)}")


def _list_words(kind: str, search: str | None, *, as_json: bool) -> None:
    """``wf list kinds``, ``settings``, ``values`` and ``conditions``."""
    rows = word_rows(kind, search)
    if as_json:
        print_json([word_record(kind, name) for name, _, _ in rows])
    elif rows:
        echo(f"{paragraphs(f'{kind}: {VOCABULARIES[kind].summary}')}\n{table(rows, indent='  ')}")
    else:
        tell(f"nothing found for {search!r}")


def _left_out(plugins: Iterable[Plugin]) -> str:
    """A hint for the end of a list: plugins that are not loaded may have more."""
    missing = [plugin for plugin in plugins if plugin.status != "ok"]
    if not missing:
        return ""
    states = " and ".join(dict.fromkeys(plugin.status for plugin in missing))
    return f"\n  {plural(len(missing), 'plugin')} not loaded ({states}); see wf list-plugins"


def _list_fitting(
    registry: Registry, wanted: str | None, word: str, *, catalogues: bool, search: str | None, as_json: bool
) -> None:
    """``wf list --fits``; members of catalogues are counted, or listed with ``--all``."""
    other = find_other(registry, wanted, word) or find_any(registry, (word,))
    found = fitting_entries(registry, wanted, other)
    if search is not None:
        found = [(entry, verdict) for entry, verdict in found if search.lower() in _searchable(entry)]
    open_ = [(entry, verdict) for entry, verdict in found if verdict.fits is not False]
    if as_json:
        print_json(
            [{**component_record(one), "fits": verdict.fits, "why": list(verdict.why)} for one, verdict in open_]
        )
        return
    rows: dict[str, list[tuple[str, ...]]] = {name: [] for name in summaries()}
    members: dict[tuple[str, str, str], int] = {}
    for entry in (entry for entry, verdict in open_ if verdict.fits):
        prefix, slash, _ = entry.component.name.partition("/")
        if slash and not catalogues and search is None:
            family = (entry.component.kind, prefix, entry.provider)
            members[family] = members.get(family, 0) + 1
        else:
            rows[entry.component.kind].append(_row(entry))
    for (kind, prefix, provider), number in members.items():
        rows[kind].append((f"{prefix}/...", provider, f"{number} names (wf list {kind} --all --fits {word})"))
    if not _print_blocks(rows):
        tell(nothing_note(found, other))
    if note := unknown_note([pair for pair in open_ if catalogues or "/" not in pair[0].component.name], wanted):
        echo(f"\n{note}")


def _print_blocks(rows: Mapping[str, Sequence[Sequence[str]]]) -> bool:
    """Print the rows of each kind under a heading; returns whether there were any."""
    blocks = [
        f"{paragraphs(f'{kind}: {what}')}\n{table(rows[kind], indent='  ')}"
        for kind, what in summaries().items()
        if rows.get(kind)
    ]
    echo("\n\n".join(blocks), nl=bool(blocks))
    return bool(blocks)


def _plugin_record(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "entry_point": plugin.entry_point,
        "status": plugin.status,
        "error": plugin.error,
        "fix": plugin.fix,
        "import_ms": plugin.import_ms,
        "components": [
            {
                "kind": component.kind,
                "name": f"{component.prefix}/*" if isinstance(component, Catalogue) else component.name,
            }
            for component in plugin.components
        ],
        "changed": list(plugin.changed),
    }


def _plugin_block(plugin: Plugin) -> str:
    """A plugin on one line; below it its components, or the reason why it is not loaded."""
    head = [plugin.name, plugin.version or plugin.module, plugin.status]
    if plugin.distribution not in (None, plugin.name):
        head.insert(1, f"({plugin.distribution})")
    names: dict[str, list[str]] = {}
    for component in plugin.components:
        name = f"{component.prefix}/..." if isinstance(component, Catalogue) else component.name
        names.setdefault(component.kind, []).append(name)
    rows = [(kind, ", ".join(names[kind])) for kind in summaries() if kind in names]
    if plugin.status in ("failed", "incompatible"):
        rows += [("entry point", plugin.entry_point)] if plugin.entry_point else []
        rows += [(word, text) for word, text in (("error", plugin.error), ("try", plugin.fix)) if text]
    elif plugin.error:
        rows.append(("why", plugin.error))
    if plugin.changed:
        rows.append(("changes", f"{', '.join(plugin.changed)}, in the process that imports it"))
    return "\n".join(["  ".join(head), *([table(rows, indent="  ")] if rows else [])])


def _row(entry: Entry) -> tuple[str, str, str]:
    aliases = f" (also {', '.join(entry.component.aliases)})" if entry.component.aliases else ""
    text = f"cannot be used: {entry.refused}" if entry.refused else entry.component.summary + aliases
    return entry.component.name, entry.provider, text


def _catalogue_row(catalogue: Catalogue, provider: str) -> tuple[str, str, str]:
    number = len(catalogue.names())
    return f"{catalogue.prefix}/...", provider, f"{catalogue.summary} ({number} names; wf list {catalogue.kind} --all)"


def _searchable(entry: Entry) -> str:
    return " ".join((entry.component.name, entry.component.summary, *entry.component.aliases)).lower()


def _kinds() -> list[str]:
    return [*summaries(), *(kind for kind in VOCABULARIES if kind not in summaries())]


def complete_words(typed: str, words: Iterable[str]) -> list[CompletionItem]:
    """The words that start with the typed text."""
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(typed)]
