"""Traits of the components of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SearcherTraits:
    """Traits of searchers."""

    grid: bool = False
    """It tries every point, so that ranges are cut to its `points`, and the search ends when all were tried."""


@dataclass(frozen=True, kw_only=True)
class PrunerTraits:
    """Traits of pruners."""

    compares: Literal["any", "repeats"] = "any"
    """``any``: it judges by a figure that improves over the evaluations of a run, or over the mean of the repeats so
    far; ``repeats``: by the figures of single repeats, paired by seed, so that a trial needs several."""
