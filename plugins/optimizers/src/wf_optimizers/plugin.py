"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import OptimizerTraits, SchedulerTraits


@hookimpl
def wf_components() -> list[Component]:
    """The optimizers and schedulers of this package."""
    return [
        Component(
            "optimizer",
            "sgd",
            "wf_optimizers.sgd:sgd",
            summary="stochastic gradient descent, with optional momentum",
            traits=OptimizerTraits(),
        ),
        Component(
            "optimizer",
            "adam",
            "wf_optimizers.adam:adam",
            summary="Adam: a step size for each parameter from running moments",
            traits=OptimizerTraits(),
            default=True,
        ),
        Component(
            "optimizer",
            "adamw",
            "wf_optimizers.adam:adamw",
            summary="Adam with decoupled weight decay",
            traits=OptimizerTraits(),
        ),
        Component(
            "optimizer",
            "rmsprop",
            "wf_optimizers.rmsprop:rmsprop",
            summary="gradients divided by their running root mean square",
            traits=OptimizerTraits(),
        ),
        Component(
            "scheduler",
            "step",
            "wf_optimizers.steps:step",
            summary="multiply the learning rate by gamma every few epochs",
            aliases=("step-lr",),
            traits=SchedulerTraits(interval="epoch"),
        ),
        Component(
            "scheduler",
            "multistep",
            "wf_optimizers.steps:multistep",
            summary="multiply the learning rate by gamma at the given epochs",
            aliases=("multi-step", "multistep-lr"),
            traits=SchedulerTraits(interval="epoch"),
        ),
        Component(
            "scheduler",
            "cosine",
            "wf_optimizers.annealing:cosine",
            summary="anneal along half a cosine over the whole run",
            aliases=("cosine-annealing",),
            traits=SchedulerTraits(interval="step"),
        ),
        Component(
            "scheduler",
            "onecycle",
            "wf_optimizers.annealing:onecycle",
            summary="up to a large learning rate and down again over the whole run",
            aliases=("one-cycle",),
            traits=SchedulerTraits(interval="step"),
        ),
        Component(
            "scheduler",
            "plateau",
            "wf_optimizers.plateau:Plateau",
            summary="lower the learning rate when the monitored figure stops improving",
            aliases=("reduce-on-plateau",),
            traits=SchedulerTraits(interval="evaluation"),
            plain="wf_optimizers.plain:plateau",
        ),
        Component(
            "scheduler",
            "linear-warmup",
            "wf_optimizers.warmup:LinearWarmup",
            summary="rise linearly over the first steps, alone or on top of another schedule",
            aliases=("warmup",),
            traits=SchedulerTraits(interval="step"),
        ),
    ]
