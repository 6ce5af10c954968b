"""Modules and the names that their statements bind."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from wf.errors import UsageError


class NotAlone(UsageError):  # noqa: N818 - named for the source
    """A component whose source is not self-contained."""


OWN = re.compile(r"wf(_\w+)?\Z")
"""The packages whose code is copied; everything else is imported."""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Module:
    """A module and the bindings of its names."""

    python: ModuleType

    @cached_property
    def text(self) -> str:
        """Its source."""
        try:
            return inspect.getsource(self.python)
        except (OSError, TypeError) as error:
            raise NotAlone(f"the source of {self.python.__name__} is not there") from error

    @cached_property
    def lines(self) -> list[int]:
        """The offset of each line."""
        found = [0]
        for line in self.text.splitlines(keepends=True):
            found.append(found[-1] + len(line))
        return found

    @cached_property
    def bound(self) -> dict[str, ast.stmt]:
        """The statement that binds each name."""
        found: dict[str, ast.stmt] = {}
        for statement in ast.parse(self.text).body:
            for name in binds(statement):
                found[name] = statement
        return found

    def begin(self, node: Any) -> int:
        """The offset of a node."""
        return self._at(node.lineno, node.col_offset)

    def end(self, node: Any) -> int:
        """The end offset of a node."""
        return self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, column: int) -> int:
        begin = self.lines[line - 1]
        encoded = self.text[begin : self.lines[line]].encode()
        return begin + len(encoded[:column].decode())


def binds(statement: ast.AST) -> Iterator[str]:
    """The names that a statement of a module or class binds."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            for node in ast.walk(target):
                if isinstance(node, ast.Name):
                    yield node.id


def locals_of(node: ast.AST) -> Iterator[str]:
    """The names that a function binds."""
    for one in ast.walk(node):
        if isinstance(one, ast.arg):
            yield one.arg
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
        elif isinstance(one, (ast.Import, ast.ImportFrom, *FUNCTIONS)) and one is not node:
            yield from binds(one)


def attributes(node: ast.AST) -> set[str]:
    """The names of the attributes that a tree mentions."""
    return {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
