"""The origin of each value of a run file: the command line, a line of a file, or a default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wf_cli.arguments import ADD
from wf_run.runfiles.lists import divided

LINE = "command line"
DEFAULT = "default"
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*([\w.\-]+|\"[^\"]+\"|'[^']+')\s*=")


def lines_of(path: Path) -> dict[tuple[str, ...], int]:
    """The line of each key of a TOML file, by its path: ``("hook", "0", "patience")``.

    Args:
        path: A valid TOML file.
    """
    found: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], int] = {}
    above: tuple[str, ...] = ()
    pending = ""
    # other line separators are text in TOML
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if pending:
            pending = _rest(f"{pending}\n{line}")
            continue
        if header := _HEADER.match(line):
            *outer, last = _parts(header[2])
            above = ()
            for name in outer:
                above = _in_list((*above, name), counts)
            above = (*above, last)
            if header[1] == "[[":
                counts[above] = counts.get(above, -1) + 1
            above = _in_list(above, counts)
            found.setdefault(above, number)
        elif key := _KEY.match(line):
            found[(*above, *_parts(key[1]))] = number
            pending = _rest(line)
    return found


def _in_list(key: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """A key, with the present index in an array of tables."""
    return (*key, str(counts[key])) if key in counts else key


def _parts(text: str) -> tuple[str, ...]:
    """The names in a dotted key."""
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", text))


def _rest(text: str) -> str:
    """The text if it continues on the next line; empty if it is complete."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return text
    return ""


class Origins:
    """Tells the origin of the values of a resolved run file.

    Args:
        places: The file and line of each key in files, see `wf_run.runfiles.said.Said`.
        line: The options of the command line, in the form of a run file.
    """

    def __init__(self, places: Mapping[tuple[str, ...], str], line: Mapping[str, Any]) -> None:
        self._places, self._line = places, line

    def of(self, key: str) -> str:
        """The origin of a general key: ``command line``, ``run.toml:7`` or ``default``."""
        return LINE if self._line.get(key) is not None else self._in_file((key,))

    def of_component(self, kind: str, name: str, position: int | None = None) -> str:
        """The origin of the choice of a component.

        Args:
            kind: Its kind.
            name: Its name.
            position: Its index among several of the kind; None if a run has only one.
        """
        if position is None:
            return LINE if "use" in self._line.get(kind, {}) else self._in_file((kind, "use"))
        chosen = [divided(table) for table in self._line.get(kind, ())]
        if any(one == name and sign in ("", ADD) for sign, one in chosen):
            return LINE
        return self._in_file((kind, str(position), "use"), (kind, name, "use"))

    def of_option(self, kind: str, option: str, name: str, position: int | None = None) -> str:
        """The origin of the value of a component's option; as for `of_component`."""
        if position is None:
            return LINE if option in self._line.get(kind, {}) else self._in_file((kind, option))
        if any(option in table and divided(table)[1] == name for table in self._line.get(kind, ())):
            return LINE
        return self._in_file((kind, name, option), (kind, str(position), option))

    def _in_file(self, *keys: tuple[str, ...]) -> str:
        """The file and line of the first of several keys that a run file has."""
        return next((self._places[key] for key in keys if key in self._places), DEFAULT)
