"""Charts as data: the content of a plot, separate from its rendering.

The charts are imported when they are first used: a plugin's declaration imports only the traits.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wf_charts.traits import PlotTraits, SectionTraits

if TYPE_CHECKING:
    from wf_charts.blocks import Block, Code, Heading, Section, Table, Text
    from wf_charts.charts import Chart, Interval, Intervals, Lines, Matrix, Panels, Sample, Samples, Series

__all__ = [
    "Block",
    "Chart",
    "Code",
    "Heading",
    "Interval",
    "Intervals",
    "Lines",
    "Matrix",
    "Panels",
    "PlotTraits",
    "Sample",
    "Samples",
    "Section",
    "SectionTraits",
    "Series",
    "Table",
    "Text",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wf_charts' has no attribute '{name}'")
    blocks = import_module("wf_charts.blocks")  # which imports the charts
    return getattr(blocks, name, None) or getattr(import_module("wf_charts.charts"), name)
