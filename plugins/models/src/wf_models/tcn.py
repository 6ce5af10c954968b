"""A temporal convolutional network."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from wf_models.checks import require, require_rate, wrong_shape
from wf_models.recurrent import as_sequence


class Block(nn.Module):
    """Two causal convolutions with ReLU and dropout, and a residual connection.

    Args:
        num_inputs: Channels of the input.
        channels: Channels of the output.
        kernel_size: Width of the convolutions in steps.
        dilation: Distance between these steps.
        dropout: Dropout probability in training.
    """

    def __init__(self, num_inputs: int, channels: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.padding = (kernel_size - 1) * dilation
        self.conv1 = nn.Conv1d(num_inputs, channels, kernel_size, dilation=dilation)
        self.conv2 = nn.Conv1d(channels, channels, kernel_size, dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv1d(num_inputs, channels, 1) if num_inputs != channels else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """``[N, channels, T]`` of ``[N, num_inputs, T]``; each step sees only itself and earlier steps."""
        hidden = inputs
        for convolution in (self.conv1, self.conv2):
            hidden = self.dropout(functional.relu(convolution(functional.pad(hidden, (self.padding, 0)))))
        shortcut: Tensor = self.shortcut(inputs)
        return functional.relu(hidden + shortcut)


class TCN(nn.Module):
    """Temporal convolutional network: residual blocks of dilated causal convolutions, read at the last step.

    The dilation doubles from block to block. Bai, Kolter and Koltun 2018, without their weight normalisation.

    Args:
        input_shape: Shape of one sample: ``[T, F]``, ``[C, H, W]`` (read row by row) or ``[F]`` (number by number).
        num_outputs: Number of outputs per sample.
        channels: Channels of each block.
        kernel_size: Width of the convolutions in steps.
        levels: Number of stacked blocks; None for enough to let the last step see the whole sequence.
        dropout: Dropout probability in training.

    Raises:
        UsageError: For samples that are not sequences, or an option out of range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        channels: int = 64,
        kernel_size: int = 3,
        levels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= len(input_shape) <= 3 or not math.prod(input_shape):
            raise wrong_shape("tcn", "sequences [T, F], images [C, H, W] or vectors [F]", input_shape)
        require(channels >= 1, "tcn", "channels", channels, "at least 1")
        require(kernel_size >= 2, "tcn", "kernel_size", kernel_size, "at least 2")
        require(levels is None or levels >= 1, "tcn", "levels", levels, "at least 1")
        require_rate("tcn", "dropout", dropout)
        size = {1: 1, 2: input_shape[-1], 3: input_shape[0] * input_shape[-1]}[len(input_shape)]
        length = input_shape[1] if len(input_shape) == 3 else input_shape[0]
        num = levels or max(1, math.ceil(math.log2((length - 1) / (2 * (kernel_size - 1)) + 1)))
        sizes = [size, *[channels] * (num - 1)]
        self.blocks = nn.Sequential(
            *(Block(own, channels, kernel_size, 2**level, dropout) for level, own in enumerate(sizes))
        )
        self.head = nn.Linear(channels, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``[N, num_outputs]``."""
        hidden = self.blocks(as_sequence(inputs).transpose(1, 2))
        scores: Tensor = self.head(hidden[:, :, -1])
        return scores
