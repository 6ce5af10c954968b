"""Checks of options and sample shapes, shared by the models."""

from __future__ import annotations

from wf.errors import UsageError

FOR_IMAGES = "linear, mlp, lenet, cnn, rnn, lstm, tcn, unet (for masks), torchvision/..."
FOR_SEQUENCES = "linear, mlp, rnn, lstm, tcn"
FOR_ANY = "linear, mlp"


def require(valid: bool, model: str, option: str, value: object, allowed: str) -> None:
    """Refuse an option's value unless `valid`.

    Raises:
        UsageError: Naming the model, the option, its value and the allowed values.
    """
    if not valid:
        raise UsageError(f"model '{model}': {option} is {value}; it must be {allowed}")


def require_rate(model: str, option: str, value: float) -> None:
    """Refuse a dropout probability outside [0, 1)."""
    require(0 <= value < 1, model, option, value, "at least 0 and less than 1")


def wrong_shape(model: str, takes: str, input_shape: tuple[int, ...]) -> UsageError:
    """The error for samples that a model cannot take, suggesting models that can."""
    fit = {1: FOR_SEQUENCES, 2: FOR_SEQUENCES, 3: FOR_IMAGES}.get(len(input_shape), FOR_ANY)
    return UsageError(
        f"model '{model}' takes {takes}, but one sample is {list(input_shape)}\n  models that take such samples: {fit}"
    )


def image_shape(model: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of a model's input images.

    Raises:
        UsageError: If the samples are not images.
    """
    if len(input_shape) != 3:
        raise wrong_shape(model, "images [channels, height, width]", input_shape)
    channels, height, width = input_shape
    return channels, height, width
