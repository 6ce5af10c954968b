"""Adapts the losses of kornia to wf."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from kornia import losses as library
from torch import Tensor, nn

from wf.errors import UsageError, unknown
from wf_catalogues.members import Member

Reduction = Literal["mean", "sum"]

_FOCAL_HELP = {
    "alpha": "Factor of classes 1 and up; class 0 gets 1 - alpha. No factor by default.",
    "gamma": "Focusing exponent: larger values down-weight well-classified targets more.",
    "reduction": "The mean is over targets and classes, so it is wf's focal divided by the number of classes.",
    "weight": "Factor of each class.",
    "ignore_index": "Targets with this value add zero to the loss, but the mean counts them.",
}
_HELP = {
    "reduction": "Reduction over the elements.",
    "weight": "Factor of each class.",
    "ignore_index": "Pixels with this value are ignored.",
    "alpha": "Weight of false positives.",
    "beta": "Weight of false negatives.",
    "eps": "Added to the denominator.",
    "average": "micro pools all classes; macro averages over the classes that occur in the mask.",
}


_loss = partial(Member, module="kornia.losses", instead={Tensor: list[float]}, help=_HELP)
_robust = partial(_loss, group="real", types={"reduction": Reduction}, defaults={"reduction": "mean"})


MEMBERS: dict[str, Member] = {
    "BinaryFocalLossWithLogits": _loss(
        library.BinaryFocalLossWithLogits,
        "focal loss of one sigmoid per label, for binary and multilabel targets",
        group="yes_no",
        types={"reduction": Reduction},
        defaults={"reduction": "mean", "alpha": None},
        help={
            **_FOCAL_HELP,
            "alpha": "Factor of positive targets; negative targets get 1 - alpha. No factor by default.",
            "reduction": "Reduction over the elements.",
            "weight": "Factor of each label.",
            "pos_weight": "Factor of the positive targets of each label.",
        },
    ),
    "CauchyLoss": _robust(library.CauchyLoss, "log(1 + x**2 / 2) of the error x"),
    "CharbonnierLoss": _robust(library.CharbonnierLoss, "sqrt(1 + x**2) - 1 of the error x"),
    "DiceLoss": _loss(library.DiceLoss, "1 - Dice score of each image, averaged", group="regions"),
    "FocalLoss": _loss(
        library.FocalLoss,
        "softmax cross-entropy that down-weights well-classified pixels",
        group="classes",
        types={"reduction": Reduction},
        defaults={"reduction": "mean", "alpha": None},
        help=_FOCAL_HELP,
    ),
    "GemanMcclureLoss": _robust(library.GemanMcclureLoss, "2 x**2 / (x**2 + 4) of the error x"),
    "HausdorffERLoss": _loss(
        library.HausdorffERLoss,
        "Hausdorff distance of the edges, estimated by erosion",
        group="shares",
        types={"reduction": Reduction},
        help={
            "alpha": "Exponent of the erosion's number in its weight.",
            "k": "Number of erosions.",
            "reduction": "Reduction over the elements.",
        },
    ),
    "LovaszSoftmaxLoss": _loss(
        library.LovaszSoftmaxLoss, "Lovasz-softmax, a surrogate of intersection over union", group="regions"
    ),
    "TverskyLoss": _loss(
        library.TverskyLoss,
        "Dice loss with separate weights of false positives and negatives",
        group="regions",
    ),
    "WelschLoss": _robust(library.WelschLoss, "1 - exp(-x**2 / 2) of the error x"),
}
"""The supported losses, by name."""

_IMAGES = "it compares images, and no task of wf has images as targets"
_VOLUMES = "it compares volumes, and no task of wf has volumes as targets"
_REFERENCE = "it registers images to one reference image, and no task of wf does"

REFUSED = {
    "HausdorffERLoss3D": _VOLUMES,
    "InverseDepthSmoothnessLoss": "it compares a depth map with an image, and no task of wf has depth maps",
    "LovaszHingeLoss": "it needs one binary mask, but masks in wf hold class indices; use kornia/LovaszSoftmaxLoss",
    "MILossFromRef": _REFERENCE,
    "MILossFromRef2D": _REFERENCE,
    "MILossFromRef3D": _REFERENCE,
    "MS_SSIMLoss": _IMAGES,
    "NMILossFromRef": _REFERENCE,
    "NMILossFromRef2D": _REFERENCE,
    "NMILossFromRef3D": _REFERENCE,
    "PSNRLoss": _IMAGES,
    "SSIM3DLoss": _VOLUMES,
    "SSIMLoss": _IMAGES,
    "TotalVariation": "it takes an image without targets",
}
"""The unsupported losses, with the reason."""


class Reshaped(nn.Module):
    """Adds the label or channel axis that a loss of the library needs.

    Args:
        loss: The library's loss.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.reduction = str(getattr(loss, "reduction", "mean"))

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of ``[N]`` and ``[N]`` (one label), or of ``[N, C, H, W]`` and ``[N, H, W]`` (one channel)."""
        if predictions.ndim == targets.ndim == 1:
            predictions = predictions.unsqueeze(1)
        targets = targets if predictions.ndim == targets.ndim else targets.unsqueeze(1)
        loss: Tensor = self.loss(predictions, targets)
        return loss


def build(name: str, **options: Any) -> nn.Module:
    """A loss of kornia.

    Args:
        name: Name of the class, such as ``FocalLoss``.
        options: The options in the signature of `described`.

    Raises:
        UsageError: If an option is out of range or the name is unknown.
    """
    given = {key: torch.as_tensor(options[key]) for key in ("weight", "pos_weight") if options.get(key) is not None}
    alpha = options.get("alpha")
    if "Focal" in name and alpha is not None and not 0 <= alpha <= 1:  # the library does not check it
        raise UsageError(f"loss 'kornia/{name}': alpha is {alpha}; it must be from 0 to 1")
    try:
        made: nn.Module = member(name).make(**{**options, **given})
    except (ValueError, TypeError) as error:
        raise UsageError(f"loss 'kornia/{name}': {error}") from error
    return Reshaped(made) if name in ("BinaryFocalLossWithLogits", "HausdorffERLoss") else made


def described(name: str) -> Callable[..., None]:
    """A function whose signature and docstring are those of `build` for one name."""
    return member(name).described()


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If the name is unknown.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("loss of kornia", name, MEMBERS))
    return MEMBERS[name]
