"""Searchers. Each has a method ``make(seed, trial, space)`` that returns an Optuna sampler.

Every trial gets a new sampler, seeded by the seed of the search and the number of earlier trials. So a continued search
draws the same settings as one that was never interrupted.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

from wf.errors import UsageError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from wf_tune.space import Space


class TPE:
    """Tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization").

    Args:
        startup_trials: Number of trials that are drawn at random first.
        candidates: Number of candidates from which the most promising one is chosen.
        multivariate: Model the settings jointly instead of independently.
    """

    def __init__(self, startup_trials: int = 10, candidates: int = 24, multivariate: bool = False) -> None:
        _check("tpe", startup_trials=(startup_trials, 0), candidates=(candidates, 1))
        self.startup_trials, self.candidates, self.multivariate = startup_trials, candidates, multivariate

    def make(self, seed: int, trial: int, space: Space) -> BaseSampler:
        """The Optuna sampler for a trial."""
        from optuna.samplers import TPESampler

        return _made(
            TPESampler,
            n_startup_trials=self.startup_trials,
            n_ei_candidates=self.candidates,
            multivariate=self.multivariate,
            group=self.multivariate,
            constant_liar=True,  # running trials count as bad ones, so that concurrent trials try other settings
            seed=_drawn(seed, trial),
        )


class CMAES:
    """Covariance matrix adaptation evolution strategy (Hansen 2016, "The CMA Evolution Strategy: A Tutorial").

    Only unconditional numbers are adapted; choices and conditional settings are drawn at random.

    Args:
        startup_trials: Number of trials that are drawn at random first.
        population: Number of trials in a generation; null derives it from the number of settings.
        sigma: Initial standard deviation, as a fraction of each range; null for one sixth.
        margin: Keep a minimum probability for each integer (CMA-ES with margin).
    """

    def __init__(
        self, startup_trials: int = 1, population: int | None = None, sigma: float | None = None, margin: bool = True
    ) -> None:
        _check("cma-es", startup_trials=(startup_trials, 0), population=(population, 2))
        if sigma is not None and not 0 < sigma <= 1:
            raise UsageError(f"cma-es: sigma is {sigma:g}; it must be above 0 and at most 1")
        self.startup_trials, self.population, self.sigma, self.margin = startup_trials, population, sigma, margin

    def make(self, seed: int, trial: int, space: Space) -> BaseSampler:
        """The Optuna sampler for a trial.

        Raises:
            UsageError: If fewer than two numbers can be adapted.
        """
        from optuna.samplers import CmaEsSampler, RandomSampler

        drawn = _drawn(seed, trial)
        adapted = [one for one in space.dimensions if not one.choices and space.only_where(one.key) is None]
        if len(adapted) < 2:
            raise UsageError(
                f"cma-es adapts two or more numbers that every trial has, and this search has {len(adapted)}\n"
                "  choose another searcher: --searcher tpe"
            )

        class Adapting(CmaEsSampler):
            """Optuna's sampler with a fixed search space; otherwise conditional settings would change the space."""

            def infer_relative_search_space(self, *_: Any) -> dict[str, Any]:
                """The adapted settings."""
                return {one.key: one.distribution for one in adapted}

        return _made(
            Adapting,
            n_startup_trials=self.startup_trials,
            popsize=self.population,
            sigma0=self.sigma,
            with_margin=self.margin,
            independent_sampler=RandomSampler(seed=drawn),
            warn_independent_sampling=False,
            seed=drawn,
        )


class Random:
    """Independent draws (Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization")."""

    def make(self, seed: int, trial: int, space: Space) -> BaseSampler:
        """The Optuna sampler for a trial."""
        from optuna.samplers import RandomSampler

        return _made(RandomSampler, seed=_drawn(seed, trial))


class QMC:
    """A quasi-random sequence, which covers the space more evenly than random draws.

    Choices and conditional settings are drawn at random.

    Args:
        sequence: Name of the sequence.
        scramble: Randomize the sequence by the seed.
    """

    def __init__(self, sequence: Literal["sobol", "halton"] = "sobol", scramble: bool = True) -> None:
        if sequence not in ("sobol", "halton"):
            raise UsageError(f"qmc: sequence is '{sequence}'; choose from sobol, halton")
        self.sequence, self.scramble = sequence, scramble

    def make(self, seed: int, trial: int, space: Space) -> BaseSampler:
        """The Optuna sampler for a trial."""
        from optuna.samplers import QMCSampler, RandomSampler

        return _made(
            QMCSampler,
            qmc_type=self.sequence,
            scramble=self.scramble,
            seed=seed,  # all trials share one sequence
            independent_sampler=RandomSampler(seed=_drawn(seed, trial)),
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )


class Grid:
    """Every combination once, in random order.

    Args:
        points: Number of evenly spaced values of each range.
    """

    def __init__(self, points: int = 5) -> None:
        _check("grid", points=(points, 2))
        self.points = points

    def make(self, seed: int, trial: int, space: Space) -> BaseSampler:
        """The Optuna sampler for a trial."""
        from optuna.samplers import BruteForceSampler

        class Every(BruteForceSampler):
            """Optuna's sampler, except that it does not stop the study; the search itself counts the combinations."""

            def after_trial(self, *_: Any) -> None:
                """Do not stop the study."""

        return _made(Every, seed=_drawn(seed, trial))


def _made(kind: type[BaseSampler], **options: Any) -> BaseSampler:
    """Create an Optuna object without Optuna's warnings about experimental features."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return kind(**options)


def _drawn(seed: int, trial: int) -> int:
    """The seed of the sampler of a trial."""
    return (seed * 1_000_003 + trial * 7_919 + 17) % 2**32


def _check(owner: str, **numbers: tuple[int | None, int]) -> None:
    for name, (value, least) in numbers.items():
        if value is not None and value < least:
            raise UsageError(f"{owner}: {name} is {value}; it must be at least {least}")
