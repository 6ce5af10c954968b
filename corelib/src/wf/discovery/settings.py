"""Settings of a user or a project: which plugins may load, and which provider a name means.

Two places are read: the table ``[tool.wf]`` of the nearest ``pyproject.toml`` that has one, upwards from the working
directory, and ``settings.toml`` in the user's configuration folder, with the same keys at its top::

    allow = ["builtin", "wf-timm"]      # no other installed plugin is imported
    [pin.loss]
    focal = "wf-losses"                 # the provider of a name that several bring

The project's pins win over the user's. A plugin is imported only if every allow-list names it, so that neither file
can widen the other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.discovery.modules import describe, normalize
from wf.errors import UsageError, unknown

ENVIRONMENT = "WF_PLUGINS_ALLOW"
BUILTIN = "builtin"
"""In an allow-list: every distribution that comes with wf."""
PROJECT = "pyproject.toml"
KEYS = ("allow", "pin", "check")


@dataclass(frozen=True)
class AllowList:
    """The plugins that may be imported: names of distributions, ``*`` for any part of one, ``builtin``.

    An empty list allows none.
    """

    names: tuple[str, ...]
    place: str
    """Where it stands."""

    def allows(self, distribution: str, *, builtin: bool) -> bool:
        """Whether the plugins of a distribution may be imported."""
        name = normalize(distribution)
        return any(builtin if normalize(word) == BUILTIN else fnmatchcase(name, _pattern(word)) for word in self.names)

    @property
    def title(self) -> str:
        """Its file, and a remark if it is empty."""
        return self.place if self.names else f"{self.place}, which is empty"


@dataclass(frozen=True)
class Pin:
    """The provider that a bare name means."""

    kind: str
    name: str
    provider: str
    place: str
    """Where it stands."""
    made_with: str = ""
    """For a pin from an existing run: the provider that it was made with, ``wf-losses 0.1.0``. Empty for a setting."""
    fix: str = ""
    """The remedy if that provider is not installed any more."""
    of_project: bool = False
    """Whether it is in a pyproject.toml, which may have come with somebody else's code."""


@dataclass(frozen=True)
class Settings:
    """The settings of the user and the project."""

    allow: tuple[AllowList, ...] = ()
    pins: tuple[Pin, ...] = ()
    """The project's before the user's."""
    check: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tables of ``check``, for ``wf check``."""
    files: tuple[Path, ...] = ()
    """The values that were read."""
    missed: tuple[str, ...] = ()
    """Why a place could not be searched: there is no home folder, or the working directory was deleted."""

    def check_kinds(self) -> None:
        """Refuse a pin of a kind that no plugin declares; all plugins are loaded by now.

        Raises:
            UsageError: With the closest kinds.
        """
        for pin in self.pins:
            kinds = [*KINDS, *DECLARATIONS, "defaults"]
            if pin.kind not in kinds:
                raise UsageError(unknown("kind", pin.kind, kinds, f"in 'pin' of {pin.place}"))


def load(folder: Path | None = None) -> Settings:
    """Read the settings for a working directory; by default the present one.

    Raises:
        UsageError: For a file that cannot be read, or an unknown key, naming the file.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    missed: list[str] = []
    places: dict[str, Callable[[], list[tuple[str, dict[str, Any]]]]]
    places = {"project": partial(_project, folder), "user": _user}
    for place, look in places.items():
        try:
            found += look()
        except (OSError, RuntimeError) as error:
            missed.append(f"the {place}'s settings could not be looked for: {describe(error)}")
    allow = [AllowList(tuple(table["allow"]), place) for place, table in found if "allow" in table]
    if listed := os.environ.get(ENVIRONMENT):
        names = [name.strip() for name in listed.split(",")]
        allow.append(AllowList(tuple(filter(None, names)), ENVIRONMENT))
    pins = [
        replace(pin, of_project=Path(place).name == PROJECT)
        for place, table in found
        for pin in _pins(place, table.get("pin", {}))
    ]
    check: dict[str, dict[str, Any]] = {}
    for _, table in reversed(found):
        for key, value in table.get("check", {}).items():
            check.setdefault(key, {}).update(value)
    return Settings(tuple(allow), tuple(pins), check, tuple(Path(place) for place, _ in found), tuple(missed))


_HAS_TABLE = re.compile(rb"""tool["']?\s*\.\s*["']?wf\b|^\s*(wf|"wf"|'wf')\s*[.=]|\btool["']?\s*=\s*\{""", re.MULTILINE)
"""Found in each text with the table: ``[tool.wf]``, ``wf.allow =`` in ``[tool]``, or ``tool = {...}``."""


def user_file() -> Path:
    """The path of the user's settings file, which need not exist.

    Raises:
        RuntimeError: If the user has no home folder.
    """
    from platformdirs import user_config_path  # 5 ms

    return user_config_path("wf", appauthor=False) / "settings.toml"


def _project(folder: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """The table of the nearest pyproject.toml that has one, and its place."""
    folder = folder or Path.cwd()
    for parent in (folder, *folder.parents):
        file = parent / PROJECT
        if os.path.isfile(file) and _HAS_TABLE.search(_bytes(file)):  # few have it, and parsing takes long
            tool = _read(file).get("tool")
            table = tool.get("wf") if isinstance(tool, dict) else None
            if table is not None:
                return [(str(file), _checked(table, f"[tool.wf] of {file}"))]
    return []


def _user() -> list[tuple[str, dict[str, Any]]]:
    file = user_file()
    return [(str(file), _checked(_read(file), str(file)))] if file.is_file() else []


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"the settings in {file} cannot be read: {error}") from error


def _read(file: Path) -> dict[str, Any]:
    import tomllib  # few have settings

    try:
        return tomllib.loads(_bytes(file).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the settings in {file} cannot be read: {error}") from error


def _checked(table: Any, place: str) -> dict[str, Any]:
    """The table, after a check that it holds only known settings."""
    if not isinstance(table, dict):
        raise UsageError(f"{place} is {type(table).__name__}, not a table")
    for key in table:
        if key not in KEYS:
            top = "; its keys stand at the top, without [tool.wf]" if key == "tool" else ""
            raise UsageError(unknown("setting", key, KEYS, f"in {place}{top}"))
    allow = table.get("allow", [])
    if not (isinstance(allow, list) and all(isinstance(name, str) for name in allow)):
        raise UsageError(f"'allow' in {place} must be a list of names of distributions, not {allow!r}")
    for key in ("pin", "check"):
        inner = table.get(key, {})
        if not (isinstance(inner, dict) and all(isinstance(value, dict) for value in inner.values())):
            raise UsageError(f"'{key}' in {place} must hold tables, as [{key}.{'loss' if key == 'pin' else 'skip'}]")
    for kind, names in table.get("pin", {}).items():
        for name, provider in names.items():
            if not isinstance(provider, str):
                raise UsageError(f"pin.{kind}.{name} in {place} must name a distribution, not {provider!r}")
    return table


def _pins(place: str, table: Mapping[str, Mapping[str, str]]) -> Iterator[Pin]:
    for kind, names in table.items():
        for name, provider in names.items():
            yield Pin(kind, name, provider, place)


def _pattern(word: str) -> str:
    """A normalized name, keeping ``*``."""
    return "*".join(normalize(part) if part else "" for part in word.split("*"))
