"""What a user or a project settles once: the plugins that may load, and the provider that a name means.

Two places are read: the table ``[tool.wf]`` of the nearest ``pyproject.toml`` that has one, upwards from the working
directory, and ``settings.toml`` in the user's configuration folder, with the same keys at its top::

    allow = ["builtin", "wf-timm"]      # no other installed plugin is imported
    [pin.loss]
    focal = "wf-losses"                 # the provider of a name that several bring

The project's pins win over the user's. A plugin is imported only if every allow-list that there is names it, so that
neither file can widen the other.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wf.component import KINDS
from wf.errors import UsageError, unknown
from wf.modules import normalize

ENVIRONMENT = "WF_PLUGINS_ALLOW"
BUILTIN = "builtin"
"""In an allow-list: every distribution that comes with wf."""
KEYS = ("allow", "pin", "check")


@dataclass(frozen=True)
class AllowList:
    """The plugins that may be imported: names of distributions, ``*`` for any part of one, ``builtin``."""

    names: tuple[str, ...]
    place: str
    """Where it stands."""

    def allows(self, distribution: str, *, builtin: bool) -> bool:
        """Whether the plugins of a distribution may be imported."""
        name = normalize(distribution)
        return any(builtin if word == BUILTIN else fnmatchcase(name, _pattern(word)) for word in self.names)


@dataclass(frozen=True)
class Pin:
    """The provider that a bare name means."""

    kind: str
    name: str
    provider: str
    place: str
    """Where it stands."""


@dataclass(frozen=True)
class Settings:
    """What the user and the project have settled."""

    allow: tuple[AllowList, ...] = ()
    pins: tuple[Pin, ...] = ()
    """The project's before the user's."""
    check: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tables of ``check``, for ``wf check``."""
    files: tuple[Path, ...] = ()
    """What was read."""


def load(folder: Path | None = None) -> Settings:
    """Read the settings for a working directory; by default the present one.

    Raises:
        UsageError: For a file that cannot be read, or an unknown key, naming the file.
    """
    found = [table for table in (_project(folder or Path.cwd()), _user()) if table is not None]
    allow = [AllowList(tuple(table["allow"]), place) for place, table in found if "allow" in table]
    names = [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",") if name.strip()]
    if names:
        allow.append(AllowList(tuple(names), ENVIRONMENT))
    pins = [pin for place, table in found for pin in _pins(place, table.get("pin", {}))]
    check: dict[str, dict[str, Any]] = {}
    for _, table in reversed(found):
        for key, value in table.get("check", {}).items():
            check.setdefault(key, {}).update(value)
    return Settings(tuple(allow), tuple(pins), check, tuple(Path(place) for place, _ in found))


def user_file() -> Path:
    """Where the user's settings stand, be they there or not."""
    from platformdirs import user_config_path  # 5 ms

    return user_config_path("wf", appauthor=False) / "settings.toml"


def _project(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """The table of the nearest pyproject.toml that has one."""
    for parent in (folder, *folder.parents):
        file = parent / "pyproject.toml"
        if file.is_file() and b"tool.wf" in file.read_bytes():
            table = _read(file).get("tool", {}).get("wf")
            if table is not None:
                return str(file), _checked(table, f"[tool.wf] of {file}")
    return None


def _user() -> tuple[str, dict[str, Any]] | None:
    file = user_file()
    return (str(file), _checked(_read(file), str(file))) if file.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"the settings in {file} cannot be read: {error}") from error


def _checked(table: Any, place: str) -> dict[str, Any]:
    """The table, if it has nothing but what settings have."""
    if not isinstance(table, dict):
        raise UsageError(f"{place} is {type(table).__name__}, not a table")
    for key in table:
        if key not in KEYS:
            raise UsageError(unknown("setting", key, KEYS, f"in {place}"))
    allow = table.get("allow", [])
    if not (isinstance(allow, list) and all(isinstance(name, str) for name in allow)):
        raise UsageError(f"'allow' in {place} must be a list of names of distributions, not {allow!r}")
    for key in ("pin", "check"):
        inner = table.get(key, {})
        if not (isinstance(inner, dict) and all(isinstance(value, dict) for value in inner.values())):
            raise UsageError(f"'{key}' in {place} must hold tables, as [{key}.{'loss' if key == 'pin' else 'skip'}]")
    for kind, names in table.get("pin", {}).items():
        if kind not in KINDS:
            raise UsageError(unknown("kind", kind, KINDS, f"in 'pin' of {place}"))
        for name, provider in names.items():
            if not isinstance(provider, str):
                raise UsageError(f"pin.{kind}.{name} in {place} must name a distribution, not {provider!r}")
    return table


def _pins(place: str, table: Mapping[str, Mapping[str, str]]) -> Iterator[Pin]:
    for kind, names in table.items():
        for name, provider in names.items():
            yield Pin(kind, name, provider, place)


def _pattern(word: str) -> str:
    """A name as it is compared, its ``*`` kept."""
    return "*".join(normalize(part) if part else "" for part in word.split("*"))
