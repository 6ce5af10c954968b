"""``wf list-plugins``, ``wf list`` and ``wf show``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from wf.declarations.component import REQUIRED, Catalogue, Param
from wf.declarations.declared import plurals, summaries
from wf.declarations.kinds import KINDS, option_prefix
from wf.declarations.vocabulary import VOCABULARIES
from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin
from wf.errors import UsageError, closest, unknown
from wf.parameters import NULL, type_name
from wf.registry import Registry, read_kind, split_kind
from wf_cli.commands import everywhere_of
from wf_cli.common import WfCommand, check_strict, discover, registry_of, registry_quietly
from wf_cli.listing.fits import find_other, fitting_entries, nothing_note, unknown_note
from wf_cli.listing.words import word_kind, word_record, word_rows, word_table
from wf_cli.output import definitions, echo, keep_stdout, paragraphs, plural, print_json, table, tell


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
    """The plugins: name, version, status and components."""
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
@click.argument("kind", required=False, shell_complete=lambda ctx, param, typed: _complete_words(typed, _kinds()))
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

    KIND may also be kinds, settings, values or conditions: the words that plugins add to.
    """
    registry = registry_of(ctx)
    if kind and (words := word_kind(kind)) and (fits is None or words not in summaries()):
        if fits is not None:
            raise UsageError(f"--fits is about components, and {words}s are none\n  to list them: wf list {words}s")
        _list_words(words, search, as_json=as_json)
        return
    wanted = _read_kind(kind, registry) if kind else None
    if fits is not None:
        _list_fitting(registry, wanted, fits, catalogues=catalogues, search=search, as_json=as_json)
        return
    entries = list(registry.entries(wanted, catalogues=catalogues or search is not None))
    if search is not None:
        entries = [entry for entry in entries if search.lower() in _searchable(entry)]
    if as_json:
        print_json([_component_record(entry) for entry in entries])
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
    """A hint that plugins which are not loaded may provide more, for the end of a list."""
    missing = [plugin for plugin in plugins if plugin.status != "ok"]
    if not missing:
        return ""
    states = " and ".join(dict.fromkeys(plugin.status for plugin in missing))
    return f"\n  {plural(len(missing), 'plugin')} not loaded ({states}); see wf list-plugins"


def _list_fitting(
    registry: Registry, wanted: str | None, word: str, *, catalogues: bool, search: str | None, as_json: bool
) -> None:
    """``wf list --fits``: catalogue members are counted, or listed one by one."""
    other = find_other(registry, wanted, word) or find_any(registry, (word,))
    found = fitting_entries(registry, wanted, other)
    if search is not None:
        found = [(entry, verdict) for entry, verdict in found if search.lower() in _searchable(entry)]
    open_ = [(entry, verdict) for entry, verdict in found if verdict.fits is not False]
    if as_json:
        print_json(
            [{**_component_record(one), "fits": verdict.fits, "why": list(verdict.why)} for one, verdict in open_]
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
    """One component: its options, documentation, traits, provider and place.

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


def find_any(registry: Registry, words: tuple[str, ...]) -> Entry:
    """Resolve ``[KIND] NAME`` or ``KIND/NAME`` to an entry.

    Raises:
        UsageError: For an unknown kind or name, or an ambiguous name.
    """
    if len(words) > 2:
        raise UsageError(f"too many words: {' '.join(words)}\n  write: wf show [KIND] NAME")
    if len(words) == 2:
        return registry.find(read_kind(words[0]), words[1])
    word = words[0]
    if pair := split_kind(word):
        return registry.find(*pair)
    kinds = registry.kinds_of(word)
    if len(kinds) == 1:
        return registry.find(kinds[0], word)
    if kinds:
        raise UsageError(
            f"'{word}' is ambiguous\n  use one of: " + " or ".join(f"wf show {kind} {word}" for kind in kinds)
        )
    bare, _, provider = word.partition("@")
    for kind in summaries():
        if unloaded := registry.unloaded(kind, bare, provider):
            raise unloaded
    raise UsageError(_explain_unknown(registry, word))


def _explain_unknown(registry: Registry, word: str) -> str:
    if words := word_kind(word):
        return f"'{word}' is no component\n  to list them: wf list {words}s   one of them: wf show {words} NAME"
    if word in summaries() or word in plurals():
        return f"'{word}' is a kind, not a component\n  list its components: wf list {word}"
    if ":" in word:
        return f"'{word}' is your own code, which may be of any kind\n  name the kind: wf show KIND {word}"
    for catalogue, _ in registry.catalogues():
        if word.strip("/") == catalogue.prefix:
            search = f"wf list {catalogue.kind} --search {catalogue.prefix}/"
            return f"'{word}' is a catalogue, not a component\n  list its components: {search}"
    names = [name for kind in summaries() for name in registry.names(kind)]
    names += [f"{catalogue.prefix}/..." for catalogue, _ in registry.catalogues()]
    hints = [hint for kind in summaries() for hint in registry.not_installed(kind, word)]
    first = registry.meant(KINDS, word)
    return unknown("component", word, names, "\n  ".join([*dict.fromkeys(hints), "see: wf list"]), first=first)


def _read_kind(word: str, registry: Registry) -> str:
    try:
        return read_kind(word)
    except UsageError:
        kinds = registry.kinds_of(word)
        if not kinds and closest(word, ["list-plugins"]):
            raise UsageError(f"'{word}' is not a kind\n  to list plugins: wf list-plugins") from None
        if not kinds:
            raise
        raise UsageError(f"'{word}' is a {kinds[0]}, not a kind\n  to show it: wf show {kinds[0]} {word}") from None


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
    except OSError:  # the working directory is gone
        return place


def title(entry: Entry) -> str:
    """Kind, name and summary of a component on one line."""
    component = entry.component
    return f"{component.kind} {component.name}" + (f": {component.summary}" if component.summary else "")


def options_table(entry: Entry, use: str) -> str:
    """A component's options: spelling, type, default and description.

    Args:
        entry: The component.
        use: Its name in the run.
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
        raise UsageError(f"{title(entry)} has no Python source that can be shown: {error}") from error


def _documentation(entry: Entry) -> str:
    """The docstring without its sections: arguments are in the table of options, the rest is for programmers."""
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
        **_component_record(entry),
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


def _plugin_block(plugin: Plugin) -> str:
    """A plugin on one line, and below it its components or the reason why it has none."""
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


def _complete_show(ctx: click.Context, typed: str) -> list[CompletionItem]:
    registry, words = registry_quietly(ctx), ctx.params.get("words") or ()
    kind = words[0] if words and words[0] in summaries() else None
    names = [entry.component.name for entry in registry.entries(kind, catalogues="/" in typed)]
    names += [f"{catalogue.prefix}/" for catalogue, _ in registry.catalogues(kind) if "/" not in typed]
    return _complete_words(typed, names if kind else [*summaries(), *names])


def _kinds() -> list[str]:
    return [*summaries(), *(kind for kind in VOCABULARIES if kind not in summaries())]


def _complete_words(typed: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in dict.fromkeys(words) if word.startswith(typed)]
