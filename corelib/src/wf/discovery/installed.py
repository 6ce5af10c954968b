"""Installed distributions and their entry points, found in the folders of ``sys.path``.

`importlib.metadata` finds the same, but its import takes a seventh of the time in which ``wf --help`` answers. It is
asked where distributions may be elsewhere than in folders: in zip files and eggs, or by an import hook of its own.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from importlib.machinery import PathFinder
from typing import Any, Protocol

from wf.discovery.modules import normalize


class Installed(Protocol):
    """An installed distribution, as `importlib.metadata` has it."""

    def read_text(self, filename: str) -> str | None:
        """A file of its metadata; None if there is none."""


@dataclass(frozen=True)
class EntryPoint:
    """A name for an object of a distribution."""

    name: str
    value: str
    """``module`` or ``module:attribute``."""

    def target(self) -> re.Match[str] | None:
        """Its ``module`` and ``attribute``; None if it is not of this form."""
        return re.match(r"(?P<module>[\w.]+)\s*(:\s*(?P<attribute>[\w.]+)\s*)?(\[.*\]\s*)?$", self.value)

    def load(self) -> Any:
        """The object, imported."""
        target = self.target()
        assert target is not None
        names = (target["attribute"] or "").split(".")
        return reduce(getattr, filter(None, names), importlib.import_module(target["module"]))


def entry_points(text: str, group: str) -> list[EntryPoint]:
    """The entry points of a group.

    Args:
        text: A distribution's ``entry_points.txt``.
        group: The name of a section.

    Raises:
        ValueError: For a line in any section without ``=``, on which `importlib.metadata` fails, too.
    """
    found, section = [], None
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("[") and line.endswith("]"):
            section = line.strip("[]")
        elif section is not None and not line.startswith("#"):
            name, equals, value = line.partition("=")
            if not equals:
                raise ValueError(f"'{line}' is not of the form name = module")
            found += [EntryPoint(name.strip(), value.strip())] if section == group else []
    return found


def distributions(name: str | None = None) -> Iterator[Installed]:
    """The installed distributions, in the order of ``sys.path``.

    Args:
        name: The name that they have; None for any.
    """
    folders = _folders()
    if folders is None:
        import importlib.metadata

        yield from importlib.metadata.distributions(name=name)
        return
    wanted = None if name is None else normalize(name)
    for folder, names in folders:
        for file, own in names:
            if wanted is None or own == wanted:
                yield Metadata(os.path.join(folder, file))


def distribution(name: str) -> Installed | None:
    """The installed distribution with a name."""
    return next(distributions(name), None)


@dataclass(frozen=True)
class Metadata:
    """The metadata of a distribution in its folder, such as ``NAME-1.0.dist-info``."""

    folder: str

    def read_text(self, filename: str) -> str | None:
        """A file of it; None if there is none."""
        try:
            with open(os.path.join(self.folder, filename), encoding="utf-8") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
            return None


def _folders() -> list[tuple[str, tuple[tuple[str, str], ...]]] | None:
    """The folders of ``sys.path`` with the metadata in each; None if distributions may be elsewhere."""
    if any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path):
        return None
    found = []
    for folder in sys.path:
        try:
            modified = os.stat(folder or ".").st_mtime_ns
            found.append((folder, _metadata_in(os.path.abspath(folder), modified)))
        except NotADirectoryError:  # a zip file
            return None
        except OSError:  # not there
            continue
    return None if any(folder.endswith(".egg") for folder, _ in found) else found


@lru_cache
def _metadata_in(folder: str, modified: int) -> tuple[tuple[str, str], ...]:
    """The metadata in a folder that was last modified then, each with the name of its distribution."""
    found = (name for name in os.listdir(folder) if name.lower().endswith((".dist-info", ".egg-info")))
    return tuple((name, normalize(name.rpartition(".")[0].partition("-")[0])) for name in found)
