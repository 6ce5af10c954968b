"""A target's signature and docstring, read from its source file."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from abc import ABCMeta
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf_signatures.scopes import Binding, Module, bindings
from wf_signatures.values import (
    TORCH_BASES,
    Definition,
    Elsewhere,
    UnboundError,
    UncertainError,
    applied,
    evaluate,
    is_exact,
    lookup,
    module_of,
    named,
)

__all__ = ["Reading", "is_exact", "read"]

UNUSUAL = ("__new__", "__init_subclass__", "__signature__", "__doc__")
"""Names in a class body that may change how its objects are created, or its signature."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A target as its source file shows it."""

    target: Callable[..., Any]
    """A function or class with the same signature, annotations and docstrings; it must not be called."""
    file: Path
    line: int
    text: str
    """The whole file."""

    @property
    def source(self) -> str:
        """Its definition; finding its end takes longer than the rest of the reading."""
        lines = [f"{line}\n" for line in self.text.split("\n")[self.line - 1 :]]
        return "".join(inspect.getblock(lines))


def read(target: str) -> Reading | None:
    """Read a target from its source file without importing anything heavy.

    Args:
        target: ``"package.module:Attr"`` or ``"path.py:Attr"``.

    Returns:
        None if it cannot be determined without importing the target.
    """
    module, _, attribute = target.rpartition(":")
    try:
        found = lookup(module_of(module), attribute)
        return _reading(found) if isinstance(found, Definition) else None
    except (UncertainError, RecursionError):
        return None


def _reading(found: Definition) -> Reading:
    module, node = found.module, found.node
    target = _function(module, node) if isinstance(node, ast.FunctionDef) else _class(found)
    return Reading(target=target, file=module.file, line=node.lineno, text=module.text)


def _class(found: Definition) -> type:
    init = _init(found)
    if init is _unread:
        raise UncertainError
    members: dict[str, Any] = {"__doc__": ast.get_docstring(found.node, clean=False)}
    return type(found.node.name, (), members if init is None else {**members, "__init__": init})


def _unread() -> None:
    """Stands for an ``__init__`` with options that was not read."""


def _init(found: Any) -> Callable[..., Any] | None:
    """The ``__init__`` of a class, its own or an inherited one; None if it has no options."""
    if isinstance(found, Definition) and isinstance(found.node, ast.ClassDef):
        return _init_defined(found.module, found.node)
    if not isinstance(found, type):
        raise UncertainError
    if issubclass(found, Elsewhere):
        without_options = TORCH_BASES.get(f"{found.__module__}.{found.__name__}")
    else:
        without_options = not _defines(found, "__init__") if _is_plain(found) else None
    if without_options is None:
        raise UncertainError
    return None if without_options else _unread


def _init_defined(module: Module, node: ast.ClassDef) -> Callable[..., Any] | None:
    bound = bindings(node.body)
    if not _is_bare(node) or not bound.keys().isdisjoint(UNUSUAL):
        raise UncertainError
    inherited = [_init(named(module, base)) for base in node.bases]
    if "__init__" in bound:
        return _function(module, bound["__init__"], bound)
    return _unread if len(inherited) > 1 else inherited[0] if inherited else None


def _is_plain(found: type) -> bool:
    """Whether creating an object of a derived class only calls ``__init__``."""
    return type(found) in (type, ABCMeta) and not (_defines(found, "__new__") or _defines(found, "__init_subclass__"))


def _defines(found: type, name: str) -> bool:
    return any(name in vars(base) for base in found.__mro__ if base is not object)


def _is_bare(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether it has no decorators, no metaclass and no type parameters."""
    return not any(getattr(node, name, None) for name in ("decorator_list", "keywords", "type_params"))


def _function(module: Module, node: Binding, class_names: Iterable[str] = ()) -> Callable[..., Any]:
    """A function with the same signature and docstring.

    Args:
        module: Where it is defined.
        node: Its definition.
        class_names: The names that its class binds, for a method.
    """
    if not isinstance(node, ast.FunctionDef) or not _is_bare(node) or _uses(node, class_names, module):
        raise UncertainError
    parameters = [_parameter(module, *row) for row in _rows(node.args)]
    stub = types.FunctionType((lambda: None).__code__, {"__builtins__": {}}, node.name)
    stub.__doc__ = ast.get_docstring(node, clean=False)
    stub.__annotations__ = {one.name: one.annotation for one in parameters if one.annotation is not one.empty}
    stub.__signature__ = applied(inspect.Signature, parameters)  # type: ignore[attr-defined]  # inspect looks there
    return stub


def _uses(node: ast.FunctionDef, class_names: Iterable[str], module: Module) -> bool:
    """Whether a method's signature uses names of its class, or names that Python mangles there."""
    rows = _rows(node.args)
    parts = [default for _, _, default in rows] + [one.annotation for one, _, _ in rows if not module.deferred]
    used = {one.id for part in parts if part for one in ast.walk(part) if isinstance(one, ast.Name)}
    changed = any(one.arg.startswith("__") for one, _, _ in rows)
    return changed or not used.isdisjoint(class_names)


_Row = tuple[ast.arg, Any, ast.expr | None]


def _rows(arguments: ast.arguments) -> list[_Row]:
    """Every parameter, its kind and its default, in their order."""
    kinds = inspect.Parameter
    rows: list[_Row] = [(one, kinds.POSITIONAL_ONLY, None) for one in arguments.posonlyargs]
    rows += [(one, kinds.POSITIONAL_OR_KEYWORD, None) for one in arguments.args]
    first = len(rows) - len(arguments.defaults)
    rows[first:] = [(*row[:2], default) for row, default in zip(rows[first:], arguments.defaults, strict=True)]
    if arguments.vararg:
        rows.append((arguments.vararg, kinds.VAR_POSITIONAL, None))
    rows += [
        (one, kinds.KEYWORD_ONLY, default)
        for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        rows.append((arguments.kwarg, kinds.VAR_KEYWORD, None))
    return rows


def _parameter(module: Module, node: ast.arg, kind: Any, default: ast.expr | None) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    # *args and **kwargs are not options
    many = kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return inspect.Parameter(
        node.arg,
        kind,
        default=empty if default is None else _default(module, default),
        annotation=empty if node.annotation is None or many else _annotation(module, node.annotation),
    )


def _default(module: Module, node: ast.expr) -> Any:
    value = evaluate(module, node)
    if not _is_data(value):  # a stand-in is not a value
        raise UncertainError
    return value


def _is_data(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_data, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes, Path))


def _annotation(module: Module, node: ast.expr) -> Any:
    """An annotation's value, or its text if a name in it is only for type checkers, as in `wf.parameters`."""
    quoted = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
    try:
        value = evaluate(module, node if quoted is None else applied(ast.parse, quoted, "", "eval").body)
    except UnboundError:
        if (quoted is None) != module.deferred:  # it cannot be imported, or is a doubly quoted text
            raise
        return ast.unparse(node) if quoted is None else quoted
    holder = types.SimpleNamespace(__annotations__={"it": "it"})
    names = {"it": value, "__builtins__": {}}
    return applied(typing.get_type_hints, holder, names, None, True)["it"]
