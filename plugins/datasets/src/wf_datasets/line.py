"""Points of a straight line."""

from __future__ import annotations

import math

import torch

from wf.errors import UsageError
from wf_base import Dataset, TensorSamples


def line(weight: float = 0.7, bias: float = 0.3, start: float = 0.0, end: float = 1.0, step: float = 0.02) -> Dataset:
    """Points of the line ``y = weight * x + bias`` without noise, in rising order of x.

    Args:
        weight: The slope.
        bias: The value of y at x = 0.
        start: The first x.
        end: The end of x, exclusive.
        step: The distance from one x to the next.

    Returns:
        A regression: inputs float32 ``[N, 1]``, targets float32 ``[N, 1]``.

    Raises:
        UsageError: If the options give no points.
    """
    if not all(map(math.isfinite, (weight, bias, start, end, step))):
        raise UsageError("line: weight, bias, start, end and step must be finite numbers")
    if step == 0 or (end - start) / step <= 0:
        raise UsageError(f"line: no point from {start} to {end} in steps of {step}; step must lead from start to end")
    x = torch.arange(start, end, step).unsqueeze(1)
    return Dataset(train=TensorSamples(x, weight * x + bias), targets="real", feature_names=("x",), target_names=("y",))
