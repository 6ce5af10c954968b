"""Declares the command, kinds and components of this package; imports none of them."""

from __future__ import annotations

from wf import Command, Component, Kind, hookimpl
from wf_charts import SectionTraits
from wf_tune.engine.traits import PrunerTraits, SearcherTraits


@hookimpl
def wf_commands() -> list[Command]:
    """The command of this package."""
    return [
        Command(
            name="tune",
            section="Train",
            summary="Search for settings: trials, and the best of them against the defaults with fresh seeds.",
            target="wf_tune.cli:tune",
            order=35,
        )
    ]


@hookimpl
def wf_kinds() -> list[Kind]:
    """What a search is made of."""
    return [
        Kind(
            name="searcher",
            summary="chooses the settings of the next trial of wf tune",
            traits=SearcherTraits,
            objects="an object with make(seed, trial, space), which gives an Optuna sampler",
            of_runs=False,
        ),
        Kind(
            name="pruner",
            summary="ends trials of wf tune that will not be among the best",
            traits=PrunerTraits,
            objects="an object with make(), which gives an Optuna pruner",
            of_runs=False,
        ),
    ]


@hookimpl
def wf_components() -> list[Component]:
    """The searchers and pruners of this package, and its section of reports."""
    return [
        Component(
            "searcher",
            "tpe",
            "wf_tune.engine.searchers:TPE",
            "tree-structured Parzen estimator; conditional settings, parallel trials",
            default=True,
            traits=SearcherTraits(),
        ),
        Component(
            "searcher",
            "cma-es",
            "wf_tune.engine.searchers:CMAES",
            "covariance matrix adaptation, for numbers; the rest is drawn at random",
            traits=SearcherTraits(),
        ),
        Component(
            "searcher", "random", "wf_tune.engine.searchers:Random", "independent draws", traits=SearcherTraits()
        ),
        Component(
            "searcher",
            "qmc",
            "wf_tune.engine.searchers:QMC",
            "a quasi-random sequence, more even than draws",
            traits=SearcherTraits(),
        ),
        Component(
            "searcher",
            "grid",
            "wf_tune.engine.searchers:Grid",
            "every combination once, in random order; some values of each range",
            traits=SearcherTraits(grid=True),
        ),
        Component(
            "pruner",
            "none",
            "wf_tune.engine.pruners:No",
            "every trial is trained to its end",
            default=True,
            traits=PrunerTraits(),
        ),
        Component(
            "pruner",
            "median",
            "wf_tune.engine.pruners:Median",
            "ends a trial that is worse than the median",
            traits=PrunerTraits(),
        ),
        Component(
            "pruner",
            "hyperband",
            "wf_tune.engine.pruners:Hyperband",
            "gives many trials a short time and the best of them a longer one",
            traits=PrunerTraits(),
        ),
        Component(
            "pruner",
            "wilcoxon",
            "wf_tune.engine.pruners:Wilcoxon",
            "ends a trial that is worse than the best over paired seeds, by a signed-rank test",
            traits=PrunerTraits(compares="repeats"),
        ),
        Component(
            "report-section",
            "search",
            "wf_tune.views.section:SearchSection",
            "a search: its best trials, history, importance and slices",
            traits=SectionTraits(order=30),
        ),
    ]
