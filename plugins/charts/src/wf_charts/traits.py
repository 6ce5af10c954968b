"""What a plot says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wf.declarations.fields import check_fields


@dataclass(frozen=True, kw_only=True)
class PlotTraits:
    """Traits of plots: for which runs they are, and what they need."""

    tasks: tuple[str, ...] = ()
    """The tasks of the runs that it is for, see ``wf list tasks``; empty for all."""
    needs: Literal["records", "predictions"] = "predictions"
    """``records``: the recorded figures alone. ``predictions``: the weights and the data of the run; it has a method
    ``update``, which gets each batch of its `splits` with the model outputs."""
    order: int = 100
    """Plots are drawn in this order."""

    def __post_init__(self) -> None:
        check_fields(self, "PlotTraits")


@dataclass(frozen=True, kw_only=True)
class SectionTraits:
    """Traits of sections of a report."""

    order: int = 100
    """Sections come in this order."""

    def __post_init__(self) -> None:
        check_fields(self, "SectionTraits")
