"""One definition of a module, written for a script."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from wf_export.script.source.modules import FUNCTIONS, OWN, Module, NotAlone, attributes, binds, locals_of
from wf_export.script.source.needless import is_docstring, left, needless

SHOWS = ("extra_repr", "__repr__")
"""Methods that only display an object."""
CALLED = ("__init__", "__call__", "forward")
"""Methods that are called implicitly."""
_LONGEST = 120
Edit = tuple[int, int, str]
"""The start and end of a text in a module, and its replacement."""


@dataclass
class Piece:
    """One definition of a module, without code that only wf needs."""

    module: Module
    node: ast.stmt
    find: Callable[[str], tuple[Module, ast.FunctionDef] | type | None]
    calls: set[str]

    def __post_init__(self) -> None:
        self.edits: list[Edit] = []
        self.names: dict[str, None] = {}
        self.gone: set[int] = set()
        if isinstance(self.node, ast.ClassDef):
            self._class(self.node)
        elif isinstance(self.node, FUNCTIONS):
            self._function(self.node)
            self._take(self.node.decorator_list)
        else:
            self._take([self.node])

    def text(self) -> str:
        """Its source."""
        begin = min([self.module.begin(self.node), *(self.module.begin(one) - 1 for one in self._decorators())])
        end, text = self.module.end(self.node), self.module.text
        parts, at = [], begin
        for start, stop, new in sorted(self.edits):
            if start < at:
                continue
            parts += [text[at:start], new]
            at = stop
        source = "".join([*parts, text[at:end]])
        source = re.sub(r"  # noqa\b[^\n]*|  # type: ignore[^\n]*", "", source)
        return textwrap.dedent(re.sub(r"\n{3,}", "\n\n", source)).rstrip()

    def _decorators(self) -> list[ast.expr]:
        return list(getattr(self.node, "decorator_list", []))

    def _class(self, node: ast.ClassDef) -> None:
        kept = self._kept(node)
        for statement in node.body:
            if statement in kept:
                if isinstance(statement, FUNCTIONS):
                    self._function(statement)
                    self._take(statement.decorator_list)
                else:
                    self._take([statement])
            elif not is_docstring(statement, node):
                self._remove(statement)
        self._docstring(node)
        self._take([*node.bases, *node.decorator_list])

    def _kept(self, node: ast.ClassDef) -> list[ast.stmt]:
        """The statements of a class that are used."""
        cls = getattr(self.module.python, node.name)
        outside = [one for one in cls.__mro__[1:-1] if not OWN.match(one.__module__.partition(".")[0])]
        others = [one for one in cls.__mro__[1:-1] if one not in outside]
        called = {*self.calls, *(name for one in others for name in attributes(ast.parse(_dedented(one))))}
        kept: list[ast.stmt] = []
        while True:
            found = [
                statement
                for statement in node.body
                if any(
                    name in CALLED or name in called or any(hasattr(one, name) for one in outside)
                    for name in binds(statement)
                    if name not in SHOWS
                )
            ]
            if len(found) == len(kept):
                return kept
            kept = found
            called |= {name for statement in kept for name in attributes(statement)}

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._docstring(node)
        for gone in needless(node, self.find):
            self._remove(gone)
        arguments = node.args
        for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
            if arg is not None and arg.annotation is not None and not self._annotation(arg.annotation):
                begin = self.module.begin(arg) + len(arg.arg)
                self.edits.append((begin, self.module.end(arg.annotation), ""))
        if node.returns is not None and not self._annotation(node.returns):
            arrow = self.module.text.rindex("->", 0, self.module.begin(node.returns))
            self.edits.append((arrow - 1, self.module.end(node.returns), ""))
        self._take([*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)])
        self._take(node.body, {*locals_of(node)})

    def _docstring(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """Shorten it to its first sentence."""
        if not node.body or not is_docstring(node.body[0], node):
            return
        text = inspect.cleandoc(ast.literal_eval(node.body[0].value))  # type: ignore[attr-defined]  # an expression
        first = " ".join(text.partition("\n\n")[0].split()).replace("``", "`")
        first = first if len(first) < _LONGEST - 20 else re.split(r"(?<=[.:]) ", first)[0]
        mark = 'r"""' if "\\" in first else '"""'
        self.edits.append((self.module.begin(node.body[0]), self.module.end(node.body[0]), f'{mark}{first}"""'))

    def _remove(self, statement: ast.stmt) -> None:
        """Remove a statement with its lines and the comments before it; an empty block gets a pass."""
        self.gone.update(map(id, ast.walk(statement)))
        first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
        begin, end = self.module.lines[first - 1], self.module.end(statement)
        rest = self.module.text.find("\n", end)
        self.edits.append((begin, len(self.module.text) if rest < 0 else rest + 1, ""))

    def _annotation(self, annotation: ast.expr) -> bool:
        """Record the names of an annotation; returns whether all are available."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return False
        names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} - vars(builtins).keys()
        for name in names:
            statement = self.module.bound.get(name)
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                return False
            if isinstance(statement, ast.ImportFrom) and OWN.match((statement.module or "").partition(".")[0]):
                return False
        self.names.update(dict.fromkeys(sorted(names)))
        return True

    def _take(self, nodes: Iterable[ast.AST], local: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Record the names that nodes need."""
        for node in nodes:
            for one in _walk(node, self.gone):
                if isinstance(one, ast.AnnAssign) and not self._annotation(one.annotation):
                    self.gone.update(map(id, ast.walk(one.annotation)))
                    if one.value is not None:
                        self.edits.append((self.module.end(one.target), self.module.end(one.annotation), ""))
                    elif node is one:
                        self._remove(one)
                if isinstance(one, ast.Call) and (inner := self._passed_on(one, local)) is not None:
                    self.edits.append((self.module.begin(one), self.module.begin(inner), ""))
                    self.edits.append((self.module.end(inner), self.module.end(one), ""))
                    self.gone.add(id(one.func))
                    self.gone.update(id(part) for arg in one.args if arg is not inner for part in ast.walk(arg))
                if not isinstance(one, ast.Name) or one.id in local or one.id in vars(builtins):
                    continue
                found = self.find(one.id)
                if isinstance(found, type):
                    self.edits.append((self.module.begin(one), self.module.end(one), "ValueError"))
                elif isinstance(one.ctx, ast.Load):
                    self.names[one.id] = None

    def _passed_on(self, call: ast.Call, local: set[str]) -> ast.expr | None:
        """The argument of a call that only checks it and returns it."""
        if not isinstance(call.func, ast.Name) or call.func.id in local or call.keywords:
            return None
        found = self.find(call.func.id)
        if not isinstance(found, tuple):
            return None
        rest = left(found[1], lambda name: self.find(name))
        if len(rest) != 1 or not isinstance(rest[0], ast.Return) or not isinstance(rest[0].value, ast.Name):
            return None
        names = [arg.arg for arg in found[1].args.args]
        place = names.index(rest[0].value.id) if rest[0].value.id in names else len(call.args)
        return call.args[place] if place < len(call.args) else None


def _walk(node: ast.AST, gone: set[int]) -> Iterator[ast.AST]:
    """The nodes of a tree without removed ones."""
    if id(node) in gone:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, gone)


def _dedented(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise NotAlone(f"the source of {thing!r} is not there") from error
