"""Declares the command, kinds and components of this package; imports none of them."""

from __future__ import annotations

from wf import Command, Component, Kind, hookimpl
from wf_charts import PlotTraits, SectionTraits
from wf_tune.engine.traits import PrunerTraits, SearcherTraits


@hookimpl
def wf_commands() -> list[Command]:
    """The command of this package."""
    return [
        Command(
            name="tune",
            section="Train",
            summary="Search for settings with Optuna, and compare the best with the defaults on fresh seeds.",
            target="wf_tune.cli:tune",
            alone=True,
            order=35,
        )
    ]


@hookimpl
def wf_kinds() -> list[Kind]:
    """The component kinds of a search."""
    return [
        Kind(
            name="searcher",
            summary="chooses the settings of the next trial of wf tune",
            traits=SearcherTraits,
            objects="an object whose make(seed, trial, space) returns an Optuna sampler",
            of_runs=False,
        ),
        Kind(
            name="pruner",
            summary="stops unpromising trials of wf tune early",
            traits=PrunerTraits,
            objects="an object whose make() returns an Optuna pruner",
            of_runs=False,
        ),
    ]


@hookimpl
def wf_components() -> list[Component]:
    """The searchers and pruners of this package, the plots of a search, and its section of reports."""
    return [
        Component(
            "searcher",
            "tpe",
            "wf_tune.engine.searchers:TPE",
            "tree-structured Parzen estimator; handles conditional settings and parallel trials",
            default=True,
            traits=SearcherTraits(),
        ),
        Component(
            "searcher",
            "cma-es",
            "wf_tune.engine.searchers:CMAES",
            "covariance matrix adaptation for numbers; other settings are drawn at random",
            traits=SearcherTraits(),
        ),
        Component(
            "searcher", "random", "wf_tune.engine.searchers:Random", "independent draws", traits=SearcherTraits()
        ),
        Component(
            "searcher",
            "qmc",
            "wf_tune.engine.searchers:QMC",
            "a quasi-random sequence; covers the space more evenly than random draws",
            traits=SearcherTraits(),
        ),
        Component(
            "searcher",
            "grid",
            "wf_tune.engine.searchers:Grid",
            "every combination once, in random order; a fixed number of values per range",
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
            "stops a trial that is worse than the median",
            traits=PrunerTraits(),
        ),
        Component(
            "pruner",
            "hyperband",
            "wf_tune.engine.pruners:Hyperband",
            "trains many trials briefly and the best of them longer",
            traits=PrunerTraits(),
        ),
        Component(
            "pruner",
            "wilcoxon",
            "wf_tune.engine.pruners:Wilcoxon",
            "stops a trial that is worse than the best over paired seeds, by a signed-rank test",
            traits=PrunerTraits(compares="repeats"),
        ),
        Component(
            "plot",
            "search-history",
            "wf_tune.views.plots:History",
            "the figure of each trial, and the best so far",
            traits=PlotTraits(of="search", order=10),
        ),
        Component(
            "plot",
            "search-importance",
            "wf_tune.views.plots:Importance",
            "the share of the variance that each setting explains",
            traits=PlotTraits(of="search", order=20),
        ),
        Component(
            "plot",
            "search-slices",
            "wf_tune.views.plots:Slices",
            "the figure over each setting",
            traits=PlotTraits(of="search", order=30),
        ),
        Component(
            "report-section",
            "search",
            "wf_tune.views.section:SearchSection",
            "a search: its best trials and the final comparison",
            traits=SectionTraits(order=30),
        ),
    ]
