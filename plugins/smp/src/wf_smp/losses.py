"""Adapts the losses of segmentation-models-pytorch to wf."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from segmentation_models_pytorch import losses as library
from torch import Tensor, nn

from wf.errors import UsageError, unknown
from wf_catalogues.members import Member

Reduction = Literal["mean", "sum"]

BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"
"""The library's names of its modes."""

_LEFT_OUT = "Targets with this value are ignored; -100 as everywhere in wf. The library's default ignores none."
_HELP = {
    "ignore_index": _LEFT_OUT,
    "classes": "The classes to include; all by default.",
    "smooth": "Added to the numerator and the denominator.",
    "reduction": "Reduction over the pixels; classes are averaged.",
    "smooth_factor": "Label smoothing: the share of the target that is spread over all classes.",
    "weight": "Factor of each element.",
    "pos_weight": "Factor of the positive targets of each label.",
    "alpha": "Factor of positive targets; negative targets get 1 - alpha. No factor by default.",
    "gamma": "Focusing exponent: larger values down-weight well-classified targets more.",
}
_TVERSKY_HELP = {
    **_HELP,
    "alpha": "Weight of false positives.",
    "beta": "Weight of false negatives.",
    "gamma": "Exponent of the loss.",
}


_loss = partial(Member, module="segmentation_models_pytorch.losses", instead={Tensor: list[float]}, help=_HELP)
_region = partial(
    _loss,
    group="regions",
    fixed={"mode": "multiclass", "from_logits": True},
    defaults={"ignore_index": -100},
)


MEMBERS: dict[str, Member] = {
    "DiceLoss": _region(library.DiceLoss, "1 - Dice score of each class over the pixels of the batch, averaged"),
    "JaccardLoss": _region(library.JaccardLoss, "1 - intersection over union of each class over the batch, averaged"),
    "LovaszLoss": _region(library.LovaszLoss, "Lovasz-softmax, a surrogate of intersection over union"),
    "TverskyLoss": _region(
        library.TverskyLoss, "Dice loss with separate weights of false positives and negatives", help=_TVERSKY_HELP
    ),
    "FocalLoss": _loss(
        library.FocalLoss,
        "focal loss of one sigmoid per class, one-vs-rest",
        group="focal",
        fixed={"from_logits": True},
        without=("mode", "eps"),
        defaults={"ignore_index": -100},
        types={"reduction": Reduction, "gamma": float},
    ),
    "SoftBCEWithLogitsLoss": _loss(
        library.SoftBCEWithLogitsLoss,
        "binary cross-entropy of logits, with label smoothing",
        group="yes_no",
        types={"reduction": Reduction},
        help={**_HELP, "ignore_index": "Elements with this value add zero to the loss, but the mean counts them."},
    ),
    "SoftCrossEntropyLoss": _loss(
        library.SoftCrossEntropyLoss,
        "softmax cross-entropy with label smoothing",
        group="classes",
        fixed={"dim": 1},
        defaults={"smooth_factor": 0.0},  # the library's None fails
        types={"reduction": Reduction, "smooth_factor": float},
        help={**_HELP, "ignore_index": "Targets with this value add zero to the loss, but the mean counts them."},
    ),
}
"""The supported losses, by name."""

REFUSED = {
    "MCCLoss": "it needs the probabilities of one binary mask, but masks in wf hold class indices; use smp/DiceLoss",
}
"""The unsupported losses, with the reason."""


class FocalLoss(nn.Module):
    """The library's focal loss; its mean divides by the number of targets that are not ignored.

    The targets determine the library's mode: integers are class indices, floats with one number per sample are binary,
    and floats with several numbers per sample are multilabel.

    Args:
        make: Builds the library's loss, given its mode and the ignored target value.
        ignore_index: Targets with this value are ignored, except for multilabel targets: the library fails there.
    """

    def __init__(self, make: Callable[[str, int | None], Any], ignore_index: int | None) -> None:
        super().__init__()
        self._make, self._ignore_index = make, ignore_index
        self._made = {MULTICLASS: make(MULTICLASS, ignore_index)}

    @property
    def reduction(self) -> str:
        """``mean`` or ``sum``."""
        return str(self._made[MULTICLASS].reduction)

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of logits ``[N, C, ...]`` and class indices ``[N, ...]``, or of logits and targets of one shape."""
        mode = self._mode(targets)
        if mode not in self._made:
            self._made[mode] = self._make(mode, self._left_out(mode))
        loss: Tensor = self._made[mode](predictions, targets)
        return loss

    def total_weight(self, targets: Tensor) -> Tensor:
        """The divisor of the mean: the number of targets that are not ignored, int64 and 0-d."""
        value = self._left_out(self._mode(targets))
        left_out = torch.zeros_like(targets) if value is None else targets == value
        return (left_out == 0).sum()

    def _left_out(self, mode: str) -> int | None:
        return None if mode == MULTILABEL else self._ignore_index

    @staticmethod
    def _mode(targets: Tensor) -> str:
        if not targets.is_floating_point():
            return MULTICLASS
        return MULTILABEL if targets.ndim > 1 and targets.shape[1] > 1 else BINARY


def build(name: str, **options: Any) -> nn.Module:
    """A loss of segmentation-models-pytorch.

    Args:
        name: Name of the class, such as ``DiceLoss``.
        options: The options in the signature of `described`.

    Raises:
        UsageError: If an option is out of range or the name is unknown.
    """
    one = member(name)
    given = {key: torch.as_tensor(options[key]) for key in ("weight", "pos_weight") if options.get(key) is not None}

    def make(**more: Any) -> Any:
        try:
            return one.make(**{**options, **given, **more})
        except (ValueError, AssertionError, TypeError) as error:
            raise UsageError(f"loss 'smp/{name}': {error}") from error

    if name == "FocalLoss":
        return FocalLoss(lambda mode, left_out: make(mode=mode, ignore_index=left_out), options.get("ignore_index"))
    made: nn.Module = make()
    return made


def described(name: str) -> Callable[..., None]:
    """A function whose signature and docstring are those of `build` for one name."""
    return member(name).described()


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If the name is unknown.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("loss of segmentation-models-pytorch", name, MEMBERS))
    return MEMBERS[name]
