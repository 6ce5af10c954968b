"""Declares the tracking components."""

from __future__ import annotations

from wf import Catalogue, Component, hookimpl
from wf.traits import HookTraits
from wf_charts import PlotTraits

_WATCHES = HookTraits(watches=True)
_LOGS = HookTraits(watches=True, order=900)
"""Loggers come after the hooks that write files, such as plots."""


@hookimpl
def wf_components() -> list[Component | Catalogue]:
    """The hooks that display and record a run, and the plot of its curves."""
    return [
        Component(
            "hook",
            "progress",
            "wf_tracking.display.progress:Progress",
            "shows progress on standard error: a live line on a terminal, and one line per epoch",
            traits=HookTraits(watches=True, order=1000),
            default=True,
        ),
        Component(
            "hook",
            "learning-rate-log",
            "wf_tracking.learning_rate_log:LearningRateLog",
            "adds the learning rate to the records of the run",
            aliases=("lr-log",),
            traits=HookTraits(watches=True, order=10),
            default=True,
        ),
        Component(
            "hook",
            "throughput",
            "wf_tracking.throughput:Throughput",
            "records how many samples a second are trained on, or tokens, as the task counts",
            deprecated_names=("token-rate",),
            traits=HookTraits(watches=True, order=20),
        ),
        Component(
            "hook",
            "plots",
            "wf_tracking.drawing.plots:Plots",
            "draws the run at its end: all plots that fit its task, or the given ones",
            traits=_WATCHES,
        ),
        Component(
            "hook",
            "fit-verdict",
            "wf_tracking.fit_verdict:FitVerdict",
            "reports at the end whether the model underfits, overfits, or neither",
            traits=HookTraits(watches=True, order=30),
            default=True,
        ),
        Component(
            "hook",
            "stats",
            "wf_tracking.stats:Stats",
            "records the norms of gradients and the size of activations, by module",
            traits=_WATCHES,
        ),
        Component(
            "hook",
            "profile",
            "wf_tracking.profile:Profile",
            "profiles a few steps and prints the most expensive operations",
            traits=_WATCHES,
        ),
        Component(
            "hook",
            "tensorboard",
            "wf_tracking.tensorboard:TensorBoard",
            "writes the run's figures as TensorBoard event files",
            traits=_LOGS,
        ),
        Component(
            "hook",
            "csv",
            "wf_tracking.csv:Csv",
            "writes the run's records as a table, metrics.csv",
            traits=_LOGS,
        ),
        Component(
            "plot",
            "curves",
            "wf_tracking.drawing.plots:Curves",
            "loss, metrics, learning rate and all other recorded figures over the run",
            traits=PlotTraits(needs="records", order=10),
        ),
    ]
