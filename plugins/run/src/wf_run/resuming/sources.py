"""Checksums of the code of a run's components: files can change while the version stays the same."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wf.discovery.entry import Entry
from wf.discovery.modules import is_path

CODE = (".py", ".so", ".pyd")
_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)


def plugin_code(made: Iterable[Entry], own: Iterable[Path]) -> dict[str, str]:
    """A checksum of each package that components come from, by its name and its distribution's version.

    Added are the packages imported by these and by the user's files, unless they are in ``site-packages``: local
    packages, and distributions installed with ``pip install -e``. Their keys are their names alone.
    """
    found: dict[str, Path] = {}
    for entry in made:
        version = f" {entry.plugin.version}" if entry.plugin and entry.plugin.version else ""
        for module in _modules_of(entry):
            if root := _root(module):
                found.setdefault(f"{root[0]}{version}", root[1])
    places, waiting, codes = set(found.values()), [*found.values(), *own], dict[Path, _Code]()
    while waiting:
        reached = waiting.pop()
        codes[reached] = _read(reached)
        for name in sorted(codes[reached].imports):
            place = _local(name)
            if place is not None and place not in places and place not in own:
                places.add(place)
                waiting.append(place)
                found[name] = place
    return {name: codes[place].checksum for name, place in sorted(found.items())}


def with_neighbours(own: Iterable[Path]) -> set[Path]:
    """The user's files, and the modules that they import from their own folders."""
    files = set(own)
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        for name in _imported(file):
            place = _local(name)
            if place is not None and place.is_file() and place.parent == file.parent and place not in files:
                files.add(place)
                waiting.append(place)
    return files


def _modules_of(entry: Entry) -> Iterator[str]:
    """The modules of a component and its plugin; the user's files are a separate condition."""
    target = entry.component.target
    module = target.rpartition(":")[0] if isinstance(target, str) else str(getattr(target, "__module__", ""))
    for name in (module, entry.plugin.module if entry.plugin else ""):
        if name and not is_path(name):
            yield name


def _root(module: str) -> tuple[str, Path] | None:
    """The outermost package with a file, or the module itself; None without a file, as for some main programs."""
    parts = module.split(".")
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        if file := getattr(sys.modules.get(name), "__file__", None):
            path = Path(file).resolve()
            return name, path.parent if path.stem == "__init__" else path
    return None


def _imported(place: Path) -> Set[str]:
    """The top-level names that the files of a package, or a file, import."""
    return _read(place).imports


@cache
def _local(name: str) -> Path | None:
    """The path of a top-level package or module that is not an installed copy; None for others."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    path = Path(spec.origin).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    if installed or path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve()):
        return None
    return path.parent if path.stem == "__init__" else path


@dataclass(frozen=True, kw_only=True)
class _Code:
    """The files of a package as they were read."""

    files: Sequence[tuple[str, int, int]]
    """For each its path, its size, and when it was changed last, in nanoseconds."""
    imports: Set[str]
    checksum: str


_read_before: dict[Path, _Code] = {}
"""The packages that this process has read, or the one that it was forked from."""


def _read(place: Path) -> _Code:
    """The code of a package or file; its files are read again only after a change."""
    files = _files(place)
    if (found := _read_before.get(place)) is not None and found.files == files:
        return found
    names: set[str] = set()
    digest = hashlib.sha256()
    for path, _, _ in files:
        data = Path(path).read_bytes()
        name = Path(path).relative_to(place).as_posix() if place.is_dir() else place.name
        digest.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        if path.endswith(".py"):
            for one, several in _IMPORT.findall(data):
                for text in (one, *several.split(b",")):
                    if words := text.split():
                        names.add(words[0].partition(b".")[0].decode(errors="replace"))
    code = _Code(files=files, imports=names - sys.stdlib_module_names, checksum=digest.hexdigest()[:16])
    _read_before[place] = code
    return code


def _files(place: Path) -> list[tuple[str, int, int]]:
    """The files of code below a folder, or a file itself, with sizes and times, in the order of their paths."""
    if place.is_file():
        state = place.stat()
        return [(str(place), state.st_size, state.st_mtime_ns)]
    found, waiting = [], [str(place)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.name.endswith(CODE) and entry.is_file():
                    state = entry.stat()
                    found.append((entry.path, state.st_size, state.st_mtime_ns))
    return sorted(found, key=lambda one: Path(one[0]).parts)
