"""Synthetic images of shapes, with the class of each pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base import Dataset, TensorSamples, stream
from wf_datasets.images.mask_folder import MaskReader

CLASSES = ("background", "square", "ring", "cross")


def shapes(
    seed: int,
    num_samples: int = 500,
    image_size: int = 32,
    max_shapes: int = 2,
    noise: float = 0.1,
) -> Dataset:
    """Synthetic images of squares, rings and crosses, with masks: a semantic segmentation.

    Each image has one to `max_shapes` shapes, between 0.3 and 0.6 of its side wide, bright on a dark background; a
    later one may cover an earlier one or extend over the edge. Colours are independent of the class.

    Args:
        seed: The seed of all random numbers.
        num_samples: The number of images.
        image_size: The side of an image in pixels, at least 8.
        max_shapes: The maximum number of shapes in an image.
        noise: The standard deviation of the noise on each pixel's colours, which go from 0 to 1 without it.

    Returns:
        Inputs float32 ``[N, 3, image_size, image_size]``; targets ``mask``: 0 background, 1 square, 2 ring, 3 cross.

    Raises:
        UsageError: For an option out of range.
    """
    _check(num_samples, image_size, max_shapes, noise)
    generator = stream(seed, "dataset")
    images, masks = zip(*(_draw(image_size, max_shapes, generator) for _ in range(num_samples)), strict=True)
    inputs = torch.stack(images)
    inputs += noise * torch.randn(inputs.shape, generator=generator)
    return Dataset(
        train=TensorSamples(inputs, torch.stack(masks)),
        targets="mask",
        class_names=CLASSES,
        reader=MaskReader((image_size, image_size), 3),
    )


def _draw(size: int, max_shapes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """An image without noise, and its mask."""
    image = (0.4 * torch.rand(3, 1, 1, generator=generator)).repeat(1, size, size)
    mask = torch.zeros(size, size, dtype=torch.int64)
    for _ in range(int(torch.randint(1, max_shapes + 1, (), generator=generator))):
        kind = int(torch.randint(1, len(CLASSES), (), generator=generator))
        x, y, radius = torch.rand(3, generator=generator).tolist()
        inside = _inside(kind, size, x * size, y * size, size * (0.15 + 0.15 * radius))
        mask[inside] = kind
        image[:, inside] = 0.6 + 0.4 * torch.rand(3, 1, generator=generator)
    return image, mask


def _inside(kind: int, size: int, x: float, y: float, radius: float) -> Tensor:
    """The pixels that a shape covers, bool ``[size, size]``; ring and cross are a quarter as thick as wide."""
    places = torch.arange(size) + 0.5
    across, down = places - x, (places - y).unsqueeze(1)
    if CLASSES[kind] == "ring":
        distance = (across**2 + down**2).sqrt()
        return (distance <= radius) & (distance >= 0.5 * radius)
    square = (across.abs() <= radius) & (down.abs() <= radius)
    if CLASSES[kind] == "square":
        return square
    return square & ((across.abs() <= 0.25 * radius) | (down.abs() <= 0.25 * radius))


def _check(num_samples: int, image_size: int, max_shapes: int, noise: float) -> None:
    for name, value, least in (
        ("num_samples", num_samples, 1),
        ("image_size", image_size, 8),
        ("max_shapes", max_shapes, 1),
    ):
        if value < least:
            raise UsageError(f"shapes: {name} is {value}; it must be at least {least}")
    if not (math.isfinite(noise) and noise >= 0):
        raise UsageError(f"shapes: noise is {noise}; it must be 0 or a positive number")
