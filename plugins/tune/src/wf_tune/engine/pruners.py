"""Pruners. Each has a method ``make()`` that returns an Optuna pruner."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from wf.errors import UsageError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


class No:
    """Trains every trial to its end."""

    def make(self) -> BasePruner:
        """The Optuna pruner."""
        from optuna.pruners import NopPruner

        return NopPruner()


class Median:
    """Stops a trial whose best figure so far is worse than the median of the other trials at the same evaluation.

    Args:
        startup_trials: Number of trials that finish before any trial is stopped.
        warmup: Number of evaluations before a trial can be stopped.
        interval: Number of evaluations between two checks.
    """

    def __init__(self, startup_trials: int = 5, warmup: int = 0, interval: int = 1) -> None:
        _check("median", startup_trials=(startup_trials, 0), warmup=(warmup, 0), interval=(interval, 1))
        self.startup_trials, self.warmup, self.interval = startup_trials, warmup, interval

    def make(self) -> BasePruner:
        """The Optuna pruner."""
        from optuna.pruners import MedianPruner

        return MedianPruner(
            n_startup_trials=self.startup_trials, n_warmup_steps=self.warmup, interval_steps=self.interval
        )


class Hyperband:
    """Hyperband (Li et al. 2018): successive halving with several trade-offs of many short and few long trials.

    Args:
        least: Minimum number of evaluations of a trial.
        most: Number of evaluations of the longest trial; null takes the number of the first trial.
        factor: Reduction factor: each rung keeps one in `factor` trials and trains it for `factor` times as many
            evaluations.
    """

    def __init__(self, least: int = 1, most: int | None = None, factor: int = 3) -> None:
        _check("hyperband", least=(least, 1), factor=(factor, 2))
        if most is not None and most < least:
            raise UsageError(f"hyperband: most is {most}; it must be at least {least}, the value of 'least'")
        self.least, self.most, self.factor = least, most, factor

    def make(self) -> BasePruner:
        """The Optuna pruner."""
        from optuna.pruners import HyperbandPruner

        return HyperbandPruner(
            min_resource=self.least,
            max_resource="auto" if self.most is None else self.most,
            reduction_factor=self.factor,
        )


class Wilcoxon:
    """Stops a trial that is worse than the best trial over the same seeds, by Wilcoxon's signed-rank test.

    Args:
        p: Threshold of the p-value: the trial stops if the p-value is below it.
        startup_repeats: Number of repeats before a trial can be stopped.
    """

    def __init__(self, p: float = 0.1, startup_repeats: int = 2) -> None:
        _check("wilcoxon", startup_repeats=(startup_repeats, 0))
        if not 0 < p < 1:
            raise UsageError(f"wilcoxon: p is {p:g}; it must be between 0 and 1")
        self.p, self.startup_repeats = p, startup_repeats

    def make(self) -> BasePruner:
        """The Optuna pruner."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.pruners import WilcoxonPruner

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return WilcoxonPruner(p_threshold=self.p, n_startup_steps=self.startup_repeats)


def _check(owner: str, **numbers: tuple[Any, int]) -> None:
    for name, (value, least) in numbers.items():
        if value < least:
            raise UsageError(f"{owner}: {name} is {value}; it must be at least {least}")
