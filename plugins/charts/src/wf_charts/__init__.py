"""Charts as data: what a plot shows, apart from how it is drawn."""

from wf_charts.blocks import Block, Code, Heading, Section, Table, Text
from wf_charts.charts import Chart, Interval, Intervals, Lines, Matrix, Panels, Sample, Samples, Series
from wf_charts.traits import PlotTraits, SectionTraits

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
