"""The parts of a report's sections, besides charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wf_charts.charts import Chart


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """A sortable table."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]
    """None is an empty cell; numbers are aligned and sorted as numbers."""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A command or a file, verbatim."""

    text: str
    caption: str = ""
    is_folded: bool = False
    """Whether it is folded until readers open it."""


Block: TypeAlias = Heading | Text | Table | Code | Chart


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of a report."""

    title: str
    blocks: Sequence[Block]
