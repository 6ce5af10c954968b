"""Checks of a dataset's numbers: classes or measurements, magnitude, and float32 resolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MAX_CLASSES = 20
"""Whole numbers with more distinct values than this are a regression."""
_LOST = 1e-4
_FAR = 1e3


def are_classes(counts: Mapping[int, int]) -> bool:
    """Whether whole numbers name classes rather than measure something.

    They do if each occurs at least twice and there are two of them, or at most 20 that are consecutive from 0 or 1.

    Args:
        counts: How often each occurs.
    """
    values = sorted(counts)
    if min(counts.values()) < 2 or not 2 <= len(values) <= MAX_CLASSES:
        return False
    return len(values) == 2 or (values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1)


def regression_hint(numbers: Any) -> str | None:
    """A hint for a regression whose targets are one number, or may have been meant as classes; None for measurements.

    Args:
        numbers: ``[N]``.
    """
    numbers = torch.as_tensor(numbers, dtype=torch.float64)
    if len(numbers) > 1 and bool((numbers == numbers[0]).all()):
        return f"has the value {numbers[0]:g} in every sample, so there is nothing to learn\n  choose another target"
    if bool((numbers != numbers.round()).any()):  # so that measures are not sorted
        return None
    values, counts = torch.unique(numbers, return_counts=True)
    follow = len(values) > 1 and bool((values.diff() == 1).all()) and float(values[0]) in (0.0, 1.0)
    few = 2 <= len(values) <= MAX_CLASSES
    if not (few or follow) or int(counts.min()) < 2:
        return None
    shown = ", ".join(f"{value:g}" for value in values[:5].tolist()) + (", ..." if len(values) > 5 else "")
    written = few and (follow or len(values) == 2)
    why = "they are written with a fraction" if written else "they are not consecutive from 0 or 1"
    why = why if few else f"they are more than {MAX_CLASSES}"
    return (
        f"holds {len(values)} different whole numbers ({shown}) and is taken for a regression: {why}\n"
        "  if each is a class: --dataset.task classification; if not, confirm with --dataset.task regression"
    )


def scale_hint(targets: Tensor) -> str | None:
    """A hint for a regression whose targets are far from 1; None if they are not.

    Args:
        targets: float ``[N, K]``.
    """
    if not targets.numel():
        return None
    columns = targets.double()
    mean, std = columns.mean(0), columns.std(0, correction=0)
    size = torch.maximum(mean.abs(), std)
    worst = int(size.argmax())
    largest = float(size[worst])
    if largest <= _FAR:
        return None
    unit = 10 ** round(float(torch.log10(size[worst])))
    return (
        f"the targets are large: about {largest:,.0f} (mean {float(mean[worst]):,.0f}, deviation "
        f"{float(std[worst]):,.0f})\n"
        "  a model begins near 0 and may need very many steps to get there, or diverge\n"
        f"  write them in larger units, for example divided by {unit:,}, so that they are about 1"
    )


def lost_in_float32(inputs: Tensor) -> list[int]:
    """The features that float32 cannot resolve: it rounds them by more than a 10,000th of their range.

    Args:
        inputs: ``[N, F]``; in any other shape ``[N, ...]`` all numbers together count as feature 0.
    """
    if inputs.dtype != torch.float64 or not inputs.numel():
        return []
    columns = inputs if inputs.ndim == 2 else inputs.reshape(-1, 1)
    low, high = columns.aminmax(dim=0)
    largest = torch.maximum(low.abs(), high.abs())
    # the largest rounding error of float32; false for nan
    if bool((largest * 2**-24 + 2**-149 <= _LOST * (high - low)).all()):
        return []
    error = (columns - columns.to(torch.float32)).abs().nan_to_num(nan=0.0).amax(0)
    low = columns.nan_to_num(nan=torch.inf).amin(0)
    high = columns.nan_to_num(nan=-torch.inf).amax(0)
    return torch.nonzero((error > _LOST * (high - low)) & (high > low)).flatten().tolist()
