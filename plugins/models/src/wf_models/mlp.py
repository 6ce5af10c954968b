"""The multilayer perceptron."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from wf_models.checks import require, require_rate

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "sigmoid": nn.Sigmoid}


def mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    hidden: list[int] = [512, 512],  # noqa: B006 - only read; a list is what users write
    activation: Literal["relu", "tanh", "gelu", "sigmoid"] = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """Multilayer perceptron over the flattened input.

    Args:
        input_shape: Shape of one sample, any.
        num_outputs: Number of outputs per sample.
        hidden: Width of each hidden layer, first to last.
        activation: Function after each hidden layer.
        dropout: Probability of dropping a hidden unit in training; 0 adds no dropout layer.

    Raises:
        UsageError: For a width below 1 or a probability outside [0, 1).
    """
    require(all(width >= 1 for width in hidden), "mlp", "hidden", hidden, "a list of widths of at least 1")
    require_rate("mlp", "dropout", dropout)
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, num_outputs))
