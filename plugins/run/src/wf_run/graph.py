"""The graph of a run: each value has one provider, whose parameters name its needs.

The needs determine the order in which values are made; they are closed in reverse order.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from wf.declarations.values import VALUES
from wf_building.resolver import Provider
from wf_run.providers.checkpointer import checkpointer
from wf_run.providers.data.dataset import dataset
from wf_run.providers.data.served import served
from wf_run.providers.data.task import task, task_runtime
from wf_run.providers.data.transforms import transforms
from wf_run.providers.data.validation import validation_facts, validation_sets
from wf_run.providers.evaluator import evaluator
from wf_run.providers.hooks import hooks
from wf_run.providers.loop import hook_failures, loop, modes, save_failures, saved
from wf_run.providers.metrics import metric_forms, metrics
from wf_run.providers.monitor import directions, monitor
from wf_run.providers.run_dir import run_dir
from wf_run.providers.run_file import run_file
from wf_run.providers.training.length import total_steps
from wf_run.providers.training.links import forms_given, links
from wf_run.providers.training.loss import bare_loss, loss, trained_loss
from wf_run.providers.training.model import model
from wf_run.providers.training.optimizer import param_groups, params, stepping
from wf_run.providers.training.scheduler import scheduler
from wf_run.providers.training.strategy import strategy
from wf_run.providers.training.trainer import scaler, trainer
from wf_run.run_build import RunBuild
from wf_run.views.plotting import plotter

PROVIDERS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "strategy": ("strategy", strategy),
    "run.dataset": ("dataset", dataset),
    "run.validation_sets": ("validation", validation_sets),
    "validation_facts": ("validation", validation_facts),
    "run.task": ("task", task),
    "run.task_runtime": ("task", task_runtime),
    "run.transforms": ("transform", transforms),
    "run.served": ("dataset", served),
    "accumulate": ("", lambda run: run.plan["accumulate"]),
    "total_steps": ("", total_steps),
    "run.links": ("task", links),
    "model": ("model", model),
    "forms_given": ("model", forms_given),
    "run.bare_loss": ("loss", bare_loss),
    "run.trained_loss": ("loss", trained_loss),
    "loss": ("loss", loss),
    "params": ("model", params),
    "param_groups": ("model", param_groups),
    "monitor": ("", monitor),
    "directions": ("", directions),
    "run.stepping": ("optimizer", stepping),
    "scheduler": ("scheduler", scheduler),
    "metrics": ("metric", metrics),
    "metric_forms": ("metric", metric_forms),
    "scaler": ("", scaler),
    "trainer": ("trainer", trainer),
    "run.evaluator": ("evaluator", evaluator),
    "run_dir": ("", run_dir),
    "run_file": ("", run_file),
    "run.checkpointer": ("checkpointer", checkpointer),
    "plotter": ("", plotter),
    "run.hooks": ("hook", hooks),
    "run.modes": ("", modes),
    "run.saved": ("", saved),
    "run.hook_failures": ("", hook_failures),
    "run.save_failures": ("", save_failures),
    "run.loop": ("", loop),
}
"""The provider of each value, and the kind whose component it is.

The prefix ``run.`` marks values that plugins cannot ask for; a provider's parameter is named without it.
"""

COMES_WITH = {
    **dict.fromkeys(("optimizer", "optimizer_traits", "optimizers"), "run.stepping"),
    **dict.fromkeys(("targets", "outputs", "num_outputs"), "run.links"),
    "device": "strategy",
    "scheduler_interval": "scheduler",
    "total_epochs": "total_steps",
}
"""Values that are made together with another one. All others come with the data."""

ROOTS = (
    *("trainer", "loss", "scheduler", "metrics", "directions"),
    *("run.evaluator", "run_dir", "run.checkpointer", "run.hooks", "run.loop"),
)
"""The loop, and the values that it and the records of a run need, in the order in which they draw random numbers. All
other values are made because these depend on them."""


OF_LOOP = ("run.modes", "run.saved", "run.hook_failures", "run.save_failures", "run.loop")
LOOP = "the loop"
"""Who asks for the roots, and for the needs of the values in `OF_LOOP`."""


def find(of: weakref.ref[RunBuild], name: str) -> Provider | None:
    """The provider of one of the run's own values; for a value made together with another, that value's provider."""
    run = of()
    if run is None:
        return None
    if name in PROVIDERS:
        return Provider(_title(run, name), partial(_provide, run, name), needs_of(name), of_run=True)
    source = COMES_WITH.get(name, "run.served")
    if name in VALUES and source not in run.values and not run.values.comes_later(source):
        with run.values.asking(name):
            run.values.need(source)
    return None


def _title(run: RunBuild, name: str) -> str:
    """The name under which a provider asks for its needs: the component that it makes, the loop, or the value."""
    if name in OF_LOOP:
        return LOOP
    kind = PROVIDERS[name][0]
    table = run.plan.get(kind)
    makes = (name.startswith("run.") or name == kind) and isinstance(table, Mapping) and "use" in table
    return run.title(kind) if makes else name.removeprefix("run.")


def _provide(run: RunBuild, name: str) -> Any:
    """Make the needs of a value's provider, and then the value."""
    kind, function = PROVIDERS[name]
    value = function(**{param: run.values.need(key) if key else run for param, key in _parameters(name)})
    run.values.take(run.title(kind), {name: value})
    return value


def needs_of(name: str) -> tuple[str, ...]:
    """The values that the provider of a value needs."""
    return tuple(key for _, key in _parameters(name) if key)


@cache
def _parameters(name: str) -> tuple[tuple[str, str], ...]:
    """The parameters of a provider, each with the name of its value; empty for `run`."""
    names = list(inspect.signature(PROVIDERS[name][1]).parameters)
    return tuple(
        (name, "" if name == "run" else f"run.{name}" if f"run.{name}" in PROVIDERS else name) for name in names
    )
