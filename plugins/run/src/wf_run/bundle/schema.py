"""The input and output schema of a trained model, as in ``bundle.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wf_base.reading import Reader
from wf_data.inputs import Inputs, record_of
from wf_run.description import Description

_UNIT = re.compile(r".*[(\[]([^()\[\]]{1,20})[)\]]\s*\Z")
"""The unit at the end of a column's name, in brackets: ``sepal length (cm)``, ``power [kW]``."""


def unit_of(name: str) -> str | None:
    """The unit in a column's name; None without one."""
    found = _UNIT.match(name)
    return found[1].strip() if found else None


def inputs_of(description: Description, reader: Any) -> dict[str, Any]:
    """The input schema.

    Returns:
        ``tensor``: the tensors before the transforms (shape without the axis of the samples, dtype); ``columns``: the
        columns of a row in the order of training, each with ``name``, ``type`` (``number``, ``category``, ``date``,
        ``text``, ``image``), and if known ``dtype``, ``unit``, ``values`` of categories, ``missing`` (how missing
        values are treated) and ``unseen`` (how unknown categories are treated); ``files``: the endings of files that
        are read.
    """
    found: dict[str, Any] = {
        "tensor": None if description.inputs is None else record_of(description.inputs),
        "columns": columns_of(description, reader),
    }
    found["files"] = list(reader.endings) if isinstance(reader, Reader) else []
    return found


def columns_of(description: Description, reader: Any) -> list[dict[str, Any]]:
    """The columns of one row of raw inputs, in the order of training; empty if inputs have no columns."""
    fields = getattr(reader, "fields", None)
    if fields is not None:
        said = [dict(one) for one in fields()]
    else:
        said = [{"name": name, "type": "number"} for name in flat_names(description)]
    dtype = str(description.inputs.dtype).removeprefix("torch.") if isinstance(description.inputs, Inputs) else None
    for one in said:
        if one["type"] == "number":
            one.setdefault("dtype", dtype)
            unit = unit_of(one["name"])
            if unit is not None:
                one.setdefault("unit", unit)
    return said


def flat_names(description: Description) -> Sequence[str]:
    """The names of the numbers of a sample if it is a vector of named numbers; else empty."""
    form, names = description.inputs, description.spec.feature_names
    is_vector = isinstance(form, Inputs) and len(form.shape) == 1 and form.shape[0] == len(names)
    return names if is_vector and not form.is_bytes else ()


def outputs_of(description: Description) -> dict[str, Any]:
    """The output schema: the task, its classes or target columns with their units, and the form of the outputs."""
    names = list(description.target_names)
    return {
        "task": description.task,
        "targets": description.spec.targets,
        "class_names": list(description.spec.class_names),
        "target_names": names,
        "units": {name: unit for name in names if (unit := unit_of(name))},
        "num_outputs": description.values.get("num_outputs"),
        "form": description.predictions,
    }
