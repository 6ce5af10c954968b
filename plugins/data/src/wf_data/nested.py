"""Rows of nested lists to inputs, for datasets whose samples have no columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, lacking
from wf_base.tree import Tree
from wf_data.inputs import Form, Inputs

LONE = "inputs"
"""The name of the only tensor of a sample in a row."""


def takes_nested(form: Form) -> bool:
    """Whether a row can have a sample as nested lists: it is a tensor, or a dict of these."""
    if isinstance(form, Mapping):
        return all(takes_nested(one) for one in form.values())
    return isinstance(form, Inputs)


def from_nested(
    rows: Sequence[Mapping[str, Any]], form: Form, name: str, where: str, first: int, *, gaps: bool
) -> Tree:
    """Inputs ``[N, ...]`` from rows with nested lists of numbers: ``{"inputs": [[0, 1], [2, 3]]}``.

    Args:
        rows: The rows; each key is the name of a tensor of the sample.
        form: The form of a sample, see `takes_nested`.
        name: Another name of the only tensor of a sample, besides `LONE`.
        where: Their origin, for messages.
        first: The number of the first row, for messages.
        gaps: Whether missing numbers, nan, are allowed.

    Raises:
        DataError: For a row without a tensor, or with one of another form.
    """
    if isinstance(form, Mapping):
        return {
            key: from_nested(_below(rows, str(key)), one, str(key), where, first, gaps=gaps)
            for key, one in form.items()
        }
    values = []
    for number, row in enumerate(rows, first):
        found = next((row[key] for key in (name, LONE) if key in row), None)
        if found is None:
            raise DataError(
                f"{where}, row {number}: {lacking('key', name, row)}\n"
                f'  a sample is an array of {list(form.shape)}, as nested lists: {{"{name}": [...]}}'
            )
        values.append(_array(found, form, f"{where}, row {number}, '{name}'"))
    if len({value.shape for value in values}) > 1:
        raise DataError(f"{where}: the samples differ in size, and are predicted one size at a time")
    inputs = torch.from_numpy(np.stack(values))
    form.check(inputs.shape, inputs.dtype, where)
    if not gaps:
        form.check_values(inputs, where)
    return inputs


def _below(rows: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    """The rows of one key: those of a dict below it, else the rows themselves."""
    return [row[key] if isinstance(row.get(key), Mapping) else row for row in rows]


def _array(value: Any, form: Inputs, where: str) -> Any:
    if isinstance(value, Tensor):
        value = value.numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:  # NumPy's for lists of different lengths
        raise DataError(f"{where}: its lists differ in length; a sample is an array of {list(form.shape)}") from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: it holds something else than numbers; a sample is an array of {list(form.shape)}")
    if form.dtype.is_floating_point:
        with np.errstate(over="ignore"):
            return array.astype(np.float64 if form.dtype == torch.float64 else np.float32)
    if form.dtype == torch.uint8:
        if array.dtype.kind in "iu":
            if array.size and (array.min() < 0 or array.max() > 255):
                raise DataError(f"{where}: pixels are whole numbers from 0 to 255")
            return array.astype(np.uint8)
        return array.astype(np.float32)
    if array.dtype.kind == "f":
        raise DataError(f"{where}: numbers with a fraction; the run was trained on {str(form.dtype)[6:]}")
    return array.astype(bool if form.dtype == torch.bool else np.int64)
