"""What several verbs share: the registry of this line, and completion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import click

from wf.errors import PluginError, WfError
from wf.parameters import NULL
from wf.plugins import Plugin
from wf.registry import Ask, Registry
from wf_cli.arguments import REMOVE
from wf_cli.commands import everywhere_of, line_registry
from wf_cli.output import echo, tell


class Verb(click.Command):
    """A command that says of an option with one value that is given more than once that the last one counts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a line."""
        if not ctx.resilient_parsing:
            values, _, given = self.make_parser(ctx).parse_args(args=[*args])
            for param in dict.fromkeys(given):
                if isinstance(param, click.Option) and not (param.multiple or param.is_flag) and given.count(param) > 1:
                    tell(f"{param.opts[0]} is given more than once; the last one counts: {values[str(param.name)]}")
        return super().parse_args(ctx, args)


def together(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> str | None:
    """One list of what an option has in all, with commas between; "@null" takes back what is before it."""
    if NULL in values:
        last = len(values) - 1 - values[::-1].index(NULL)
        values = values[last + 1 :] or [NULL]
    return ",".join(values) if values else None


def discover(ctx: click.Context, of_run: Sequence[str] = (), ask: Ask | None = None) -> Registry:
    """The registry of the plugins that this line asks for, those that failed included.

    Args:
        ctx: Of the verb.
        of_run: More plugins, from a run file.
        ask: Asked before those are loaded.
    """
    line, registry = everywhere_of(ctx), line_registry(ctx)
    names, loaded = dict.fromkeys(line.plugins), registry.plugins
    if not of_run and ask is None and not any(name.startswith(REMOVE) for name in names):
        return registry
    return Registry.discover(names, only_builtin=line.only_builtin, of_run=of_run, ask=ask, loaded=loaded)


def registry_of(ctx: click.Context, of_run: Sequence[str] = (), ask: Ask | None = None) -> Registry:
    """As `discover`; a plugin that cannot be loaded is a warning, or an error where the line asks for it.

    Raises:
        PluginError: When a plugin of ``-p`` or of a run file cannot be loaded, or any one with ``--strict``.
    """
    registry = discover(ctx, of_run, ask)
    broken = [plugin for plugin in registry.plugins if plugin.status in ("failed", "incompatible")]
    for plugin in broken:
        if plugin.details and everywhere_of(ctx).traceback:
            echo(plugin.details, err=True)
        if plugin.distribution is None:  # it is there only because the line or the run file names it
            raise PluginError(_explain(plugin))
        if not everywhere_of(ctx).strict:
            tell(f"warning: {_explain(plugin)}")
    check_strict(ctx, broken)
    return registry


def of_line(ctx: click.Context, **keys: Any) -> dict[str, Any]:
    """How this line opens a run directory: the registry, the code that it names itself, and what it trusts.

    Args:
        ctx: Of the verb.
        keys: What else the line says, as keys of a run file.
    """
    everywhere = everywhere_of(ctx)
    line = {**keys, "plugins": [*everywhere.plugins, *keys.get("plugins", [])]}
    return {"discover": partial(registry_of, ctx), "line": line, "trust": everywhere.trust}


def check_strict(ctx: click.Context, plugins: Iterable[Plugin]) -> None:
    """Refuse, with ``--strict``, plugins that cannot be loaded.

    Raises:
        PluginError: Naming each of them.
    """
    broken = [plugin for plugin in plugins if plugin.status in ("failed", "incompatible")]
    if broken and everywhere_of(ctx).strict:
        raise PluginError("\n  ".join(["--strict:", *map(_explain, broken)]))


def _explain(plugin: Plugin) -> str:
    state = "does not support this wf" if plugin.status == "incompatible" else "could not be loaded"
    leave = "" if plugin.distribution is None else f"\n  or leave it out: -p no:{plugin.name}"
    return f"plugin '{plugin.name}' {state}: {plugin.error}\n  try: {plugin.fix}{leave}"


def registry_quietly(ctx: click.Context) -> Registry:
    """The registry for completion, which says nothing of what is wrong."""
    try:
        return discover(ctx)
    except WfError:
        return Registry(())
