"""The metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wf.declarations.task import Task
from wf.engine.figures import LOSS
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_base.metric import as_metric
from wf_building.built import Built
from wf_run.run_build import RunBuild, traits_of


def metrics(run: RunBuild, strategy: Strategy, task: Task | None) -> dict[str, Any]:
    """The metrics by name, as the evaluator uses them."""
    made = run.make_many("metric", run.plan["metric"])
    if task is None:
        _check_forms(run, made)
    return {built.name: metric_of(built, strategy.world_size) for built in made}


def metric_forms(run: RunBuild, metrics: dict[str, Any]) -> dict[str, str]:
    """The form of the predictions of each metric."""
    return {built.name: form_of_metric(built) for built in run.several("metric")}


def form_of_metric(built: Built) -> str:
    """The form of the predictions of a metric."""
    return str(getattr(traits_of(built), "predictions", "raw"))


def _check_forms(run: RunBuild, metrics: Sequence[Built]) -> None:
    """Refuse metrics of labels or probabilities if the task cannot read these from the model outputs."""
    for built in metrics:
        form = form_of_metric(built)
        if form != "raw":
            raise UsageError(
                f"metric '{built.name}' judges {form}, and dataset '{run.name('dataset')}' does not declare the form "
                "of its targets, so none can be read from the model outputs\n"
                "  declare it: wf_base.Dataset(targets=...); or use a metric of the model outputs"
            )


def metric_of(built: Built, world_size: int) -> Any:
    """A metric, wrapped for the evaluator if necessary."""
    if built.name == LOSS:
        raise UsageError("a metric named 'loss' would hide the figure of the loss\n  give it another name")
    larger = getattr(traits_of(built), "larger_is_better", None)
    return as_metric(built.value, f"metric '{built.name}'", world_size, larger)
