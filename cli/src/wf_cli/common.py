"""What several verbs share: the registry of this line, and completion of names."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from wf.plugins import Selection
from wf.registry import Registry
from wf_cli.main import everywhere_of


def registry_of(ctx: click.Context, extra: tuple[str, ...] = ()) -> Registry:
    """The registry of the plugins that this line asks for.

    Args:
        ctx: Of the verb.
        extra: More plugins, from a run file.
    """
    everywhere = everywhere_of(ctx)
    names = [*everywhere.plugins, *(name for name in extra if name not in everywhere.plugins)]
    return Registry.discover(Selection.parse(names, only_builtin=everywhere.only_builtin))


def complete_names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completion of the names of one kind; members of catalogues once their prefix is typed."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        sign = next((sign for sign in ("+", "no:") if incomplete.startswith(sign)), "")
        typed = incomplete[len(sign) :]
        entries = registry_of(ctx).entries(kind, catalogues="/" in typed)
        found = [
            CompletionItem(sign + entry.component.name, help=entry.component.summary)
            for entry in entries
            if entry.component.name.startswith(typed)
        ]
        prefixes = () if "/" in typed else registry_of(ctx).catalogues(kind)
        return found + [
            CompletionItem(f"{c.prefix}/", help=c.summary) for c, _ in prefixes if c.prefix.startswith(typed)
        ]

    return complete
