"""Reads the TOML files of a run in the order of precedence, with the line of each key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.errors import UsageError, closest
from wf_run.runfiles.origins import lines_of
from wf_run.runfiles.references import from_environment
from wf_run.runfiles.said import Place, keys_in

EXTENDS = "extends"
"""The key of a run file that names the files it extends."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One file."""

    file: Path
    document: Mapping[str, Any]
    """Its content, without `EXTENDS`."""
    lines: Mapping[Place, int]
    """The line of each key that is written on its own line."""

    def place(self, key: Place) -> str:
        """File and line of a key: its own line, the line of a dotted key below it, or the line of its table."""
        inner = [line for one, line in self.lines.items() if one[: len(key)] == key]
        outer = next((self.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.lines), None)
        line = self.lines.get(key) or (min(inner) if inner else outer)
        return f"{self.file}:{line}" if line else str(self.file)

    def places(self, document: Mapping[str, Any], below: Place = ()) -> dict[Place, str]:
        """File and line of each key of a document that was read from this file, or from its table `below`."""
        return {key: self.place((*below, *key)) for key in keys_in(document)}


def layers_of(files: Sequence[Path]) -> list[Layer]:
    """The files and those they extend, in increasing precedence; a file that is named twice counts at its first
    position.

    Raises:
        UsageError: For a file that is missing or not TOML, or that extends itself.
    """
    found: dict[Path, Layer] = {}
    for file in files:
        _add(file, (), found)
    return list(found.values())


def _add(file: Path, chain: tuple[Path, ...], found: dict[Path, Layer]) -> None:
    """Read a file after the files that it extends."""
    real = file.resolve()
    if real in [one.resolve() for one in chain]:
        start = [one.resolve() for one in chain].index(real)
        raise UsageError(f"a run file extends itself: {' -> '.join(map(str, [*chain[start:], file]))}")
    if real in found:
        return
    document = parse(file)
    lines = lines_of(file)
    extended = _extended(document.pop(EXTENDS, []), file, lines.get((EXTENDS,)))
    for one, said in extended:
        if not one.is_file():
            try:
                parse(one)
            except UsageError as error:
                raise UsageError(f"{said}: {error}") from error
        _add(one, (*chain, file), found)
    found[real] = Layer(file=file, document=document, lines=lines)


def _extended(value: Any, file: Path, line: int | None) -> list[tuple[Path, str]]:
    """The files that a file extends, with the line that names them."""
    said = f"{file}:{line}" if line else str(file)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f'{said}: {EXTENDS} names run files: {EXTENDS} = "base.toml", or a list of them, not {value!r}'
        )
    try:
        texts = [from_environment(name) for name in names]
    except UsageError as error:
        raise UsageError(f"{said}: {EXTENDS}: {error}") from error
    return [(file.parent / Path(text).expanduser(), said) for text in texts]


def parse(path: Path) -> dict[str, Any]:
    """The TOML document in a file.

    Raises:
        UsageError: If there is none.
    """
    if os.path.isdir(path):
        inside = path / "run.toml"
        hint = f"\n  to repeat its run: wf run {inside}" if inside.is_file() else ""
        raise UsageError(f"'{path}' is a folder, not a run file{hint}")
    if not os.path.isfile(path):
        near = closest(
            path.name, [file.name for file in path.parent.glob("*.toml")] if os.path.isdir(path.parent) else []
        )
        hint = f"\n  did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"there is no run file '{path}'{hint}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}") from error
    except OSError as error:
        raise UsageError(f"the run file '{path}' cannot be read: {error.strerror}") from error
