"""Image files to tensors, for both training and prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError
from wf_base.data import as_float
from wf_base.reading import image_in

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_BITS_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_WITHOUT_ALPHA = {"LA": "L", "La": "L", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB"}


Fit = Literal["crop", "pad", "squash"]
"""How an image of another shape gets a given size: see `fitted`."""


def image_size() -> None:
    """The run value `image_size`, if the model does not provide it: None."""


def resize_size() -> None:
    """The run value `resize_size`, if the model does not provide it: None."""


class Form(NamedTuple):
    """The form of the images of a dataset."""

    size: tuple[int, int]
    """Height and width."""
    channels: int
    """1 or 3."""
    fit: Fit = "squash"
    """See `fitted`."""
    resize_size: int | None = None
    """See `fitted`."""
    reduce: bool = False
    """Whether large JPEGs are decoded at a half, a quarter or an eighth of their size, see `_reduce`."""


def read_image(file: Path | BinaryIO | Image.Image, form: Form, name: str = "") -> Tensor:
    """One image, turned upright as its EXIF data says and resized (bilinear, antialiased).

    Its numbers are divided by the largest of their type: 255, or 65,535 for grey images of 16 bits. Transparency is
    ignored, and so are all frames or pages after the first.

    Args:
        file: The image file, possibly open, or the image itself.
        form: The form of the result.
        name: Its name in messages, if it is not a path.

    Returns:
        float32 ``[channels, height, width]`` from 0 to 1.

    Raises:
        DataError: If the file is missing or damaged, or the value of white is unknown for its numbers.
    """
    return as_float(read_pixels(file, form, name))


def read_pixels(file: Path | BinaryIO | Image.Image, form: Form, name: str = "") -> Tensor:
    """The same before division by 255: uint8, or float32 from 0 to 1 for an image of more than 8 bits.

    Raises:
        DataError: If the file is missing or damaged, or the value of white is unknown for its numbers.
    """
    from PIL import Image  # runs on bytes, such as Fashion-MNIST's, do not need it

    name = name or str(file)
    try:
        with nullcontext(file) if isinstance(file, Image.Image) else Image.open(file) as opened:
            if form.reduce:
                _reduce(opened, form)
            image = _upright(opened, name)
            if image.mode != "F":
                image = image.convert("L" if form.channels == 1 else "RGB")
            pixels = torch.from_numpy(np.array(fitted(image, form.size, form.fit, form.resize_size)))
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise anything
        words = str(error).partition(" <_io.")[0]  # without the address of a stream
        reason = "it is empty" if _is_empty(file) else words or type(error).__name__
        raise DataError(f"image '{name}' cannot be read: {reason}\n  repair, replace or delete it") from error
    if image.mode == "F":
        return pixels.clamp_(0, 1).unsqueeze(0).expand(form.channels, -1, -1).contiguous()
    return pixels.reshape(*form.size, form.channels).permute(2, 0, 1)


def _is_empty(file: Any) -> bool:
    return isinstance(file, Path) and file.is_file() and not file.stat().st_size


def fitted(
    image: Image.Image,
    size: tuple[int, int],
    fit: Fit,
    resize_size: int | None = None,
    *,
    nearest: bool = False,
    border: int = 0,
) -> Image.Image:
    """Resize an image to a given size.

    Args:
        image: The image.
        size: Height and width.
        fit: ``crop`` keeps the aspect ratio: the image is resized to cover the size, and its centre is cropped, as in
            torchvision's presets. ``pad`` keeps the aspect ratio and the whole image: it is resized to fit, and the
            rest is black. ``squash`` changes the aspect ratio.
        resize_size: For ``crop``: the shorter side before the centre crop, in pixels; by default the smallest that
            covers the size.
        nearest: Whether each new pixel is the nearest one, which adds no new values; by default bilinear.
        border: The value of the border of ``pad``.
    """
    from PIL import Image

    height, width = size
    resample = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    if fit == "squash" or (image.height * width == image.width * height and resize_size is None):
        return image.resize((width, height), resample)
    if fit == "pad":
        scale = min(height / image.height, width / image.width)
        inner = max(1, min(width, round(image.width * scale))), max(1, min(height, round(image.height * scale)))
        whole = Image.new(image.mode, (width, height), border)
        place = (width - inner[0]) // 2, (height - inner[1]) // 2
        whole.paste(image.resize(inner, resample), place)
        return whole
    if resize_size is None:
        scale = max(height / image.height, width / image.width)
        outer = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    else:
        short = min(image.height, image.width)
        outer = int(resize_size * image.width / short), int(resize_size * image.height / short)
    left, top = round((outer[0] - width) / 2.0), round((outer[1] - height) / 2.0)
    large = image.resize(outer, resample)
    return large.crop((left, top, left + width, top + height))


def _reduce(opened: Image.Image, form: Form) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth of its size, if that is at least twice the target size.

    The decoder then averages blocks of pixels instead of computing all of them; the decoded image still has at least
    two pixels per target pixel, so the result differs little. Other formats are decoded at full size.
    """
    sides = form.size
    if form.fit == "crop" and form.resize_size is not None:
        sides = (form.resize_size, form.resize_size)
    short, long = sorted((opened.width, opened.height))  # its EXIF rotation is not known yet
    scale = 2 * max(max(sides) / short, min(sides) / long)
    opened.draft(opened.mode, (math.ceil(scale * opened.width), math.ceil(scale * opened.height)))


def _upright(opened: Image.Image, file: str) -> Image.Image:
    """The image upright: one of 8 bits, or one of mode F from 0 to 1."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(opened)
    if image.mode in _BITS_16 or (image.mode == "I" and opened.format in ("PNG", "PPM")):
        return Image.fromarray(np.asarray(image).astype(np.float32) / np.float32(65535))
    if image.mode in ("I", "F"):
        numbers = np.asarray(image)
        low, high = float(numbers.min()), float(numbers.max())
        if image.mode == "F" and low >= 0 and high <= 1:  # false for nan
            return image
        what = "whole numbers of 32 bits" if image.mode == "I" else "floating-point numbers"
        raise DataError(
            f"image '{file}' holds {what} from {low:g} to {high:g}; and the value of white is unknown\n"
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
        fit: See `fitted`.
        resize_size: See `fitted`.
        reduce: Whether large JPEGs are decoded at a half, a quarter or an eighth of their size.
    """

    endings: tuple[str, ...] = ENDINGS

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int,
        fit: Fit = "squash",
        resize_size: int | None = None,
        reduce: bool = False,
    ) -> None:
        height, width = image_size
        self.form = Form((int(height), int(width)), channels, fit, resize_size, reduce)

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        size, channels, *others = self.form
        own = {name: value for name, value in zip(Form._fields[2:], others, strict=True) if value is not None}
        given = {name: value for name, value in own.items() if value != Form._field_defaults[name]}
        return {"image_size": list(size), "channels": channels, **given}

    def read(self, path: Path) -> Tensor:
        """One image, float32 ``[1, C, H, W]`` from 0 to 1.

        Raises:
            DataError: When the file is missing or damaged.
        """
        return self._of(path).unsqueeze(0)

    def fields(self) -> list[dict[str, Any]]:
        """One column: the image, as a path, the bytes of a file, or a Pillow image."""
        return [{"name": "image", "type": "image", "size": list(self.form.size), "channels": self.form.channels}]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The images of rows, in the form that `read` returns.

        Raises:
            DataError: For a row without an image, or with one that cannot be read.
        """
        return torch.stack([self._of(*image_in(record, where, first + row)) for row, record in enumerate(records)])

    def _of(self, file: Path | BinaryIO | Image.Image, name: str = "") -> Tensor:
        return read_image(file, self.form, name)


class PixelReader(ImageReader):
    """Reads an image file as uint8, for datasets whose images are bytes."""

    def _of(self, file: Path | BinaryIO | Image.Image, name: str = "") -> Tensor:
        return super()._of(file, name).mul(255).round().to(torch.uint8)
