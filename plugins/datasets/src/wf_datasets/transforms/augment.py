"""Random transforms of images; each sample has its own draws."""

from __future__ import annotations

import torch
from torch import Tensor

from wf.errors import UsageError


class Flip:
    """Mirror images left to right at random.

    Args:
        probability: The share of images that are mirrored.

    Raises:
        UsageError: For a probability outside of 0 to 1.
    """

    num_draws = 1

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise UsageError(f"flip: probability is {probability}; it must be from 0 to 1")
        self.probability = probability

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """The images ``[N, C, H, W]``, mirrored if their draw ``[N, 1]`` is below the probability."""
        _check_images("flip", inputs)
        return self.on_masks(inputs, draws)

    def on_masks(self, masks: Tensor, draws: Tensor) -> Tensor:
        """Masks ``[N, ..., H, W]``, mirrored with their images."""
        mirrored = (draws < self.probability).reshape(-1, *[1] * (masks.ndim - 1))
        return torch.where(mirrored, masks.flip(-1), masks)


class Crop:
    """Shift images at random: crop the original size from the image padded with zeros.

    Args:
        padding: The width of the border in pixels, and so the largest shift.

    Raises:
        UsageError: For a padding below 1.
    """

    num_draws = 2

    def __init__(self, padding: int = 4) -> None:
        if padding < 1:
            raise UsageError(f"crop: padding is {padding}; it must be at least 1")
        self.padding = padding

    def on_masks(self, masks: Tensor, draws: Tensor) -> Tensor:
        """Masks ``[N, ..., H, W]``, shifted with their images; the border is of class 0."""
        return self(masks.reshape(len(masks), -1, *masks.shape[-2:]), draws).reshape(masks.shape)

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """The images ``[N, C, H, W]``, shifted vertically and horizontally by their draws ``[N, 2]``."""
        _check_images("crop", inputs)
        num, channels, height, width = inputs.shape
        padded = torch.nn.functional.pad(inputs, (self.padding,) * 4)
        largest = 2 * self.padding  # a draw just below 1 can round up
        offsets = (draws * (largest + 1)).long().clamp(max=largest)
        device = inputs.device
        rows = offsets[:, :1] + torch.arange(height, device=device)
        columns = offsets[:, 1:] + torch.arange(width, device=device)
        return padded[
            torch.arange(num, device=device).reshape(-1, 1, 1, 1),
            torch.arange(channels, device=device).reshape(1, -1, 1, 1),
            rows.reshape(num, 1, height, 1),
            columns.reshape(num, 1, 1, width),
        ]


def _check_images(name: str, inputs: Tensor) -> None:
    if inputs.ndim != 4:
        raise UsageError(f"{name}: inputs {list(inputs.shape)} are not images [N, C, H, W]")
