"""Small convolutional networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wf_models.checks import image_shape, require, require_rate, wrong_shape

LENET_SIZE = 32


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling: inputs ``[N, C, H, W]``, predictions ``[N, num_outputs]``.

    Twice a 5x5 convolution (6, then 16 channels), ReLU and 2x2 max-pooling, then linear layers of 120, 84 and
    `num_outputs` units. It is designed for 32x32 pixels: shorter sides are padded with zeros on both ends (28x28
    by two pixels, 8x8 by twelve; an odd pixel goes right or below); longer ones enlarge the first linear layer.
    LeCun, Bottou, Bengio and Haffner 1998, in its usual present form.

    Args:
        input_shape: Shape of one image, ``[channels, height, width]``.
        num_outputs: Number of outputs per sample.

    Raises:
        UsageError: If the samples are not images.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        channels, height, width = image_shape("lenet", input_shape)
        self.padding = (*_padding(width), *_padding(height))
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * _lenet_side(height) * _lenet_side(width), 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``[N, num_outputs]`` of images ``[N, C, H, W]``."""
        hidden = functional.pad(inputs, self.padding) if any(self.padding) else inputs
        hidden = functional.max_pool2d(functional.relu(self.conv1(hidden)), 2)
        hidden = functional.max_pool2d(functional.relu(self.conv2(hidden)), 2)
        hidden = functional.relu(self.fc1(torch.flatten(hidden, 1)))
        hidden = functional.relu(self.fc2(hidden))
        scores: Tensor = self.fc3(hidden)
        return scores


def cnn(
    input_shape: tuple[int, ...],
    num_outputs: int,
    channels: list[int] = [32, 64, 128],  # noqa: B006 - only read; a list is what users write
    batch_norm: bool = True,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Small convolutional network: 3x3 convolutions, downsampling between stages, global average pooling.

    A stage is a convolution, batch norm and ReLU; with 2x2 max-pooling between stages, and global average pooling,
    dropout and one linear layer after the last. Any image with sides of at least ``2 ** len(channels)`` pixels fits
    (8 for the default).

    Args:
        input_shape: Shape of one image, ``[channels, height, width]``.
        num_outputs: Number of outputs per sample.
        channels: Channels of each stage, first to last.
        batch_norm: Normalise over the batch after each convolution, which then has no bias.
        dropout: Probability of dropping a feature before the linear layer; 0 adds no dropout layer.

    Raises:
        UsageError: If the samples are not images or are too small, or for an option out of range.
    """
    require(bool(channels) and min(channels) >= 1, "cnn", "channels", channels, "one or more numbers of at least 1")
    require_rate("cnn", "dropout", dropout)
    num_channels, height, width = image_shape("cnn", input_shape)
    smallest = 2 ** len(channels)
    if min(height, width) < smallest:
        takes = f"images of at least {smallest}x{smallest} pixels with {len(channels)} stages (option channels)"
        raise wrong_shape("cnn", takes, input_shape)
    layers: list[nn.Module] = []
    for stage, next_channels in enumerate(channels):
        if stage:
            layers.append(nn.MaxPool2d(2))
        layers += _stage(num_channels, next_channels, batch_norm)
        num_channels = next_channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(num_channels, num_outputs))


def _stage(num_channels: int, next_channels: int, batch_norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(num_channels, next_channels, 3, padding=1, bias=not batch_norm)
    return [convolution, *([nn.BatchNorm2d(next_channels)] if batch_norm else []), nn.ReLU()]


def _padding(side: int) -> tuple[int, int]:
    missing = max(LENET_SIZE - side, 0)
    return missing // 2, missing - missing // 2


def _lenet_side(side: int) -> int:
    """Pixels along a side after both convolutions and poolings."""
    return ((max(side, LENET_SIZE) - 4) // 2 - 4) // 2
