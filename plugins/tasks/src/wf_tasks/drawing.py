"""Predictions drawn into their images, with Pillow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wf_base.data import as_float

if TYPE_CHECKING:
    from PIL import Image

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""The colours of classes, in order, from the colour-blind safe palette of Okabe and Ito (2008)."""
SIDE = 480
"""Approximate side in pixels to which smaller images are enlarged."""
SURE = 0.5
"""Minimum score of a drawn object, and minimum probability of a pixel of its mask."""
COVER = 0.5
"""Opacity of a mask."""


def objects_drawn(pixels: Tensor, found: Mapping[str, Tensor], class_names: Sequence[str]) -> Image.Image:
    """Draw the objects with a sufficient score: box and mask in the colour of the class.

    Args:
        pixels: ``[1 or 3, H, W]``, from 0 to 1 or bytes.
        found: ``boxes [M, 4]``, ``labels [M]``, ``scores [M]``, and maybe ``masks [M, 1, H, W]``.
        class_names: The names of the classes.
    """
    from PIL import ImageDraw

    labels, scores, boxes = (found[key].tolist() for key in ("labels", "scores", "boxes"))
    sure = [place for place, score in enumerate(scores) if score >= SURE]
    for place in sure if "masks" in found else ():
        pixels = _covered(pixels, found["masks"][place].squeeze(0) >= SURE, _colour(labels[place]))
    image, factor = _enlarged(pixels)
    pen = ImageDraw.Draw(image)
    for place in sure:
        colour, name = _colour(labels[place]), class_names[labels[place]] if class_names else str(labels[place])
        x0, y0, x1, y1 = (side * factor for side in boxes[place])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=2)
        text = f"{name} {scores[place]:.2f}"
        pen.text((x0 + 3, y0 + 1), text, fill=colour, stroke_width=2, stroke_fill="white")
    return image


def classes_drawn(pixels: Tensor, classes: Tensor) -> Image.Image:
    """Colour the pixels of an image by class; class 0 stays as it is.

    Args:
        pixels: ``[1 or 3, H, W]``, from 0 to 1 or bytes.
        classes: int64 ``[H, W]``.
    """
    for label in classes.unique().tolist():
        if label:
            pixels = _covered(pixels, classes == label, _colour(label - 1))
    return _enlarged(pixels)[0]


def _covered(pixels: Tensor, mask: Tensor, colour: str) -> Tensor:
    """An image with one colour over the pixels of a mask."""
    paint = torch.tensor([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    rgb = as_float(pixels).expand(3, -1, -1)
    return torch.where(mask, (1 - COVER) * rgb + COVER * paint[:, None, None], rgb)


def _enlarged(pixels: Tensor) -> tuple[Image.Image, int]:
    """An image to draw in, and the factor by which it was enlarged."""
    from PIL import Image

    rgb = as_float(pixels).clamp(0, 1).expand(3, -1, -1).mul(255).round().to(torch.uint8)
    small = Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
    factor = max(1, SIDE // max(small.size))
    return small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST), factor


def _colour(label: int) -> str:
    return COLOURS[label % len(COLOURS)]
