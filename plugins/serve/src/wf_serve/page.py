"""The page at ``/docs``: it describes the served model and has a form to try it. It needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wf_serve.limits import Limits
from wf_serve.records import is_image

SHOWN = 200
"""Maximum number of columns and classes in the page."""
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse }
td, th { border-bottom: 1px solid #8886; padding: .2rem .8rem .2rem 0; text-align: left }
textarea { width: 100%; box-sizing: border-box; font: 14px monospace }
pre { overflow: auto; background: #8882; padding: .5rem }
.wide { overflow-x: auto }
"""
_SCRIPT = """
const answer = document.getElementById("answer"), records = document.getElementById("records")
document.getElementById("try").addEventListener("submit", async (event) => {
  event.preventDefault()
  const files = document.getElementById("files")
  const form = new FormData()
  if (files) for (const file of files.files) form.append("files", file)
  const given = files ? { body: form } : { body: records.value, headers: { "Content-Type": "application/json" } }
  try {
    const response = await fetch("predict", { method: "POST", ...given })
    answer.textContent = response.status + "\\n" + JSON.stringify(await response.json(), null, 2)
  } catch (error) { answer.textContent = String(error) }
})
"""


def page(said: Mapping[str, Any], limits: Limits) -> str:
    """The page as HTML.

    Args:
        said: The description of the model, as returned at ``/``.
        limits: The limits of a request.
    """
    columns, classes = said["inputs"]["columns"], said["outputs"]["class_names"]
    title = f"{said['name']}: {said['model']}"
    gives = f"One of {len(classes)} classes: {', '.join(map(str, classes[:SHOWN]))}" if classes else "Numbers"
    units = said["outputs"]["units"]
    if names := said["outputs"]["target_names"]:
        gives = "Numbers: " + ", ".join(f"{one} [{units[one]}]" if one in units else one for one in names)
    body = [
        f"<h1>{_text(title)}</h1>",
        f"<p>A {_text(said['task'] or 'trained')} model of wf. It takes raw inputs, like its training data.</p>",
        "<h2>Inputs</h2>",
        _columns(columns)
        if columns
        else f"<p>Nested lists of numbers: {_text(json.dumps(said['inputs']['tensor']))}</p>",
        f"<p>At most {limits.max_records:,} records and {limits.max_bytes:,} bytes per request.</p>",
        "<h2>Outputs</h2>",
        f"<p>{_text(gives)}</p>",
        "<h2>Try it</h2>",
        _form(columns, said),
        '<pre id="answer" aria-live="polite">The answer appears here.</pre>',
        "<h2>Figures of the run</h2>",
        _figures(said["figures"]),
        '<p>For programs: <a href="openapi.json">openapi.json</a>, <a href=".">model</a>, '
        '<a href="health">health</a>.</p>',
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{_text(title)}</title><style>{_STYLE}</style>'
    )
    content = f"{''.join(body)}<script>{_SCRIPT}</script>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{content}</body></html>'


def _columns(columns: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{_text(one['name'])}</td><td>{_text(one['type'])}</td><td>{_text(one.get('unit') or '')}</td>"
        f"<td>{_text(', '.join(map(str, (one.get('values') or ())[:20])))}</td></tr>"
        for one in columns[:SHOWN]
    )
    more = f"<p>And {len(columns) - SHOWN:,} more.</p>" if len(columns) > SHOWN else ""
    head = "<tr><th>column</th><th>type</th><th>unit</th><th>values</th></tr>"
    return f'<div class="wide"><table>{head}{rows}</table></div>{more}'


def _form(columns: Sequence[Mapping[str, Any]], said: Mapping[str, Any]) -> str:
    if is_image(columns):
        field = '<label>Images <input id="files" type="file" name="files" multiple accept="image/*"></label>'
    else:
        example = [{one["name"]: _value(one) for one in columns}] if columns else [_zeros(said["inputs"]["tensor"])]
        text = _text(json.dumps(example, indent=1, ensure_ascii=False))
        field = f'<label>Records as JSON<textarea id="records" rows="10">{text}</textarea></label>'
    return f'<form id="try">{field}<p><button>Predict</button></p></form>'


def _value(column: Mapping[str, Any]) -> Any:
    if "example" in column:
        return column["example"]
    if column["type"] == "number":
        return 1.0
    if column["type"] == "list":
        return [1.0 if column["of"] == "number" else "..."] * column["min_length"]
    return (column.get("values") or ["..."])[-1]


def _zeros(tensor: Any) -> Any:
    """A record of zeros with the shape of a tensor; an empty record for a tree or a variable shape."""
    shape = tensor.get("shape") if isinstance(tensor, Mapping) else None
    if not shape or any(size is None for size in shape):
        return []
    found: Any = 0
    for size in reversed(shape):
        found = [found] * min(size, 64)
    return found


def _figures(figures: Mapping[str, Any]) -> str:
    shown = [(name, value) for name, value in figures.items() if isinstance(value, (int, float))]
    rows = "".join(f"<tr><td>{_text(name)}</td><td>{value:.4g}</td></tr>" for name, value in shown)
    return f"<table><tr><th>figure</th><th>value</th></tr>{rows}</table>"


def _text(value: Any) -> str:
    return escape(str(value))
