"""Arrays in a NumPy .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, unknown
from wf.runtime import Dataset, TensorSamples, class_index
from wf_datasets.paths import existing_file

Array = np.ndarray[Any, np.dtype[Any]]


def npz(
    path: Path,
    inputs: str = "x",
    targets: str = "y",
    task: Literal["auto", "classification", "regression"] = "auto",
) -> Dataset:
    """Two arrays in a NumPy ``.npz`` file; nothing in it is unpickled.

    Args:
        path: The file.
        inputs: The key of the inputs ``[N, ...]``. uint8 ``[N, C, H, W]`` and ``[N, H, W]`` are images and are served
            as float32 divided by 255; everything else becomes float32.
        targets: The key of the targets. Numbers are ``[N]`` or ``[N, K]``; text and booleans ``[N]`` name classes.
        task: ``auto``: a classification for integers, booleans and text, a regression for floats. A classification on
            ``[N, K]`` with K of at least 2 needs 0 and 1 and is multilabel.

    Returns:
        Targets ``class_index``, ``real [N, K]`` or ``multilabel [N, K]``.

    Raises:
        DataError: For a file that is missing or invalid, a key that it lacks, or arrays that do not fit.
    """
    path = existing_file(path)
    arrays = _read(path, {"inputs": inputs, "targets": targets})
    x, y = _inputs(path, inputs, arrays[inputs]), arrays[targets]
    if y.ndim not in (1, 2) or len(y) != len(x):
        raise DataError(f"{path}: '{inputs}' has shape {arrays[inputs].shape}, so '{targets}' must be [{len(x)}] or "
                        f"[{len(x)}, K], not {y.shape}")  # fmt: skip
    y = y.reshape(-1) if y.shape[1:] == (1,) else y
    if task == "regression" or (task == "auto" and y.dtype.kind == "f"):
        return Dataset(train=TensorSamples(x, _real(path, targets, y).reshape(len(x), -1)), targets="real")
    return _labelled(path, targets, x, y)


def _read(path: Path, keys: dict[str, str]) -> dict[str, Array]:
    try:
        with path.open("rb") as stream:  # given a path, NumPy leaves a damaged file open
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path} holds one array without a name; save both with numpy.savez(file, x=..., y=...)"
                )
            for option, key in keys.items():
                if key not in file.files:
                    hint = f"set it with --dataset.{option}"
                    raise DataError(f"{path}: {unknown('key', key, file.files, hint)}")
            return {key: file[key] for key in keys.values()}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {error}\n  it must be an .npz file of plain arrays") from error


def _inputs(path: Path, key: str, array: Array) -> Tensor:
    if array.ndim < 2 or array.size == 0:
        raise DataError(
            f"{path}: '{key}' has shape {array.shape}; inputs are [N, ...] with at least one number a sample"
        )
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        images = torch.from_numpy(array)
        return images.unsqueeze(1) if array.ndim == 3 else images
    return _real(path, key, array)


def _real(path: Path, key: str, array: Array) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: '{key}' holds {array.dtype}, not numbers")
    with np.errstate(over="ignore"):
        numbers = torch.from_numpy(array.astype(np.float32))
    wrong = torch.nonzero(~numbers.isfinite())
    if len(wrong):
        place = wrong[0].tolist()
        raise DataError(
            f"{path}: '{key}' holds {len(wrong)} values that are not finite float32 numbers, first at {place}"
        )
    return numbers


def _labelled(path: Path, key: str, inputs: Tensor, labels: Array) -> Dataset:
    if labels.dtype.kind not in "fiubU":
        raise DataError(f"{path}: '{key}' holds {labels.dtype}; classes are integers, booleans or text")
    if labels.ndim == 2:
        if labels.dtype.kind == "U" or not np.isin(labels, (0, 1)).all():
            raise DataError(
                f"{path}: '{key}' of shape {labels.shape} must hold 0 and 1 only to be labels\n"
                "  for numbers to predict: --dataset.task regression"
            )
        columns = [str(index) for index in range(labels.shape[1])]
        return Dataset(train=TensorSamples(inputs, _real(path, key, labels)), targets="multilabel", class_names=columns)
    if labels.dtype.kind == "f":
        _real(path, key, labels)  # refuses nan
    indices, names = class_index(labels.tolist())
    if len(names) < 2:
        raise DataError(f"{path}: '{key}' has one class only ({names[0]})")
    return Dataset(train=TensorSamples(inputs, indices), targets="class_index", class_names=names)
