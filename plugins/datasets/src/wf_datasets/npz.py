"""Arrays in a NumPy .npz file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, unknown
from wf_base import Dataset, TensorSamples, class_index
from wf_base.figures import regression_hint
from wf_datasets.array_reader import Array, ArrayReader, numbers, opened
from wf_datasets.paths import existing_file
from wf_datasets.transforms.fill import Missing

_log = logging.getLogger(__name__)


def npz(
    path: Path,
    inputs: str = "x",
    targets: str = "y",
    task: Literal["auto", "classification", "regression"] = "auto",
    missing: Missing = "error",
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Two arrays in a NumPy ``.npz`` file; nothing in it is unpickled.

    Args:
        path: The file.
        inputs: The key of the inputs ``[N, ...]``. uint8 ``[N, C, H, W]`` and ``[N, H, W]`` are images and are served
            as float32 divided by 255; everything else becomes float32.
        targets: The key of the targets. Numbers are ``[N]`` or ``[N, K]``; text and booleans ``[N]`` name classes.
        task: ``auto``: a classification for integers, booleans and text, a regression for floats. A classification on
            ``[N, K]`` with K of at least 2 needs 0 and 1 and is multilabel.
        missing: The treatment of missing numbers, nan: ``error`` refuses them, ``drop`` leaves their samples out,
            ``mean`` replaces a missing input by its mean over the train split.
        learned: For a resumed run: its description of the file, which determines inputs and classes.

    Returns:
        Targets ``class_index``, ``real [N, K]`` or ``multilabel [N, K]``.

    Raises:
        DataError: For a missing or invalid file, a missing key, or arrays that do not fit.
    """
    path = existing_file(path)
    arrays = _read(path, {"inputs": inputs, "targets": targets}, known=learned is not None)
    if missing == "drop":
        arrays = _without_missing(path, arrays)
    elif holes := {key: rows for key, array in arrays.items() if (rows := _missing(array)).any()}:
        _check_holes(path, arrays, holes, inputs, missing)
    known = learned["reader"] if learned is not None else None
    reader = ArrayReader(**known) if known else ArrayReader.of(path, inputs, arrays[inputs], missing, targets)
    if arrays[inputs].shape[1:] != reader.shape:
        raise DataError(
            f"{path}: '{inputs}' has samples of {list(arrays[inputs].shape[1:])}, no longer {list(reader.shape)}"
        )
    if not len(arrays[inputs]):
        raise DataError(f"{path}: '{inputs}' of shape {list(arrays[inputs].shape)} has no samples")
    x, y = reader.encode(path, inputs, arrays[inputs]), arrays[targets]
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise DataError(f"{path}: '{inputs}' has shape {arrays[inputs].shape}, so '{targets}' must be [{len(x)}] or "
                        f"[{len(x)}, K], not {y.shape}")  # fmt: skip
    y = y.reshape(-1) if y.shape[1:] == (1,) else y
    if task == "regression" or (task == "auto" and y.dtype.kind == "f"):
        real = numbers(path, targets, y).reshape(len(x), -1)
        if task == "auto" and y.ndim == 1 and learned is None and (hint := regression_hint(real.flatten())):
            _log.warning("%s: '%s' %s", path, targets, hint)
        return Dataset(train=TensorSamples(x, real), targets="real", reader=reader, transforms=reader.transforms())
    if task == "auto" and y.ndim == 1 and y.dtype.kind in "iu" and learned is None:
        _tell_classes(path, targets, y)
    return replace(_labelled(path, targets, x, y, learned), reader=reader, transforms=reader.transforms())


def _read(path: Path, keys: dict[str, str], *, known: bool) -> dict[str, Array]:
    with opened(path) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds one array without a name; save both with numpy.savez(file, x=..., y=...)")
        for option, key in keys.items():
            if key not in file.files:
                hint = f"the run was trained on '{key}'" if known else f"set it with --dataset.{option}"
                raise DataError(f"{path}: {unknown('key', key, file.files, hint)}")
        return {key: file[key] for key in keys.values()}


def _missing(array: Array) -> Array:
    """The samples that lack a number, bool ``[N]``."""
    found: Array = np.zeros(array.shape[:1], dtype=bool)
    if array.dtype.kind == "f" and array.size and array.ndim:
        found |= np.isnan(array).reshape(len(array), -1).any(axis=1)
    return found


def _check_holes(
    path: Path, arrays: Mapping[str, Array], holes: Mapping[str, Array], inputs: str, missing: Missing
) -> None:
    """Refuse missing numbers, except inputs that the mean will replace."""
    key = next((key for key in holes if key != inputs or missing != "mean"), None)
    if key is None:
        return
    wrong = np.argwhere(np.isnan(arrays[key]))
    lines = [f"{path}: '{key}' holds {len(wrong)} values that are not finite: nan, first at {wrong[0].tolist()}"]
    if missing == "mean":
        lines.append("the mean can replace only inputs; leave the samples out: --dataset.missing drop")
    else:
        lines.append("leave the samples out: --dataset.missing drop")
        lines[-1] += (
            "; or replace them by the mean over the train split: --dataset.missing mean" if key == inputs else ""
        )
    raise DataError("\n  ".join(lines))


def _without_missing(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    dropped = [_missing(array) for array in arrays.values()]
    if len({rows.shape for rows in dropped}) > 1 or not (gone := np.logical_or.reduce(dropped)).any():
        return arrays
    if gone.all():
        raise DataError(f"{path}: every one of its {len(gone)} samples lacks a number; none is left")
    _log.warning("%s: %d of %d samples lack a number and are left out", path, gone.sum(), len(gone))
    return {key: array[~gone] for key, array in arrays.items()}


def _tell_classes(path: Path, key: str, labels: Array) -> None:
    values, counts = np.unique(labels, return_counts=True)
    follow = values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    if len(values) > 2 and not (follow and counts.min() > 1):
        _log.warning(
            "%s: '%s' holds %d different integers, each of which is treated as a class\n"
            "  for numbers to predict: --dataset.task regression; if they are classes: --dataset.task classification",
            path,
            key,
            len(values),
        )


def _labelled(path: Path, key: str, inputs: Tensor, labels: Array, learned: Mapping[str, Any] | None) -> Dataset:
    if labels.dtype.kind not in "fiubU":
        raise DataError(f"{path}: '{key}' holds {labels.dtype}; classes are integers, booleans or text")
    if labels.ndim == 2:
        if labels.dtype.kind == "U" or not np.isin(labels, (0, 1)).all():
            raise DataError(
                f"{path}: '{key}' of shape {labels.shape} must hold 0 and 1 only to be labels\n"
                "  for numbers to predict: --dataset.task regression"
            )
        columns = [str(index) for index in range(labels.shape[1])]
        return Dataset(
            train=TensorSamples(inputs, numbers(path, key, labels)), targets="multilabel", class_names=columns
        )
    if labels.dtype.kind == "f":
        numbers(path, key, labels)  # refuses nan
    if learned is not None:
        names = list(learned["class_names"])
        texts = list(map(str, labels.tolist()))
        strange = next((text for text in texts if text not in names), None)
        if strange is not None:
            hint = "the run was trained without it"
            raise DataError(f"{path}: '{key}' at {texts.index(strange)}: {unknown('class', strange, names, hint)}")
        indices = torch.tensor([names.index(text) for text in texts])
        return Dataset(train=TensorSamples(inputs, indices), targets="class_index", class_names=names)
    indices, names = class_index(labels.tolist())
    if len(names) < 2:
        raise DataError(f"{path}: '{key}' has only one class ({names[0]})")
    return Dataset(train=TensorSamples(inputs, indices), targets="class_index", class_names=names)
