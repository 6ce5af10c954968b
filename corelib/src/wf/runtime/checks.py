"""Refusing samples that do not fit what a dataset says of them, before step 1."""

from __future__ import annotations

import torch
from torch import Tensor

from wf.errors import DataError
from wf.runtime.data import Dataset, TensorSamples


def check_tensors(samples: TensorSamples, dataset: Dataset, where: str, ignore_index: int) -> None:
    """Refuse values that training would silently make nonsense of; once, before step 1."""
    if samples.inputs.is_floating_point() and not bool(torch.isfinite(samples.inputs).all()):
        raise DataError(f"{where}: inputs hold values that are not finite")
    _check_tokens(samples.inputs, len(dataset.vocabulary), where)
    targets = samples.targets
    shape = _SHAPES[dataset.targets]
    if targets.ndim != len(shape):
        raise DataError(
            f"{where}: {dataset.targets} targets must be [{', '.join(shape)}], not {list(targets.shape)}\n"
            "  unsqueeze(1) makes [N] to [N, 1], flatten() the other way round"
        )
    if dataset.targets == "class_index" and len(dataset.class_names) < 2:
        raise DataError(
            f"{where}: there is one class only ({', '.join(dataset.class_names)}), so nothing to tell apart"
        )
    if dataset.targets in ("class_index", "mask"):
        counted = targets[targets != ignore_index]
        if not len(counted):
            raise DataError(f"{where}: every target is {ignore_index}, which is left out")
        low, high = int(counted.min()), int(counted.max())
        if targets.dtype != torch.int64 or low < 0 or high >= len(dataset.class_names):
            raise DataError(
                f"{where}: class indices from {low} to {high} ({targets.dtype}) do not fit "
                f"{len(dataset.class_names)} classes; they must be int64 from 0 to {len(dataset.class_names) - 1}"
            )
    elif targets.is_floating_point() and not bool(torch.isfinite(targets).all()):
        raise DataError(f"{where}: targets hold values that are not finite")
    elif not targets.is_floating_point():
        raise DataError(f"{where}: {dataset.targets} targets must be floating point, not {targets.dtype}")


def _check_tokens(inputs: Tensor, vocab_size: int, where: str) -> None:
    """Refuse inputs that a vocabulary does not fit."""
    if not vocab_size:
        return
    if inputs.dtype != torch.int64 or inputs.ndim != 2:
        raise DataError(f"{where}: tokens must be int64 [N, T], not {inputs.dtype} {list(inputs.shape)}")
    low, high = int(inputs.min()), int(inputs.max())
    if low < 0 or high >= vocab_size:
        raise DataError(f"{where}: tokens from {low} to {high} do not fit a vocabulary of {vocab_size}")


_SHAPES: dict[str, tuple[str, ...]] = {
    "real": ("N", "K"),
    "class_index": ("N",),
    "binary": ("N",),
    "multilabel": ("N", "C"),
    "one_hot": ("N", "C"),
    "mask": ("N", "H", "W"),
}
