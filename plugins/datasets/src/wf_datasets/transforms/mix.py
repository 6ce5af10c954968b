"""Augmentations that mix each sample with another one of the update; their targets are class probabilities."""

from __future__ import annotations

import math
import random
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from wf.errors import UsageError
from wf_base import tree
from wf_base.tree import Tree


class _Mixing:
    """Base class: the draws of an update, and class probabilities as targets."""

    name: str
    joint: Literal["batch"] = "batch"

    def __init__(self, num_classes: int, alpha: float, probability: float) -> None:
        if not (math.isfinite(alpha) and alpha > 0):
            raise UsageError(f"{self.name}: alpha is {alpha}; it must be a finite number above 0")
        if not 0 <= probability <= 1:
            raise UsageError(f"{self.name}: probability is {probability}; it must be from 0 to 1")
        self.num_classes, self.alpha, self.probability = num_classes, alpha, probability

    def share(self, generator: Generator) -> float | None:
        """The share of the sample itself, from Beta(alpha, alpha); None for an update that is not mixed."""
        drawn = random.Random(int(torch.randint(2**62, (), generator=generator)))  # torch's Beta takes no generator
        return drawn.betavariate(self.alpha, self.alpha) if drawn.random() < self.probability else None

    def shares(self, targets: Tensor) -> Tensor:
        """The share of each class, float ``[N, C]``, of class indices ``[N]`` or of shares.

        Raises:
            UsageError: For other targets.
        """
        if targets.ndim == 2 and targets.is_floating_point():
            return targets
        if targets.ndim != 1 or targets.dtype != torch.int64:
            raise UsageError(f"{self.name}: targets {tree.words(targets)} are not classes; leave the transform out")
        if targets.device.type == "cpu" and bool((targets < 0).any()):  # on other devices the host would wait
            raise UsageError(f"{self.name}: a sample without a class, target {int(targets.min())}, cannot be mixed")
        return functional.one_hot(targets, self.num_classes).to(torch.get_default_dtype())


class MixUp(_Mixing):
    """Take the weighted mean of each sample and another one, and of their classes (mixup).

    ``x = λ x_i + (1 - λ) x_j`` and ``y = λ y_i + (1 - λ) y_j``, with y the shares of the classes and one λ from
    Beta(alpha, alpha) per update: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization"
    (2018), section 2. Evaluations get unchanged samples.

    Args:
        num_classes: Number of classes.
        alpha: How strongly samples are mixed: near 0 hardly at all, with 1 λ is uniform.
        probability: The share of updates that are mixed.

    Raises:
        UsageError: For an alpha that is not above 0, or a probability outside of 0 to 1.
    """

    name = "mixup"

    def __init__(self, num_classes: int, alpha: float = 0.2, probability: float = 1.0) -> None:
        super().__init__(num_classes, alpha, probability)

    def __call__(
        self, inputs: Tree, targets: Tensor, partners: tuple[Tree, Tensor], generator: Generator
    ) -> tuple[Tree, Tensor]:
        """Inputs and the shares of their classes, mixed.

        Args:
            inputs: Floating ``[N, ...]``, or a tree of such.
            targets: int64 class indices ``[N]`` or float shares ``[N, C]``.
            partners: Inputs and targets of each sample's partner.
            generator: The random generator.

        Raises:
            UsageError: For inputs or targets that cannot be mixed.
        """
        share, own = self.share(generator), self.shares(targets)
        if share is None:
            return inputs, own
        others, other = partners
        mixed = tree.map_leaves(lambda one, two: self._mean(one, two, share), inputs, others)
        return mixed, self._mean(own, self.shares(other), share)

    def _mean(self, own: Tensor, other: Tensor, share: float) -> Tensor:
        if not own.is_floating_point():
            raise UsageError(
                f"{self.name}: inputs {tree.words(own)} are not floating-point numbers, so they have no mean"
            )
        return own * share + other * (1 - share)  # not lerp: its bits depend on a sample's position in the batch


class CutMix(_Mixing):
    """Paste a rectangle of another image into each image, and weight the classes by area (CutMix).

    With λ from Beta(alpha, alpha) the rectangle has the sides ``W √(1 - λ)`` and ``H √(1 - λ)``, and its centre is
    drawn uniformly; it is clipped at the borders. The partner's share of the classes is its share of the pixels: Yun
    et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (2019), section
    3.1. All images of an update share one rectangle. Evaluations get unchanged images.

    Args:
        num_classes: Number of classes.
        alpha: With 1 λ is uniform; near 0 nearly all of an image comes from one of the two.
        probability: The share of updates that are mixed.

    Raises:
        UsageError: For an alpha that is not above 0, or a probability outside of 0 to 1.
    """

    name = "cutmix"

    def __init__(self, num_classes: int, alpha: float = 1.0, probability: float = 1.0) -> None:
        super().__init__(num_classes, alpha, probability)

    def __call__(
        self, inputs: Tensor, targets: Tensor, partners: tuple[Tensor, Tensor], generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Images and the shares of their classes, mixed.

        Args:
            inputs: ``[N, C, H, W]``.
            targets: int64 class indices ``[N]`` or float shares ``[N, C]``.
            partners: Inputs and targets of each sample's partner.
            generator: The random generator.

        Raises:
            UsageError: For inputs or targets that cannot be mixed.
        """
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            raise UsageError(f"{self.name}: inputs {tree.words(inputs)} are not images [N, C, H, W]")
        share, own = self.share(generator), self.shares(targets)
        if share is None:
            return inputs, own
        height, width = inputs.shape[-2:]
        rows, columns = (_cut(size, share, generator) for size in (height, width))
        mixed = inputs.clone()
        mixed[..., rows, columns] = partners[0][..., rows, columns]
        given = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        return mixed, own * (1 - given) + self.shares(partners[1]) * given


def _cut(size: int, share: float, generator: Generator) -> slice:
    """The start and end of the rectangle along an axis."""
    half = int(size * math.sqrt(1 - share)) // 2
    centre = int(torch.randint(size, (), generator=generator))
    return slice(max(centre - half, 0), min(centre + half, size))
