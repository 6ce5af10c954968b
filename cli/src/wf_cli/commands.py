"""Which verbs a line has: those that its plugins bring, and the shell's own, which no setting takes away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import click

from wf.commands import Command
from wf.distributions import is_installed, missing_requirements
from wf.entry import Entry
from wf.errors import PluginError, UsageError, WfError, closest
from wf.known import known_as, who_brings
from wf.plugins import Selection, discover
from wf.registry import Registry
from wf_cli.arguments import Everywhere
from wf_cli.output import diverted_stdout

KIND = "command"
OWN = "wf_cli.plugin"
"""What declares the shell's own verbs: with these one sees why others are not there."""
SECTIONS = ("Train", "See what there is", "Use a run", "Write a plugin")
"""The sections with which the help begins, in their order; others follow by name."""

_REGISTRY, _COMMANDS, _PROBLEM = ("wf_cli.registry", "wf_cli.commands", "wf_cli.problem")


def everywhere_of(ctx: click.Context) -> Everywhere:
    """The options that stood anywhere on the line."""
    found: Any = ctx.find_root().obj
    return found if isinstance(found, Everywhere) else Everywhere()


def line_registry(ctx: click.Context) -> Registry:
    """The registry of the plugins that a line asks for, without those of a run file, which it may leave out by name.

    It is made once: whoever adds those of a run file loads no plugin again.

    Raises:
        UsageError: For a plugin of the line that is not there, or settings that cannot be read.
    """
    meta: dict[str, Any] = ctx.meta
    if _REGISTRY not in meta:
        line = everywhere_of(ctx)
        names = dict.fromkeys(line.plugins)
        with diverted_stdout():  # nobody knows yet whether the verb keeps it for a result
            meta[_REGISTRY] = Registry.discover(names, only_builtin=line.only_builtin, incomplete=True)
    found: Registry = meta[_REGISTRY]
    return found


def commands_of(ctx: click.Context) -> tuple[Registry, WfError | None]:
    """The registry in which a line's verbs are looked up, and why it has none of plugins, if so."""
    meta: dict[str, Any] = ctx.meta
    if _COMMANDS not in meta:
        try:
            registry, meta[_PROBLEM] = line_registry(ctx), None
        except WfError as error:
            registry, meta[_PROBLEM] = Registry(()), error
        if not any(plugin.module == OWN and plugin.status == "ok" for plugin in registry.plugins):
            own = discover(Selection(extra=(OWN,), autoload=False))
            registry = Registry([*registry.plugins, *own], registry.pins.values())
        meta[_COMMANDS] = registry
    return meta[_COMMANDS], meta[_PROBLEM]


def find(ctx: click.Context, word: str) -> Entry:
    """The declaration of a verb.

    Args:
        ctx: Of the line.
        word: ``NAME``, or ``NAME@DISTRIBUTION``.

    Raises:
        UsageError: For an unknown verb, with the closest ones, or one that several plugins bring.
        PluginError: For a verb of a plugin that is not loaded.
    """
    registry, problem = commands_of(ctx)
    bare, _, provider = word.partition("@")
    if ":" not in word and registry.has(KIND, bare):
        return registry.find(KIND, word)
    if problem is not None:
        raise problem
    if (unloaded := registry.unloaded(KIND, bare, provider)) is not None:
        raise unloaded
    raise UsageError(_explain_unknown(registry, word))


def _explain_unknown(registry: Registry, word: str) -> str:
    names = [title for titles in sections(registry).values() for title in titles]
    near = closest(word, names)
    lines = [f"did you mean: wf {near[0]}?"] if near else []
    for known in who_brings(KIND, word):
        if not is_installed(known.distribution):
            lines.append(f"{known.distribution} brings it and is not installed: {known.install}")
        elif all(plugin.distribution != known.distribution for plugin in registry.plugins):
            why = "left out by --only-builtin or WF_DISABLE_PLUGIN_AUTOLOAD"
            lines.append(f"{known.distribution} brings it, is installed and not loaded: it is {why}")
    missing = [plugin for plugin in registry.plugins if plugin.status in ("failed", "incompatible")]
    if missing:
        states = ", ".join(f"{plugin.name} ({plugin.status})" for plugin in missing)
        lines.append(f"it may be in a plugin that is not loaded: {states}; see wf list-plugins")
    return "\n  ".join([f"unknown command '{word}'", *lines, f"available: {', '.join(names)}"])


def load(entry: Entry) -> click.Command:
    """The command that a declaration names.

    Raises:
        PluginError: When it cannot be imported, or is none.
    """
    name, owner = entry.component.name, entry.provider
    try:
        command = entry.load()
    except PluginError as error:
        for missing in missing_requirements(entry.distribution):
            known = known_as(missing)
            error.add_note(f"{owner} needs {missing}: {known.install if known else f'pip install {missing}'}")
        error.add_note(f"the other commands work without it; see: wf doctor, or leave the plugin out: -p no:{owner}")
        raise
    if not isinstance(command, click.Command):
        raise PluginError(
            f"command '{name}' of {owner} is {type(command).__name__}, not a click command\n"
            f"  its target: {entry.component.target_name}\n  its author can decorate it with @click.command()"
        )
    return command


def declared(entry: Entry) -> Command:
    """The declaration itself."""
    found = entry.component.traits
    assert isinstance(found, Command)
    return found


def sections(registry: Registry) -> Mapping[str, Mapping[str, Command]]:
    """The verbs by section, as the help shows them; a name that several plugins bring has its provider with it."""
    rows = [(declared(entry), registry.full_name(entry)) for entry in registry.entries(KIND)]
    rows.sort(key=lambda row: (_place(row[0].section), row[0].order, row[1]))
    return {
        section: {title: command for command, title in group}
        for section, group in groupby(rows, key=lambda row: row[0].section)
    }


def _place(section: str) -> tuple[int, str]:
    return (SECTIONS.index(section), "") if section in SECTIONS else (len(SECTIONS), section)


def examples(found: Mapping[str, Mapping[str, Command]]) -> Sequence[tuple[str, str]]:
    """The lines to begin with that commands bring."""
    return [example for commands in found.values() for command in commands.values() for example in command.examples]
