"""Opens a run directory or run files: the run file, the plugins that it needs, and the code that may run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.discovery.settings import Pin
from wf.errors import UsageError
from wf.registry import Ask, Registry
from wf_run.directory.made_with import in_words
from wf_run.directory.rundir import RunDirectory
from wf_run.resuming.drift import format_before
from wf_run.runfiles.reading import read
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import (
    RunFile,
    check,
    naming_owner,
)
from wf_run.runfiles.said import said_in
from wf_run.trust.files import directory_of
from wf_run.trust.guards import guard_for

if TYPE_CHECKING:
    pass

Discover = Callable[[Sequence[str], Ask | None], Registry]
"""Makes a registry for a run file, given its plugins and a function that is asked before they are loaded."""


def opened(
    place: str | os.PathLike[str],
    registry: Registry | None = None,
    discover: Discover | None = None,
    line: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
) -> tuple[RunDirectory, RunFile, Sequence[Path], Registry]:
    """A run directory, its run file, the folders for its relative paths, and the plugins of its components."""
    directory = RunDirectory.open(Path(place))
    source = directory.path, directory.run_file, directory.manifest
    return directory, *loaded(*source, registry, discover, line, trust)


def loaded(
    place: Path,
    run_file: Path,
    manifest: Mapping[str, Any],
    registry: Registry | None,
    discover: Discover | None,
    line: Mapping[str, Any] | None,
    trust: str | Sequence[str],
    change: Callable[[RunFile], RunFile] = lambda document: document,
) -> tuple[RunFile, Sequence[Path], Registry]:
    """As `opened`, of a run directory or a bundle whose manifest has been read, its run file changed by a function."""
    known = registry if registry or discover else Registry.discover([])
    document, folders = read(run_file)
    document.setdefault("format", format_before(manifest))
    document = change(document)
    if not document.get("plugins"):
        registry = known
    discover = discover or partial(discovered, registry, {})
    document = resolve(document, lenient=True)
    ask = partial(guard_for, place, [(document, folders)], line=line, trust=trust)
    found = discover(document.get("plugins", []), ask).preferring(_made_with(place, manifest))
    with naming_owner(run_file):
        check(document)
    return document, folders, found


def registry_for(
    document: RunFile,
    folders: Sequence[Path],
    discover: Discover,
    *,
    line: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
) -> Registry:
    """The registry for run files; run files of a run directory load only allowed code.

    Args:
        document: Their content, with the plugins located.
        folders: Where its relative paths are looked up.
        discover: Makes the registry; called with the plugins that the run file names and a function to call before
            they are loaded.
        line: As for `wf_run.api.reopen`.
        trust: As for `wf_run.api.load_model`.
    """
    place, ask = place_of_files(said_in(document).files), None
    if place is not None:
        ask = partial(guard_for, place, [(resolve(document, lenient=True), folders)], line=line, trust=trust)
    return discover(document.get("plugins", []), ask)


def place_of_files(files: Sequence[Path]) -> Path | None:
    """The run directory that contains one of the run files.

    Raises:
        UsageError: If several run directories contain them.
    """
    places = list(dict.fromkeys(place for file in files if (place := directory_of(file)) is not None))
    if len(places) > 1:
        raise UsageError(
            f"run files of several run directories are combined: {' and '.join(map(str, places))}\n"
            "  copy all but one of them elsewhere"
        )
    return places[0] if places else None


def discovered(registry: Registry | None, own: Mapping[str, Any], of_run: Sequence[str], ask: Ask | None) -> Registry:
    """The given registry, or a new one."""
    if registry is None:
        return Registry.discover(own.get("plugins", []), of_run=of_run, ask=ask)
    return registry if ask is None else registry.guarded(ask(registry))


def _made_with(place: Path, manifest: Mapping[str, Any]) -> Iterator[Pin]:
    """Pins to the plugins of a run's components, so that bare names in its run file keep their meaning."""
    for part in manifest.get("components", []):
        name = part["distribution"]
        plugin = part.get("plugin", name)  # missing in old manifests
        if plugin is not None:
            yield Pin(part["kind"], part["name"], plugin, str(place), *in_words({**part, "plugin": plugin}))
