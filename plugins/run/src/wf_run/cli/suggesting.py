"""Suggestions for an unknown option of ``wf run``: a component, a component's option, or another word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import click

from wf.declarations.kinds import KINDS
from wf.errors import WfError, closest, plain_word
from wf.registry import Registry
from wf_building.defaults import default_of
from wf_cli.arguments import ADD
from wf_cli.common import registry_quietly
from wf_run.planning.defaults import default_kinds


def suggest(ctx: click.Context, option: str, words: Sequence[str]) -> list[str]:
    """Candidates for an unknown option, best first.

    Args:
        ctx: The command's context.
        option: The unknown option, as ``--early-stopping``.
        words: The command line, which may name components.
    """
    word, registry = option.lstrip("-"), registry_quietly(ctx)
    components = [f"--{kind} {ADD if kind in KINDS.several else ''}{word}" for kind in registry.kinds_of(word)]
    names = [name for param in ctx.command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
    near = closest(word, [name.lstrip("-") for name in names if name.startswith("--")])
    return components or [*_own_options(registry, word, words), *(f"--{name}" for name in near)]


def _own_options(registry: Registry, word: str, words: Sequence[str]) -> Iterator[str]:
    """The options of that name among the components that the command line or the defaults choose."""
    named = dict(pairwise(words))
    for kind in default_kinds():
        try:
            name = named.get(f"--{kind}") or default_of(registry, kind)
            params = (registry.find(kind, name).params_unloaded() if name else None) or ()
        except WfError:
            continue
        yield from (f"--{kind}.{param.name}" for param in params if plain_word(param.name) == plain_word(word))
