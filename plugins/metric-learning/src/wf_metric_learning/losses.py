"""Adapts the losses of pytorch-metric-learning to wf; they take embeddings ``[N, D]`` and class indices ``[N]``."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytorch_metric_learning import losses as library
from torch import nn

from wf.errors import UsageError, unknown
from wf_catalogues.members import headline, option, stand_in

_HELP = {
    "num_classes": "Number of classes.",
    "num_outputs": "Size of an embedding.",
    "margin": "Minimum separation of classes, in the measure of the loss.",
    "pos_margin": "Positive pairs (same class) closer than this add nothing to the loss.",
    "neg_margin": "Negative pairs (different classes) further apart than this add nothing to the loss.",
    "scale": "Factor of the similarities.",
    "alpha": "See the library's documentation: the angle in degrees, or the scale of positive pairs.",
    "beta": "Boundary between positive and negative distances, or the scale of negative pairs.",
    "base": "Offset of the similarities.",
    "gamma": "Factor of the similarities.",
    "m": "Relaxation of the target similarities.",
    "temperature": "Divisor of the similarities.",
    "softmax_scale": "Factor of the distances.",
    "num_bins": "Number of bins of the histogram of distances.",
    "triplets_per_anchor": "Number of triplets per sample, drawn at random, or all.",
    "swap": "Use the smaller of the negative's distances to the anchor and to the positive.",
    "smooth_loss": "Use softplus instead of the hinge.",
    "nu": "Weight of the regularization of the boundary.",
    "learn_beta": "Train the boundary, too.",
    "pos_eps": "Tolerance of the similarities of positive pairs.",
    "neg_eps": "Tolerance of the similarities of negative pairs.",
    "sub_centers": "Number of centers per class.",
    "centers_per_class": "Number of centers per class.",
    "la": "Factor of the similarities.",
    "b": "Exponent of the variants I and D.",
    "anneal": "Temperature of the sigmoid.",
    "variant": "Function of the rank of negatives, named as in the paper.",
    "imbalance": "Share of the negative term.",
    "Tn": "Temperature of the weights of negatives.",
    "Tp": "Temperature of the weights of positives.",
    "lambda_plus": "Weight of positive pairs.",
    "lambda_minus": "Weight of negative pairs.",
    "margin_plus": "Minimum similarity of positive pairs.",
    "margin_minus": "Maximum similarity of negative pairs.",
}

_PAIRS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "AngularLoss": ("triplet loss on the angle at the negative", {"alpha": float}),
    "CircleLoss": ("pairs weighted by the distance to their target similarity", {"m": float, "gamma": float}),
    "ContrastiveLoss": (
        "pulls positive pairs together, pushes negatives apart",
        {"pos_margin": float, "neg_margin": float},
    ),
    "FastAPLoss": ("average precision, from a histogram of distances", {"num_bins": int}),
    "GeneralizedLiftedStructureLoss": (
        "all pairs of a batch, by log-sum-exp over positives and negatives",
        {"neg_margin": float, "pos_margin": float},
    ),
    "InstanceLoss": ("cross-entropy of similarities within the batch", {"gamma": float}),
    "IntraPairVarianceLoss": ("variance of the similarities of pairs", {"pos_eps": float, "neg_eps": float}),
    "LiftedStructureLoss": ("each positive pair against all its negatives", {"neg_margin": float, "pos_margin": float}),
    "MarginLoss": (
        "distances of pairs to a boundary, which can be trainable",
        {
            "margin": float,
            "nu": float,
            "beta": float,
            "triplets_per_anchor": int | Literal["all"],
            "learn_beta": bool,
        },
    ),
    "MultiSimilarityLoss": (
        "pairs weighted by their similarity relative to other pairs",
        {"alpha": float, "beta": float, "base": float},
    ),
    "NPairsLoss": ("each positive pair against one negative of every other class", {}),
    "NTXentLoss": ("each positive pair against all its negatives, by cross-entropy (InfoNCE)", {"temperature": float}),
    "PNPLoss": (
        "the number of negatives ranked before positives",
        {"b": float, "alpha": float, "anneal": float, "variant": Literal["Ds", "Dq", "Iu", "Ib", "O"]},
    ),
    "RankedListLoss": (
        "positives pulled within a radius, negatives pushed beyond it",
        {"margin": float, "Tn": float, "imbalance": float, "alpha": float | None, "Tp": float},
    ),
    "SignalToNoiseRatioContrastiveLoss": (
        "contrastive loss with the signal-to-noise ratio as distance",
        {"pos_margin": float, "neg_margin": float},
    ),
    "SupConLoss": ("supervised contrastive loss, all positives of a sample together", {"temperature": float}),
    "ThresholdConsistentMarginLoss": (
        "regularizer: pairs beyond two fixed similarity thresholds",
        {"lambda_plus": float, "lambda_minus": float, "margin_plus": float, "margin_minus": float},
    ),
    "TripletMarginLoss": (
        "each sample closer to its class than to other classes, by a margin",
        {
            "margin": float,
            "swap": bool,
            "smooth_loss": bool,
            "triplets_per_anchor": int | Literal["all"],
        },
    ),
    "TupletMarginLoss": ("each positive pair against all its negatives, by angles", {"margin": float, "scale": float}),
}
"""The losses that compare the samples of a batch with each other: summary, and options with their types."""

_CLASSES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ArcFaceLoss": (
        "softmax of angles to a trained center per class, with a margin",
        {"margin": float, "scale": float},
    ),
    "CosFaceLoss": (
        "softmax of cosines to a trained center per class, with a margin",
        {"margin": float, "scale": float},
    ),
    "LargeMarginSoftmaxLoss": ("softmax with a multiplied angle", {"margin": int, "scale": float}),
    "NormalizedSoftmaxLoss": ("softmax of cosines to a trained center per class", {"temperature": float}),
    "P2SGradLoss": ("squared error of cosines to a trained center per class", {}),
    "ProxyAnchorLoss": ("a trained proxy per class against all samples", {"margin": float, "alpha": float}),
    "ProxyNCALoss": ("each sample against a trained proxy per class", {"softmax_scale": float}),
    "SoftTripleLoss": (
        "softmax of similarities to several trained centers per class",
        {"centers_per_class": int, "la": float, "gamma": float, "margin": float},
    ),
    "SphereFaceLoss": ("softmax with a multiplied angle, of normalized centers", {"margin": int, "scale": float}),
    "SubCenterArcFaceLoss": (
        "ArcFace with several trained centers per class",
        {"margin": float, "scale": float, "sub_centers": int},
    ),
}
"""The losses that compare the samples with trained weights of each class."""

_BASE = "it is a base class of other losses"
_VIEWS = "it needs two views of each sample, and a batch of wf has one"
_WRAPS = "it wraps another loss; use that loss directly"

REFUSED = {
    "BaseLossWrapper": _BASE,
    "BaseMetricLossFunction": _BASE,
    "CrossBatchMemory": _WRAPS,
    "DynamicSoftMarginLoss": "it fails on batches with distances outside its histogram",
    "GenericPairLoss": _BASE,
    "HistogramLoss": "it uses tensor indexing that torch has deprecated and will change",
    "ManifoldLoss": "it takes no class indices",
    "MultipleLosses": "it adds other losses; use one of them",
    "NCALoss": "it is NaN for a batch without two samples of one class; use metric-learning/ProxyNCALoss",
    "SelfSupervisedLoss": _VIEWS,
    "SmoothAPLoss": "it needs the same number of samples of each class in a batch, and wf draws batches at random",
    "VICRegLoss": _VIEWS,
}
"""The unsupported losses, with the reason."""


@dataclass(frozen=True)
class Member:
    """One loss of the library.

    Args:
        name: Name of the class.
        group: ``pairs`` or ``classes``.
        summary: One line for lists.
        types: The types of its options; the library does not annotate them.
    """

    name: str
    group: str
    summary: str
    types: Mapping[str, Any]

    @property
    def kind(self) -> Any:
        """The library's class."""
        return getattr(library, self.name)

    def parameters(self) -> list[inspect.Parameter]:
        """The run values and the options, as parameters of `described`."""
        filled = {"num_classes": int, "num_outputs": int} if self.group == "classes" else {}
        theirs = self._theirs()
        return [
            *(option(name, kind) for name, kind in filled.items()),
            *(option(name, kind, theirs[name].default) for name, kind in self.types.items()),
        ]

    def make(self, num_classes: int | None, num_outputs: int | None, options: Mapping[str, Any]) -> nn.Module:
        """Build the loss."""
        sizes = {"num_classes": num_classes, "embedding_size": num_outputs, "descriptors_dim": num_outputs}
        theirs = self._theirs()
        filled = {name: size for name, size in sizes.items() if name in theirs} if self.group == "classes" else {}
        made: nn.Module = self.kind(**filled, **options)
        return made

    def _theirs(self) -> dict[str, inspect.Parameter]:
        """The parameters of the library's class and its base classes, which receive the remaining arguments."""
        found: dict[str, inspect.Parameter] = {}
        for one in reversed(self.kind.__mro__):
            found |= dict(inspect.signature(one.__init__).parameters) if "__init__" in vars(one) else {}
        return found


MEMBERS: dict[str, Member] = {
    name: Member(name, group, *row)
    for group, rows in (("pairs", _PAIRS), ("classes", _CLASSES))
    for name, row in rows.items()
}
"""The supported losses, by name."""


def build(name: str, *, num_classes: int | None = None, num_outputs: int | None = None, **options: Any) -> nn.Module:
    """A loss of pytorch-metric-learning.

    Args:
        name: Name of the class, such as ``TripletMarginLoss``.
        num_classes: Number of classes, for losses with trained weights per class.
        num_outputs: Size of an embedding, for the same losses.
        options: The options in the signature of `described`.

    Raises:
        UsageError: If an option is out of range or the name is unknown.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "__array_wrap__ must accept"
            )  # numpy's warning about the library's margins
            return member(name).make(num_classes, num_outputs, options)
    except (ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"loss 'metric-learning/{name}': {error}") from error


def described(name: str) -> Callable[..., None]:
    """A function whose signature and docstring are those of `build` for one name; it must not be called."""
    one = member(name)
    return stand_in(one.kind, one.parameters(), headline(one.summary, f"pytorch_metric_learning.losses.{name}"), _HELP)


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If the name is unknown.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("loss of pytorch-metric-learning", name, MEMBERS))
    return MEMBERS[name]
