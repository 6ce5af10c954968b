"""Checks of metrics."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wf.engine.figures import declared, fits
from wf.traits import MetricTraits
from wf_base.task import TaskRuntime
from wf_kit import samples
from wf_kit.kit import Defect, NotChecked, Subject, check, expect, told
from wf_kit.making import make, plain_forms, task_for, values

NUM = 24
SIZES: tuple[tuple[int, ...], ...] = ((5, 7, 12), (1, 1, 22))
Batch = tuple[Any, Any]


@check(
    "metric-traits",
    "metric",
    fix="declare its inputs: MetricTraits(predictions=..., targets=..., larger_is_better=...)",
)
def traits(subject: Subject) -> None:
    """Its inputs and outputs are as declared, and it returns one number if it declares a direction."""
    own = subject.traits
    if not isinstance(own, MetricTraits):
        raise NotChecked("it declares no traits")
    for trial in _trials(subject):
        try:
            metric = trial.fed(trial.guess())
            found = metric.compute()
        except Exception as error:
            raise Defect(f"it does not accept {own.predictions} with {trial.kind} targets: {told(error)}") from error
        _check_figures(metric, found)
        figure = _own(found)
        one = isinstance(figure, Tensor) and figure.ndim == 0
        expect(one or own.larger_is_better is None, "it declares a direction, but returns several numbers")


def _check_figures(metric: Any, found: Any) -> None:
    """Check that it returns exactly the figures that it declares."""
    said = declared(metric)
    if said is None:
        return
    given = {str(name) for name in found} if isinstance(found, Mapping) else {""}
    lacks = [name for name in said if name not in given and not any(fits(one, [name]) for one in given)]
    more = [name for name in given if name not in said and not fits(name, list(said))]
    expect(not lacks, f"it declares the figure '{lacks[0] if lacks else ''}', but returns {sorted(given)}")
    expect(not more, f"it returns the figure '{more[0] if more else ''}', but declares {sorted(said)}")


@check(
    "metric-batches",
    "metric",
    after=("made", "metric-traits"),
    fix="sum up numerator and denominator; divide once, in compute()",
)
def batches(subject: Subject) -> None:
    """The order and the sizes of the batches do not change its figure."""
    for trial in _trials(subject):
        wanted = trial.figure(trial.guess())
        for sizes in SIZES:
            parts = trial.parts(sizes)
            for order in (parts, parts[::-1]):
                found = trial.figure(*order)
                text = (
                    f"for {trial.kind} targets it is {_text(wanted)} in one batch, {_text(found)} in batches of {sizes}"
                )
                expect(_same(found, wanted), text)


@check(
    "metric-reset",
    "metric",
    after=("made", "metric-traits"),
    fix="keep all state through add() and append(), or clear it in reset()",
)
def reset(subject: Subject) -> None:
    """After reset it remembers nothing."""
    for trial in _trials(subject):
        first, second = trial.guess(1), trial.guess(2)
        wanted = trial.figure(second)
        metric = trial.fed(first)
        metric.compute()
        metric.reset()
        metric.update(*second)
        found = metric.compute()
        text = f"for {trial.kind} targets it is {_text(wanted)} at first, but {_text(found)} after a reset"
        expect(_same(found, wanted), text)


@check("metric-direction", "metric", after=("made", "metric-traits"), fix="correct larger_is_better")
def direction(subject: Subject) -> None:
    """Correct predictions score no worse than guesses, in the declared direction."""
    own = subject.traits
    if not isinstance(own, MetricTraits) or own.larger_is_better is None:
        raise NotChecked("it declares no direction")
    for trial in _trials(subject):
        right, guessed = (float(_own(trial.figure(batch))) for batch in (trial.right(), trial.guess()))
        better = right >= guessed if own.larger_is_better else right <= guessed
        text = f"for {trial.kind} targets it is {right:.6g} for right predictions and {guessed:.6g} for guesses"
        expect(better, f"{text}, with larger_is_better={own.larger_is_better}")


@check(
    "metric-processes",
    "metric",
    after=("made", "metric-batches"),
    fix="keep all state through add() and append(), which sync() exchanges",
)
def processes(subject: Subject) -> None:
    """Two processes with a part of the samples each get the figure of all samples."""
    for trial in _trials(subject):
        wanted = trial.figure(trial.guess())
        mine, theirs = (trial.fed(part) for part in trial.parts((9, NUM - 9)))
        other = _Other()
        theirs.sync(other)
        mine.sync(_Both(other.told))
        found = mine.compute()
        text = f"for {trial.kind} targets it is {_text(found)} in two processes, but {_text(wanted)} in one"
        expect(_same(found, wanted), text)


@dataclass(frozen=True)
class _Trial:
    """A metric on one form of targets."""

    subject: Subject
    kind: str
    known: Mapping[str, Any]

    def fed(self, *parts: Batch) -> Any:
        """A new metric, updated with some batches."""
        metric = make(self.subject, self.known)
        for predictions, targets in parts:
            metric.update(predictions, targets)
        return metric

    def figure(self, *parts: Batch) -> Any:
        """The figure of a new metric for some batches."""
        return self.fed(*parts).compute()

    def guess(self, seed: int = 1) -> Batch:
        """A batch from a model that guesses."""
        return self.parts((NUM,), seed)[0]

    def parts(self, sizes: Sequence[int], seed: int = 1) -> list[Batch]:
        """The same data in batches of other sizes; if targets are a tree, the guesses are taken from other samples."""
        task, ends = self.task, list(itertools.accumulate(sizes))
        whole = samples.targets_of(task, range(NUM), seed)
        if isinstance(whole, Tensor):
            return _split(self._read(samples.guessed_scores(task, whole, seed), whole), sizes)
        rows = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        guesses = (task.right(samples.targets_of(task, part, seed + 1)) for part in rows)
        targets = (samples.targets_of(task, part, seed) for part in rows)
        return [self._read(guess, own) for guess, own in zip(guesses, targets, strict=True)]

    def right(self) -> Batch:
        """A batch from a model that is always right."""
        targets = samples.targets_of(self.task, range(NUM))
        return self._read(self.task.right(targets), targets)

    def _read(self, scores: Any, targets: Any) -> Batch:
        """Scores and targets as a run passes them to the metric."""
        outputs = self.task.fitted(self.kind, "raw", None)
        return outputs.read(scores, _form(self.subject)), outputs.classes(targets)

    @property
    def task(self) -> TaskRuntime:
        """The task of these targets."""
        return task_for(self.subject, self.kind)


def _trials(subject: Subject) -> Iterator[_Trial]:
    """One trial per form of targets that it takes; if it takes any, the simplest for its form of predictions."""
    kinds = subject.traits.targets if isinstance(subject.traits, MetricTraits) else ()
    for kind in kinds or _plainest(subject):
        with values(subject, kind) as known:
            yield _Trial(subject, kind, known)


def _plainest(subject: Subject) -> tuple[str, ...]:
    """Numbers if it takes raw outputs, else classes."""
    for form in plain_forms(subject):
        if samples.targets_of(form.task, range(1)).is_floating_point() == (_form(subject) == "raw"):
            return (form.targets,)
    raise NotChecked("no installed task has an example for it")


def _own(figure: Any) -> Any:
    """The figure with the metric's own name, if it returns several."""
    return figure.get("") if isinstance(figure, Mapping) else figure


def _form(subject: Subject) -> str:
    return subject.traits.predictions if isinstance(subject.traits, MetricTraits) else "raw"


class _Other:
    """The strategy of the other process: records its tensors."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def sum(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        self.told.append(list(tensors))
        return tensors

    def gather(self, tensor: Tensor) -> Tensor:
        self.told.append(tensor)
        return tensor


class _Both:
    """The strategy of this process: combines the other process's tensors with its own."""

    def __init__(self, told: Sequence[Any]) -> None:
        self._told = iter(told)

    def sum(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [mine + other for mine, other in zip(tensors, next(self._told), strict=True)]

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor, next(self._told)])


def _split(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    return list(zip(*(tensor.split(list(sizes)) for tensor in batch), strict=True))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    left, right = (torch.as_tensor(figure).to(torch.float64) for figure in (left, right))
    return left.shape == right.shape and torch.allclose(left, right, rtol=1e-5, atol=1e-6, equal_nan=True)


def _text(figure: Any) -> str:
    if isinstance(figure, Mapping):
        return ", ".join(f"{name} {_text(value)}" for name, value in figure.items())
    numbers = torch.as_tensor(figure).to(torch.float64)
    return f"{float(numbers):.6g}" if numbers.ndim == 0 else str(numbers.tolist())[:80]
