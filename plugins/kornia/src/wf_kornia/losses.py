"""The losses of kornia as losses of wf."""

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
    "alpha": "Factor of classes 1 and up, class 0 gets 1 - alpha; none when not given.",
    "gamma": "How strongly well classified targets are turned down.",
    "reduction": "The mean is over targets and classes, so that it is that of wf's focal divided by the classes.",
    "weight": "Factors of the classes.",
    "ignore_index": "Targets of this value add nothing; the mean counts them.",
}
_HELP = {
    "reduction": "Of the elements.",
    "weight": "Factors of the classes.",
    "ignore_index": "Pixels with this value are ignored.",
    "alpha": "Weight of false positives.",
    "beta": "Weight of false negatives.",
    "eps": "Added to the denominator.",
    "average": "micro takes all classes together, macro averages over those that are in the mask.",
}


_loss = partial(Member, module="kornia.losses", instead={Tensor: list[float]}, help=_HELP)
_robust = partial(_loss, group="real", types={"reduction": Reduction}, defaults={"reduction": "mean"})


MEMBERS: dict[str, Member] = {
    "BinaryFocalLossWithLogits": _loss(
        library.BinaryFocalLossWithLogits,
        "focal loss of independent yes-or-no targets, over sigmoids",
        group="yes_no",
        types={"reduction": Reduction},
        defaults={"reduction": "mean", "alpha": None},
        help={
            **_FOCAL_HELP,
            "alpha": "Factor of positive targets, negative ones get 1 - alpha; none when not given.",
            "reduction": "Of the elements.",
            "weight": "Factors of the labels.",
            "pos_weight": "Factors of the positive targets, one a label.",
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
        "distance of the edges, estimated by erosion",
        group="shares",
        types={"reduction": Reduction},
        help={
            "alpha": "Power of the weight of each erosion's number.",
            "k": "The number of erosions.",
            "reduction": "Of the elements.",
        },
    ),
    "LovaszSoftmaxLoss": _loss(
        library.LovaszSoftmaxLoss, "Lovasz-softmax, a surrogate of intersection over union", group="regions"
    ),
    "TverskyLoss": _loss(
        library.TverskyLoss,
        "Dice loss that weighs false positives and false negatives apart",
        group="regions",
    ),
    "WelschLoss": _robust(library.WelschLoss, "1 - exp(-x**2 / 2) of the error x"),
}
"""The losses that can be used, by name."""

_IMAGES = "it compares images, and no task of wf has images as targets"
_VOLUMES = "it compares volumes, and no task of wf has them"
_REFERENCE = "it compares images with one that it is made with, for registration"

REFUSED = {
    "HausdorffERLoss3D": _VOLUMES,
    "InverseDepthSmoothnessLoss": "it judges a depth map by an image, and no task of wf has depth maps",
    "LovaszHingeLoss": "it wants one mask of yes and no, and a mask of wf holds class indices; "
    "kornia/LovaszSoftmaxLoss takes those",
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
    "TotalVariation": "it judges an image alone, without targets",
}
"""Those that cannot, with the reason."""


class Reshaped(nn.Module):
    """A loss of the library whose targets, or predictions and targets, want an axis more.

    Args:
        loss: The library's.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.reduction = str(getattr(loss, "reduction", "mean"))

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of ``[N]`` and ``[N]`` as of one label, of ``[N, C, H, W]`` and ``[N, H, W]`` as of one channel."""
        if predictions.ndim == targets.ndim == 1:
            predictions = predictions.unsqueeze(1)
        targets = targets if predictions.ndim == targets.ndim else targets.unsqueeze(1)
        loss: Tensor = self.loss(predictions, targets)
        return loss


def build(name: str, **options: Any) -> nn.Module:
    """A loss of kornia.

    Args:
        name: Its class, as ``FocalLoss``.
        options: As `described` says them.

    Raises:
        UsageError: For an option out of range.
    """
    given = {key: torch.as_tensor(options[key]) for key in ("weight", "pos_weight") if options.get(key) is not None}
    alpha = options.get("alpha")
    if "Focal" in name and alpha is not None and not 0 <= alpha <= 1:  # the library takes any
        raise UsageError(f"loss 'kornia/{name}': alpha is {alpha}; it must be from 0 to 1")
    try:
        made: nn.Module = member(name).make(**{**options, **given})
    except (ValueError, TypeError) as error:
        raise UsageError(f"loss 'kornia/{name}': {error}") from error
    return Reshaped(made) if name in ("BinaryFocalLossWithLogits", "HausdorffERLoss") else made


def described(name: str) -> Callable[..., None]:
    """A function with the signature and docstring that `build` has for one name."""
    return member(name).described()


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("loss of kornia", name, MEMBERS))
    return MEMBERS[name]
