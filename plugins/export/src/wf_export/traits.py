"""The traits of exporters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wf.declarations.fields import check_fields


@dataclass(frozen=True, kw_only=True)
class ExporterTraits:
    """Traits of exporters: their files, and the object that they export."""

    endings: tuple[str, ...]
    """The extensions of its files, the usual one first: ``(".onnx",)``."""
    of: Literal["model", "training"] = "model"
    """``model``: the trained model, see `wf_export.formats.writer.Writer`. ``training``: the run as a program, see
    `wf_export.script.writing.Script`."""

    def __post_init__(self) -> None:
        check_fields(self, "ExporterTraits")
