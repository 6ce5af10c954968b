"""Reading tables and images for datasets that have no reader yet; see `wf.runtime.inputs`."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf.runtime.data import as_float
from wf.runtime.serving import Spec

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
ENDINGS = (".csv", *IMAGES)


def read_unlearned(path: Path, spec: Spec) -> Tensor:
    """The inputs in a table or an image, by the run's features and shape alone."""
    if not path.is_file():
        raise DataError(f"there is no file '{path}'")
    return _read_csv(path, spec) if path.suffix.lower() == ".csv" else as_float(_read_image(path, spec))


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
