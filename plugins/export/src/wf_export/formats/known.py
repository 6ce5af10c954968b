"""The formats by name, without importing torch or their writers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.errors import UsageError, unknown


@dataclass(frozen=True)
class Format:
    """One of the formats."""

    name: str
    endings: tuple[str, ...]
    target: str
    """``"package.module:Class"`` of its writer, see `wf_export.formats.writer.Writer`."""

    def writer(self) -> Any:
        """Its writer."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)()


FORMATS = {
    one.name: one
    for one in (
        Format("state-dict", (".pt", ".pth"), "wf_export.formats.weights:StateDict"),
        Format("safetensors", (".safetensors",), "wf_export.formats.weights:SafeTensors"),
        Format("pt2", (".pt2",), "wf_export.formats.pt2:Pt2"),
        Format("onnx", (".onnx",), "wf_export.formats.onnx:Onnx"),
        Format("script", (".py",), "wf_export.script.writing:Script"),
    )
}
"""Every format."""


def chosen(to: str | None, file: str | None, run: str) -> tuple[Format, Path]:
    """The format and the file, from the command line.

    Args:
        to: The name of a format, if one is given.
        file: The file, if one is given; by default it is named after the run.
        run: The name of the run.

    Raises:
        UsageError: If the ending is unknown or contradicts `to`, or neither is given.
    """
    endings = {ending: one for one in FORMATS.values() for ending in one.endings}
    if to is not None and to not in FORMATS:
        raise UsageError(unknown("format", to, FORMATS))
    if file is None:
        if to is None:
            raise UsageError(f"choose a format: --to {'|'.join(FORMATS)}\n  or name a file: {', '.join(endings)}")
        return FORMATS[to], Path(f"{run}{FORMATS[to].endings[0]}")
    path = Path(file)
    found = endings.get(path.suffix)
    if to is None and found is None:
        raise UsageError(
            f"'{path}': the ending must name the format\n  available: {', '.join(endings)}, or --to FORMAT"
        )
    if to is not None and found is not None and found.name != to:
        raise UsageError(f"'{path}' has the ending of format {found.name}, but --to is {to}: leave one out")
    return (FORMATS[to] if to is not None else endings[path.suffix]), path
