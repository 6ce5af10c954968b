"""Reading inputs for predictions from a file."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, UsageError, closest
from wf.runtime.serving import Spec

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
ENDINGS = (".csv", ".npy", ".npz", *IMAGES)


def read_inputs(path: Path, spec: Spec) -> Tensor:
    """The inputs in a file, in the shape that the run's model takes.

    Args:
        path: ``.csv`` with a header that has the run's features, ``.npy``, ``.npz`` (its only array, or ``x``), or an
            image.
        spec: What the run knows of its data.

    Returns:
        ``[N, *input_shape]``, before the run's transforms where those keep the shape.

    Raises:
        UsageError: For another ending.
        DataError: When the file is not there or does not hold such inputs.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"input '{path}' is neither a split (train, validation, test) nor one of {', '.join(ENDINGS)}")
    if not path.is_file():
        near = closest(path.name, [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise DataError(f"there is no file '{path}'" + (f"\n  did you mean {' or '.join(near)}?" if near else ""))
    if path.suffix.lower() == ".csv":
        inputs = _read_csv(path, spec)
    elif path.suffix.lower() in IMAGES:
        inputs = _read_image(path, spec)
    else:
        inputs = _read_numpy(path)
    if inputs.shape[1:] != spec.input_shape and inputs.shape == spec.input_shape:
        inputs = inputs.unsqueeze(0)
    if inputs[0].numel() != torch.Size(spec.input_shape).numel():
        raise DataError(
            f"{path} holds inputs of shape {list(inputs.shape[1:])}, the model takes {list(spec.input_shape)}"
        )
    return inputs.reshape(-1, *spec.input_shape)


def _read_csv(path: Path, spec: Spec) -> Tensor:
    """The run's features; a feature ``column=value`` is 1 where the column has that value."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise DataError(f"{path} has no rows below its header")
    features = spec.feature_names or tuple(rows[0])
    return torch.tensor([[_cell(row, name, path, line) for name in features] for line, row in enumerate(rows, 2)])


def _cell(row: dict[str, str], feature: str, path: Path, line: int) -> float:
    column, equals, value = feature.rpartition("=")
    if feature not in row and equals and column in row:
        return float(row[column] == value)
    if feature not in row:
        raise DataError(f"{path} has no column '{feature}'\n  available: {', '.join(row)}")
    try:
        return float(row[feature])
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, line {line}, column '{feature}': {row[feature]!r} is not a number") from error


def _read_numpy(path: Path) -> Tensor:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            name = "x" if "x" in loaded.files else loaded.files[0]
            loaded = loaded[name]
    except (OSError, EOFError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    inputs = torch.from_numpy(loaded)
    return inputs if inputs.dtype == torch.uint8 else inputs.to(torch.float32)


def _read_image(path: Path, spec: Spec) -> Tensor:
    from PIL import Image, UnidentifiedImageError

    if len(spec.input_shape) != 3:
        raise UsageError(f"the model takes inputs of shape {list(spec.input_shape)}, not images")
    channels, height, width = spec.input_shape
    try:
        image = Image.open(path).convert("L" if channels == 1 else "RGB").resize((width, height))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is not an image that can be read: {error}") from error
    pixels = torch.from_numpy(np.array(image)).reshape(height, width, channels)
    return pixels.permute(2, 0, 1).unsqueeze(0)
