"""A run as HTML, for notebooks, without scripts and styles."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from wf.engine.figures import SPLITS

if TYPE_CHECKING:
    from wf_run.experiment import Experiment

_KINDS = ("dataset", "model", "loss", "optimizer")


def page_of(experiment: Experiment) -> str:
    """The parts of the run, its figures by split, its outcome, and the output of its hooks."""
    loop, plan = experiment.loop, experiment.plan
    made = ", ".join(f"{kind} {experiment.name(kind)}" for kind in _KINDS if kind in plan)
    state = f"{loop.progress.epoch:,} epochs, {loop.progress.step:,} steps" if loop.progress.step else "not trained yet"
    rows = [("run", made), ("trained", state)]
    rows += [("stopped", loop.stop_reason)] if loop.stop_reason else []
    rows += [*loop.notes.items(), ("run directory", str(experiment.run_dir or "none"))]
    shown = "".join(hook._repr_html_() for hook in loop.hooks if hasattr(hook, "_repr_html_"))
    facts = _table([], [[f"<b>{_text(name)}</b>", _text(value)] for name, value in rows])
    return f"<div>{facts}{_figures(experiment.metrics)}{shown}</div>"


def _figures(metrics: dict[str, Any]) -> str:
    """One row per split, one column per figure; lists are left out."""
    plain = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    names = list(dict.fromkeys(name.partition("/")[2] for name in plain))
    splits = [split for split in SPLITS if any(name.startswith(f"{split}/") for name in plain)]
    if not splits:
        return ""
    rows = [[_text(split), *(_number(plain.get(f"{split}/{name}")) for name in names)] for split in splits]
    return _table(["", *map(_text, names)], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells that are HTML already."""
    above = f"<thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead>" if head else ""
    left = ' style="text-align:left"'
    body = "".join(f"<tr>{''.join(f'<td{left}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{above}<tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
