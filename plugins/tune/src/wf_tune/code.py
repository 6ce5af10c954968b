"""The code of the components of a search: imported before processes are forked, recorded, and compared later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.blame import FAILURES
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.discovery.modules import is_path, locate
from wf.errors import UsageError
from wf.parameters import takes_several
from wf_building.builder import Builder
from wf_run.resuming import drift
from wf_run.runfiles.runfile import options_of
from wf_run.trust.code import Source

if TYPE_CHECKING:
    from wf_compare.training import Setting

_OF_STORAGE = [f"alembic.{name}" for name in ("command", "config", "migration", "script")]
"""Modules that the database needs and Optuna imports late."""


def warm_up(sources: Sequence[Source], setting: Setting) -> dict[str, Any]:
    """Import the components of the trials before processes are forked; each process imports the user's own code.

    Args:
        sources: Run files that together have every component.
        setting: The settings shared by the processes.

    Returns:
        Versions and checksums of their code, as in the manifest of a run: ``versions``, ``components``,
        ``plugin_code`` and ``code``.
    """
    from wf_compare.workers import preload
    from wf_run.resuming.conditions import of_code
    from wf_run.resuming.sources import with_neighbours

    preload(["torch._dynamo", *_OF_STORAGE])
    made: dict[tuple[str, str], Entry] = {}
    own: set[Path] = set()
    for document, folders in sources:
        with suppress(*FAILURES):  # the trial's process will report it
            plan, registry = setting.prepare(document)
            builder = Builder(registry, folders=folders)
            for entry in _components(plan, builder):
                made[entry.component.kind, entry.component.target_name] = entry
            own |= {locate(Path(name), folders).resolve() for name in plan["plugins"] if is_path(name)}
    for entry in made.values():
        file = entry.component.target_name.rpartition(":")[0]
        if entry.plugin is None and is_path(file):
            own.add(Path(file).resolve())
    files = sorted(with_neighbours(file for file in own if file.is_file()))
    return of_code(list(made.values()), files)


def check_code(definition: Mapping[str, Any], now: Mapping[str, Any], place: Path, say: Callable[[str], None]) -> None:
    """Refuse to go on with other code than that with which a search was started; says differences that do not matter.

    Args:
        definition: The definition of the search.
        now: The present code, from `warm_up`.
        place: The directory, for messages.
        say: Called with warnings.

    Raises:
        UsageError: With all differences that are errors for a run, too.
    """
    before = definition.get("conditions")
    if before is None:  # an older search
        before = {"code": [{"file": Path(file).name, "sha256": sha256} for file, sha256 in definition["code"].items()]}
    found = drift.compare(before, now)
    refused = [one for one in found if one.level == "error"]
    if refused:
        lines = [f"the trials of {place} could not be compared: the code is not that with which the search was started"]
        lines += [*map(str, refused), "use the same code and versions, or start a new search: --name NAME"]
        raise UsageError("\n  ".join(lines))
    for one in found:
        say(f"warning: {one}")


def check_files(definition: Mapping[str, Any], folders: Sequence[Path]) -> None:
    """Refuse to go on without the files of the user's code, before anything is imported.

    Raises:
        UsageError: For the first one that is missing.
    """
    for file in definition["code"]:
        if not locate(Path(file), folders).is_file():
            raise UsageError(
                f"{file} is missing, and trials of this search use it\n  copy it from where it was started"
            )


def _components(plan: Mapping[str, Any], builder: Builder) -> Iterator[Entry]:
    """The components of a run, those inside others included, with the modules of plugins imported."""
    for kind in KINDS.keys() & plan.keys():
        tables = plan[kind] if kind in KINDS.several else [plan[kind]]
        for table in tables or ():
            yield from _inside(kind, table, builder)


def _inside(kind: str, table: Any, builder: Builder) -> Iterator[Entry]:
    table = table if isinstance(table, Mapping) else {"use": table}
    use = table.get("use")
    if not isinstance(use, str) or not (":" in use or builder.registry.has(kind, use.partition("@")[0])):
        return
    entry = builder.entry(kind, use)
    if entry is None:
        return
    yield entry
    params = entry.params_unloaded() or ()
    if entry.plugin is not None:
        with suppress(*FAILURES):
            params = builder.params(entry)
    options = options_of(kind, table)
    for param in params:
        if param.kind is not None and (value := options.get(param.name)) is not None:
            for one in value if takes_several(param.type) and isinstance(value, (list, tuple)) else [value]:
                yield from _inside(param.kind, one, builder)
