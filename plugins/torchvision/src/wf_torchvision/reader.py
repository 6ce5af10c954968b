"""Reads an image file for predictions in the way torchvision's datasets are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wf.errors import DataError
from wf_base.reading import image_in


class ImageReader:
    """Reads an image file, resized (bilinear); like torchvision's datasets, it ignores EXIF data.

    Args:
        image_size: Height and width.
        channels: 1 or 3.
        whole: Whether samples are uint8, as for datasets in memory, rather than float32 from 0 to 1.
    """

    endings: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")

    def __init__(self, image_size: Sequence[int], channels: int, *, whole: bool) -> None:
        height, width = image_size
        self.size, self.channels, self.whole = (int(height), int(width)), channels, whole

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        return {"image_size": list(self.size), "channels": self.channels, "whole": self.whole}

    def read(self, path: Path) -> Tensor:
        """One image ``[1, C, H, W]``.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return self._of(path).unsqueeze(0)

    def fields(self) -> list[dict[str, Any]]:
        """One column: the image, a path, the bytes of a file, or an image of Pillow."""
        return [image_field(self.size, self.channels)]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The images of rows, as `read` gives those of files.

        Raises:
            DataError: For a row without one, and for one that cannot be read.
        """
        return torch.stack([self._of(*image_in(record, where, first + row)) for row, record in enumerate(records)])

    def _of(self, given: Any, name: str = "") -> Tensor:
        with opened_image(given, name) as image:
            check_bits(image)
            pixels = to_pixels(image, self.size, self.channels)
        return pixels if self.whole else pixels.to(torch.float32).div_(255)


def image_field(size: tuple[int, int] | None = None, channels: int = 3) -> dict[str, Any]:
    """The column of images in the fields of a reader."""
    return {"name": "image", "type": "image", "channels": channels, **({} if size is None else {"size": list(size)})}


@contextmanager
def opened_image(given: Any, name: str = "") -> Iterator[Image.Image]:
    """An image that is given as a path, a stream or an image.

    Args:
        given: The image.
        name: What it is called in messages; its path where it is empty.

    Raises:
        DataError: For whatever goes wrong with it.
    """
    try:
        if isinstance(given, Image.Image):
            yield given
        else:
            with Image.open(given) as image:
                yield image
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"image '{name or given}' cannot be read: {error}\n  repair, replace or delete it") from error


def to_pixels(image: Image.Image, size: tuple[int, int], channels: int) -> Tensor:
    """An image as uint8 ``[C, H, W]``."""
    pixels = np.array(image.convert("L" if channels == 1 else "RGB").resize(size[::-1], Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).reshape(*size, channels).permute(2, 0, 1)


def check_bits(image: Any) -> None:
    """Refuse an image of more than 8 bits, which Pillow would truncate.

    Raises:
        ValueError: For such an image.
    """
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"it has more than 8 bits a pixel (mode {image.mode}); convert it first")
