"""The names that a module or class body binds, and their sources, read from its syntax tree.

A name counts as bound by a statement only if that is certain: bound once, unconditionally, and by that statement alone.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """A name bound by an import of a module, or of a name in it."""

    module: str
    """Its dotted name; relative ones with their leading dots."""
    name: str | None = None


Binding = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | Import | None
"""The binding of a name; None if it is ambiguous or conditional."""


@dataclass(frozen=True, eq=False)
class Module:
    """A module, parsed."""

    name: str
    """Its dotted name, or the path of a single file."""
    file: Path
    text: str
    bindings: dict[str, Binding]
    touched: frozenset[str]
    """Names whose objects may be changed after their creation, by code such as ``f.__doc__ = ...`` or
    ``register(f)``."""
    deferred: bool
    """Whether annotations are kept as text (``from __future__ import annotations``)."""

    @property
    def package(self) -> str:
        """The package in which its relative imports start."""
        return self.name if self.file.name == "__init__.py" else self.name.rpartition(".")[0]


def parse(name: str, file: Path) -> Module:
    """Read a module's source; each state of the file is parsed once in a process.

    Raises:
        OSError, SyntaxError, ValueError: When it cannot be read or parsed.
    """
    state = file.stat()
    return _parse(name, file, state.st_mtime_ns, state.st_size)


@cache
def _parse(name: str, file: Path, mtime_ns: int, size: int) -> Module:
    import tokenize

    with tokenize.open(file) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings appear when it is imported
        text = stream.read()
        tree = ast.parse(text)
        compile(tree, str(file), "exec", dont_inherit=True)  # some syntax errors are found only here
    found = bindings(tree.body)
    found |= {name: None for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    return Module(name, file, text, found, frozenset(_touched(tree)), _is_deferred(tree))


def bindings(body: Iterable[ast.stmt]) -> dict[str, Binding]:
    """The names that the statements of a body bind.

    What stands below ``if TYPE_CHECKING:`` or ``if __name__ == "__main__":`` is left out: importing does not run it.
    """
    found: dict[str, Binding] = {}
    for statement in _executed(body):
        for name, binding in _bound_by(statement):
            found[name] = binding if found.get(name, binding) == binding else None
    return found


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If) and _is_false_on_import(statement.test):
            yield from _executed(statement.orelse)
        else:
            yield statement


def _is_false_on_import(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _bound_by(statement: ast.stmt) -> Iterator[tuple[str, Binding]]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, statement
        case ast.Import(names=aliases):
            for alias in aliases:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, Import(alias.name if alias.asname else top)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            for alias in aliases:
                yield alias.asname or alias.name, Import("." * level + (module or ""), alias.name)
        case ast.Assign(targets=[ast.Name(id=name)]):
            yield name, statement
            yield from _bound_within(statement.value)
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            if value is not None:
                yield name, statement
                yield from _bound_within(value)
        case _:
            yield from _bound_within(statement)


def _bound_within(statement: ast.AST) -> Iterator[tuple[str, None]]:
    """Every name that a part of a statement may bind: loops, conditions, deletions, patterns."""
    for node in ast.walk(statement):
        names: list[str | None]
        if isinstance(node, ast.Name):
            names = [] if isinstance(node.ctx, ast.Load) else [node.id]
        elif isinstance(node, ast.alias):
            names = [node.asname or node.name.partition(".")[0]]
        else:  # definitions, exception handlers and patterns
            names = [getattr(node, "name", None), getattr(node, "rest", None)]
        yield from ((name, None) for name in names if isinstance(name, str))


def _touched(tree: ast.Module) -> Iterator[str]:
    for statement in _executed(tree.body):
        yield from _used(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
                yield from (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


def _used(node: ast.AST) -> Iterator[str]:
    """The names that are used while the module is imported other than by calling them or deriving from them."""
    parts: list[ast.AST | None] = []
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            yield name
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            parts += [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]
        case ast.ClassDef():
            parts += [*node.decorator_list, *node.keywords, *node.body]
        case ast.Call(func=ast.Name()):
            parts += [*node.args, *node.keywords]
        case ast.AnnAssign():
            parts += [node.target, node.value]
        case _:
            parts += ast.iter_child_nodes(node)
    for part in filter(None, parts):
        yield from _used(part)


def _is_deferred(tree: ast.Module) -> bool:
    return any(
        isinstance(statement, ast.ImportFrom)
        and statement.module == "__future__"
        and any(alias.name == "annotations" for alias in statement.names)
        for statement in tree.body
    )
