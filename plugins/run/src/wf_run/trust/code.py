"""Finds the code in a run directory: the files in it, and the code that its run files name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from wf.declarations.kinds import KINDS
from wf.discovery.deprecation import current_options
from wf.discovery.modules import is_path, locate
from wf.errors import WfError
from wf.parameters import with_names
from wf.registry import Registry
from wf_building.built import LIVE
from wf_run.runfiles.lists import divided
from wf_run.runfiles.runfile import RunFile, options_of
from wf_run.trust.files import files_in, read_plain

Source = tuple[RunFile, Sequence[Path]]
"""A run file, and the folders for its relative paths."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of code that a run file names."""

    where: str
    """``hook``, ``optimizer.base``, ``plugins``."""
    name: str
    """Its name in the run file: ``net.py:Net``, ``subprocess:Popen``, ``plug.py``."""
    file: Path | None = None
    """The file, without links; None for a module."""
    sha256: str = ""
    """Of the file."""
    blocked: bool = False
    """Whether it is a plugin that must not be loaded, even if its run file names it."""


@dataclass(frozen=True, kw_only=True)
class RunCode:
    """The code in a run directory."""

    place: Path
    pieces: tuple[Piece, ...]
    inside: Mapping[str, str]
    """The SHA-256 of every code file in it, by its path below the directory, whether or not a run file names it."""
    references: str
    """The plugins and the tables of the run files that name code, options included, as JSON."""

    @cached_property
    def own(self) -> str:
        """The checksum of all code that the directory names and contains."""
        return _digest([self.references, sorted(self.inside.items())])

    @cached_property
    def outside(self) -> dict[str, str]:
        """The SHA-256 of files outside of the directory that it names, by path."""
        root = self.place.resolve()
        files = {piece.file: piece.sha256 for piece in self.pieces if piece.file}
        return {str(file): sha256 for file, sha256 in files.items() if not file.is_relative_to(root)}

    @cached_property
    def checksum(self) -> str:
        """The checksum of all code that would run, including files outside of the directory."""
        return _digest([self.own, sorted(self.outside.items())])


def code_of(place: Path, sources: Sequence[Source], registry: Registry) -> RunCode:
    """The code in the run files of a directory; only registered components are imported to find it.

    Args:
        place: The directory.
        sources: Its run files.
        registry: The registered names, without those of the run file's own plugins.

    Raises:
        UsageError: If its code contains anything but plain files, or exceeds the size limits.
    """
    if not any(_may_bring(document) for document, _ in sources):
        return RunCode(place=place, pieces=(), inside={}, references="")
    walker = _Walker(registry.installed())
    blocked = {plugin.module for plugin in registry.plugins if plugin.status == "blocked"}
    pieces: dict[tuple[str, str], Piece] = {}
    tables, names_code = [], False
    for document, folders in sources:
        found, named = walker.read(document)
        tables.append(named)
        names_code |= bool(found)
        for where, name in found:
            if piece := piece_of(where, name, folders):
                pieces[where, name] = replace(piece, blocked=where == "plugins" and name in blocked)
    if not names_code:
        return RunCode(place=place, pieces=(), inside={}, references="")
    inside = files_in({folder for _, folders in sources for folder in folders if _is_code_of(place, folder)}, place)
    root = place.resolve()
    for piece in pieces.values():
        if piece.file and piece.file.is_relative_to(root):
            inside.setdefault(piece.file.relative_to(root).as_posix(), piece.sha256)
    references = json.dumps(tables, sort_keys=True, default=str)
    return RunCode(place=place, pieces=tuple(pieces.values()), inside=inside, references=references)


class _Walker:
    """Finds the code that run files name, using the declared options of registered components."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def read(self, document: Mapping[str, Any]) -> tuple[list[tuple[str, str]], dict[str, Any]]:
        """The places where a run file names code, and the plugins and tables that contain them."""
        plugins = document.get("plugins") or ()
        found = [("plugins", name) for name in plugins if not self._is_installed(name)]
        names = [Path(name).name if is_path(name) else name for name in plugins]  # the content determines the rest
        tables: dict[str, Any] = {"plugins": names}
        for kind in KINDS.keys() & document.keys():
            value = document[kind]
            for table in value if isinstance(value, list) else [value]:
                if own := list(dict.fromkeys(self._walk(kind, table, kind))):
                    found += own
                    tables.setdefault(kind, []).append(table)
        return sorted(found), tables

    def _walk(self, kind: str, table: Any, where: str) -> Iterator[tuple[str, str]]:
        """The code named in place of a component."""
        if not _has_colon(table):
            return
        use = divided(table)[1]
        options = options_of(kind, table) if isinstance(table, Mapping) else {}
        params = None
        if isinstance(use, str) and ":" in use:
            if use not in self._declared and not use.startswith(LIVE):
                yield where, use
        elif isinstance(use, str):
            with contextlib.suppress(WfError):  # unknown or not loaded: its nested options are unknown
                entry = self._registry.find(kind, use)
                options = current_options(entry.component, options)
                params = {param.name: param for param in with_names(entry.params(), options)}
        for name, value in options.items():
            param = None if params is None else params.get(name)
            if param is None:
                yield from self._anything(value, f"{where}.{name}")
            elif param.kind is not None:
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    yield from self._walk(param.kind, one, f"{where}.{name}")

    def _anything(self, value: Any, where: str) -> Iterator[tuple[str, str]]:
        """Everything that may be code in a value of unknown meaning."""
        if isinstance(value, str):
            if _REFERENCE.fullmatch(value) and value not in self._declared and not value.startswith(LIVE):
                yield where, value
        elif isinstance(value, Mapping):
            for key, one in value.items():
                yield from self._anything(one, where if key == "use" else f"{where}.{key}")
        elif isinstance(value, (list, tuple)):
            for one in value:
                yield from self._anything(one, where)

    def _is_installed(self, name: str) -> bool:
        return any(plugin.module == name for plugin in self._registry.plugins)

    @cached_property
    def _declared(self) -> set[Any]:
        """The targets of registered components, which name these components, too."""
        parts = (part for plugin in self._registry.plugins for part in plugin.components)
        return {part.target for part in parts if isinstance(part.target, str)}


_REFERENCE = re.compile(r"[^\n]+:[^\W\d][\w.]*")
"""Matches values of unknown meaning that may be ``path.py:Attr`` or ``module:Attr``."""


def _may_bring(document: Mapping[str, Any]) -> bool:
    """Whether a run file may name code at all: each reference has a colon."""
    return bool(document.get("plugins")) or any(_has_colon(document.get(kind)) for kind in KINDS)


def _has_colon(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_colon, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_colon, value))
    return isinstance(value, str) and ":" in value


def piece_of(where: str, name: str, folders: Sequence[Path]) -> Piece | None:
    """A piece of code with its file; None for a missing file, which cannot run."""
    text = name if where == "plugins" else name.rpartition(":")[0]
    if not is_path(text):
        return Piece(where=where, name=name)
    path = locate(Path(text), folders)
    if not path.is_file():
        return None
    path = path.resolve()
    return Piece(where=where, name=name, file=path, sha256=hashlib.sha256(read_plain(path)).hexdigest())


def named_in(line: Mapping[str, Any]) -> list[Piece]:
    """The code that a command line names; its paths are relative to the working directory, not to the run directory."""
    found: list[tuple[str, str]] = [("plugins", name) for name in line.get("plugins", ())]
    found += _strings({key: value for key, value in line.items() if key != "plugins"})
    return [piece for where, name in found if (piece := piece_of(where, name, ()))]


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Every string in a document that may name code, including keys: ``--hook.net.py:H.option``."""
    if isinstance(value, str) and ":" in value:
        yield "line", divided(value)[1]
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _strings(key)
            yield from _strings(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _strings(one)


def _is_code_of(place: Path, folder: Path) -> bool:
    """Whether a folder is a code folder of a directory; a link counts by its own location, and is refused later."""
    return folder.name == "code" and not os.path.relpath(folder, place).startswith("..")


def graph_of(place: Path, name: str, sha256: str) -> RunCode:
    """The exported graph of a bundle, as code."""
    piece = Piece(where="graph", name=name, file=(place / name).resolve(), sha256=sha256)
    return RunCode(place=place, pieces=(piece,), inside={name: sha256}, references="graph")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
