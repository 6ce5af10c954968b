"""A network that predicts for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf_models.checks import image_shape, require, wrong_shape


class UNet(nn.Module):
    """Small U-Net: inputs ``[N, C, H, W]``, predictions ``[N, num_outputs, H, W]``.

    Stages of two 3x3 convolutions, each with batch norm and ReLU; on the way down 2x2 max-pooling halves the image
    between stages, on the way up it is upsampled by nearest neighbour to the size of the matching stage, whose
    features are concatenated. A 1x1 convolution produces the predictions. Images keep their size, whatever it is;
    a side must have at least ``2 ** len(channels)`` pixels. After Ronneberger, Fischer and Brox 2015, with
    padding, batch norm and fewer channels.

    Args:
        input_shape: Shape of one image, ``[channels, height, width]``.
        num_outputs: Number of outputs per pixel.
        channels: Channels of each stage, from the full size down.

    Raises:
        UsageError: If the samples are not images or are too small, or for an option out of range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        channels: list[int] = [16, 32, 64],  # noqa: B006 - only read; a list is what users write
    ) -> None:
        super().__init__()
        require(
            bool(channels) and min(channels) >= 1, "unet", "channels", channels, "one or more numbers of at least 1"
        )
        num_channels, height, width = image_shape("unet", input_shape)
        smallest = 2 ** len(channels)  # so that batch norm has several values even for one image
        if min(height, width) < smallest:
            takes = f"images of at least {smallest}x{smallest} pixels with {len(channels)} stages (option channels)"
            raise wrong_shape("unet", takes, input_shape)
        into = [num_channels, *channels[:-1]]
        self.down = nn.ModuleList(_stage(*sizes) for sizes in zip(into, channels, strict=True))
        beside = reversed(channels[:-1])
        below = reversed(channels[1:])
        self.up = nn.ModuleList(_stage(low + high, high) for low, high in zip(below, beside, strict=True))
        self.head = nn.Conv2d(channels[0], num_outputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``[N, num_outputs, H, W]`` of images ``[N, C, H, W]``."""
        hidden, kept = inputs, []
        for number, stage in enumerate(self.down):
            hidden = stage(functional.max_pool2d(hidden, 2) if number else hidden)
            kept.append(hidden)
        for stage, beside in zip(self.up, reversed(kept[:-1]), strict=True):
            enlarged = functional.interpolate(hidden, size=beside.shape[-2:], mode="nearest")
            hidden = stage(torch.cat([beside, enlarged], dim=1))
        scores: Tensor = self.head(hidden)
        return scores


def _stage(num_channels: int, next_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (num_channels, next_channels):
        layers += [nn.Conv2d(before, next_channels, 3, padding=1, bias=False), nn.BatchNorm2d(next_channels), nn.ReLU()]
    return nn.Sequential(*layers)
