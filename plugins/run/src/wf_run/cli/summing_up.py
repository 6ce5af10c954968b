"""A model's summary as text, for ``wf run --summary``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wf.terminal import visible
from wf_cli.output import terminal_width

if TYPE_CHECKING:
    from wf_run.summary import Summary

_UNITS = ("", "k", "M", "G", "T", "P")


def text_of(summary: Summary) -> str:
    """One row per layer in aligned columns, with totals below; long text is truncated."""
    rows = [["layer", "type", "output", "parameters", "FLOPs"]]
    for layer in summary.layers:
        flops = count(layer.flops) if layer.flops else "-"
        params = f"{layer.num_params:,}" if layer.num_params else "-"
        rows.append([visible(layer.name or "model", line=True), layer.type, layer.output, params, flops])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    over = sum(widths) + 2 * (len(widths) - 1) - terminal_width()
    for column in (2, 1, 0):  # the output, the type, the name
        taken = max(min(over, widths[column] - 8), 0)
        widths[column] -= taken
        over -= taken
    lines = [
        "  ".join(
            _cut(cell, width).rjust(width) if column > 2 else _cut(cell, width).ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    total = f"{summary.num_params:,} parameters"
    if summary.num_trained < summary.num_params:
        total += f", {summary.num_trained:,} of them trained"
    size = count(summary.num_bytes)
    total += f", {size}B" if size[-1].isalpha() else f", {size} B"
    if summary.flops is not None:
        least = "" if summary.is_whole else "at least "
        total += f", {least}{count(summary.flops)} FLOPs a sample forward"
    return "\n".join([*lines, total])


def count(number: float) -> str:
    """``301``, ``1.20 k``, ``301 M``: three digits."""
    unit = 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number /= 1000
        unit += 1
    if not unit:
        return f"{number:.0f}"
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {_UNITS[unit]}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
