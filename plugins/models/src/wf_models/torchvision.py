"""The image classifiers of torchvision, as the catalogue ``torchvision/<name>``.

``python -m wf_models.torchvision > torchvision_names.txt`` writes the catalogue's index anew.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model_builder, list_models

from wf.errors import UsageError, unknown
from wf_models.checks import image_shape, require, wrong_shape

WITH_AUXILIARY_OUTPUTS = ("googlenet", "inception_v3")


def build(
    name: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    image_size: int | None = None,
) -> nn.Module:
    """An image classifier of torchvision with untrained weights, as torchvision's own module with its state_dict keys.

    Grey images are repeated to three channels, so the architecture stays the published one. Models with auxiliary
    outputs are built without them. Vision transformers are built for the size of the images. Before the model is
    returned its shapes are tried out without computing anything.

    Args:
        name: Name of the model in torchvision, as ``resnet18``.
        input_shape: Shape of one image, ``[1 or 3, height, width]``.
        num_outputs: Numbers to give for one sample.
        image_size: Resize images to this many pixels a side (bilinear) first; many models need more than 32, and were
            designed for 224. Not given: images stay as they are.

    Raises:
        UsageError: For an unknown name, samples that are no images with 1 or 3 channels, or images that are too small.
    """
    names = names_of_classifiers()
    if name not in names:
        raise UsageError(unknown("torchvision model", name, names))
    require(image_size is None or image_size >= 1, f"torchvision/{name}", "image_size", image_size, "at least 1")
    channels, height, width = image_shape(f"torchvision/{name}", input_shape)
    if channels not in (1, 3):
        raise wrong_shape(f"torchvision/{name}", "images with 1 or 3 channels", input_shape)
    size = (image_size, image_size) if image_size else (height, width)
    try:
        model: nn.Module = get_model_builder(name)(weights=None, num_classes=num_outputs, **_options(name, size))
        if size != (height, width) or channels == 1:
            model.register_forward_pre_hook(partial(_prepare, size=size))
        _try_out(model, input_shape)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UsageError(
            f"model 'torchvision/{name}' cannot take images of {size[0]}x{size[1]} pixels: {error}\n"
            f"  set image_size (224 fits every one), or use a model for small images: lenet, cnn, torchvision/resnet18"
        ) from error
    return model


def names_of_classifiers() -> list[str]:
    """The image classifiers of the installed torchvision."""
    return sorted(list_models(module=torchvision.models))


def index() -> str:
    """The text of the catalogue's index."""
    version = torchvision.__version__.partition("+")[0]
    header = f"# generated from torchvision {version} by: python -m wf_models.torchvision"
    return "\n".join([header, *names_of_classifiers()])


def _options(name: str, size: tuple[int, int]) -> dict[str, Any]:
    if name in WITH_AUXILIARY_OUTPUTS:
        return {"aux_logits": False, "init_weights": True}  # said aloud, or torchvision warns that it may change
    if name.startswith("vit_"):
        return {"image_size": size[0]}
    return {"input_size": size} if name == "maxvit_t" else {}


def _prepare(model: nn.Module, args: tuple[Tensor], size: tuple[int, int]) -> Tensor:
    """Images as the model takes them: of `size`, with three channels."""
    images = args[0]
    if images.shape[-2:] != size:
        images = functional.interpolate(images, size=size, mode="bilinear", antialias=True)
    return images.expand(-1, 3, -1, -1)


def _try_out(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Send shapes through the model on the meta device: no arithmetic, no random draws (it is in eval mode)."""
    state = {name: tensor.to("meta") for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    training = model.training
    with torch.no_grad():
        torch.func.functional_call(model.eval(), state, torch.empty(2, *input_shape, device="meta"))
    model.train(training)


if __name__ == "__main__":
    print(index())
