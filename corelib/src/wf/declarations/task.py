"""Declarations of tasks and links. Imports nothing heavy.

A *task* is the contract between dataset, model, loss and metrics. A *link* closes a small gap between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from wf.declarations.fields import check_fields
from wf.declarations.kinds import KINDS

MONITOR = "monitor"
"""The key in a task's defaults with the figure that decides which weights are best; all other keys are kinds."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The contract between dataset, model, loss and metrics, as a plugin's ``wf_tasks`` declares it."""

    word: ClassVar[str] = "task"
    about: ClassVar[str] = "what dataset, model, loss and metrics agree about"
    is_typed: ClassVar[bool] = True

    name: str
    """What users type."""
    target: str | Callable[..., Any]
    """``"package.module:Class"``, a `wf_base.task.TaskRuntime`, loaded on first use."""
    summary: str = ""
    """One line for lists."""
    targets: tuple[str, ...] = ()
    """The forms of its targets. A dataset that declares one of them, and no task, belongs to this task."""
    predictions: tuple[str, ...] = ()
    """The forms of predictions that only losses of this task take: such a loss chooses the task."""
    gives: str | None = None
    """The form of its models' outputs, if they compute their own losses; None if the loss declares its predictions."""
    reads: tuple[str, ...] = ()
    """The forms of predictions that its metrics can be given, see `MetricTraits`; empty for any."""
    per: Literal["any", "sample", "pixel"] = "any"
    """The unit that its models predict for: samples or pixels, see `ModelTraits`."""
    spatial: bool = False
    """Its targets are positions in the images, so a transform that moves pixels has to move them, too."""
    defaults: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """The default components of a run: ``{"loss": NAME, "metric": (NAMES), "model": NAME, "hook": (NAMES)}``. Hooks are
    added to the hooks of every run, and a metric counts only if it takes the run's targets. ``monitor`` is the figure
    that decides which weights are best, such as ``"validation/map"``. For a kind whose components are made on demand,
    such as ``tokenizer``, it is the default of that kind."""
    aliases: tuple[str, ...] = ()
    """Other names that people type."""

    def __post_init__(self) -> None:
        check_fields(self, "task '{0.name}'")
        check_defaults(self)

    def default(self, kind: str) -> str | None:
        """The name of the default component of a kind that a run has one of; also its ``monitor``."""
        value = self.defaults.get(kind)
        return value if isinstance(value, str) else None

    def default_names(self, kind: str) -> tuple[str, ...]:
        """The names of the default components of a kind that a run may have several of."""
        value = self.defaults.get(kind, ())
        return (value,) if isinstance(value, str) else value


def check_defaults(task: Task) -> None:
    """Refuse defaults of kinds without a default component, as far as the kinds are declared by now.

    Raises:
        ValueError: With the kinds that may have a default.
    """
    for name, value in task.defaults.items():
        kind = KINDS.get(name)
        if kind is not None and not kind.of_task:
            kinds = ", ".join([*(other.name for other in KINDS.values() if other.of_task), MONITOR])
            raise ValueError(f"task '{task.name}': it has no defaults of kind '{name}'; kinds: {kinds}")
        several = kind is not None and kind.several
        if (kind is not None or name == MONITOR) and not isinstance(value, tuple if several else str):
            wanted = "a tuple of names" if several else "one name"
            raise ValueError(f"task '{task.name}': its default {name} is {type(value).__name__}, not {wanted}")


@dataclass(frozen=True, kw_only=True)
class Link:
    """A conversion from one form to another, which a run inserts where model and loss do not fit otherwise."""

    word: ClassVar[str] = "link"
    about: ClassVar[str] = "a small step between model, dataset and loss where they do not fit otherwise"
    is_typed: ClassVar[bool] = True

    name: str
    """What users type."""
    takes: tuple[str, ...]
    """The forms that it takes."""
    gives: str
    """The form that it produces."""
    of: Literal["predictions", "targets", "loss"] = "predictions"
    """The value that it converts: the model outputs or the dataset's targets on their way to the loss, or the loss
    itself, whose form is its ``reduction``."""
    target: str | Callable[..., Any] | None = None
    """``"package.module:function"``, called with the tensor, and with the run values that its other parameters are
    named after; None where the tensor serves as the other form unchanged."""
    summary: str = ""
    """A short description, printed by runs."""
    targets: tuple[str, ...] = ()
    """The loss's targets for which it is valid; empty for any. Links that name targets are tried first."""
    num_classes: int | None = None
    """The only number of classes for which it is valid; None for any."""

    def __post_init__(self) -> None:
        check_fields(self, "link '{0.name}'")
        if not self.takes:
            raise ValueError(f"link '{self.name}': it takes nothing")

    def fits(self, of: str, form: str, targets: str | None = None) -> bool:
        """Whether it converts from a form, for a loss with these targets."""
        return self.of == of and form in self.takes and (not self.targets or targets in self.targets)
