"""The commands of the command line: commands of plugins, and wf's own, which no setting disables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import click

from wf.declarations.commands import Command
from wf.discovery.distributions import is_installed, missing_requirements
from wf.discovery.entry import Entry
from wf.discovery.known import known_as, who_brings
from wf.discovery.plugins import Selection, discover
from wf.errors import PluginError, UsageError, WfError, closest
from wf.registry import Registry
from wf_cli.arguments import Everywhere
from wf_cli.output import diverted_stdout

KIND = "command"
OWN = "wf_cli.plugin"
"""The module that declares wf's own commands. They always work, so that missing commands can be diagnosed."""
SECTIONS = ("Train", "See what there is", "Use a run", "Write a plugin")
"""The first sections of the help, in order; others follow alphabetically."""

_REGISTRY, _COMMANDS, _PROBLEM = ("wf_cli.registry", "wf_cli.commands", "wf_cli.problem")


def everywhere_of(ctx: click.Context) -> Everywhere:
    """The options of every command, as given on this command line."""
    found: Any = ctx.find_root().obj
    return found if isinstance(found, Everywhere) else Everywhere()


def line_registry(ctx: click.Context) -> Registry:
    """The registry for this command line, without the plugins of a run file.

    It is created once; adding the plugins of a run file later does not reload the others. The command line may disable
    a plugin that only the run file names.

    Raises:
        UsageError: If a plugin on the command line does not exist, or settings cannot be read.
    """
    meta: dict[str, Any] = ctx.meta
    if _REGISTRY not in meta:
        line = everywhere_of(ctx)
        names = dict.fromkeys(line.plugins)
        with diverted_stdout():  # the command may reserve it for its result
            meta[_REGISTRY] = Registry.discover(names, only_builtin=line.only_builtin, incomplete=True)
    found: Registry = meta[_REGISTRY]
    return found


def commands_of(ctx: click.Context) -> tuple[Registry, WfError | None]:
    """The registry for looking up commands, and the error if plugins could not be discovered."""
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
    """Find the declaration of a command.

    Args:
        ctx: The click context.
        word: ``NAME``, or ``NAME@DISTRIBUTION``.

    Raises:
        UsageError: If the command is unknown (with the closest names), or several plugins declare it.
        PluginError: If the command's plugin is not loaded.
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
            lines.append(f"{known.distribution} provides it but is not installed: {known.install}")
        elif all(plugin.distribution != known.distribution for plugin in registry.plugins):
            why = "disabled by --only-builtin or WF_DISABLE_PLUGIN_AUTOLOAD"
            lines.append(f"{known.distribution} provides it and is installed, but was not loaded: {why}")
    missing = [plugin for plugin in registry.plugins if plugin.status in ("failed", "incompatible")]
    if missing:
        states = ", ".join(f"{plugin.name} ({plugin.status})" for plugin in missing)
        lines.append(f"it may be in a plugin that is not loaded: {states}; see wf list-plugins")
    return "\n  ".join([f"unknown command '{word}'", *lines, f"available: {', '.join(names)}"])


def load(entry: Entry) -> click.Command:
    """Import the command of a declaration.

    Raises:
        PluginError: If it cannot be imported, or is not a click command.
    """
    name, owner = entry.component.name, entry.provider
    try:
        command = entry.load()
    except PluginError as error:
        for missing in missing_requirements(entry.distribution):
            known = known_as(missing)
            error.add_note(f"{owner} needs {missing}: {known.install if known else f'pip install {missing}'}")
        error.add_note(f"other commands work without it; see: wf doctor, or disable the plugin: -p no:{owner}")
        raise
    if not isinstance(command, click.Command):
        raise PluginError(
            f"command '{name}' of {owner} is {type(command).__name__}, not a click command\n"
            f"  its target: {entry.component.target_name}\n  its author can decorate it with @click.command()"
        )
    return command


def declared(entry: Entry) -> Command:
    """The `Command` of a registry entry."""
    found = entry.component.traits
    assert isinstance(found, Command)
    return found


def sections(registry: Registry) -> Mapping[str, Mapping[str, Command]]:
    """Commands by section, in the order of the help; if several plugins declare a name, the provider is appended."""
    rows = [(declared(entry), registry.full_name(entry)) for entry in registry.entries(KIND)]
    rows.sort(key=lambda row: (_place(row[0].section), row[0].order, row[1]))
    return {
        section: {title: command for command, title in group}
        for section, group in groupby(rows, key=lambda row: row[0].section)
    }


def _place(section: str) -> tuple[int, str]:
    return (SECTIONS.index(section), "") if section in SECTIONS else (len(SECTIONS), section)


def examples(found: Mapping[str, Mapping[str, Command]]) -> Sequence[tuple[str, str]]:
    """The examples for first steps that commands declare."""
    return [example for commands in found.values() for command in commands.values() for example in command.examples]
