"""Masks in the formats of COCO's code (pycocotools): polygons, and run-length encodings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

Mask = np.ndarray[Any, np.dtype[np.uint8]]


def decoded(shape: Any, height: int, width: int) -> Mask:
    """uint8 ``[H, W]`` from polygons, or from a run-length encoding, compressed or not.

    Raises:
        ValueError: For an encoding with another number of pixels.
    """
    from pycocotools import mask as coco

    code = shape
    if isinstance(shape, list):
        code = coco.merge(coco.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        code = coco.frPyObjects(shape, height, width)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword")  # with numpy 2
        found: Mask = coco.decode(code)
    return found


def encoded(mask: Mask) -> bytes:
    """The counts of a mask ``[H, W]``, compressed."""
    from pycocotools import mask as coco

    counts: bytes = coco.encode(np.asfortranarray(mask))["counts"]
    return counts


def area(code: dict[str, Any]) -> float:
    """The number of pixels of an encoded mask."""
    from pycocotools import mask as coco

    return float(coco.area(code))
