"""Traits of the components of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SearcherTraits:
    """Traits of searchers."""

    grid: bool = False
    """Whether it tries every point: each range is reduced to `points` values, and the search ends after the last."""


@dataclass(frozen=True, kw_only=True)
class PrunerTraits:
    """Traits of pruners."""

    compares: Literal["any", "repeats"] = "any"
    """``any``: it compares the figure at each evaluation of a run, or the mean of the repeats so far. ``repeats``: it
    compares single repeats paired by seed, so each trial needs several repeats."""
