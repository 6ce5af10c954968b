"""The kinds of components: those of every run, and those that plugins add with ``wf_kinds``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wf.declarations.fields import check_fields
from wf.declarations.vocabulary import Vocabulary
from wf.traits import (
    DatasetTraits,
    HookTraits,
    LossTraits,
    MetricTraits,
    ModelTraits,
    OptimizerTraits,
    SchedulerTraits,
    TrainerTraits,
    TransformTraits,
)

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of component, as a plugin's ``wf_kinds`` declares it.

    Its components are chosen by a table ``[NAME]`` of a run file and by ``--NAME``, and are the run value of that name
    (`value`), which other components, and the run values of plugins, may ask for.
    """

    name: str
    """What users type: ``anchor-generator``."""
    summary: str = ""
    """One line that describes its components."""
    plural: str = ""
    """As ``wf list`` takes it too; by default the name with an s."""
    several: bool = False
    """Whether a run may have several: ``[[NAME]]``."""
    traits: type | None = None
    """The class of its components' traits."""
    together: str = ""
    """``"package.module:Class"`` that combines the components of several scopes, see
    `wf_building.scopes`; a dict of them where it names none."""
    objects: str = ""
    """The expected object, for messages when users give a function instead: ``an object with update(...) and
    compute()``."""

    of_runs: bool = True
    """Whether runs are made of its components, so that run files and ``wf run`` choose them."""
    chosen_by: str = ""
    """The chooser of its default components, if these do not declare it themselves."""

    def __post_init__(self) -> None:
        check_fields(self, "kind '{0.name}'")
        if not _NAME.match(self.name):
            raise ValueError(f"'{self.name}' is not the name of a kind: use lower case, digits and single hyphens")
        if not self.plural:
            object.__setattr__(self, "plural", f"{self.name}s")

    @property
    def value(self) -> str:
        """The name of its run value: the component; a list of them where a run may have several."""
        return (self.plural if self.several else self.name).replace("-", "_")


class Kinds(Vocabulary[Kind]):
    """The kinds by name: the core's in their order, then those of plugins by name, in whatever order these came."""

    def __iter__(self) -> Iterator[str]:
        others = set(self.contributed)
        return iter([*(name for name in super().__iter__() if name not in others), *sorted(others)])

    @property
    def several(self) -> tuple[str, ...]:
        """The kinds that a run may have several of."""
        return tuple(name for name, kind in self.items() if kind.several)

    @property
    def of_runs(self) -> tuple[str, ...]:
        """The kinds that runs are made of."""
        return tuple(name for name, kind in self.items() if kind.of_runs)


KINDS = Kinds(
    "kind",
    (
        Kind(
            name="dataset",
            summary="samples with inputs and targets, and the splits they come in",
            traits=DatasetTraits,
        ),
        Kind(
            name="transform",
            summary="changes inputs before the model sees them, a whole batch at a time",
            several=True,
            objects="a callable on a batch of inputs",
            traits=TransformTraits,
            chosen_by="the dataset",
        ),
        Kind(name="model", summary="a torch.nn.Module", traits=ModelTraits, together="wf_base.training.parts:Parts"),
        Kind(
            name="loss",
            plural="losses",
            summary="a module or function of (predictions, targets) that gives a scalar to minimise",
            traits=LossTraits,
            chosen_by="the dataset's task",
        ),
        Kind(
            name="optimizer",
            summary="updates the parameters from their gradients",
            traits=OptimizerTraits,
        ),
        Kind(
            name="scheduler",
            summary="changes the optimizer's learning rate over time",
            traits=SchedulerTraits,
        ),
        Kind(
            name="metric",
            summary="judges predictions against targets over a whole split",
            several=True,
            traits=MetricTraits,
            chosen_by="the dataset's task",
            objects="an object with update(predictions, targets) and compute()",
        ),
        Kind(
            name="hook",
            summary="listens to the events of the loop",
            several=True,
            traits=HookTraits,
            objects="an object with methods named like events: on_epoch_end(self, run)",
        ),
        Kind(
            name="trainer",
            summary="one training step",
            traits=TrainerTraits,
            objects="an object with train_step(batch)",
        ),
        Kind(name="evaluator", summary="one evaluation of one split", objects="an object with evaluate(split)"),
        Kind(name="checkpointer", summary="durable state"),
        Kind(
            name="strategy",
            plural="strategies",
            summary="where and how the run is carried out: devices and processes",
        ),
    ),
)
"""Every kind of component."""

DECLARED: dict[str, str] = {
    "task": "what dataset, model, loss and metrics agree about",
    "link": "a small step between model, dataset and loss where they do not fit otherwise",
    "value": "what a run fills into the parameters of that name",
    "command": "a verb of the command line",
    "rule": "what fits what",
    "condition": "what must be equal when a run goes on",
    "reader": "reads files of inputs for wf predict",
}
"""Declarations besides components: looked up, listed, shown and pinned like these, but without a table in run files."""
UNWRITTEN = ("value", "rule", "condition", "reader")
"""Declarations whose names users never type, so that ``NAME@PLUGIN`` cannot choose one."""


def plurals() -> dict[str, str]:
    """Every kind by its plural, including declarations."""
    return {**{kind.plural: name for name, kind in KINDS.items()}, **{f"{name}s": name for name in DECLARED}}


def summaries() -> dict[str, str]:
    """Every kind with its summary, including declarations."""
    return {**{name: kind.summary for name, kind in KINDS.items()}, **DECLARED}


def option_prefix(kind: str, use: str) -> str:
    """The prefix of a component's options on the command line: ``loss``, ``hook.plots``."""
    return f"{kind}.{use}" if KINDS[kind].several else kind
