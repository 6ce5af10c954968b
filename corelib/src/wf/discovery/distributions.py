"""Facts about installed distributions, from their metadata; nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from wf.discovery.installed import EntryPoint, Installed, distribution, distributions, entry_points
from wf.discovery.known import CORE, how_to_install
from wf.discovery.modules import describe, normalize
from wf.errors import PluginError

if TYPE_CHECKING:
    import importlib.metadata

    from packaging.requirements import Requirement

GROUP = "wf.plugins"
"""The entry-point group of plugins."""
UNKNOWN = "unknown"
"""Placeholder for a missing name or version in metadata."""
_AT_THE_TOP = {CORE: "corelib", "wf-cli": "cli"}
"""The distributions of the workspace that are not in its folder ``plugins``."""
BUILTIN_EXTRAS = ("builtin", "ecosystem")
"""The extras of wf-core that name the distributions of its own workspace; `--only-builtin` loads just these."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """An installed distribution."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    """Its requirements, as PEP 508 writes them."""

    @property
    def required_names(self) -> list[str]:
        """The distributions that it asks for."""
        return [found[0] for text in self.requires if (found := re.match(r"[A-Za-z0-9._-]+", text))]

    def missing_names(self) -> list[str]:
        """The distributions that it asks for, extras aside, and that are not installed in any version."""
        required = filter(None, map(_required, self.requires))
        return [found.name for found in required if _applies(found) and not is_installed(found.name)]


class DamagedMetadataError(PluginError):
    """The metadata of an installed distribution cannot be read."""


@dataclass(frozen=True)
class Unreadable:
    """Placeholder for the entry points of a distribution with damaged metadata; loading it reports the damage."""

    reason: str
    name: str = "entry_points.txt"
    value: str = "unreadable"

    def load(self) -> Any:
        """Raises the error."""
        raise DamagedMetadataError(f"its entry points cannot be read: {self.reason}")


def plugin_entry_points() -> Iterator[tuple[EntryPoint | Unreadable, Distribution]]:
    """Every entry point of a plugin, with its distribution; a damaged distribution hides no other."""
    seen: set[str] = set()
    for installed in distributions():
        text: str | Unreadable
        try:
            text = installed.read_text("entry_points.txt") or ""
        except (ValueError, OSError) as error:  # it may be a plugin
            text = Unreadable(describe(error))
        if isinstance(text, str) and GROUP not in text:
            continue
        found = read(installed)
        name = normalize(found.name)
        if name not in seen:  # Python ignores a second distribution of the same name, too
            for entry in _entry_points(text) if isinstance(text, str) else (text,):
                yield entry, found
        seen |= {name} - {UNKNOWN}


def _entry_points(text: str) -> Iterator[EntryPoint | Unreadable]:
    """The plugins of a distribution. Python silently skips a section whose heading is misspelt; this reports it."""
    lines = map(str.strip, text.splitlines())
    wrong = [line for line in lines if line.strip("[] \t") == GROUP and line != f"[{GROUP}]"]
    try:
        found = entry_points(text, GROUP)
    except ValueError as error:
        yield Unreadable(describe(error))
    else:
        yield from found
        if wrong:
            yield Unreadable(f"'{wrong[0]}' is written for the section [{GROUP}]")


def check_readable() -> None:
    """Check that the entry points of everything installed can be read: torch and pydantic crash on a damaged one.

    Raises:
        DamagedMetadataError: Naming the first distribution whose entry points cannot be read.
    """
    import importlib.metadata  # which torch imports, too

    try:
        importlib.metadata.entry_points(group=GROUP)
    except Exception:
        for installed in importlib.metadata.distributions():
            _check_readable(installed)


def _check_readable(installed: importlib.metadata.Distribution) -> None:
    try:
        installed.entry_points.select(group=GROUP)
    except Exception as error:
        name = read(installed).name
        raise DamagedMetadataError(
            f"torch cannot be used here: the metadata of distribution '{name}' is damaged: {describe(error)}\n"
            f"  try: {how_to_install(name, '--force-reinstall')}"
        ) from error


def _text(installed: Installed, file: str) -> str:
    """A file of a distribution's metadata; empty if it is missing or not text."""
    try:
        return installed.read_text(file) or ""
    except ValueError:
        return ""


def read(installed: Installed) -> Distribution:
    """The few lines of a distribution's metadata that matter here: ten times faster than parsing all of it."""
    headers: dict[str, list[str]] = {}
    text = _text(installed, "METADATA") or _text(installed, "PKG-INFO")
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        headers.setdefault(key.lower(), []).append(value.strip())
    return Distribution(
        name=headers.get("name", [UNKNOWN])[0],
        version=headers.get("version", [UNKNOWN])[0],
        requires=tuple(headers.get("requires-dist", ())),
    )


def core_version() -> str | None:
    """The installed version of wf-core; None where it is not installed as a distribution."""
    core = distribution(CORE)
    return None if core is None else read(core).version


def missing_requirements(name: str) -> list[str]:
    """The missing requirements of an installed distribution; empty if it is not installed."""
    installed = distribution(name)
    return [] if installed is None else read(installed).missing_names()


def supported_range(name: str, dependent: str) -> str:
    """The versions of `name` that an installed distribution requires; empty for any."""
    installed = distribution(dependent)
    requires = () if installed is None else read(installed).requires
    found = [required for text in requires if (required := _required(text)) and normalize(required.name) == name]
    return str(found[0].specifier) if found else ""


def unsupported_core(requires: Iterable[str], version: str | None) -> str | None:
    """The range of wf-core in a distribution's requirements, if it excludes `version`.

    Args:
        requires: The requirements, as PEP 508 writes them.
        version: The installed version of wf-core; None excludes nothing.
    """
    ranges = [_core_range(text) for text in requires if normalize(text).startswith(CORE)] if version else []
    return next((allowed for allowed in ranges if allowed and not is_within(str(version), allowed)), None)


_PLAIN_VERSION = re.compile(r"\d+(\.\d+)*\Z")
_PLAIN_RANGE = re.compile(r"(>=|<)\d+(\.\d+)*(,(>=|<)\d+(\.\d+)*)*\Z")
"""The requirement of nearly every plugin, matched without `packaging`, which takes 15 ms to import."""


def _release(version: str) -> list[int]:
    """A plain version as a comparable tuple: 1.0 equals 1."""
    numbers = [int(number) for number in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


@cache
def is_within(version: str, allowed: str) -> bool:
    """Whether a version, pre-releases included, is within a range."""
    bounds = re.findall(r"(>=|<)([\d.]+)", allowed)
    if _PLAIN_VERSION.match(version) and _PLAIN_RANGE.match(allowed):
        here = _release(version)
        return all((here >= _release(bound)) == (sign == ">=") for sign, bound in bounds)
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(allowed).contains(version, prereleases=True)


def builtin_distributions() -> frozenset[str]:
    """The distributions of plugins that wf-core's own metadata names and that came from where wf-core came from.

    Their names alone say nothing: on a package index anybody may take them.
    """
    ours = _origin(CORE)
    return frozenset(name for name in builtin_names() if _origin(name) == ours)


def builtin_names() -> frozenset[str]:
    """The names of wf's own distributions of plugins, from wf-core's metadata."""
    core = distribution(CORE)
    if core is None:
        return frozenset()
    marker = re.compile(rf"extra\s*==\s*['\"](?:{'|'.join(BUILTIN_EXTRAS)})['\"]")
    found = (re.match(r"[A-Za-z0-9._-]+", text) for text in read(core).requires if marker.search(text))
    return frozenset(normalize(name[0]) for name in found if name)


def _origin(name: str) -> tuple[str, ...]:
    """The place that a distribution was installed from, in a form that all distributions of one release share, from
    its ``direct_url.json``.

    The root of a checkout of wf (wf-core is in ``corelib``, wf-cli in ``cli`` and the others in ``plugins``); the
    folder of a wheel; the address and commit of a repository; "index" where pip looked the name up. Empty for a
    distribution that is not installed.
    """
    installed = distribution(name)
    if installed is None:
        return ()
    text = _text(installed, "direct_url.json")
    if not text:
        return ("index",)
    import json  # for --only-builtin alone

    try:
        found = json.loads(text)
        url = str(found["url"]).rstrip("/")
        above, _, last = url.rpartition("/")
        if "vcs_info" in found:
            return ("repository", url, str(found["vcs_info"].get("commit_id")))
        if "archive_info" in found:
            return ("folder", above)
    except (ValueError, TypeError, KeyError, AttributeError):
        return ("unreadable", name)
    root, _, group = above.rpartition("/")
    if name in _AT_THE_TOP:
        return ("checkout", above) if last == _AT_THE_TOP[name] else ("elsewhere", url)
    return ("checkout", root) if group == "plugins" else ("elsewhere", url)


@cache  # plugins of one workspace all say the same
def _core_range(requirement: str) -> str | None:
    """The versions of wf-core that a requirement allows; None when it is of another distribution, or an extra's."""
    if plain := re.match(rf"{CORE}(?:\[[\w, -]*\])?", requirement):
        allowed = requirement[plain.end() :].replace(" ", "")
        if _PLAIN_RANGE.match(allowed):
            return ",".join(sorted(allowed.split(","), reverse=True))
    found = _required(requirement)
    if found is None or normalize(found.name) != CORE or not _applies(found):
        return None
    return ",".join(sorted(map(str, found.specifier), reverse=True))  # as people write it: >=0.1,<0.2


def _required(text: str) -> Requirement | None:
    """A parsed requirement; None if it is not valid by PEP 508."""
    from packaging.requirements import InvalidRequirement, Requirement  # 20 ms

    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _applies(requirement: Requirement) -> bool:
    """Whether a requirement applies in this environment; requirements of extras do not."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def is_installed(name: str) -> bool:
    """Whether a distribution is installed, in any version."""
    return distribution(name) is not None
