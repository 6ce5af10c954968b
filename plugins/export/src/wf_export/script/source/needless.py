"""Finds the statements that a script does not need: checks, and the assignments that only checks use."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any


def needless(node: Any, find: Callable[[str], Any]) -> list[ast.stmt]:
    """The statements of a function that only check something, and the assignments that only these needed."""
    found: list[ast.stmt] = []

    def look(body: list[ast.stmt]) -> bool:
        """Whether nothing is left of a block."""
        num_left = 0
        for statement in body:
            blocks = _blocks(statement)
            if statement in found:
                continue
            empty = [look(block) for block in blocks]
            if _is_check(statement, find) or (empty and all(empty)):
                found.append(statement)
            else:
                num_left += not is_docstring(statement, node)
        return not num_left

    before = -1
    while len(found) > before:
        before = len(found)
        look(list(node.body))
        gone = {id(one) for statement in found for one in ast.walk(statement)}
        loads = [one for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)]
        only_checked = {one.id for one in loads if id(one) in gone} - {one.id for one in loads if id(one) not in gone}
        found += [
            one
            for one in ast.walk(node)
            if id(one) not in gone
            and isinstance(one, ast.Assign)
            and all(isinstance(target, ast.Name) and target.id in only_checked for target in one.targets)
        ]
    return found


def left(node: Any, find: Callable[[str], Any]) -> list[ast.stmt]:
    """The other statements of a function, without its docstring."""
    gone = needless(node, find)
    return [one for one in node.body if one not in gone and not is_docstring(one, node)]


def _is_check(statement: ast.stmt, find: Callable[[str], Any]) -> bool:
    """Whether a statement only raises if something is wrong."""
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.If):
        return not statement.orelse and all(isinstance(one, ast.Raise) for one in statement.body)
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return False
    found = find(call.func.id)
    return isinstance(found, tuple) and not left(found[1], find)


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of a statement that can be removed if empty."""
    if isinstance(statement, (ast.For, ast.While, ast.If)):
        return [block for block in (statement.body, statement.orelse) if block]
    return []


def is_docstring(statement: ast.stmt, owner: Any) -> bool:
    """Whether a statement is the docstring of a function or class."""
    first = owner.body[0] if owner.body else None
    value = statement.value if isinstance(statement, ast.Expr) else None
    return statement is first and isinstance(value, ast.Constant) and isinstance(value.value, str)
