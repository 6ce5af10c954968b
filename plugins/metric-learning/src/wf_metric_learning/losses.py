"""The losses of pytorch-metric-learning as losses of wf: called with embeddings ``[N, D]`` and classes ``[N]``."""

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
    "num_classes": "The number of classes.",
    "num_outputs": "Numbers of an embedding.",
    "margin": "How far apart, in the loss's own measure, is far enough.",
    "pos_margin": "Pairs of one class that are nearer than this add nothing.",
    "neg_margin": "Pairs of two classes that are further than this add nothing.",
    "scale": "Factor of the similarities.",
    "alpha": "See the library's documentation: the angle in degrees, or the scale of positive pairs.",
    "beta": "Boundary between near and far, or the scale of negative pairs.",
    "base": "Similarity that counts as neither near nor far.",
    "gamma": "Factor of the similarities.",
    "m": "Relaxation of the similarities that are wanted.",
    "temperature": "Divisor of the similarities.",
    "softmax_scale": "Factor of the distances.",
    "num_bins": "Bins of the histogram of distances.",
    "triplets_per_anchor": "How many triplets are made for each sample: all, or so many, drawn at random.",
    "swap": "Take the harder of the two distances to the negative.",
    "smooth_loss": "Softplus in the place of the hinge.",
    "nu": "Weight of the boundary's regularization.",
    "learn_beta": "Train the boundary too.",
    "pos_eps": "Tolerance of the similarities of one class.",
    "neg_eps": "Tolerance of the similarities of two classes.",
    "sub_centers": "Centers of each class.",
    "centers_per_class": "Centers of each class.",
    "la": "Factor of the similarities.",
    "b": "Power of the variants I and D.",
    "anneal": "Temperature of the sigmoid.",
    "variant": "How the rank of negatives is judged, as in the paper.",
    "imbalance": "Share of the negative term.",
    "Tn": "Temperature of the weights of negatives.",
    "Tp": "Temperature of the weights of positives.",
    "lambda_plus": "Weight of positive pairs.",
    "lambda_minus": "Weight of negative pairs.",
    "margin_plus": "Similarity that positive pairs are to have.",
    "margin_minus": "Similarity that negative pairs are not to have.",
}

_PAIRS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "AngularLoss": ("triplets by the angle at the negative", {"alpha": float}),
    "CircleLoss": ("pairs weighted by how far they are from where they should be", {"m": float, "gamma": float}),
    "ContrastiveLoss": ("near pairs of one class, far pairs of two", {"pos_margin": float, "neg_margin": float}),
    "FastAPLoss": ("average precision, from a histogram of distances", {"num_bins": int}),
    "GeneralizedLiftedStructureLoss": (
        "all pairs of a batch, by log-sum-exp on both sides",
        {"neg_margin": float, "pos_margin": float},
    ),
    "InstanceLoss": ("cross-entropy of similarities within the batch", {"gamma": float}),
    "IntraPairVarianceLoss": ("variance of similarities of pairs", {"pos_eps": float, "neg_eps": float}),
    "LiftedStructureLoss": ("each positive pair against all its negatives", {"neg_margin": float, "pos_margin": float}),
    "MarginLoss": (
        "pairs on the right side of a boundary that may be trained",
        {
            "margin": float,
            "nu": float,
            "beta": float,
            "triplets_per_anchor": int | Literal["all"],
            "learn_beta": bool,
        },
    ),
    "MultiSimilarityLoss": (
        "pairs weighted by their own and each other's similarity",
        {"alpha": float, "beta": float, "base": float},
    ),
    "NPairsLoss": ("each positive pair against one negative of every other class", {}),
    "NTXentLoss": ("each positive pair against all its negatives, by cross-entropy (InfoNCE)", {"temperature": float}),
    "PNPLoss": (
        "the number of negatives that are ranked before positives",
        {"b": float, "alpha": float, "anneal": float, "variant": Literal["Ds", "Dq", "Iu", "Ib", "O"]},
    ),
    "RankedListLoss": (
        "negatives pushed out of, positives pulled into a ball",
        {"margin": float, "Tn": float, "imbalance": float, "alpha": float | None, "Tp": float},
    ),
    "SignalToNoiseRatioContrastiveLoss": (
        "contrastive loss of the ratio of variances",
        {"pos_margin": float, "neg_margin": float},
    ),
    "SupConLoss": ("supervised contrastive loss, all positives of a sample together", {"temperature": float}),
    "ThresholdConsistentMarginLoss": (
        "pairs that are on the wrong side of two fixed similarities; an addition to other losses",
        {"lambda_plus": float, "lambda_minus": float, "margin_plus": float, "margin_minus": float},
    ),
    "TripletMarginLoss": (
        "a sample nearer to one of its class than to one of another, by a margin",
        {
            "margin": float,
            "swap": bool,
            "smooth_loss": bool,
            "triplets_per_anchor": int | Literal["all"],
        },
    ),
    "TupletMarginLoss": ("each positive pair against all its negatives, by angles", {"margin": float, "scale": float}),
}
"""Those that compare the samples of a batch with each other: the summary, and the options with their types."""

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
    "NormalizedSoftmaxLoss": ("softmax of cosines to a trained center a class", {"temperature": float}),
    "P2SGradLoss": ("squared error of cosines to a trained center a class", {}),
    "ProxyAnchorLoss": ("a trained proxy a class against all samples", {"margin": float, "alpha": float}),
    "ProxyNCALoss": ("each sample against a trained proxy a class", {"softmax_scale": float}),
    "SoftTripleLoss": (
        "softmax of similarities to several trained centers a class",
        {"centers_per_class": int, "la": float, "gamma": float, "margin": float},
    ),
    "SphereFaceLoss": ("softmax with a multiplied angle, of normalized centers", {"margin": int, "scale": float}),
    "SubCenterArcFaceLoss": (
        "ArcFace with several trained centers a class",
        {"margin": float, "scale": float, "sub_centers": int},
    ),
}
"""Those that compare the samples with trained weights of each class."""

_BASE = "it is a base of other losses"
_VIEWS = "it wants two views of each sample, and a batch of wf has one"
_WRAPS = "it wraps another loss; name that one"

REFUSED = {
    "BaseLossWrapper": _BASE,
    "BaseMetricLossFunction": _BASE,
    "CrossBatchMemory": _WRAPS,
    "DynamicSoftMarginLoss": "it fails on batches whose distances lie beyond its histogram",
    "GenericPairLoss": _BASE,
    "HistogramLoss": "it indexes tensors in a way that torch deprecates and is to read otherwise",
    "ManifoldLoss": "it takes no classes",
    "MultipleLosses": "it adds other losses; name one",
    "NCALoss": "it is NaN for a batch in which no two samples are of one class; metric-learning/ProxyNCALoss never is",
    "SelfSupervisedLoss": _VIEWS,
    "SmoothAPLoss": "it wants equally many samples of each class in a batch, and wf draws batches at random",
    "VICRegLoss": _VIEWS,
}
"""Those that cannot be used, with the reason."""


@dataclass(frozen=True)
class Member:
    """One loss of the library.

    Args:
        name: Its class.
        group: ``pairs`` or ``classes``.
        summary: One line for lists.
        types: Its options, with their types; the library's have none.
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
        """The run values and the options."""
        filled = {"num_classes": int, "num_outputs": int} if self.group == "classes" else {}
        theirs = self._theirs()
        return [
            *(option(name, kind) for name, kind in filled.items()),
            *(option(name, kind, theirs[name].default) for name, kind in self.types.items()),
        ]

    def make(self, num_classes: int | None, num_outputs: int | None, options: Mapping[str, Any]) -> nn.Module:
        """The loss itself."""
        sizes = {"num_classes": num_classes, "embedding_size": num_outputs, "descriptors_dim": num_outputs}
        theirs = self._theirs()
        filled = {name: size for name, size in sizes.items() if name in theirs} if self.group == "classes" else {}
        made: nn.Module = self.kind(**filled, **options)
        return made

    def _theirs(self) -> dict[str, inspect.Parameter]:
        """The parameters of the library's class and of its bases, to which it hands on what it does not know."""
        found: dict[str, inspect.Parameter] = {}
        for one in reversed(self.kind.__mro__):
            found |= dict(inspect.signature(one.__init__).parameters) if "__init__" in vars(one) else {}
        return found


MEMBERS: dict[str, Member] = {
    name: Member(name, group, *row)
    for group, rows in (("pairs", _PAIRS), ("classes", _CLASSES))
    for name, row in rows.items()
}
"""The losses that can be used, by name."""


def build(name: str, *, num_classes: int | None = None, num_outputs: int | None = None, **options: Any) -> nn.Module:
    """A loss of pytorch-metric-learning.

    Args:
        name: Its class, as ``TripletMarginLoss``.
        num_classes: The classes, for those with trained weights of each.
        num_outputs: The numbers of an embedding, likewise.
        options: As `described` says them.

    Raises:
        UsageError: For an option out of range.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "__array_wrap__ must accept")  # of numpy, about the library's margins
            return member(name).make(num_classes, num_outputs, options)
    except (ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"loss 'metric-learning/{name}': {error}") from error


def described(name: str) -> Callable[..., None]:
    """A function with the signature and docstring that `build` has for one name; not to be called."""
    one = member(name)
    return stand_in(one.kind, one.parameters(), headline(one.summary, f"pytorch_metric_learning.losses.{name}"), _HELP)


def member(name: str) -> Member:
    """The member with a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in MEMBERS:
        raise UsageError(unknown("loss of pytorch-metric-learning", name, MEMBERS))
    return MEMBERS[name]
