"""Registry entries: a component with its plugin, loaded on demand."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.declarations.component import MAX_NAME, Component, Param, with_target
from wf.discovery.guard import Guard
from wf.discovery.importing import Watched
from wf.discovery.modules import explain, import_module, is_path, normalize
from wf.discovery.plugins import Plugin
from wf.errors import PluginError, UsageError, WfError, unknown
from wf.parameters import parameters

if TYPE_CHECKING:
    from wf_signatures.reading import Reading

_LOG = logging.getLogger("wf")


NO_OBJECT = (str, bytes, bool, int, float, complex, type(None), types.ModuleType)
"""Types of objects in a user's file that are never components."""


@dataclass(frozen=True)
class Entry:
    """A component and its plugin; None for the user's own code."""

    component: Component
    plugin: Plugin | None = None
    refused: str = ""
    """Why it cannot be used, for a catalogue's member that cannot."""
    guard: Guard | None = field(default=None, repr=False)
    """Asked before the user's own code is loaded; None allows everything."""

    @property
    def provider(self) -> str:
        """The plugin's name."""
        return self.plugin.name if self.plugin else "own code"

    @property
    def distribution(self) -> str:
        """The name of the plugin's distribution, or of the plugin if there is none."""
        return (self.plugin.distribution if self.plugin else None) or self.provider

    def is_from(self, provider: str) -> bool:
        """Whether its plugin, or the plugin's distribution, has that name."""
        return self.plugin is not None and normalize(provider) in names_of(self.plugin)

    def was_from(self, provider: str) -> bool:
        """Whether a plugin of that name provided it before."""
        return normalize(provider) in map(normalize, self.component.moved_from)

    def load(self) -> Callable[..., Any]:
        """The target itself.

        Raises:
            PluginError: When it cannot be imported, with the original exception and the likely fix.
        """
        target = self.component.target
        return self.imported(target) if isinstance(target, str) else target

    def described(self) -> Callable[..., Any]:
        """The object with the component's signature and docstring: the target, or the declared `like`.

        Raises:
            PluginError: As for `load`.
        """
        return self.imported(self.component.like)(*self.component.args) if self.component.like else self.load()

    def imported(self, text: str) -> Callable[..., Any]:
        """Import the target ``module:Attr`` of a declaration."""
        component = self.component
        module_name, _, attribute = text.rpartition(":")
        if self.guard is not None and not is_path(module_name):
            self.guard.check_target(text)
        try:
            if self.plugin is None:
                module = import_module(module_name, self.guard)
            else:
                module = _import_quietly(module_name, self.plugin)
        except WfError:
            raise
        except (Exception, SystemExit) as error:  # a module that calls sys.exit must not end wf
            if self.plugin is None and not is_path(module_name) and isinstance(error, ModuleNotFoundError):
                raise UsageError(f"{component.kind} '{component.target}': {explain(error, module_name)}") from error
            of = module_name if self.plugin is None else self.plugin.module if not self.plugin.distribution else ""
            raise PluginError(
                f"{component.kind} '{component.name}' of {self.provider} could not be loaded\n  {explain(error, of)}"
            ) from error
        return self._attribute(module, attribute)

    def _attribute(self, module: Any, attribute: str) -> Callable[..., Any]:
        target = module
        for part in attribute.split("."):
            if not hasattr(target, part):
                names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
                message = unknown(f"name in {self.component.target.rpartition(':')[0]}", attribute, names)  # type: ignore[union-attr]  # a string here
                raise self._wrong_target(message)
            target = getattr(target, part)
        if not callable(target):
            if self.plugin is None and not isinstance(target, NO_OBJECT):
                return lambda: target  # the user's finished object: a DataLoader, a tuple of arrays
            message = f"{self.component.target} is {type(target).__name__}, which cannot be called"
            raise self._wrong_target(message)
        return target  # type: ignore[no-any-return]  # checked just above

    def _wrong_target(self, why: str) -> WfError:
        if self.plugin is None:
            return UsageError(why)
        part = self.component
        return PluginError(f"{part.kind} '{part.name}' of {self.provider} could not be loaded\n  {why}")

    def reading(self) -> Reading | None:
        """The signature from the target's source file; None if only an import can tell."""
        from wf_signatures.reading import read  # 7 ms, and only where one component is looked at

        target = self.component.target
        return read(target) if isinstance(target, str) and not self.component.like else None

    def params(self) -> tuple[Param, ...]:
        """Its options; the target is imported only where its source does not say them for certain.

        Classes that would have to be imported are replaced in the types by stand-ins of the same name, so values are
        converted by the options of the target itself (`wf_building.builder.Builder.params`).
        """
        return parameters(self.component, self._readable)

    def params_unloaded(self) -> tuple[Param, ...] | None:
        """As `params`, but None where the target would have to be imported."""
        if self.component.params is not None:
            return self.params()
        found = self.reading()
        return None if found is None else parameters(self.component, lambda: found.target)

    def doc(self) -> str:
        """The target's docstring, without its indentation."""
        return inspect.cleandoc(self._readable().__doc__ or "")

    def place(self) -> str | None:
        """``file:line`` of the target, if known."""
        if found := self.reading():
            return f"{found.file}:{found.line}"
        target = inspect.unwrap(self.described())
        try:
            file, (_, line) = inspect.getsourcefile(target), inspect.getsourcelines(target)
        except (TypeError, OSError):
            return None
        return f"{file}:{line}" if file else None

    def source(self) -> str:
        """The target's source code.

        Raises:
            TypeError, OSError: When it has none.
        """
        found = self.reading()
        return found.source if found else inspect.getsource(inspect.unwrap(self.described()))

    def _readable(self) -> Callable[..., Any]:
        """The target, or the object that has its signature and docstring."""
        found = self.reading()
        return found.target if found else self.described()


def entry_of(kind: str, target: Callable[..., Any]) -> Entry:
    """An entry for a live class or function."""
    named = getattr(target, "func", target)  # a partial has no name of its own
    name = own_name(getattr(named, "__name__", type(named).__name__))
    return Entry(with_target(Component(kind, name, "live:object"), target))


def _import_quietly(module: str, plugin: Plugin) -> Any:
    """Import a module of a plugin, and undo its changes to the process."""
    if module in sys.modules:
        return importlib.import_module(module)
    process = Watched(declaring=False)
    try:
        return importlib.import_module(module)
    finally:
        if changed := process.settle():
            _LOG.warning("plugin '%s' changes the process: %s: %s", plugin.name, module, ", ".join(changed))


def own_name(text: str) -> str:
    """A component name for the user's own code, from ``path.py:Attr``."""
    path, _, attribute = text.rpartition(":")
    stem = Path(path).stem if path else ""
    words = "-".join(part for part in (stem, attribute) if part)
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in words.lower())
    return plain[-MAX_NAME:].strip("-") or "own"


def names_of(plugin: Plugin) -> tuple[str, str]:
    """The names of a plugin, normalized for comparison."""
    return normalize(plugin.name), normalize(plugin.distribution or "")
