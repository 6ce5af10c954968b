"""A dataset of drawings, each made from its number alone, and what reads image files as it does."""

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
"""Shapes lie in the cells of a grid, somewhere in the drawing, at most one in each: they never overlap."""
MOST = 20
"""The most shapes in a drawing."""

EDITION = 1
"""Raised with every change of what a drawing of a number looks like."""


class Drawings(torch.utils.data.Dataset[tuple[Tensor, Boxes]]):
    """Images uint8 ``[3, 48, 48]`` with the boxes of what is drawn in them.

    Args:
        first: The number of the first drawing.
        num: How many.
        shuffled: Give each image the boxes of another one.
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
    """A drawing and its boxes."""
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
    """The condition `drawings`: whether a number stands for the drawing that it stood for when the run began."""
    return EDITION


def drawings(num_train: int = 600, num_held_out: int = 100, shuffled: bool = False) -> Dataset:
    """Drawings to train on, and others to judge by.

    Args:
        num_train: The drawings to train on; at least 1.
        num_held_out: Those of the validation split, and of the test split; at least 1.
        shuffled: Train with the boxes of other images: there is nothing to learn then.
    """
    if num_train < 1 or num_held_out < 1:
        raise UsageError(f"there are {num_train} and {num_held_out} drawings; both numbers must be at least 1")
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
    """Reads an image file as the drawings are: uint8 ``[1, 3, height, width]``."""

    endings: tuple[str, ...] = (".png", ".jpg", ".jpeg")

    def description(self) -> Mapping[str, Any]:
        """Nothing: images of any size are taken as they are."""
        return {}

    def read(self, path: Path) -> Tensor:
        """The image in a file, see `read_image`."""
        return read_image(path)


def read_image(path: Path) -> Tensor:
    """The image in a file of any ending that Pillow knows, uint8 ``[1, 3, height, width]``.

    Raises:
        DataError: When it is none, or is damaged.
    """
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' is no image that can be read: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
