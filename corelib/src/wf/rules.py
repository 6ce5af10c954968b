"""The rules by which components fit each other, from what they say about themselves (`wf.traits`).

Each rule judges a component of one kind by what is known of the others. What is not known is never a reason to refuse.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from wf.compatibility import Tasks, numbers_of_classes, resolve, resolve_judged, targets_that_fit
from wf.figures import Monitor
from wf.modules import describe
from wf.registry import Entry, Registry
from wf.rule import FITS, SILENT, Rule, Verdict
from wf.task import Link, Task
from wf.traits import (
    DatasetTraits,
    LossTraits,
    MetricTraits,
    ModelTraits,
    OptimizerTraits,
    SchedulerTraits,
    TrainerTraits,
    TransformTraits,
)

_LOG = logging.getLogger("wf")

DIMS: dict[str, frozenset[int]] = {
    "vector": frozenset({1}),
    "sequence": frozenset({1, 2}),
    "image": frozenset({3}),
    "video": frozenset({4}),
    "tokens": frozenset({1}),
}
"""The dimensions that a sample of each kind may have."""
SHAPES = {
    "vector": "[F]",
    "sequence": "[T] or [T, F]",
    "image": "[C, H, W]",
    "video": "[C, T, H, W]",
    "tokens": "[T]",
}


OPEN_TARGETS = Verdict(None, ("which targets the dataset has depends on its data",))
OPEN_SAMPLES = Verdict(None, ("what the dataset's samples are depends on its data",))
OPEN_TRAINER = Verdict(None, ("the trainer does not say what it does (no traits)",))


@dataclass(frozen=True)
class Samples:
    """The samples that the data have, or have after some transforms."""

    dims: frozenset[int]
    """The dimensions that they may have."""
    words: str
    tokens: bool = False
    """They are indices of a vocabulary, not numbers."""

    @classmethod
    def of_kind(cls, kind: str) -> Samples:
        """Samples of a kind that `wf.traits` lists."""
        return cls(DIMS[kind], _samples_words(kind), tokens=kind == "tokens")

    @classmethod
    def of_shape(cls, shape: Sequence[int], *, tokens: bool = False) -> Samples:
        """Samples of a shape."""
        return cls(frozenset({len(shape)}), f"{'tokens' if tokens else 'samples'} {list(shape)}", tokens=tokens)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a run; what is None is not known."""

    tasks: Tasks | None = None
    """The tasks and links that there are."""
    task: Task | None = None
    """The one that the dataset or the user says, or, by then, the one that targets and loss are of."""
    targets: str | None = None
    """The dataset's."""
    trained: str | None = None
    """The targets in training, where a transform gives others than the dataset's."""
    num_classes: int | None = None
    samples: Samples | None = None
    model: ModelTraits | None = None
    loss: LossTraits | None = None
    trainer: TrainerTraits | None = None
    taken: frozenset[str] | None = None
    """The run values that the trainer takes."""
    links: Sequence[str] | None = None
    """The links that may be used; None for any."""
    evaluated: tuple[str, ...] | None = None
    """The splits that are evaluated while the run trains."""
    parts: tuple[Part, ...] = ()
    """The components of the run, of every kind."""

    @property
    def all_links(self) -> Sequence[Link]:
        """The links that there are."""
        return self.tasks.links if self.tasks else ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A component of a run."""

    kind: str
    name: str
    entry: Entry | None = None
    """None for a live object."""
    watched: str | None = None
    """The figure that a scheduler watches, as ``validation/loss``, where that is known."""

    @property
    def traits(self) -> Any:
        """What it says about itself."""
        return self.entry.component.traits if self.entry else None


Judge = Callable[[Part, Known], Verdict]


def with_parts(known: Known, parts: Iterable[Part]) -> Known:
    """What is known when the parts' own traits are taken in, where nothing better is known."""
    found: dict[str, Any] = {}
    parts = tuple(parts)
    for part in parts:
        traits = part.traits
        if isinstance(traits, Task):
            found["task"] = traits
        elif isinstance(traits, DatasetTraits):
            found["targets"] = traits.targets
            if traits.task and known.tasks and "task" not in found:
                found["task"] = known.tasks.named(traits.task)
            found["samples"] = Samples.of_kind(traits.inputs) if traits.inputs else None
        elif isinstance(traits, (ModelTraits, LossTraits, TrainerTraits)):
            found[part.kind] = traits
        elif gives_targets(traits):
            found["trained"] = traits.gives_targets
        if part.kind == "trainer" and part.entry is not None and known.taken is None:
            found["taken"] = taken_by(part.entry)
    known = replace(
        known,
        parts=known.parts or parts,
        **{name: value for name, value in found.items() if getattr(known, name) is None},
    )
    if known.task is None and known.tasks is not None and known.targets is not None:
        return replace(known, task=known.tasks.of(known.targets, known.loss))
    return known


def taken_by(trainer: Entry) -> frozenset[str] | None:
    """The run values that a trainer takes, None where only importing it would tell."""
    params = trainer.params_unloaded()
    if params is not None:
        return frozenset(param.source for param in params if param.source is not None)
    traits = trainer.component.traits
    return frozenset() if isinstance(traits, TrainerTraits) and not traits.steps else None


def gives_targets(traits: Any) -> bool:
    """Whether a transform gives other targets than it gets."""
    return isinstance(traits, TransformTraits) and traits.gives_targets is not None


def transformed(traits: Any, samples: Samples | None) -> Samples | None:
    """The samples that a transform makes of others."""
    gives = traits.gives if isinstance(traits, TransformTraits) else "any"
    if gives == "same":
        return samples
    return None if gives == "any" else Samples.of_kind(gives)


def _judge_dataset(part: Part, known: Known) -> Verdict:
    """Of a dataset: its targets must be of a form that the task has."""
    has = known.targets or getattr(part.traits, "targets", None)
    task = known.task
    if task is None or not task.targets or has in task.targets:
        return FITS
    if has is None:
        return OPEN_TARGETS
    return Verdict(False, (f"{task.name} has {' or '.join(task.targets)} targets, the dataset has {has}",))


def _judge_loss(part: Part, known: Known) -> Verdict:
    traits = part.traits
    if not isinstance(traits, LossTraits):
        return SILENT
    if known.trained is not None:  # then the dataset's own are for evaluations alone, see `_judge_trained`
        return FITS
    if known.targets is None:
        return _judge_loss_by_model(traits, known)
    links = known.all_links
    numbers = (known.num_classes,) if known.num_classes else numbers_of_classes(known.targets, links)
    tried = {
        number: resolve(known.targets, number, known.model, traits, known.links, links=links) for number in numbers
    }
    misfits = [tuple(found) for found in tried.values() if isinstance(found, list)]
    if misfits and len(misfits) < len(tried):
        fit = [number for number, found in tried.items() if not isinstance(found, list)]
        words = " or ".join("two" if number == 2 else str(number) for number in fit)
        return Verdict(None, (f"it fits where there are {words} classes",))
    return Verdict(False, misfits[0]) if misfits else FITS


def _judge_trained(part: Part, known: Known) -> Verdict:
    """Of a loss: where a transform gives other targets in training, it must take these, and evaluate without them."""
    traits = part.traits
    if known.trained is None:
        return FITS
    if not isinstance(traits, LossTraits):
        return SILENT
    if traits.targets and known.trained not in traits.targets:
        wants = " or ".join(traits.targets)
        return Verdict(False, (f"the loss wants {wants} targets, and in training the transform gives {known.trained}",))
    links, facts = known.all_links, (known.num_classes, known.model, traits, known.links)
    fit = resolve(known.trained, *facts, links=links)
    if not isinstance(fit, list) and known.targets is not None:
        fit = resolve_judged(known.targets, *facts, links=links, trained=fit)
    return Verdict(False, tuple(fit)) if isinstance(fit, list) else FITS


def _judge_loss_by_model(loss: LossTraits, known: Known) -> Verdict:
    if known.model is None:
        return OPEN_TARGETS
    if targets_that_fit(known.model, loss, known.all_links):
        return FITS
    return Verdict(False, (f"the loss wants {loss.predictions}, the model gives {known.model.predictions}",))


def _judge_metric(part: Part, known: Known) -> Verdict:
    traits = part.traits
    if not isinstance(traits, MetricTraits):
        return SILENT
    if not traits.targets or known.targets in traits.targets:
        return FITS
    if known.targets is None:
        return OPEN_TARGETS
    return Verdict(
        False, (f"the metric judges {' or '.join(traits.targets)} targets, the dataset has {known.targets}",)
    )


def _judge_reading(part: Part, known: Known) -> Verdict:
    """Of a metric: what it reads from what the model gives must be there."""
    traits = part.traits
    if not isinstance(traits, MetricTraits) or known.loss is None or _judge_metric(part, known).fits is False:
        return SILENT
    if known.task is None or not known.task.reads or traits.predictions in known.task.reads:
        return FITS
    return Verdict(False, (f"the metric judges {traits.predictions}, and task '{known.task.name}' tells none",))


def _judge_samples(part: Part, known: Known) -> Verdict:
    """Of a model or a transform."""
    traits = part.traits
    if not isinstance(traits, (ModelTraits, TransformTraits)):
        return SILENT
    if traits.inputs == "any":
        return FITS
    if known.samples is None:  # most datasets are of numbers
        return FITS if traits.inputs == "numbers" else OPEN_SAMPLES
    if known.samples.tokens == (traits.inputs == "tokens"):
        accepted = DIMS.get(traits.inputs, known.samples.dims)
        if known.samples.dims <= accepted:
            return FITS
        if known.samples.dims & accepted:
            return Verdict(None, (f"it fits where a sample is {SHAPES[traits.inputs]}",))
    wanted = _samples_words(traits.inputs)
    return Verdict(False, (f"the {part.kind} takes {wanted} and would get {known.samples.words}",))


def _judge_moves(part: Part, known: Known) -> Verdict:
    """Of a transform: it gets the inputs alone, so that targets that lie in the images stay where they are."""
    traits = part.traits
    if known.task is None or not known.task.spatial:  # where it is not known: few datasets have such targets
        return FITS
    if not isinstance(traits, TransformTraits):
        return SILENT
    if traits.moves is False or traits.joint or (traits.masks and known.task.per == "pixel"):
        return FITS
    if traits.moves is None:
        return Verdict(None, ("it does not say whether it moves pixels, which the targets would not follow",))
    return Verdict(
        False,
        (
            f"it moves the pixels of images, and the {known.targets or known.task.name} targets of the dataset would "
            "stay where they are",
            "leave it out, or move image and targets together in a dataset of your own",
        ),
    )


def _judge_joint(part: Part, known: Known) -> Verdict:
    """Of a transform that gets targets: it must take those that there are."""
    traits, has = part.traits, known.trained or known.targets
    if not isinstance(traits, TransformTraits):
        return SILENT
    if not traits.targets or has in traits.targets:
        return FITS
    if has is None:
        return OPEN_TARGETS
    return Verdict(False, (f"the transform takes {' or '.join(traits.targets)} targets and would get {has}",))


def _samples_words(kind: str) -> str:
    if kind == "numbers":
        return "samples of numbers"
    return f"tokens {SHAPES[kind]}" if kind == "tokens" else f"{kind} samples {SHAPES[kind]}"


def _judge_per(part: Part, known: Known) -> Verdict:
    """Of a model: a task says whether it needs a prediction a pixel or one a sample."""
    traits = part.traits
    if not isinstance(traits, ModelTraits):
        return SILENT
    if traits.per == "any":
        return FITS
    if known.task is None:
        return FITS if traits.per == "sample" else OPEN_TARGETS  # most datasets need one a sample
    wanted = known.task.per
    if wanted in ("any", traits.per):
        return FITS
    what = f"{known.targets} targets need" if known.targets else f"{known.task.name} needs"
    return Verdict(False, (f"{what} a prediction a {wanted}, the model gives one a {traits.per}",))


def _judge_optimizer(part: Part, known: Known) -> Verdict:
    if known.taken is not None and "optimizer" not in known.taken:
        return Verdict(False, ("the trainer takes no optimizer", "leave it out"))
    traits, trainer = part.traits, known.trainer
    if not isinstance(traits, OptimizerTraits):
        return SILENT
    if trainer is None:
        return OPEN_TRAINER
    if traits.step in trainer.steps:
        return FITS
    drives = listed(trainer.steps) or "no steps"
    return Verdict(False, (f"it is stepped as '{traits.step}', the trainer does {drives}",))


def _judge_scheduler(part: Part, known: Known) -> Verdict:
    if known.taken is None:
        return OPEN_TRAINER
    return FITS if "scheduler" in known.taken else Verdict(False, ("the trainer takes no scheduler", "leave it out"))


def _judge_evaluations(part: Part, known: Known) -> Verdict:
    """A scheduler that is stepped after an evaluation needs some."""
    traits = part.traits
    if not isinstance(traits, SchedulerTraits):
        return SILENT
    if traits.interval != "evaluation":
        return FITS
    splits = known.evaluated
    if splits is None or (splits and (part.watched is None or Monitor.read(part.watched).read_after(splits))):
        return FITS
    waits = f"it waits for {part.watched or 'an evaluation'}, but the run evaluates {listed(splits) or 'nothing'}"
    advice = "see --eval-splits and --split, or set --scheduler.monitor"
    return Verdict(False, (f"{waits} while it trains", advice))


def listed(names: Iterable[str]) -> str:
    """Names in quotes, as a text."""
    quoted = [f"'{name}'" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _rule(kind: str, against: tuple[str, ...], judge: Judge, needs: str = "", suggested: tuple[str, ...] = ()) -> Rule:
    name = f"{kind}-{judge.__name__.removeprefix('_judge_').replace('_', '-')}"
    return Rule(name=name, kind=kind, against=against, target=judge, needs=needs, suggested=suggested)


RULES = (
    _rule("dataset", ("task",), _judge_dataset, suggested=("dataset",)),
    _rule("transform", ("dataset",), _judge_samples, "samples", ("transform",)),
    _rule("transform", ("dataset", "task"), _judge_moves, "targets", ("transform",)),
    _rule("transform", ("dataset", "task"), _judge_joint, "targets", ("transform",)),
    _rule("model", ("dataset",), _judge_samples, "samples", ("model",)),
    _rule("model", ("dataset", "task"), _judge_per, "targets", ("model",)),
    _rule("loss", ("dataset", "model", "task"), _judge_loss, "targets", ("loss",)),
    _rule("loss", ("transform",), _judge_trained, suggested=("loss",)),
    _rule("metric", ("dataset", "task"), _judge_metric, "targets", ("metric",)),
    _rule("metric", (), _judge_reading, suggested=("metric",)),
    _rule("optimizer", ("trainer",), _judge_optimizer, suggested=("optimizer", "trainer")),
    _rule("scheduler", ("trainer",), _judge_scheduler, suggested=("trainer",)),
    _rule("scheduler", (), _judge_evaluations),
)
"""The rules that wf brings itself."""


def judges(registry: Registry) -> list[tuple[Rule, Judge]]:
    """Every rule with the function that judges: wf's own first, then the plugins'."""
    own: list[tuple[Rule, Judge]] = [(rule, rule.target) for rule in RULES if not isinstance(rule.target, str)]
    return own + [(entry.component.traits, _guarded(entry)) for entry in registry.entries("rule")]


def _guarded(entry: Entry) -> Judge:
    """The judge of a plugin's rule; where it fails the rule is left out with a warning, and harms no run."""

    def judge(part: Part, known: Known) -> Verdict:
        try:
            verdict = entry.load()(part, known)
            if isinstance(verdict, Verdict) and not isinstance(verdict.why, str):
                return verdict
            why = f"it gave {type(verdict).__name__}, not a Verdict"
            if isinstance(verdict, Verdict):
                why = "'why' of its Verdict is text, not a tuple of texts; is a comma missing?"
        except (Exception, SystemExit) as error:
            why = describe(error)
        _warn_once(f"rule '{entry.component.name}' of {entry.provider} is left out: {why}")
        return SILENT

    return judge


@cache
def _warn_once(text: str) -> None:
    _LOG.warning("%s", text)
