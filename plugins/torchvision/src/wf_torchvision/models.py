"""The models of torchvision, as the catalogue ``torchvision/<name>``: untrained, or with pretrained weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model_builder, list_models

from wf import FromRun
from wf.errors import UsageError, WfError, unknown
from wf_torchvision.heads import drop_auxiliary, follow_batches, has_auxiliary, head_of, num_outputs_in, replace_head
from wf_torchvision.weights import Source, entry_of, find, load, put_into, say

WITH_AUXILIARY_OUTPUTS = ("googlenet", "inception_v3")
REFUSED = {
    "optical_flow": "it gives the motion between two images, and wf has no such task",
}
"""The families of torchvision without a task in wf, with the reason."""


def build(
    name: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    image_size: int | None = None,
    weights: Path | None = None,
    norm_momentum: float | None = None,
    restored: Annotated[bool, FromRun("restored")] = False,
) -> nn.Module:
    """A model of torchvision, as torchvision's own module with its state_dict keys.

    A classifier of images, or of videos (``mc3_18``, ...; samples ``[3, frames, height, width]``), or a model for
    semantic segmentation (``fcn_...``, ``deeplabv3_...``, ``lraspp_...``), which gives scores for each pixel. Grey
    images are repeated to three channels, so the architecture is the published one. Models with auxiliary outputs are
    used without them. Vision transformers are built for the size of the images. Shapes are checked without computing
    anything before the model is returned.

    Args:
        name: Name of the model in torchvision, such as ``resnet18``.
        input_shape: Shape of one sample: ``[1 or 3, height, width]``, for a video ``[3, frames, height, width]``.
        num_outputs: Number of outputs per sample, or per pixel.
        image_size: First resize images to this side in pixels (bilinear); many models need more than 32 and were
            designed for 224. By default images are unchanged.
        weights: ``default`` for the newest pretrained weights that torchvision has for the model, a name for others
            (IMAGENET1K_V1), or a file with a state_dict of this architecture; by default random weights. They are
            searched in torch.hub's folder (TORCH_HOME) and downloaded if missing. The last layer is reinitialized
            unless it has num_outputs outputs. Images then get the preprocessing of the weights.
        norm_momentum: The momentum of the running statistics of batch norm: 0.01 to 0.1 by default. Runs of a few
            hundred steps from scratch need 0.1 with ``mobilenet...``, because evaluations use these statistics.
        restored: Whether a run's weights will be loaded, so that pretrained ones are not needed.

    Raises:
        UsageError: For an unknown name, samples that do not fit, or images that are too small.
        DataError: For weights that are not found, cannot be downloaded or do not fit.
    """
    family = _family(name)
    _check(name, family, input_shape, image_size)
    size = (image_size, image_size) if image_size else (input_shape[-2], input_shape[-1])
    source = None if restored else find(name, weights)
    try:
        if restored and weights is not None:
            model = _to_restore(name, family, num_outputs, size, weights)
        elif source is None:
            model = _untrained(name, family, num_outputs, size)
        else:
            model = _trained(name, family, num_outputs, size, source)
        follow_batches(model, norm_momentum, f"model 'torchvision/{name}'")
        if family == "segmentation":
            model.register_forward_hook(_scores)
        if family != "video" and (size != input_shape[-2:] or input_shape[0] == 1):
            model.register_forward_pre_hook(partial(_prepare, size=size))
        _try_out(model, input_shape)
    except WfError:
        raise
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        raise _too_small(name, family, size, error) from error
    return model


def names() -> dict[str, str]:
    """Every model of the installed torchvision with its family: ``image``, ``video``, ``segmentation``, ..."""
    return {name: _family_of(name) for name in sorted(list_models())}


def _family_of(name: str) -> str:
    *_, family, _module = get_model_builder(name).__module__.split(".")
    return "image" if family in ("models", "quantization") else family


def _family(name: str) -> str:
    if name not in list_models():
        raise UsageError(
            unknown("torchvision model", name, [one for one, family in names().items() if _usable(family)])
        )
    family = _family_of(name)
    if not _usable(family):
        raise UsageError(f"model 'torchvision/{name}' cannot be used: {REFUSED[family]}")
    return family


def _usable(family: str) -> bool:
    return family not in REFUSED


def _check(name: str, family: str, input_shape: tuple[int, ...], image_size: int | None) -> None:
    owner = f"model 'torchvision/{name}'"
    if image_size is not None and image_size < 1:
        raise UsageError(f"{owner}: image_size is {image_size}; it must be at least 1")
    if image_size is not None and family != "image":
        raise UsageError(f"{owner}: image_size is for classifiers of images; leave it out")
    takes, dims, channels = "images [1 or 3, height, width]", 3, [1, 3]
    if family == "video":
        takes, dims, channels = "videos [3, frames, height, width]", 4, [3]
    if len(input_shape) != dims or input_shape[0] not in channels:
        fit = {1: "linear, mlp", 2: "linear, mlp, rnn, lstm", 3: "linear, mlp, lenet, cnn"}.get(len(input_shape))
        others = f"\n  models that take such samples: {fit or 'linear, mlp'}"
        raise UsageError(f"{owner} takes {takes}, but one sample is {list(input_shape)}{others}")


def _untrained(name: str, family: str, num_outputs: int, size: tuple[int, int]) -> nn.Module:
    options = _options(name, family, size)
    if name.removeprefix("quantized_") in WITH_AUXILIARY_OUTPUTS:
        # explicit, otherwise torchvision warns that the default may change
        options |= {"aux_logits": False, "init_weights": True}
    model: nn.Module = get_model_builder(name)(weights=None, num_classes=num_outputs, **options)
    return model


def _to_restore(name: str, family: str, num_outputs: int, size: tuple[int, int], weights: Path) -> nn.Module:
    """The model of a run with pretrained weights, with random weights to be overwritten."""
    options = _options(name, family, size)
    if name.removeprefix("quantized_") in WITH_AUXILIARY_OUTPUTS:
        published = entry_of(name, str(weights)) is not None
        options |= {"aux_logits": False, "init_weights": False, "transform_input": published}
    model: nn.Module = get_model_builder(name)(weights=None, num_classes=num_outputs, **options)
    return model


def _trained(name: str, family: str, num_outputs: int, size: tuple[int, int], source: Source) -> nn.Module:
    """The model with its pretrained weights loaded, then with the requested head."""
    state = load(name, source, size[0])
    options = _options(name, family, size)
    if name.removeprefix("quantized_") in WITH_AUXILIARY_OUTPUTS:
        auxiliary, published = has_auxiliary(state), source.weights is not None
        options |= {"aux_logits": auxiliary, "init_weights": False, "transform_input": published}
    elif family == "segmentation" and not name.startswith("lraspp"):
        options["aux_loss"] = has_auxiliary(state)
    if source.weights is None:
        with torch.random.fork_rng(devices=[]):
            heads = head_of(_untrained(name, family, num_outputs, size))
        num_theirs = num_outputs_in(state, heads[-1], source)
    else:
        num_theirs = len(source.weights.meta["categories"])
    model: nn.Module = get_model_builder(name)(weights=None, num_classes=num_theirs, **options)
    put_into(model, state, source)
    drop_auxiliary(model)
    if num_theirs != num_outputs:
        replace_head(model, num_outputs)
    say(source, num_theirs, num_outputs, family)
    return model


def _options(name: str, family: str, size: tuple[int, int]) -> dict[str, Any]:
    if family == "segmentation":
        return {"weights_backbone": None}
    if name.startswith("vit_"):
        return {"image_size": size[0]}
    if name.startswith("quantized_"):
        return {"quantize": False}
    return {"input_size": size} if name == "maxvit_t" else {}


def _prepare(model: nn.Module, args: tuple[Tensor], size: tuple[int, int]) -> Tensor:
    """Images in the model's form: of `size`, with three channels."""
    images = args[0]
    if images.shape[-2:] != size:
        images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
    return images.expand(-1, 3, -1, -1)


def _scores(model: nn.Module, args: Any, outputs: dict[str, Tensor]) -> Tensor:
    """The output of a segmentation model, without torchvision's dict."""
    return outputs["out"]


def _try_out(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Send shapes through the model on the meta device: no arithmetic, no random draws (it is in eval mode)."""
    state = {name: tensor.to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    training = model.training
    with torch.no_grad():
        torch.func.functional_call(model.eval(), state, torch.empty(2, *input_shape, device="meta"))
    model.train(training)


def _too_small(name: str, family: str, size: tuple[int, int], error: Exception) -> UsageError:
    what = "images" if family != "video" else "videos"
    pixels = "x".join(map(str, size))
    advice = {
        "image": "set image_size (224 fits every one), or use a model for small images: lenet, cnn, "
        "torchvision/resnet18",
        "video": "most are made for 16 frames of 112x112 or 224x224 pixels, mvit_... only for these",
    }.get(family, "torchvision/fcn_resnet50 takes any size")
    return UsageError(f"model 'torchvision/{name}' cannot take {what} of {pixels} pixels: {error}\n  {advice}")
