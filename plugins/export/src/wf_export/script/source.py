"""The source of a function or class with everything it needs, so that a script is self-contained.

Helpers, base classes and constants of the same packages are copied, too. Code that only wf needs is left out: checks
of already checked options, unused methods, annotations with wf's own types, and everything after the first sentence of
a docstring.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from wf.errors import UsageError, WfError

OWN = re.compile(r"wf(_\w+)?\Z")
"""The packages whose code is copied; everything else is imported."""
SHOWS = ("extra_repr", "__repr__")
"""Methods that only display an object."""
CALLED = ("__init__", "__call__", "forward")
"""Methods that are called implicitly."""
_LONGEST = 120
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

Edit = tuple[int, int, str]
"""The start and end of a text in a module, and its replacement."""


class NotAlone(UsageError):  # noqa: N818 - named for the source
    """A component whose source is not self-contained."""


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
            for name in _binds(statement):
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


@dataclass
class Sources:
    """The imports and copied definitions, in order, that a script needs from the components' packages."""

    calls: set[str] = field(default_factory=set)
    """The methods that the script calls by name."""
    imports: dict[str, None] = field(default_factory=dict)
    """The lines that import, in the order in which they were needed."""
    definitions: dict[str, str] = field(default_factory=dict)
    """The copied source by name."""
    _owners: dict[str, str] = field(default_factory=dict)
    _modules: dict[str, Module] = field(default_factory=dict)

    def need(self, target: str) -> str:
        """The expression for an object of a module, which the script imports or copies.

        Args:
            target: ``"package.module:name"``.

        Raises:
            NotAlone: If it needs something that cannot be copied.
        """
        module, _, name = target.partition(":")
        if not OWN.match(module.partition(".")[0]) and module in _IMPORTED_AS:
            self.imports[_IMPORTED_AS[module][0]] = None
            return f"{_IMPORTED_AS[module][1]}.{name}"
        self._need(self._module(module), name)
        return name

    def copy(self, function: Callable[..., Any]) -> str:
        """The name of a function or class, whose source is copied whatever its origin.

        Raises:
            NotAlone: As for `need`.
        """
        module, name = self._module(function.__module__), function.__qualname__
        self._copy(module, name, own=module.python.__name__.partition(".")[0])
        return name

    def inline(self, target: str, arguments: Mapping[str, str]) -> str | None:
        """The result of a function as an expression; None for a longer function.

        Args:
            target: ``"package.module:name"`` of a function.
            arguments: The expression for each of its parameters.
        """
        path, _, name = target.partition(":")
        module = self._module(path)
        statement = module.bound.get(name)
        if not OWN.match(path.partition(".")[0]) or not isinstance(statement, ast.FunctionDef):
            return None
        own = path.partition(".")[0]
        left = _left(statement, lambda one: self._callable(module, one, own))
        if len(left) != 1 or not isinstance(left[0], ast.Return) or left[0].value is None:
            return None
        expression = left[0].value
        for one in ast.walk(expression):
            if isinstance(one, ast.Name) and one.id not in arguments and one.id not in vars(builtins):
                self._need(module, one.id, own)
        made = _Filled({key: ast.parse(value, mode="eval").body for key, value in arguments.items()})
        return ast.unparse(made.visit(copy.deepcopy(expression)))

    def _module(self, name: str) -> Module:
        if name not in self._modules:
            self._modules[name] = Module(importlib.import_module(name))
        return self._modules[name]

    def _need(self, module: Module, name: str, own: str = "") -> None:
        """Import or copy the object of a name in a module."""
        statement = module.bound.get(name)
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            alias = next(one for one in statement.names if (one.asname or one.name.partition(".")[0]) == name)
            source = statement.module if isinstance(statement, ast.ImportFrom) else None
            if source and _is_own(source, own):
                if alias.asname:
                    raise NotAlone(f"{module.python.__name__} imports {alias.name} as {alias.asname}")
                self._need(self._module(source), alias.name, own)
                return
            self.imports[_import(source, alias)] = None
        elif _is_own(module.python.__name__, own):
            thing = getattr(module.python, name, None)
            elsewhere = getattr(thing, "__module__", module.python.__name__)
            if statement is None and elsewhere != module.python.__name__:  # imported within a block
                self._need(self._module(elsewhere), name, own)
                return
            self._copy(module, name, own)
        else:
            self.imports[f"from {module.python.__name__} import {name}"] = None

    def _copy(self, module: Module, name: str, own: str = "") -> None:
        statement, owner = module.bound.get(name), f"{module.python.__name__}:{name}"
        if self._owners.get(name) == owner:
            return
        if name in self._owners:
            raise NotAlone(f"it needs two objects named {name}: {self._owners[name]} and {owner}")
        if statement is None:
            raise NotAlone(f"{owner} is not defined in its module's source")
        if isinstance(statement, ast.ClassDef) and owner.partition(":")[0].partition(".")[0] in ("wf", "wf_base"):
            raise NotAlone(f"it is built on {name} of {module.python.__name__.partition('.')[0]}")
        self._owners[name] = owner
        own = own or module.python.__name__.partition(".")[0]
        piece = _Piece(module, statement, lambda one: self._callable(module, one, own), self.calls)
        for needed in piece.names:
            self._need(module, needed, own)
        self.definitions[name] = piece.text()

    def _callable(self, module: Module, name: str, own: str) -> tuple[Module, ast.FunctionDef] | type | None:
        """A function that would be copied, or a class of errors; None for anything else."""
        statement = module.bound.get(name)
        if isinstance(statement, ast.ImportFrom) and statement.module and _is_own(statement.module, own):
            return self._callable(self._module(statement.module), name, own)
        found = getattr(module.python, name, None)
        if isinstance(found, type) and issubclass(found, WfError):
            return found
        return (module, statement) if isinstance(statement, ast.FunctionDef) else None


_IMPORTED_AS = {
    "torch.nn": ("from torch import nn", "nn"),
    "torch.optim": ("import torch", "torch.optim"),
    "torch.nn.functional": ("from torch.nn import functional", "functional"),
    "torch.nn.utils": ("from torch import nn", "nn.utils"),
}
"""Modules whose members are written with a prefix: their import, and the prefix."""


@dataclass
class _Piece:
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
        elif isinstance(self.node, _FUNCTIONS):
            self._function(self.node)
            self._take(self.node.decorator_list)
        else:
            self._take([self.node])

    def text(self) -> str:
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
                if isinstance(statement, _FUNCTIONS):
                    self._function(statement)
                    self._take(statement.decorator_list)
                else:
                    self._take([statement])
            elif not _is_docstring(statement, node):
                self._remove(statement)
        self._docstring(node)
        self._take([*node.bases, *node.decorator_list])

    def _kept(self, node: ast.ClassDef) -> list[ast.stmt]:
        """The statements of a class that are used."""
        cls = getattr(self.module.python, node.name)
        outside = [one for one in cls.__mro__[1:-1] if not OWN.match(one.__module__.partition(".")[0])]
        others = [one for one in cls.__mro__[1:-1] if one not in outside]
        called = {*self.calls, *(name for one in others for name in _attributes(ast.parse(_dedented(one))))}
        kept: list[ast.stmt] = []
        while True:
            found = [
                statement
                for statement in node.body
                if any(
                    name in CALLED or name in called or any(hasattr(one, name) for one in outside)
                    for name in _binds(statement)
                    if name not in SHOWS
                )
            ]
            if len(found) == len(kept):
                return kept
            kept = found
            called |= {name for statement in kept for name in _attributes(statement)}

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._docstring(node)
        for gone in _needless(node, self.find):
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
        self._take(node.body, {*_locals(node)})

    def _docstring(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """Shorten it to its first sentence."""
        if not node.body or not _is_docstring(node.body[0], node):
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
        left = _left(found[1], lambda name: self.find(name))
        if len(left) != 1 or not isinstance(left[0], ast.Return) or not isinstance(left[0].value, ast.Name):
            return None
        names = [arg.arg for arg in found[1].args.args]
        place = names.index(left[0].value.id) if left[0].value.id in names else len(call.args)
        return call.args[place] if place < len(call.args) else None


class _Filled(ast.NodeTransformer):
    """Puts expressions in place of names."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._values.get(node.id, node)


def _needless(node: Any, find: Callable[[str], Any]) -> list[ast.stmt]:
    """The statements of a function that only check something, and the assignments that only these needed."""
    found: list[ast.stmt] = []

    def look(body: list[ast.stmt]) -> bool:
        """Whether nothing is left of a block."""
        left = 0
        for statement in body:
            blocks = _blocks(statement)
            if statement in found:
                continue
            empty = [look(block) for block in blocks]
            if _is_check(statement, find) or (empty and all(empty)):
                found.append(statement)
            else:
                left += not _is_docstring(statement, node)
        return not left

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


def _left(node: Any, find: Callable[[str], Any]) -> list[ast.stmt]:
    gone = _needless(node, find)
    return [one for one in node.body if one not in gone and not _is_docstring(one, node)]


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
    return isinstance(found, tuple) and not _left(found[1], find)


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of a statement that can be removed if empty."""
    if isinstance(statement, (ast.For, ast.While, ast.If)):
        return [block for block in (statement.body, statement.orelse) if block]
    return []


def _binds(statement: ast.AST) -> Iterator[str]:
    """The names that a statement of a module or class binds."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            for node in ast.walk(target):
                if isinstance(node, ast.Name):
                    yield node.id


def _locals(node: ast.AST) -> Iterator[str]:
    """The names that a function binds."""
    for one in ast.walk(node):
        if isinstance(one, ast.arg):
            yield one.arg
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
        elif isinstance(one, (ast.Import, ast.ImportFrom, *_FUNCTIONS)) and one is not node:
            yield from _binds(one)


def _attributes(node: ast.AST) -> set[str]:
    return {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def _walk(node: ast.AST, gone: set[int]) -> Iterator[ast.AST]:
    """The nodes of a tree without removed ones."""
    if id(node) in gone:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, gone)


def _is_docstring(statement: ast.stmt, owner: Any) -> bool:
    first = owner.body[0] if owner.body else None
    value = statement.value if isinstance(statement, ast.Expr) else None
    return statement is first and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_own(module: str, own: str) -> bool:
    top = module.partition(".")[0]
    return bool(OWN.match(top)) or top == own


def _import(source: str | None, alias: ast.alias) -> str:
    named = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
    return f"from {source} import {named}" if source else f"import {named}"


def _dedented(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise NotAlone(f"the source of {thing!r} is not there") from error
