"""A dataset of drawings, each generated from its number, and a reader of image files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_example_detection.boxes import Boxes

CLASSES = ("disc", "square")
SIZE = 48
"""The sides of a drawing, in pixels."""
CELL, CELLS = 8, 5
"""Shapes lie in the cells of a grid at a random position, at most one per cell, so that they never overlap."""
MOST = 20
"""Maximum number of shapes in a drawing."""

EDITION = 1
"""Increased whenever the generated drawings change."""


class Drawings(torch.utils.data.Dataset[tuple[Tensor, Boxes]]):
    """Images uint8 ``[3, 48, 48]`` with the boxes of the shapes in them.

    Args:
        first: The number of the first drawing.
        num: Number of drawings.
        shuffled: Give each image the boxes of another image.
    """

    def __init__(self, first: int, num: int, *, shuffled: bool = False) -> None:
        self._first, self._num, self._shuffled = first, num, shuffled

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> tuple[Tensor, Boxes]:
        image, boxes = drawn(self._first + index)
        if self._shuffled:
            boxes = drawn(self._first + (index + 1) % self._num)[1]
        return image, boxes


def drawn(number: int) -> tuple[Tensor, Boxes]:
    """The drawing with a number, uint8 ``[3, 48, 48]``, and its boxes."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 80, (3, SIZE, SIZE), dtype=np.uint8)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    num, grid = int(rng.integers(0, MOST + 1)), rng.integers(0, SIZE - CELL * CELLS + 1, 2)
    labels = rng.integers(0, len(CLASSES), num)
    boxes = np.empty((num, 4), dtype=np.float32)
    for place, cell in enumerate(rng.permutation(CELLS**2)[:num]):
        sides = rng.integers(5, CELL + 1, 2)
        corner = grid + CELL * np.array(divmod(int(cell), CELLS)) + rng.integers(0, CELL + 1 - sides)
        (y, x), (height, width) = corner, sides
        inside = (abs(rows - y - height / 2) < height / 2) & (abs(columns - x - width / 2) < width / 2)
        if labels[place] == 0:
            inside = ((rows - y - height / 2) / height) ** 2 + ((columns - x - width / 2) / width) ** 2 < 0.25
        image[:, inside] = rng.integers(120, 256, (3, 1))
        boxes[place] = x, y, x + width, y + height
    return torch.from_numpy(image), {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}


def edition() -> int:
    """The condition `drawings`: the version of the generator, which must not change on resume."""
    return EDITION


def drawings(num_train: int = 600, num_held_out: int = 100, shuffled: bool = False) -> Dataset:
    """Drawings of discs and squares, with a train, a validation and a test split.

    Args:
        num_train: Number of drawings in the train split; at least 1.
        num_held_out: Number of drawings in each of the validation and test splits; at least 1.
        shuffled: Train with the boxes of other images, so that there is nothing to learn.

    Raises:
        UsageError: If a number is below 1.
    """
    if num_train < 1 or num_held_out < 1:
        raise UsageError(f"num_train is {num_train} and num_held_out is {num_held_out}; both must be at least 1")
    return Dataset(
        train=Drawings(0, num_train, shuffled=shuffled),
        validation=Drawings(num_train, num_held_out),
        test=Drawings(num_train + num_held_out, num_held_out),
        targets="shapes",
        task="shape-detection",
        class_names=CLASSES,
        reader=ImageReader(),
    )


class ImageReader:
    """Reads an image file in the form of the drawings: uint8 ``[1, 3, height, width]``."""

    endings: tuple[str, ...] = (".png", ".jpg", ".jpeg")

    def description(self) -> Mapping[str, Any]:
        """No settings: images of any size are read unchanged."""
        return {}

    def read(self, path: Path) -> Tensor:
        """The image in a file, see `read_image`."""
        return read_image(path)


def read_image(path: Path) -> Tensor:
    """The image in a file of any format that Pillow reads, uint8 ``[1, 3, height, width]``.

    Raises:
        DataError: If the file is not an image, or is damaged.
    """
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' cannot be read as an image: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
