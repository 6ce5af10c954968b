"""Image files as tensors: what training and prediction read by alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_BITS_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_WITHOUT_ALPHA = {"LA": "L", "La": "L", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB"}


def read_image(file: Path, size: tuple[int, int], channels: int) -> Tensor:
    """One image, turned upright as its EXIF data says and resized (bilinear, antialiased).

    Its numbers are divided by the largest of their type: 255, or 65,535 for grey images of 16 bits. Transparency is
    left out of account.

    Args:
        file: The image file.
        size: Height and width.
        channels: 1 or 3.

    Returns:
        float32 ``[channels, height, width]`` from 0 to 1.

    Raises:
        DataError: When the file is missing or damaged, or holds numbers of which it is not known where white is.
    """
    from PIL import Image  # which a run on bytes, such as Fashion-MNIST's, does without

    try:
        with Image.open(file) as opened:
            image = _upright(opened, file)
            if image.mode == "F":
                pixels = np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
                grey = torch.from_numpy(pixels).clamp_(0, 1).unsqueeze(0)
                return grey.expand(channels, -1, -1).contiguous()
            image = image.convert("L" if channels == 1 else "RGB")
            pixels = np.array(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"image '{file}' cannot be read: {reason}\n  repair, replace or delete it") from error
    return torch.from_numpy(pixels).reshape(*size, channels).permute(2, 0, 1).to(torch.float32).div_(255)


def _upright(opened: Image.Image, file: Path) -> Image.Image:
    """The image upright: one of 8 bits, or one of mode F from 0 to 1."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(opened)
    if image.mode in _BITS_16 or (image.mode == "I" and opened.format in ("PNG", "PPM")):
        return Image.fromarray(np.asarray(image).astype(np.float32) / np.float32(65535))
    if image.mode in ("I", "F"):
        numbers = np.asarray(image)
        low, high = float(numbers.min()), float(numbers.max())
        if image.mode == "F" and low >= 0 and high <= 1:  # not so of nan
            return image
        what = "whole numbers of 32 bits" if image.mode == "I" else "floating-point numbers"
        raise DataError(
            f"image '{file}' holds {what} from {low:g} to {high:g}; which of them is white?\n"
            "  convert it to 8 or 16 bits, or to floats from 0 to 1"
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(_WITHOUT_ALPHA[image.mode]) if image.mode in _WITHOUT_ALPHA else image


class ImageReader:
    """Reads an image file as the images of a folder were read.

    Args:
        image_size: Height and width.
        channels: 1 or 3.
    """

    endings: tuple[str, ...] = ENDINGS

    def __init__(self, image_size: Sequence[int], channels: int) -> None:
        height, width = image_size
        self.size, self.channels = (int(height), int(width)), channels

    def description(self) -> dict[str, Any]:
        """What makes an equal reader again, in JSON's values."""
        return {"image_size": list(self.size), "channels": self.channels}

    def read(self, path: Path) -> Tensor:
        """One image, float32 ``[1, C, H, W]`` from 0 to 1.

        Raises:
            DataError: When the file is missing or damaged.
        """
        return read_image(path, self.size, self.channels).unsqueeze(0)


class PixelReader(ImageReader):
    """Reads an image file as datasets whose samples are bytes hold images."""

    def read(self, path: Path) -> Tensor:
        """One image, uint8 ``[1, C, H, W]``.

        Raises:
            DataError: When the file is missing or damaged.
        """
        return super().read(path).mul(255).round().to(torch.uint8)
