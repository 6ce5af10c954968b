"""The losses of segmentation-models-pytorch as losses of wf."""

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
"""The library's words for its modes."""

_LEFT_OUT = "Targets of this value are left out; -100 as everywhere in wf, where the library leaves out none."
_HELP = {
    "ignore_index": _LEFT_OUT,
    "classes": "The classes that count; all when not given.",
    "smooth": "Added to both parts of the ratio.",
    "reduction": "Of the pixels; the classes are averaged.",
    "smooth_factor": "Share of the target that is spread over all classes.",
    "weight": "Factors of the single elements.",
    "pos_weight": "Factors of the positive targets, one a label.",
    "alpha": "Factor of positive targets, negative ones get 1 - alpha; none when not given.",
    "gamma": "How strongly well classified targets are turned down.",
}
_TVERSKY_HELP = {
    **_HELP,
    "alpha": "Weight of false positives.",
    "beta": "Weight of false negatives.",
    "gamma": "Power that the loss is raised to.",
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
        library.TverskyLoss, "Dice loss that weighs false positives and false negatives apart", help=_TVERSKY_HELP
    ),
    "FocalLoss": _loss(
        library.FocalLoss,
        "focal loss of each class against the rest, over sigmoids",
        group="focal",
        fixed={"from_logits": True},
        without=("mode", "eps"),
        defaults={"ignore_index": -100},
        types={"reduction": Reduction, "gamma": float},
    ),
    "SoftBCEWithLogitsLoss": _loss(
        library.SoftBCEWithLogitsLoss,
        "sigmoid and binary cross-entropy of smoothed targets",
        group="yes_no",
        types={"reduction": Reduction},
        help={**_HELP, "ignore_index": "Elements of this value add nothing; the mean counts them."},
    ),
    "SoftCrossEntropyLoss": _loss(
        library.SoftCrossEntropyLoss,
        "softmax cross-entropy of smoothed targets",
        group="classes",
        fixed={"dim": 1},
        defaults={"smooth_factor": 0.0},  # the library's None fails
        types={"reduction": Reduction, "smooth_factor": float},
        help={**_HELP, "ignore_index": "Targets of this value add nothing; the mean counts them."},
    ),
}
"""The losses that can be used, by name."""

REFUSED = {
    "MCCLoss": "it wants probabilities of one mask of yes and no, and a mask of wf holds class indices; "
    "smp/DiceLoss takes those",
}
"""Those that cannot, with the reason."""


class FocalLoss(nn.Module):
    """The library's focal loss, which divides by the targets that are not left out.

    It looks at the targets for the mode of the library: class indices are whole numbers; yes or no is told by one
    number a sample, or by several.

    Args:
        make: Makes the library's, given its mode and the value of targets that are left out.
        ignore_index: Targets of this value are left out; of several labels a sample none is, the library fails on it.
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
        """What the mean divides by: the number of targets that are not ignored, int64 and 0-d."""
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
        name: Its class, as ``DiceLoss``.
        options: As `described` says them.

    Raises:
        UsageError: For an option out of range.
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
    """A function with the signature and docstring that `build` has for one name."""
    return member(name).described()


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("loss of segmentation-models-pytorch", name, MEMBERS))
    return MEMBERS[name]
