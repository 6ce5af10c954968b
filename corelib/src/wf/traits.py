"""The declared properties of components, from which wf tells before step 1 whether they fit together.

One small frozen class per kind. A missing trait means "unknown": it is a warning, never a refusal.

The forms of *targets* and of *predictions* are names that tasks and links define (`wf.declarations.task`; ``wf list
tasks`` and ``wf list links``). Only ``raw`` is fixed: the scores as a model computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wf.declarations.fields import check_fields

Samples = Literal["any", "numbers", "vector", "image", "video", "sequence", "tokens"]
Step = Literal["plain", "closure", "two_step", "create_graph"]


class _Declared:
    """Traits that check their values when they are made, so that a wrong value is an error of the declaration."""

    def __post_init__(self) -> None:
        check_fields(self, "{0.__class__.__name__}")


@dataclass(frozen=True, kw_only=True)
class LossTraits(_Declared):
    """Traits of losses."""

    predictions: str
    """The predictions it takes."""
    targets: tuple[str, ...]
    """The targets it takes, preferred first; empty for any."""
    weighted: bool = False
    """Whether it averages over something other than samples; its method ``total_weight(targets)`` gives the sum of
    weights."""


@dataclass(frozen=True, kw_only=True)
class ModelTraits(_Declared):
    """Traits of models."""

    predictions: str = "raw"
    """The form of its outputs."""
    inputs: Samples = "any"
    """The samples it takes: ``vector [F]``, ``image [C, H, W]``, ``video [C, T, H, W]``, ``sequence [T]`` or
    ``[T, F]``, ``tokens [T]``: int64 indices of a vocabulary; ``numbers``: all of these but tokens."""
    per: Literal["any", "sample", "pixel"] = "any"
    """The unit that it predicts for: each sample, ``[N, num_outputs]``, or each pixel, ``[N, num_outputs, H, W]``, as
    masks need; ``any`` if unknown."""
    wants: str | None = None
    """``"package.module:function"``, called with the model's options before the data are read; for a catalogue member
    the name comes first. It returns the model's requirements on its data: run values by name (``image_size``), which a
    dataset may ask for, and under ``transforms`` the tables of transforms for a run that names none."""


@dataclass(frozen=True, kw_only=True)
class DatasetTraits(_Declared):
    """Traits of datasets."""

    targets: str | None = None
    """The form of its targets; None if it depends on the file or on an option, or if the task determines it."""
    task: str | None = None
    """Its task; None for the task that has such targets."""
    inputs: Literal["vector", "image", "video", "sequence", "tokens"] | None = None
    """Its samples, see `ModelTraits`; None when they depend on the file or on an option."""
    transforms: tuple[str, ...] = ()
    """Transforms that are applied when the user names none."""
    model: str | None = None
    """The model that is taken when neither the user nor the task names one; None for the default one."""
    files: tuple[str, ...] = ()
    """Endings of the files that it reads through an option ``path``: ``--dataset house.csv``; ``/`` for a folder."""
    reader: str | type | None = None
    """The class of the reader that its datasets have, see `wf_base.reading.Reader`: ``"package.module:Class"``, or in a
    plugin of one file the class itself."""
    divides: str = ""
    """A description of the options by which it divides its samples into splits, if any other division would be wrong,
    as with overlapping samples: a run with another ``split``, or a ``fold``, is refused."""


@dataclass(frozen=True, kw_only=True)
class TransformTraits(_Declared):
    """Traits of transforms."""

    train_only: bool = False
    """Whether it is an augmentation: applied to the train split only."""
    inputs: Samples = "any"
    """The samples it takes, see `ModelTraits`."""
    gives: Literal["same", "any", "vector", "image", "sequence"] = "any"
    """The samples it gives: ``same`` as it takes; ``any`` when that is not known."""
    moves: bool | None = None
    """Whether it moves pixels or changes the size of images, which masks would not follow; None when that is not
    known."""
    masks: bool = False
    """It moves masks with their images: it has a method ``on_masks``; see `wf_data.transforms.step.Step`."""
    joint: bool | Literal["batch"] = False
    """It gets inputs and targets, and changes both; its attribute ``joint`` has the same value. ``batch``: it mixes
    the samples of an update, see `wf_data.transforms.step.Step`."""
    of: Literal["inputs", "targets"] = "inputs"
    """What it changes: ``inputs``, or the ``targets`` that the loss gets. For ``targets`` its method ``inverse``
    converts model outputs back to the original units, for metrics and predictions. Its attribute ``of`` has the same
    value."""
    targets: tuple[str, ...] = ()
    """The forms of targets that a joint transform, or one of targets, takes; empty for any."""
    gives_targets: str | None = None
    """The form of the targets that a joint transform gives in training; None if unchanged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of == "targets" and (self.joint or self.gives_targets or self.train_only):
            raise ValueError(
                "TransformTraits: a transform of targets must change nothing else, in training and evaluations alike"
            )
        if (self.targets or self.gives_targets) and not self.joint and self.of == "inputs":
            raise ValueError("TransformTraits: without joint it gets no targets: leave out targets and gives_targets")
        if (self.joint == "batch" or self.gives_targets) and not self.train_only:
            raise ValueError(
                "TransformTraits: a transform that mixes samples or gives other targets needs train_only=True"
            )


@dataclass(frozen=True, kw_only=True)
class MetricTraits(_Declared):
    """Traits of metrics."""

    predictions: str = "raw"
    """The form of predictions that it takes, which the task computes: ``raw`` is the model outputs; for tasks with
    classes, ``labels`` are int64 ``[N]`` predicted classes (0/1 ``[N, C]`` where several may hold) and ``probs`` float
    ``[N, C]``."""
    targets: tuple[str, ...] = ()
    """The dataset's targets that it can judge; empty for any."""
    larger_is_better: bool | None = None
    """The direction of its figure; None when it is not one number."""


@dataclass(frozen=True, kw_only=True)
class OptimizerTraits(_Declared):
    """How an optimizer is stepped, built and switched."""

    step: Step = "plain"
    """What the trainer does with a batch:

    - ``plain``: ``evaluate(); step()``
    - ``closure``: ``step(evaluate)``, which calls it as often as it likes (LBFGS)
    - ``two_step``: ``evaluate(); step(evaluate)``, which finds the gradients of the present weights ready and calls
      `evaluate` once more, at other weights (SAM)
    - ``create_graph``: ``evaluate(); step()``, the gradients with the graph that second derivatives need (AdaHessian);
      the graph is released after the step

    `evaluate` clears the gradients, computes the loss and the gradients, tells the hooks of `on_gradients_ready`, and
    gives the loss, detached. Later evaluations of a batch draw the random numbers of the first one (dropout), and leave
    no trace in generators and buffers. The loss of the first one is what the step reports."""
    built_from: Literal["params", "groups", "model"] = "params"
    """How it gets its parameters: ``params``: all alike; ``groups``: some treated separately, by the run value
    `param_groups` or its own groups; ``model``: it takes the run value `model` and finds the parameters there."""
    modes: bool = False
    """It has train() and eval(), which put the trained weights, or the weights that are evaluated and kept, into the
    parameters (schedule-free). The loop switches it around evaluations and checkpoints and at the end, and restores
    the trained weights bit for bit."""


@dataclass(frozen=True, kw_only=True)
class SchedulerTraits(_Declared):
    """When a scheduler is stepped."""

    interval: Literal["step", "epoch", "evaluation"] = "epoch"


@dataclass(frozen=True, kw_only=True)
class TrainerTraits(_Declared):
    """Traits of trainers."""

    steps: tuple[Step, ...] = ("plain",)
    """The optimizer step protocols that it knows; the run value `optimizer_traits` says which one is wanted."""
    makes_samples: bool = False
    """It makes its samples itself, with a method ``make_batch``, see `wf.protocols.Trainer`: its runs have no
    dataset."""
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of its models and optimizers, where it has several: ``{"model": ("generator", "discriminator")}``."""


@dataclass(frozen=True, kw_only=True)
class HookTraits(_Declared):
    """Traits of hooks."""

    watches: bool = False
    """It only observes: it changes neither the weights nor the course of the run, so a run continues without it if it
    fails: its ``on_error`` is ``disable`` by default."""
    ends: bool = False
    """Its only effect on training is to end the run or to go back to a checkpoint, which the manifest records."""
    order: int = 100
    """Its place among the hooks of a run that names none: lower ones come first."""


Traits = (
    LossTraits
    | ModelTraits
    | DatasetTraits
    | TransformTraits
    | MetricTraits
    | OptimizerTraits
    | SchedulerTraits
    | TrainerTraits
    | HookTraits
)
