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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wf.errors import WfError
from wf_export.script.source.modules import OWN, Module, NotAlone
from wf_export.script.source.needless import left
from wf_export.script.source.piece import Piece


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
        rest = left(statement, lambda one: self._callable(module, one, own))
        if len(rest) != 1 or not isinstance(rest[0], ast.Return) or rest[0].value is None:
            return None
        expression = rest[0].value
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
        piece = Piece(module, statement, lambda one: self._callable(module, one, own), self.calls)
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


class _Filled(ast.NodeTransformer):
    """Puts expressions in place of names."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._values.get(node.id, node)


def _is_own(module: str, own: str) -> bool:
    top = module.partition(".")[0]
    return bool(OWN.match(top)) or top == own


def _import(source: str | None, alias: ast.alias) -> str:
    named = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
    return f"from {source} import {named}" if source else f"import {named}"
