"""Declarations besides components, such as tasks and commands: one class and one hook each. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

from wf.declarations.commands import Command
from wf.declarations.conditions import Condition
from wf.declarations.kinds import KINDS
from wf.declarations.readers import FileReader
from wf.declarations.rule import Rule
from wf.declarations.task import Link, Task
from wf.declarations.values import RunValue

DECLARATIONS: dict[str, type[Any]] = {
    cls.word: cls for cls in (Task, Link, RunValue, Command, Rule, Condition, FileReader)
}
"""The classes by the word for one; each hook has the plural: ``wf_tasks``.

These declarations are looked up, listed, shown and pinned like components, but have no table in run files. ``about``
describes all of a class; ``is_typed`` says whether users type their names, so that ``NAME@PLUGIN`` can choose one.
"""


def plurals() -> dict[str, str]:
    """Every kind by its plural, including declarations."""
    return {**{kind.plural: name for name, kind in KINDS.items()}, **{f"{name}s": name for name in DECLARATIONS}}


def summaries() -> dict[str, str]:
    """Every kind with its summary, including declarations."""
    return {
        **{name: kind.summary for name, kind in KINDS.items()},
        **{word: cls.about for word, cls in DECLARATIONS.items()},
    }
