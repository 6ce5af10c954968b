"""Traits of plots and of report sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wf.declarations.fields import check_fields


@dataclass(frozen=True, kw_only=True)
class PlotTraits:
    """Traits of plots: what they draw, the runs that they apply to, and their needs."""

    of: str = "run"
    """``run``, or the kind of a directory of several runs, as in its ``manifest.json``: ``comparison``, ``search``. The
    directory is the run value `run_dir`; ``update`` is not called."""
    tasks: tuple[str, ...] = ()
    """The tasks that it applies to, see ``wf list tasks``; empty for all."""
    needs: Literal["records", "predictions"] = "predictions"
    """``records``: it needs only the recorded figures. ``predictions``: it needs the weights and the data of the run;
    its method ``update`` gets each batch of its `splits` with the model outputs."""
    order: int = 100
    """Plots are drawn in this order."""

    def __post_init__(self) -> None:
        check_fields(self, "PlotTraits")
        if self.of != "run":
            if self.tasks:
                raise ValueError(f"PlotTraits: tasks are of runs, and the plot draws a {self.of}")
            object.__setattr__(self, "needs", "records")


@dataclass(frozen=True, kw_only=True)
class SectionTraits:
    """Traits of sections of a report."""

    order: int = 100
    """Sections come in this order."""

    def __post_init__(self) -> None:
        check_fields(self, "SectionTraits")
