"""The models of timm, as the catalogue ``timm/<name>``: untrained, or with pretrained weights."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model, list_models
from torch import Tensor, nn
from torch.nn import functional

from wf import FromRun
from wf.errors import UsageError, WfError, unknown
from wf_timm.weights import pretrained_options, trying_to_load

_log = logging.getLogger("wf.timm")  # below "wf": shown unless the run is quiet
_ENCODER = "it gives a feature for each patch of the image, for a language model, rather than classes"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("deepseek_vit_412m_enc", "gemma4_vit_167m_enc", "gemma4_vit_570m_enc"), _ENCODER),
    **dict.fromkeys(
        ("mobilenetv5_300m_enc", "qwen3_vit_306m_enc", "qwen3_vit_416m_enc", "qwen3_vit_88m_enc"), _ENCODER
    ),
}
"""Models that cannot be used, with the reason."""


def build(
    name: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    image_size: int | None = None,
    weights: Path | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    restored: Annotated[bool, FromRun("restored")] = False,
) -> nn.Module:
    """A model of timm, as timm's own module with its state_dict keys, for images with any number of channels.

    Models for a fixed image size (vision transformers and others) are built for the run's size. Shapes are checked
    without computing anything before the model is returned.

    Args:
        name: Name of the model in timm, such as ``resnet18``.
        input_shape: Shape of one image, ``[channels, height, width]``.
        num_outputs: Number of outputs per sample.
        image_size: First resize images to this side in pixels (bilinear); most models need more than 32 and were
            designed for about 224. By default images are unchanged.
        weights: ``default`` for timm's default weights, a tag for others (a1_in1k), or a file with a state_dict of
            this architecture. They are searched in the Hugging Face cache (HF_HOME) or torch.hub's folder
            (TORCH_HOME), and downloaded if missing. timm reinitializes the last layer unless it has num_outputs
            outputs, and adapts the first one to the number of channels.
        drop_rate: Probability of dropping a feature before the last layer; by default the model's own.
        drop_path_rate: Probability of skipping a block; by default the model's own.
        restored: Whether a run's weights will be loaded, so that pretrained ones are not needed.

    Raises:
        UsageError: For an unknown name or option, samples that are not images, or images that are too small.
        DataError: For weights that are not found, cannot be downloaded or do not fit.
    """
    _check(name, input_shape, image_size)
    weights = None if restored else weights
    channels, height, width = input_shape
    size = (image_size, image_size) if image_size else (height, width)
    options: dict[str, Any] = {"num_classes": num_outputs, "in_chans": channels, **_size_options(name, size)}
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    options |= {key: value for key, value in rates.items() if value is not None}
    try:
        with trying_to_load(name, weights):
            model: nn.Module = timm.create_model(**pretrained_options(name, weights), **options)
        if size != (height, width):
            model.register_forward_pre_hook(partial(_resize, size=size))
        _try_out(model, input_shape)
    except WfError:
        raise
    except TypeError as error:
        given = [key for key in rates if key in options and key in str(error)]
        if not given:
            raise
        raise UsageError(f"model 'timm/{name}' has no option {given[0]}: {error}") from error
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise UsageError(
            f"model 'timm/{name}' cannot take images of {size[0]}x{size[1]} pixels: {_first_line(error)}\n"
            f"  set image_size{_made_for(name)}, or use a model for small images: lenet, cnn, timm/resnet18"
        ) from error
    if weights is not None:
        _say(model, name, weights)
    return model.train()  # pruned models come in evaluation mode


def index_names() -> list[str]:
    """Every model of the installed timm."""
    return sorted(list_models())


def _check(name: str, input_shape: tuple[int, ...], image_size: int | None) -> None:
    if not is_model(name):
        raise UsageError(unknown("timm model", name, list_models()))
    if name in REFUSED:
        raise UsageError(f"model 'timm/{name}' cannot be used: {REFUSED[name]}")
    if image_size is not None and image_size < 1:
        raise UsageError(f"model 'timm/{name}': image_size is {image_size}; it must be at least 1")
    if len(input_shape) != 3:
        fit = "linear, mlp, rnn, lstm" if len(input_shape) < 3 else "linear, mlp"
        raise UsageError(
            f"model 'timm/{name}' takes images [channels, height, width], but one sample is {list(input_shape)}\n"
            f"  models that take such samples: {fit}"
        )


def _size_options(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """The size option, for a model with a fixed size; others take any size."""
    config = get_pretrained_cfg(name)
    return {"img_size": size} if config is not None and config.fixed_input_size else {}


def _made_for(name: str) -> str:
    config = get_pretrained_cfg(name)
    return f" (it was made for {config.input_size[-1]})" if config is not None else ""


def _resize(model: nn.Module, args: tuple[Tensor], size: tuple[int, int]) -> Tensor:
    """Resize images to the model's size."""
    return functional.interpolate(args[0], size=size, mode="bilinear", antialias=True)


def _try_out(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Send shapes through the model on the meta device: no arithmetic, no random draws (it is in eval mode)."""
    state = {name: tensor.to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    training = model.training
    try:
        with torch.no_grad():
            torch.func.functional_call(model.eval(), state, torch.empty(2, *input_shape, device="meta"))
    finally:
        model.train(training)


def _say(model: nn.Module, name: str, weights: Path) -> None:
    config: Any = model.pretrained_cfg
    tag = f"{name}.{config['tag']}" if config.get("tag") else name
    if weights.is_file():
        _log.info("pretrained: file '%s'; the following applies to timm's own weights, %s", weights, tag)
    mean, std = list(config["mean"]), list(config["std"])
    _log.info("pretrained: %s, for images of %s pixels", tag, "x".join(map(str, config["input_size"][1:])))
    option = f"--transform.normalize.mean '{mean}' --transform.normalize.std '{std}'"
    _log.info("it expects normalized images: --transform normalize %s", option)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
