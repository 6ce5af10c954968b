"""Decides which code of a run directory may run.

Registered components are installed code and run without further checks. Other code of a run directory runs only if the
user's state folder records that this user made the run, if it is byte-equal to files that the command line names, or
if its checksum is given. `guard_for` decides that before anything is loaded and returns a `Guard`, which is asked
whenever such code is loaded: code that `code_of` missed is refused there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wf.discovery.guard import Guard, UntrustedError
from wf.errors import UsageError
from wf.registry import Registry
from wf_run.trust.code import Piece, RunCode, Source, code_of, graph_of, named_in
from wf_run.trust.records import recall

ENVIRONMENT = "WF_TRUST"
"""Holds checksums of allowed code."""


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
    return _guard_of(code_of(place, sources, registry), line, trust)


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
    _guard_of(graph_of(place, name, sha256), line, trust)


def _guard_of(found: RunCode, line: Mapping[str, Any] | None, trust: str | Iterable[str]) -> Guard:
    named, place = named_in(line or {}), found.place
    guard = Guard(
        place=str(place),
        targets=frozenset(piece.name for piece in (*found.pieces, *named) if not piece.file),
        files={str(piece.file): piece.sha256 for piece in (*found.pieces, *named) if piece.file},
    )
    given = _checksums(trust)
    asked = [piece for piece in found.pieces if not piece.blocked]
    if not asked or found.checksum in given:
        return guard
    paths, notes = recall(found.own)
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
    named = named_in(line)
    return Guard(
        place=place,
        targets=frozenset(piece.name for piece in named if not piece.file),
        files={str(piece.file): piece.sha256 for piece in named if piece.file},
        hint=hint,
    )


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
    found: RunCode, refused: Sequence[Piece], beside: Sequence[str], notes: Sequence[str], given: set[str]
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
