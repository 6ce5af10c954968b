"""The transforms of torchvision (v2), as the catalogue ``torchvision/<Name>``, and the presets of its weights.

Images are ``[N, C, H, W]`` from 0 to 1. Deterministic transforms act on the whole batch. Random transforms act on each
image with its own random numbers, a function of seed, epoch and sample (v2 alone would flip all images of a batch or
none), and only in training.
"""

from __future__ import annotations

import contextlib
import inspect
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.models import get_model_weights, get_weight, list_models
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2
from torchvision.transforms._presets import ImageClassification

from wf.errors import UsageError, unknown
from wf_catalogues.members import descriptions, option, parameters_of, stand_in, writable

FIXED = ("CenterCrop", "Grayscale", "Identity", "Normalize", "Pad", "RGB", "Resize")
"""Deterministic transforms."""
RANDOM = (
    *("AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianBlur", "GaussianNoise"),
    *("RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast", "RandomChannelPermutation"),
    *("RandomCrop", "RandomEqualize", "RandomErasing", "RandomGrayscale", "RandomHorizontalFlip", "RandomInvert"),
    *("RandomPerspective", "RandomPhotometricDistort", "RandomPosterize", "RandomResizedCrop", "RandomRotation"),
    *("RandomSolarize", "RandomVerticalFlip", "TrivialAugmentWide"),
)
"""Transforms that draw for each image."""
MOVING = (
    *("CenterCrop", "Pad", "Resize", "AugMix", "AutoAugment", "ElasticTransform", "RandAugment", "RandomAffine"),
    *("RandomCrop", "RandomHorizontalFlip", "RandomPerspective", "RandomResizedCrop", "RandomRotation"),
    *("RandomVerticalFlip", "TrivialAugmentWide"),
)
"""Transforms that move pixels, or change the size."""
_BOXES = "it is for boxes or key points, which it would not get; wf's joint-flip, joint-crop and joint-resize move them"
_OTHERS = "it combines other transforms; list these instead"
_FLOATS = "it changes the type of images, but wf passes float tensors from 0 to 1 to every transform"
_SIZES = "it makes images of differing sizes, which cannot be batched"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "RandomIoUCrop"), _BOXES),
    **dict.fromkeys(("SanitizeBoundingBoxes", "SanitizeKeyPoints", "SetClampingMode"), _BOXES),
    **dict.fromkeys(("Compose", "RandomApply", "RandomChoice", "RandomOrder"), _OTHERS),
    **dict.fromkeys(("ConvertImageDtype", "PILToTensor", "ToDtype", "ToImage", "ToPILImage"), _FLOATS),
    **dict.fromkeys(("ToPureTensor", "ToTensor"), _FLOATS),
    **dict.fromkeys(("RandomResize", "RandomShortestSize", "RandomZoomOut", "ScaleJitter"), _SIZES),
    **dict.fromkeys(
        ("CutMix", "MixUp"), "it mixes one batch with its own random numbers; wf's mixup and cutmix mix updates"
    ),
    **dict.fromkeys(("FiveCrop", "TenCrop"), "it makes several images from one"),
    "JPEG": "torchvision 0.29 says that its encoder of JPEG will be removed",
    "Lambda": "it takes a function; write your own transform instead: path.py:Attr",
    "LinearTransformation": "it takes tensors, which no run file can hold",
    "UniformTemporalSubsample": "it leaves out frames of videos",
}
"""Transforms that cannot be used, with the reason."""
_ENUMS = {"interpolation": InterpolationMode, "policy": AutoAugmentPolicy}
_CHOICES = {
    "interpolation": ("nearest", "nearest-exact", "bilinear", "bicubic"),  # the others are for Pillow images
    "policy": tuple(policy.value for policy in AutoAugmentPolicy),
}
_INSTEAD = {numbers.Number: float, Sequence: list[float], tuple[float, float]: list[float]}
_LEFT_OUT = ("clip", "inplace")  # the first has no annotation, the second would change the samples
_SEED_BITS = 24


class Batched:
    """A deterministic transform of torchvision, applied to a whole batch.

    Args:
        transform: The transform.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __call__(self, inputs: Tensor) -> Tensor:
        """The images ``[N, C, H, W]``, transformed.

        Raises:
            UsageError: If it cannot process them.
        """
        with _naming(self.transform, inputs):
            return self.transform(inputs)


class PerSample:
    """A random transform of torchvision, on each image with separate random numbers.

    Args:
        transform: The transform.
    """

    num_draws = 2

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """The images ``[N, C, H, W]``; the draws ``[N, 2]`` seed the transform for each image.

        Raises:
            UsageError: If it cannot process them.
        """
        halves = (draws.double() * 2**_SEED_BITS).long().tolist()
        with _own_generators(inputs.device) as generators, _naming(self.transform, inputs):
            done = []
            for image, (high, low) in zip(inputs, halves, strict=True):
                for generator in generators:
                    generator.manual_seed((high << _SEED_BITS) + low)
                done.append(self.transform(image))
        return torch.stack(done)


class Preset:
    """Preprocessing for pretrained weights of torchvision: resized, centre-cropped and normalized images.

    Grey images get three channels. For segmentation images are only normalized, because masks keep their size.

    Args:
        weights: A model (resnet18, for its default weights), or weights (ResNet18_Weights.IMAGENET1K_V1).
        resize: Whether images are resized and cropped; false only normalizes, for images already in the right size.

    Raises:
        UsageError: For an unknown name, or weights for videos.
    """

    def __init__(self, weights: str, resize: bool = True) -> None:
        wanted: Any = _weights(weights).transforms()
        if not hasattr(wanted, "mean") or not hasattr(wanted, "resize_size") or "Video" in type(wanted).__name__:
            raise UsageError(f"transform 'torchvision/preset': {weights} are not for single images")
        if not resize or not isinstance(wanted, ImageClassification):
            wanted = v2.Normalize(wanted.mean, wanted.std)
        self.transform = wanted

    def __call__(self, inputs: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` from images with 1 or 3 channels."""
        images: Tensor = self.transform(inputs.expand(-1, 3, -1, -1))
        return images


def build(name: str, **options: Any) -> Batched | PerSample | Preset:
    """A transform of torchvision.

    Args:
        name: The name of its class, such as ``RandomRotation``, or ``preset``.
        options: The options of `described`.

    Raises:
        UsageError: For an unknown name or an option out of range.
    """
    if name == "preset":
        return Preset(**options)
    kind = _kind(name)
    given = {key: _ENUMS[key](value) if key in _ENUMS else value for key, value in options.items()}
    try:
        made = kind(**given)
    except (ValueError, TypeError) as error:
        raise UsageError(f"transform 'torchvision/{name}': {error}") from error
    return Batched(made) if name in FIXED else PerSample(made)


def described(name: str) -> Callable[..., Any]:
    """The object with the signature and docstring of one transform."""
    if name == "preset":
        return Preset
    kind = _kind(name)
    options = [*filter(None, map(_option, parameters_of(kind).values()))]
    others = {one.name: f"See {kind.__module__}." for one in options}
    return stand_in(kind, options, f"{summary(name)}.", {**others, **descriptions(kind, markup=True)})


def names() -> list[str]:
    """Every transform of the installed torchvision."""
    found = [name for name, one in vars(v2).items() if inspect.isclass(one) and issubclass(one, v2.Transform)]
    return sorted({*found} - {"Transform"})


def summary(name: str) -> str:
    """The first line of its docstring."""
    if name == "Identity":
        return "Leave images as they are"
    text = " ".join((inspect.getdoc(_kind(name)) or name).partition("\n\n")[0].split())
    for end in (". ", " based on ", ", as described", " as used in "):
        text = text.partition(end)[0]
    return text.rstrip(".")


def _kind(name: str) -> type[Any]:
    if name not in names():
        raise UsageError(unknown("torchvision transform", name, [*FIXED, *RANDOM, "preset"]))
    if name in REFUSED:
        raise UsageError(f"transform 'torchvision/{name}' cannot be used: {REFUSED[name]}")
    kind: type[Any] = getattr(v2, name)
    return kind


def _weights(name: str) -> Any:
    if name in list_models():
        return get_model_weights(name.removeprefix("quantized_")).__members__["DEFAULT"]
    try:
        return get_weight(name)
    except (ValueError, KeyError) as error:
        hint = "or weights by their full name: ResNet18_Weights.IMAGENET1K_V1"
        raise UsageError(unknown("weights", name, list_models(), hint, of="transform 'torchvision/preset'")) from error


@contextlib.contextmanager
def _naming(transform: Any, inputs: Tensor) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        name, shape = type(transform).__name__, list(inputs.shape)
        raise UsageError(f"transform 'torchvision/{name}' cannot take images {shape}: {error}") from error


@contextlib.contextmanager
def _own_generators(device: torch.device) -> Iterator[list[torch.Generator]]:
    """Context in which torch's global generators can be seeded; they are restored afterwards."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    try:
        yield generators
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _option(parameter: inspect.Parameter) -> inspect.Parameter | None:
    """A parameter in a form for run files; None if no file can hold its values, or it is not an option."""
    default = getattr(parameter.default, "value", parameter.default)
    if parameter.name in _ENUMS:
        annotation: Any = Literal[_CHOICES[parameter.name]]
    else:
        annotation = writable(parameter.annotation, _INSTEAD)
    if annotation is None or parameter.name in _LEFT_OUT:
        return None
    if annotation is float and type(default) is int:
        default = float(default)
    return option(parameter.name, annotation, default)
