"""Checks plugins: the implementation of `wf check`, and functions for a package's own tests."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin
from wf.discovery.settings import load as load_settings
from wf.errors import PluginError, UsageError, unknown
from wf.parameters import without_null
from wf.registry import Registry
from wf_building.options import check_options
from wf_kit.kit import Case, Result, Subject
from wf_kit.selecting import Table, Wishes, select
from wf_run.planning.names import check_value
from wf_run.trust.guards import guard_of_line


def conformance_cases(
    *names: str,
    skip: Mapping[str, str] | None = None,
    options: Table | None = None,
    run: Table | None = None,
    registry: Registry | None = None,
) -> list[Case]:
    """Every check on every named component, as parameters for a test.

    ::

        @pytest.mark.parametrize("case", conformance_cases("wf-foo"), ids=str)
        def test_conformance(case):
            case.run()

    ``[tool.wf.check]`` in the nearest pyproject.toml applies, too; the arguments override it.

    Args:
        names: Plugins (``wf-foo``) or components (``focal``, ``loss/focal``).
        skip: The reason for skipping a check, by ``check-id`` or ``kind/name:check-id``.
        options: Values for a component's options, by ``kind/name``; required for options without a default.
        run: Run-file keys for the other parts of the run around a component, by ``kind/name``: ``{"model": "mlp"}``.
        registry: Where names are looked up; by default every installed plugin.

    Raises:
        UsageError: For an unknown name or check, a skip without a reason, and a skip without effect.
        PluginError: For a plugin that is not loaded.
    """
    given = Wishes(skip or {}, options or {}, run or {})
    wishes = given.over(Wishes.of(load_settings()))
    registry = registry or Registry.discover()
    entries = [entry for name in names for entry in select(registry, [name], wishes.options)]
    cases = make_cases(registry, entries, wishes, given)
    if unused := unused_skips(cases, given.skip):
        raise UsageError(f"the skip of '{unused[0]}' has no effect\n  no such component, or no such check on it")
    checked = {str(case.subject) for case in cases}
    for name in (*given.options, *given.run):
        if name not in checked:
            raise UsageError(unknown("component", name, checked))
    return cases


def check_plugin(
    *names: str,
    skip: Mapping[str, str] | None = None,
    options: Table | None = None,
    run: Table | None = None,
    registry: Registry | None = None,
) -> list[Result]:
    """Run every check of `conformance_cases`; returns the results."""
    return [case.result() for case in conformance_cases(*names, skip=skip, options=options, run=run, registry=registry)]


def make_cases(registry: Registry, entries: Sequence[Entry], wishes: Wishes, given: Wishes) -> list[Case]:
    """Every check on each of the given components.

    Args:
        registry: Where names are looked up.
        entries: The components.
        wishes: The settings for checking them.
        given: The part of the settings that the caller gave; settings files name no code.

    Raises:
        UsageError: For a skip of an unknown check, or without a reason.
    """
    from wf_kit.checks import CHECKS  # imports torch
    from wf_kit.reference import PLUGIN

    wishes.check()
    for name in wishes.skip:
        if name.rpartition(":")[2] not in CHECKS:
            raise UsageError(unknown("check", name.rpartition(":")[2], CHECKS, f"in the skip of '{name}'"))
    own = [entry.component.target for entry in entries if entry.plugin is None]
    line = {"entries": [text for text in own if isinstance(text, str)], "options": given.options, "run": given.run}
    guard = guard_of_line("[tool.wf.check]", line, "settings cannot name code: name it on the command line")
    tasks = [plugin for plugin in _tasks() if plugin.name not in {one.name for one in registry.plugins}]
    with_parts = Registry([*registry.plugins, *tasks, PLUGIN], registry.pins.values(), guard)
    cases = []
    for entry in entries:
        key = f"{entry.component.kind}/{entry.component.name}"
        _check_there(entry, wishes.options.get(key, {}), with_parts)
        subject = Subject(entry, with_parts, wishes.options.get(key), wishes.run.get(key))
        found = [check for check in CHECKS.values() if check.covers(subject.kind)]
        cases += [Case(check, subject, CHECKS, _reason(wishes.skip, key, check.id)) for check in found]
    return cases


@cache
def _tasks() -> tuple[Plugin, ...]:
    """The built-in plugins that declare tasks, for a registry without them."""
    plugins = Registry.discover(only_builtin=True).plugins
    return tuple(plugin for plugin in plugins if any(one.kind == "task" for one in plugin.components))


def _check_there(entry: Entry, options: Mapping[str, Any], registry: Registry) -> None:
    """Refuse own code that does not exist, unknown options, and values that do not fit.

    A target that cannot be imported is left to the checks.
    """
    with contextlib.suppress(PluginError):
        if entry.plugin is None:
            entry.load()
        given = check_options(entry, options, entry.params()) if options else {}
        for param in entry.params() if given else ():
            if param.name in given:
                owner = f"{entry.component.kind} '{entry.component.name}'"
                check_value(param, without_null(given[param.name]), owner, registry)


def unused_skips(cases: Sequence[Case], skip: Mapping[str, Any]) -> list[str]:
    """The skips that match none of the cases."""
    names = {name for case in cases for name in (str(case), case.check.id)}
    return [name for name in skip if name not in names]


def _reason(skip: Mapping[str, str], component: str, check: str) -> str | None:
    return skip.get(f"{component}:{check}", skip.get(check))
