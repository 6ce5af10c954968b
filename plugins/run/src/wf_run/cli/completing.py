"""Completion for runs: names of components, their options, and runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from wf.declarations.kinds import KINDS
from wf.errors import WfError
from wf.terminal import visible
from wf_building.defaults import default_hooks, default_of
from wf_cli.arguments import ADD, REMOVE
from wf_cli.common import registry_quietly
from wf_storage.folders import LATEST, names_in

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_names(kind: str) -> Complete:
    """Completion of the names of one kind; members of catalogues once their prefix is typed."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        sign = next((sign for sign in (ADD, REMOVE) if incomplete.startswith(sign)), "")
        typed = incomplete[len(sign) :]
        registry = registry_quietly(ctx)
        entries = registry.entries(kind, catalogues="/" in typed)
        items = [(entry.component.name, entry.component.summary) for entry in entries]
        items += [(f"{found.prefix}/", found.summary) for found, _ in registry.catalogues(kind) if "/" not in typed]
        return [
            CompletionItem(sign + name, help=visible(text, line=True)) for name, text in items if name.startswith(typed)
        ]

    return complete


def complete_component_options(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Completion of ``--loss.``: the options of the component that the command line chooses, or of the default."""
    kind, *keys = incomplete.removeprefix("--").split(".")
    chosen = ctx.params.get(kind.replace("-", "_")) or ()
    if kind not in KINDS.several:
        return _complete_options(ctx, kind, chosen or default_name(ctx, kind), f"--{kind}.", incomplete)
    if len(keys) > 1:
        return _complete_options(ctx, kind, keys[0], f"--{kind}.{keys[0]}.", incomplete)
    defaults = default_hooks(registry_quietly(ctx)) if kind == "hook" else ()
    names = [*(name.removeprefix(ADD) for name in chosen if not name.startswith(REMOVE)), *defaults]
    return [CompletionItem(f"--{kind}.{name}.") for name in dict.fromkeys(names) if name.startswith(keys[0])]


def default_name(ctx: click.Context, kind: str) -> str:
    """The default component of a kind; empty without one, or if plugins disagree."""
    try:
        return default_of(registry_quietly(ctx), kind) or ""
    except WfError:
        return ""


def _complete_options(ctx: click.Context, kind: str, name: str, prefix: str, incomplete: str) -> list[CompletionItem]:
    try:
        params = registry_quietly(ctx).find(kind, name).params()
    except WfError:
        return []
    items = [CompletionItem(f"{prefix}{param.name}", help=param.help) for param in params]
    return [item for item in items if item.value.startswith(incomplete)]


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completion of the runs below ``runs/``, newest last, and of paths."""
    runs = sorted([*names_in(Path("runs")), *([LATEST] if os.path.isdir(Path("runs") / LATEST) else [])])
    found = [CompletionItem(name) for name in runs if name.startswith(incomplete) and name.isprintable()]
    return found or [CompletionItem(incomplete, type="dir")]
