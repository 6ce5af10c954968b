"""Decides which code of a run directory may run.

Registered components are installed code and run without further checks. Other code of a run directory runs only if the
user's state folder records that this user made the run, if it is byte-equal to files that the command line names, or
if its checksum is given. `guard_for` decides that before anything is loaded and returns a `Guard`, which is asked
whenever such code is loaded: code that `brought` missed is refused there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from wf.declarations.kinds import KINDS
from wf.discovery.deprecation import current_options
from wf.discovery.guard import Guard, UntrustedError
from wf.discovery.modules import describe, is_path, locate
from wf.errors import UsageError, WfError
from wf.parameters import with_names
from wf.registry import Registry
from wf_run.runfiles.lists import divided
from wf_run.runfiles.runfile import RunFile, options_of

ENVIRONMENT, STATE = "WF_TRUST", "WF_STATE_DIR"
MAX_RECORDS = 5000
"""The number of runs that are remembered; the oldest is forgotten first."""
MAX_FILES, MAX_BYTES = 1000, 32 * 2**20
"""Limits on the code of a run directory."""
LIVE = "live "
_LOG = logging.getLogger("wf")

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
class Brought:
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


def brought(place: Path, sources: Sequence[Source], registry: Registry) -> Brought:
    """The code in the run files of a directory; only registered components are imported to find it.

    Args:
        place: The directory.
        sources: Its run files.
        registry: The registered names, without those of the run file's own plugins.

    Raises:
        UsageError: If its code contains anything but plain files, or exceeds the size limits.
    """
    if not any(_may_bring(document) for document, _ in sources):
        return Brought(place=place, pieces=(), inside={}, references="")
    walker = _Walker(registry.installed())
    blocked = {plugin.module for plugin in registry.plugins if plugin.status == "blocked"}
    pieces: dict[tuple[str, str], Piece] = {}
    tables, names_code = [], False
    for document, folders in sources:
        found, named = walker.read(document)
        tables.append(named)
        names_code |= bool(found)
        for where, name in found:
            if piece := _piece(where, name, folders):
                pieces[where, name] = replace(piece, blocked=where == "plugins" and name in blocked)
    if not names_code:
        return Brought(place=place, pieces=(), inside={}, references="")
    inside = _files_in({folder for _, folders in sources for folder in folders if _is_code_of(place, folder)}, place)
    root = place.resolve()
    for piece in pieces.values():
        if piece.file and piece.file.is_relative_to(root):
            inside.setdefault(piece.file.relative_to(root).as_posix(), piece.sha256)
    references = json.dumps(tables, sort_keys=True, default=str)
    return Brought(place=place, pieces=tuple(pieces.values()), inside=inside, references=references)


def guard_for(
    place: Path,
    sources: Sequence[Source],
    registry: Registry,
    *,
    line: Mapping[str, Any] | None = None,
    trust: str | Iterable[str] = (),
) -> Guard:
    """The guard for a run directory, after a check that all of its code is allowed.

    Args:
        place: The directory.
        sources: Its run files.
        registry: The registered names.
        line: The keys of a run file given on the command line. Code named there is allowed.
        trust: Checksums of allowed code; those in ``WF_TRUST`` count, too.

    Raises:
        UntrustedError: Listing what is not allowed.
    """
    return _guard_of(brought(place, sources, registry), line, trust)


def guard_graph(
    place: Path, name: str, sha256: str, *, line: Mapping[str, Any] | None = None, trust: str | Iterable[str] = ()
) -> None:
    """Refuse the exported graph of a bundle that nobody allowed: torch evaluates texts in it, so it counts as code.

    Args:
        place: The bundle.
        name: The file.
        sha256: Its checksum, verified.
        line: As for `guard_for`.
        trust: As for `guard_for`.

    Raises:
        UntrustedError: When it is not allowed.
    """
    _guard_of(_graph(place, name, sha256), line, trust)


def record_graph(place: Path, name: str, sha256: str) -> None:
    """Remember that this user made the exported graph of a bundle, as `record` does for a run."""
    _record(place, lambda: _graph(place, name, sha256))


def _graph(place: Path, name: str, sha256: str) -> Brought:
    piece = Piece(where="graph", name=name, file=(place / name).resolve(), sha256=sha256)
    return Brought(place=place, pieces=(piece,), inside={name: sha256}, references="graph")


def _guard_of(found: Brought, line: Mapping[str, Any] | None, trust: str | Iterable[str]) -> Guard:
    named, place = _named(line or {}), found.place
    guard = Guard(
        place=str(place),
        targets=frozenset(piece.name for piece in (*found.pieces, *named) if not piece.file),
        files={str(piece.file): piece.sha256 for piece in (*found.pieces, *named) if piece.file},
    )
    given = _checksums(trust)
    asked = [piece for piece in found.pieces if not piece.blocked]
    if not asked or found.checksum in given:
        return guard
    paths, notes = _recall(found.own)
    equal = {piece.sha256 for piece in named if piece.file} | {piece.name for piece in named}
    if paths is not None:
        equal |= set(found.inside.values()) | {piece.name for piece in found.pieces if not piece.file}
        equal |= {sha256 for path, sha256 in found.outside.items() if path in paths}
    refused = [piece for piece in asked if (piece.sha256 or piece.name) not in equal]
    named_files = {piece.file for piece in found.pieces}
    beside = [
        name
        for name, sha256 in found.inside.items()
        if sha256 not in equal and place.resolve() / name not in named_files
    ]
    if refused or beside:
        raise UntrustedError(_refusal(found, refused, beside, notes, given), found.checksum)
    return guard


def guard_of_line(place: str, line: Mapping[str, Any], hint: str) -> Guard:
    """A guard that allows only the code that a command line names.

    Args:
        place: The other source of code, for messages.
        line: The command line as a document.
        hint: The advice for a refusal.
    """
    named = _named(line)
    return Guard(
        place=place,
        targets=frozenset(piece.name for piece in named if not piece.file),
        files={str(piece.file): piece.sha256 for piece in named if piece.file},
        hint=hint,
    )


def record(place: Path, sources: Sequence[Source], registry: Registry) -> None:
    """Remember that this user made a run; a state folder that cannot be written is a warning.

    Args:
        place: The run directory.
        sources: Its run files.
        registry: The run's registry.
    """
    _record(place, lambda: brought(place, sources, registry))


def _record(place: Path, find: Callable[[], Brought]) -> None:
    try:
        found = find()
        if found.pieces and not any(piece.blocked for piece in found.pieces):
            _remember(found)
    except (WfError, OSError, RuntimeError, ValueError) as error:
        _LOG.warning(
            "it could not be recorded that the code in %s is yours: %s\n"
            "  later commands on this run will ask for --trust; %s sets another folder",
            place,
            describe(error),
            STATE,
        )


def directory_of(run_file: Path) -> Path | None:
    """The run directory or bundle that contains a run file, and that may come from somebody else with all its code."""
    folder = run_file.parent
    if os.path.lexists(folder / "bundle.json"):
        return folder
    is_row = _manifest_in(folder.absolute().parent).get("kind") == "comparison"
    return folder if is_row or "status" in _manifest_in(folder) else None


def _manifest_in(folder: Path) -> Mapping[str, Any]:
    """A run directory's manifest; an unreadable one counts as a manifest, too."""
    file = folder / "manifest.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(_read_plain(file))
        return found if isinstance(found, dict) else {}
    except (UsageError, ValueError, RecursionError):
        return {"status": "damaged"}


def state_dir() -> Path:
    """The user's state folder.

    Raises:
        RuntimeError: If the user has no home folder.
    """
    if chosen := os.environ.get(STATE):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path  # 5 ms

    return user_state_path("wf", appauthor=False)


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


def _piece(where: str, name: str, folders: Sequence[Path]) -> Piece | None:
    """A piece of code with its file; None for a missing file, which cannot run."""
    text = name if where == "plugins" else name.rpartition(":")[0]
    if not is_path(text):
        return Piece(where=where, name=name)
    path = locate(Path(text), folders)
    if not path.is_file():
        return None
    path = path.resolve()
    return Piece(where=where, name=name, file=path, sha256=hashlib.sha256(_read_plain(path)).hexdigest())


def _named(line: Mapping[str, Any]) -> list[Piece]:
    """The code that a command line names; its paths are relative to the working directory, not to the run directory."""
    found: list[tuple[str, str]] = [("plugins", name) for name in line.get("plugins", ())]
    found += _strings({key: value for key, value in line.items() if key != "plugins"})
    return [piece for where, name in found if (piece := _piece(where, name, ()))]


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


def _files_in(folders: Iterable[Path], place: Path) -> dict[str, str]:
    """The SHA-256 of every file below some folders, by its path below the directory.

    Raises:
        UsageError: For links and anything else that is not a plain file, and for too many files or bytes.
    """
    found: dict[str, str] = {}
    waiting, size = [folder for folder in folders if os.path.lexists(folder)], 0
    while waiting:
        folder = waiting.pop()
        if folder.is_symlink() or not folder.is_dir():
            raise _not_plain(folder)
        with os.scandir(folder) as listed:
            entries = list(listed)
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
                continue
            content = _read_plain(path)
            size += len(content)
            found[os.path.relpath(path, place)] = hashlib.sha256(content).hexdigest()
            if len(found) > MAX_FILES or size > MAX_BYTES:
                raise UsageError(f"{folder} holds more than {MAX_FILES:,} files or {MAX_BYTES // 2**20} MiB of code")
    return found


def _read_plain(path: Path) -> bytes:
    """The contents of a regular file.

    Raises:
        UsageError: For a link, anything else that is not a plain file, and a file that is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_plain(path) from error
        raise UsageError(f"{path} cannot be read as code: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _not_plain(path)
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is too large for code: more than {MAX_BYTES // 2**20} MiB")
    return content


def _not_plain(path: Path) -> UsageError:
    return UsageError(f"{path} is not a plain file or folder; a run directory's code may contain only these")


def _checksums(trust: str | Iterable[str]) -> set[str]:
    """The given checksums, including those in the environment."""
    given = [("trust", text) for text in ([trust] if isinstance(trust, str) else trust)]
    given.append((ENVIRONMENT, os.environ.get(ENVIRONMENT, "")))
    found = [(origin, word.strip().lower()) for origin, text in given for word in text.split(",") if word.strip()]
    for origin, word in found:
        if not re.fullmatch(r"[0-9a-f]{64}", word):
            raise UsageError(
                f"{origin} '{word}' is not a SHA-256 checksum: the message that refuses the run's code gives it"
            )
    return {word for _, word in found}


def _refusal(
    found: Brought, refused: Sequence[Piece], beside: Sequence[str], notes: Sequence[str], given: set[str]
) -> str:
    rows = [(piece.where, piece.name, _place_of(piece)) for piece in refused]
    rows += [("beside", name, f"sha256 {found.inside[name]}") for name in sorted(beside)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{found.place} contains code that would run with your rights, and it is not known to be yours"]
    lines += [f"{where:<{widths[0]}}  {name:<{widths[1]}}  {what}" for where, name, what in rows]
    lines += notes
    if given:
        lines.append("the given checksum belongs to other code: it may have been changed since")
    lines.append(f"read it; to allow it: --trust {found.checksum}")
    lines.append(f'or {ENVIRONMENT}=...; in Python trust="..."')
    return "\n  ".join(lines)


def _place_of(piece: Piece) -> str:
    return f"{piece.file}, sha256 {piece.sha256}" if piece.file else "an installed module"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _file_of(own: str) -> Path:
    return state_dir() / "runs" / f"{own}.json"


def _recall(own: str) -> tuple[set[str] | None, list[str]]:
    """The paths of the user's files that a run was made with, None if unknown; and the problem with the record."""
    try:
        file = _file_of(own)
        text = file.read_bytes()
    except FileNotFoundError:
        return None, []
    except (OSError, RuntimeError) as error:
        return None, [f"the records of your runs cannot be read and are ignored: {describe(error)}"]
    try:
        found = json.loads(text)
        if found["sha256"] != own:
            raise ValueError("it belongs to another run")
        return {str(path) for path in found["paths"]}, []
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return None, [f"{file} is damaged and ignored: {describe(error)}"]


def _remember(found: Brought) -> None:
    """Write a record to a separate file, so that processes do not conflict."""
    file = _file_of(found.own)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    before, _ = _recall(found.own)
    if before is not None and found.outside.keys() <= before:
        return
    kept = {
        "sha256": found.own,
        "paths": sorted({*(before or ()), *found.outside}),
        "place": str(found.place.resolve()),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(kept, stream)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _forget_oldest(file.parent)


def _forget_oldest(folder: Path) -> None:
    with os.scandir(folder) as listed:
        files = [entry for entry in listed if entry.name.endswith(".json")]
    if len(files) > MAX_RECORDS:
        with contextlib.suppress(OSError):  # another process may remove them, too
            files.sort(key=lambda entry: entry.stat().st_mtime)
            for entry in files[: len(files) - MAX_RECORDS]:
                os.unlink(entry.path)
