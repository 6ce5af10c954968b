"""The README of a bundle: a model card made from its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wf.terminal import plural

_SHOWN = 20
"""The maximum number of columns and classes listed."""
_REBUILD = {
    "components": "from installed components by name; no code comes with the bundle.",
    "code": "from the code in `code/`, which runs only where it is trusted (`--trust`).",
    "exported graph": "from the exported graph in `graph.pt2`; no code is needed.",
    "weights only": "not by itself: only the weights are here. Give the module: `wf.load_model(PATH, model=...)`.",
}


def text(says: Mapping[str, Any]) -> str:
    """The README of a bundle.

    Args:
        says: The content of ``bundle.json``.
    """
    training = says["training"]
    lines = [f"# {says['name']}", "", *_summary(says), ""]
    lines += ["## Use", "", *_use(says), ""]
    lines += ["## What it takes", "", *_inputs(says["inputs"]), ""]
    lines += ["## What it gives", "", *_outputs(says["outputs"]), ""]
    lines += ["## Figures", "", *_figures(training["metrics"], says.get("samples", {})), ""]
    lines += ["## How it was made", "", *_made(says), ""]
    return "\n".join(lines)


def _summary(says: Mapping[str, Any]) -> list[str]:
    training = says["training"]
    task = says["task"] or "model"
    return [
        f"A {task} model (`{says['model']['use']}`, {says['model']['parameters']:,} parameters), trained on "
        f"`{training['dataset']}` for {plural(training['epochs'], 'epoch')} ({plural(training['steps'], 'step')}); "
        f"these are the {training['weights']} weights. "
        f"Made with wf {says.get('versions', {}).get('wf', '')} on {says['made'][:10]}.",
        "",
        f"It is rebuilt {_REBUILD[says['rebuild']['by']]}"
        + (f" ({says['rebuild']['why']})" if says["rebuild"]["why"] and says["rebuild"]["by"] != "code" else ""),
        "",
        "Intended use, limits and risks: not documented yet. This file is not part of the checksums; edit it.",
    ]


def _use(says: Mapping[str, Any]) -> list[str]:
    columns = says["inputs"]["columns"]
    if columns and columns[0]["type"] != "image":
        rows = f"[{_example(columns)}]"
    elif columns or any(one in says["inputs"]["files"] for one in (".png", ".jpg")):
        rows = '["photo.png"]'
    else:
        rows = "inputs"
    return [
        "```python",
        "import wf",
        'model = wf.load_model("bundle")  # this folder',
        f"print(model.predict({rows}))",
        "```",
        "",
        "On the command line: `wf predict bundle FILE ...`. "
        "The `torch.nn.Module` itself, without the transforms, is `model.model`.",
    ]


def _example(columns: Sequence[Mapping[str, Any]]) -> str:
    shown = ", ".join(f"{json.dumps(one['name'])}: {_value(one)}" for one in columns[:_SHOWN])
    return f"{{{shown}{', ...' if len(columns) > _SHOWN else ''}}}"


def _value(column: Mapping[str, Any]) -> str:
    if column["type"] == "number":
        return "1.0"
    return json.dumps((column.get("values") or ["..."])[-1], ensure_ascii=False)


def _inputs(inputs: Mapping[str, Any]) -> list[str]:
    columns = inputs["columns"]
    lines = []
    if columns:
        lines += ["| column | type | unit | values |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{one['name']}` | {one['type']} | {one.get('unit', '')} | {_listed(one.get('values', ()))} |"
            for one in columns[:_SHOWN]
        ]
        lines += [f"| and {len(columns) - _SHOWN:,} more: see `bundle.json` | | | |"] if len(columns) > _SHOWN else []
        lines.append("")
    lines.append(f"As tensors, before the transforms: `{json.dumps(inputs['tensor'])}`.")
    if inputs["files"]:
        lines.append(f"Files: {', '.join(inputs['files'])}.")
    return lines


def _outputs(outputs: Mapping[str, Any]) -> list[str]:
    if outputs["class_names"]:
        return [f"One of {len(outputs['class_names'])} classes: {_listed(outputs['class_names'])}."]
    if outputs["target_names"]:
        units = outputs["units"]
        named = [f"{one} [{units[one]}]" if one in units else one for one in outputs["target_names"]]
        return [f"Numbers: {', '.join(named)}."]
    return [f"Outputs of the form `{outputs['form']}`."]


def _figures(metrics: Mapping[str, Any], samples: Mapping[str, int]) -> list[str]:
    splits = list(dict.fromkeys(name.partition("/")[0] for name in metrics))
    names = list(dict.fromkeys(name.partition("/")[2] for name in metrics))
    if not metrics:
        return ["None were recorded."]
    lines = [f"| split | samples | {' | '.join(names)} |", f"| --- | --- |{' --- |' * len(names)}"]
    for split in splits:
        values = [_number(metrics.get(f"{split}/{name}")) for name in names]
        lines.append(f"| {split} | {samples.get(split, '')} | {' | '.join(values)} |")
    return lines


def _made(says: Mapping[str, Any]) -> list[str]:
    lines = [f"- {name} {version}" for name, version in says.get("versions", {}).items()]
    for one in says["components"]:
        origin = f"{one['distribution']} {one['version']}" if one.get("distribution") else "own code"
        lines.append(f"- {one['kind']} `{one['name']}`: {origin}")
    return lines


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(map(str, values[:_SHOWN]))
    return f"{shown}, ... ({len(values)} in all)" if len(values) > _SHOWN else shown


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value) if not isinstance(value, (list, dict)) else "..."
