"""The formats by name: the components of kind ``exporter``. Imports neither torch nor the exporters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.discovery.entry import Entry
from wf.errors import UsageError, unknown
from wf.registry import Registry
from wf_building.builder import Builder
from wf_building.built import origin_of
from wf_export.traits import ExporterTraits

KIND = "exporter"


@dataclass(frozen=True)
class Format:
    """One of the formats."""

    name: str
    entry: Entry

    @property
    def traits(self) -> ExporterTraits:
        """The traits of the exporter."""
        traits = self.entry.component.traits
        assert isinstance(traits, ExporterTraits)
        return traits

    def writer(self, registry: Registry, options: Mapping[str, Any] | None = None) -> Any:
        """The exporter.

        Args:
            registry: Where names are looked up.
            options: The options of the format.

        Raises:
            UsageError: For an unknown option, or a value that does not fit.
        """
        return Builder(registry).build(KIND, {"use": registry.full_name(self.entry), **(options or {})}).value


def formats_of(registry: Registry) -> dict[str, Format]:
    """The formats of all plugins, by name."""
    entries = [one for one in registry.entries(KIND) if isinstance(one.component.traits, ExporterTraits)]
    return {one.component.name: Format(one.component.name, one) for one in entries}


def chosen(registry: Registry, to: str | None, file: str | None, run: str) -> tuple[Format, Path]:
    """The format and the file for the arguments of a command line.

    Args:
        registry: Has the formats.
        to: The name of a format, if one is given.
        file: The file, if one is given; by default it is named after the run.
        run: The name of the run.

    Raises:
        UsageError: If the ending is unknown or contradicts `to`, or neither is given.
    """
    formats = formats_of(registry)
    given = None if to is None else _named(registry, formats, to)
    endings = ", ".join(dict.fromkeys(ending for one in formats.values() for ending in one.traits.endings))
    if file is None:
        if given is None:
            raise UsageError(f"choose a format: --to {'|'.join(formats)}\n  or name a file: {endings}")
        return given, Path(f"{run}{given.traits.endings[0]}")
    path = Path(file)
    found = [one for one in formats.values() if path.suffix in one.traits.endings]
    if given is None and not found:
        raise UsageError(f"'{path}': the ending must name the format\n  available: {endings}, or --to FORMAT")
    if given is None and len(found) > 1:
        raise UsageError(f"'{path}': several formats have this ending: {_words(found)}\n  choose one: --to FORMAT")
    if given is not None and found and given not in found:
        raise UsageError(f"'{path}' has the ending of format {found[0].name}, but --to is {given.name}: leave one out")
    return given or found[0], path


def _named(registry: Registry, formats: Mapping[str, Format], name: str) -> Format:
    entry = registry.find(KIND, name) if name.partition("@")[0] in formats else None
    if entry is None:
        raise UsageError(unknown("format", name, formats))
    return Format(entry.component.name, entry)


def _words(formats: list[Format]) -> str:
    return " and ".join(f"{one.name} of {origin_of(one.entry)}" for one in formats)
