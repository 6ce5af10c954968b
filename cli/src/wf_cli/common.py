"""Helpers shared by commands: the registry of a command line, and completion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import click

from wf.discovery.plugins import Plugin
from wf.errors import PluginError, WfError
from wf.parameters import NULL
from wf.registry import Ask, Registry
from wf_cli.arguments import REMOVE
from wf_cli.commands import everywhere_of, line_registry
from wf_cli.output import echo, tell
from wf_processes.together import is_first, is_launched


class WfCommand(click.Command):
    """A click command that reports when an option with a single value is given more than once; the last one counts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        if not ctx.resilient_parsing and is_first() and not is_launched():  # then the launcher has said it
            values, _, given = self.make_parser(ctx).parse_args(args=[*args])
            for param in dict.fromkeys(given):
                if isinstance(param, click.Option) and not (param.multiple or param.is_flag) and given.count(param) > 1:
                    tell(f"{param.opts[0]} is given more than once; the last one counts: {values[str(param.name)]}")
        return super().parse_args(ctx, args)


def together(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> str | None:
    """Join all values of an option with commas; "@null" discards the values before it."""
    if NULL in values:
        last = len(values) - 1 - values[::-1].index(NULL)
        values = values[last + 1 :] or [NULL]
    return ",".join(values) if values else None


def discover(ctx: click.Context, of_run: Sequence[str] = (), ask: Ask | None = None) -> Registry:
    """Create the registry of the plugins for this command line, including failed ones.

    Args:
        ctx: The click context.
        of_run: Additional plugins, from a run file.
        ask: Called before plugins of a run file are loaded; raises an error to refuse them.
    """
    line, registry = everywhere_of(ctx), line_registry(ctx)
    names, loaded = dict.fromkeys(line.plugins), registry.plugins
    if not of_run and ask is None and not any(name.startswith(REMOVE) for name in names):
        return registry
    return Registry.discover(names, only_builtin=line.only_builtin, of_run=of_run, ask=ask, loaded=loaded)


def registry_of(ctx: click.Context, of_run: Sequence[str] = (), ask: Ask | None = None) -> Registry:
    """Like `discover`; warns about a plugin that cannot be loaded, or raises if ``-p`` or a run file names it.

    Raises:
        PluginError: If a plugin given by ``-p`` or a run file cannot be loaded, or any plugin with ``--strict``.
    """
    registry = discover(ctx, of_run, ask)
    broken = [plugin for plugin in registry.plugins if plugin.status in ("failed", "incompatible")]
    for plugin in broken:
        if plugin.details and everywhere_of(ctx).traceback:
            echo(plugin.details, err=True)
        if plugin.distribution is None:  # named by -p or a run file
            raise PluginError(_explain(plugin))
    if not everywhere_of(ctx).strict:
        for fix in dict.fromkeys(plugin.fix for plugin in broken):
            tell(f"warning: {_explain(*(plugin for plugin in broken if plugin.fix == fix))}")
    check_strict(ctx, broken)
    return registry


def of_line(ctx: click.Context, **keys: Any) -> dict[str, Any]:
    """Arguments for opening a run directory: the registry, code named on the command line, and trusted checksums.

    Args:
        ctx: The click context.
        keys: Further settings on the command line, as run-file keys.
    """
    everywhere = everywhere_of(ctx)
    line = {**keys, "plugins": [*everywhere.plugins, *keys.get("plugins", [])]}
    return {"discover": partial(registry_of, ctx), "line": line, "trust": everywhere.trust}


def check_strict(ctx: click.Context, plugins: Iterable[Plugin]) -> None:
    """With ``--strict``, refuse plugins that cannot be loaded.

    Raises:
        PluginError: If any plugin cannot be loaded; the message names each.
    """
    broken = [plugin for plugin in plugins if plugin.status in ("failed", "incompatible")]
    if broken and everywhere_of(ctx).strict:
        raise PluginError("\n  ".join(["--strict:", *map(_explain, broken)]))


def _explain(plugin: Plugin, *others: Plugin) -> str:
    """The reason why a plugin is not loaded, and the names of others with the same reason."""
    state = "does not support this wf" if plugin.status == "incompatible" else "could not be loaded"
    leave = "" if plugin.distribution is None else f"\n  or disable it: -p no:{plugin.name}"
    more = f"\n  for the same reason: {', '.join(one.name for one in others)}" if others else ""
    return f"plugin '{plugin.name}' {state}: {plugin.error}{more}\n  try: {plugin.fix}{leave}"


def registry_quietly(ctx: click.Context) -> Registry:
    """The registry for completion, without warnings."""
    try:
        return discover(ctx)
    except WfError:
        return Registry(())
