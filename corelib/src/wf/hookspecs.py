"""The pluggy hook specifications of plugins."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from wf.declarations.commands import Command
from wf.declarations.component import Catalogue, Component, Param
from wf.declarations.conditions import Condition
from wf.declarations.kinds import Kind
from wf.declarations.readers import FileReader
from wf.declarations.rule import Rule
from wf.declarations.task import Link, Task
from wf.declarations.values import RunValue

PROJECT = "wf"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's functions: ``@hookimpl def wf_components(): ...``"""


@hookspec
def wf_components() -> Sequence[Component | Catalogue]:  # type: ignore[empty-body]  # a specification has no body
    """The components of the plugin. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_kinds() -> Sequence[Kind]:  # type: ignore[empty-body]  # a specification has no body
    """The kinds of components that the plugin adds. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_values() -> Sequence[RunValue]:  # type: ignore[empty-body]  # a specification has no body
    """The run values that the plugin provides. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_tasks() -> Sequence[Task]:  # type: ignore[empty-body]  # a specification has no body
    """The tasks of the plugin. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_links() -> Sequence[Link]:  # type: ignore[empty-body]  # a specification has no body
    """The links of the plugin. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_commands() -> Sequence[Command]:  # type: ignore[empty-body]  # a specification has no body
    """The commands of the plugin, ``wf NAME``. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_settings() -> Sequence[Param]:  # type: ignore[empty-body]  # a specification has no body
    """The general keys that the plugin adds to run files; each is also an option of ``wf run`` and a run value.

    Called once, at discovery; it must import nothing heavy.
    """


@hookspec
def wf_rules() -> Sequence[Rule]:  # type: ignore[empty-body]  # a specification has no body
    """The fitting rules that the plugin adds. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_conditions() -> Sequence[Condition]:  # type: ignore[empty-body]  # a specification has no body
    """Further conditions that must be equal on resume. Called once, at discovery; it must import nothing heavy."""


@hookspec
def wf_readers() -> Sequence[FileReader]:  # type: ignore[empty-body]  # a specification has no body
    """The readers of files of inputs that the plugin adds. Called once, at discovery; it must import nothing heavy."""
