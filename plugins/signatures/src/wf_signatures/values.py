"""The values of names and expressions in a module's source, without importing it.

Classes of modules that are too slow to import get a stand-in of the same name. Anything uncertain raises
`UncertainError`.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import operator
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from wf_signatures.files import is_path, locate
from wf_signatures.scopes import Import, Module, parse

IMPORTED = (
    "abc",
    "builtins",
    "collections",
    "collections.abc",
    "datetime",
    "math",
    "numbers",
    "os",
    "pathlib",
    "types",
    "typing",
    "typing_extensions",
    "wf",
    "wf.declarations",
    "wf.declarations.component",
    "wf.engine",
    "wf.engine.events",
    "wf.protocols",
    "wf.traits",
)
"""Modules whose names are resolved by importing them, which is fast."""

TORCH_BASES: Mapping[str, bool] = {
    "torch.nn.Module": True,
    "torch.optim.Optimizer": False,
    "torch.optim.lr_scheduler.LRScheduler": False,
    "torch.optim.lr_scheduler.ReduceLROnPlateau": False,
    "torch.utils.data.Dataset": True,
}
"""Base classes of components for which creating an object only calls ``__init__``; each with whether its ``__init__``
has no options."""

TORCH_CLASSES = (
    *TORCH_BASES,
    "torch.Generator",
    "torch.Tensor",
    "torch.amp.GradScaler",
    "torch.device",
    "torch.dtype",
    "torch.nn.Parameter",
)
"""Classes named in signatures, by the last part of their names."""

CALLS = ("wf.declarations.component.FromRun", "wf.declarations.component.Nested", "pathlib.Path", "builtins.float")
"""Functions that may be called in an annotation or a default."""

OPERATORS: Mapping[type[ast.operator | ast.unaryop], Callable[..., Any]] = {
    ast.BitOr: operator.or_,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


class UncertainError(Exception):
    """Unknown without importing."""


class UnboundError(UncertainError):
    """Nothing binds the name when the module is imported: its import is only for type checkers."""


class Elsewhere:
    """Base of the stand-ins for classes that were not imported; only their names are the same."""


@dataclass(frozen=True)
class Definition:
    """A function or class that a module defines."""

    module: Module
    node: ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Package:
    """A module by its dotted name, not parsed yet."""

    name: str


def module_of(name: str) -> Module:
    """A module by its dotted name or its file's path, parsed."""
    file = locate(name)
    if file is None:
        raise UncertainError
    try:
        module = parse(name, file.resolve() if is_path(name) else file)
    except (OSError, SyntaxError, ValueError) as error:  # importing it will report the error
        raise UncertainError from error
    if "*" in module.bindings:  # it may bind anything
        raise UncertainError
    return module


def lookup(module: Module, name: str) -> Any:
    """The value of a name in a module: a `Definition`, a `Package` or the object itself."""
    if name not in module.bindings:
        return _builtin(name)
    binding = module.bindings[name]
    match binding:
        case ast.FunctionDef() | ast.ClassDef() if name not in module.touched:
            return Definition(module, binding)
        case Import(module=source, name=None):
            return Package(source)
        case Import(module=source, name=str(member)):
            found = _member(_absolute(source, module), member, module)
            if not (isinstance(found, Definition) and name in module.touched):
                return found
        case ast.Assign(value=ast.expr() as value) | ast.AnnAssign(value=ast.expr() as value):
            return _constant(evaluate(module, value))
    raise UncertainError


def _builtin(name: str) -> Any:
    if name.startswith("__"):  # each module has its own
        raise UncertainError
    if not hasattr(builtins, name):
        raise UnboundError
    return getattr(builtins, name)


def _absolute(source: str, module: Module) -> str:
    """The full name of an imported object; the import may be relative."""
    relative = source.lstrip(".")
    level = len(source) - len(relative)
    parts = module.package.split(".")
    if not level:
        return source
    if not module.package or level > len(parts):
        raise UncertainError
    return ".".join([*parts[: len(parts) - level + 1], *filter(None, [relative])])


def _member(package: str, name: str, asker: Module) -> Any:
    """The value of ``package.name``; as for `lookup`."""
    full = f"{package}.{name}"
    if full in IMPORTED or any(known.startswith(f"{full}.") for known in TORCH_CLASSES):
        return Package(full)
    if full in TORCH_CLASSES:
        return _stand_in(full)
    if package in IMPORTED:
        return _attribute(importlib.import_module(package), name)
    top = package.partition(".")[0]
    if top not in ("wf", asker.name.partition(".")[0]) and not top.startswith("wf_"):  # other packages may be large
        raise UncertainError
    module = module_of(package)
    if name in module.bindings and not _imports_below(module, name):
        return lookup(module, name)
    if locate(full) is None:
        raise UncertainError
    return Package(full)


def _imports_below(module: Module, name: str) -> bool:
    """Whether a package binds the name by importing its own module (``from . import name``)."""
    binding = module.bindings[name]
    return isinstance(binding, Import) and binding.name == name and _absolute(binding.module, module) == module.name


def _attribute(module: types.ModuleType, name: str) -> Any:
    if name in vars(module):
        return vars(module)[name]
    if name not in getattr(module, "__all__", ()):
        raise UncertainError
    return getattr(module, name)  # one that the package imports when it is first asked for


def _constant(value: Any) -> Any:
    """A value of an immutable type; anything else may have been changed since."""
    try:
        hash(value)
    except TypeError as error:
        raise UncertainError from error
    return value


@cache
def _stand_in(full_name: str) -> type[Elsewhere]:
    module, _, name = full_name.rpartition(".")
    return type(name, (Elsewhere,), {"__module__": module})


def named(module: Module, node: ast.expr) -> Any:
    """The value of a name or dotted name; as for `lookup`."""
    match node:
        case ast.Name(id=name):
            return lookup(module, name)
        case ast.Attribute(value=value, attr=name) if isinstance(package := named(module, value), Package):
            return _member(package.name, name, module)
    raise UncertainError


def evaluate(module: Module, node: ast.expr) -> Any:
    """The value of an expression of constants, types and little else."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            found = named(module, node)
            return _class_stand_in(found) if isinstance(found, Definition) else found
        case ast.Subscript(value=generic, slice=arguments):
            return applied(operator.getitem, evaluate(module, generic), evaluate(module, arguments))
        case ast.Tuple(elts=items):
            return tuple(evaluate(module, item) for item in items)
        case ast.List(elts=items):
            return [evaluate(module, item) for item in items]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in OPERATORS:
            return applied(OPERATORS[type(sign)], evaluate(module, operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            return applied(OPERATORS[type(sign)], evaluate(module, left), evaluate(module, right))
        case ast.Call(func=function, args=values, keywords=[]) if _may_be_called(call := evaluate(module, function)):
            return applied(call, *(evaluate(module, value) for value in values))
    raise UncertainError


def _may_be_called(found: Any) -> bool:
    return isinstance(found, type) and f"{found.__module__}.{found.__qualname__}" in CALLS


def applied(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function, whose failure means uncertainty."""
    try:
        return function(*arguments)
    except Exception as error:  # importing will raise it again, and show where
        raise UncertainError from error


def _class_stand_in(found: Definition) -> type[Elsewhere]:
    if not isinstance(found.node, ast.ClassDef) or found.node.decorator_list:
        raise UncertainError
    return _stand_in(f"{found.module.name}.{found.node.name}")


def is_exact(annotation: Any) -> bool:
    """Whether values can be checked against an annotation that was read: it names only imported classes."""
    if isinstance(annotation, type) and issubclass(annotation, Elsewhere):
        return False
    inner = annotation if isinstance(annotation, list) else typing.get_args(annotation)  # a list in a Callable's
    return all(map(is_exact, inner))
