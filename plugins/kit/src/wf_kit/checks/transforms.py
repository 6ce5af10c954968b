"""Checks of transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError
from wf.protocols import Stateful
from wf.traits import TransformTraits
from wf_base import sample_uniform, tree
from wf_data.transforms.step import Step, is_joint
from wf_kit import samples
from wf_kit.checks.states import restored, saved
from wf_kit.kit import Defect, NotChecked, Subject, check, expect, told
from wf_kit.making import make, shapes_of, task_for, values

NUM = 6
ALL = range(NUM)
PARTNERS = (3, 0, 4, 1, 5, 2)
"""The partner of each sample where samples are mixed."""

Batch = tuple[Any, Any]
"""Inputs and targets; these are None for a transform that does not get them."""


@dataclass(frozen=True)
class Trial:
    """A transform, and the samples that it is tried on."""

    transform: Any
    shape: tuple[int, ...]
    """The shape of one sample, for a transform that gets only inputs."""
    targets: str | None
    """The form of the targets; None for a transform that does not get them."""
    batch: Callable[[Sequence[int]], Batch]
    """Returns a new batch of the given samples."""

    def given(self, rows: Sequence[int] = ALL) -> tuple[Batch, Batch]:
        """Some samples and their partners."""
        return self.batch(rows), self.batch([PARTNERS[row] for row in rows])

    def apply(self, rows: Sequence[int] = ALL, given: tuple[Batch, Batch] | None = None) -> Batch:
        """What it makes of some samples, called as a run calls it."""
        (inputs, targets), partners = given or self.given(rows)
        step = Step.of(0, self.transform, False)
        draws = sample_uniform(0, 0, torch.tensor(list(rows)), step.num_draws) if step.num_draws else None
        if step.mixes:
            return step.mix(inputs, targets, partners, samples.generator(0), draws)
        return step.apply(inputs, targets, draws)


@check(
    "transform-traits",
    "transform",
    fix="declare what it takes, and that it is random: TransformTraits(inputs=..., train_only=True)",
)
def traits(subject: Subject) -> None:
    """Its inputs and outputs are as declared, and if it is random it is declared for training only."""
    declared = subject.traits
    if not isinstance(declared, TransformTraits):
        raise NotChecked("it declares no traits")
    for trial in _each(subject):
        random = Step.of(0, trial.transform, False).num_draws > 0
        expect(declared.train_only or not random, "it takes draws, so it must be declared with train_only=True")
        joint = getattr(trial.transform, "joint", False)
        expect(joint == declared.joint, f"its attribute joint is {joint!r}, and it declares {declared.joint!r}")
        try:
            outputs, targets = trial.apply()
        except Exception as error:
            wanted = f"inputs [N, {', '.join(map(str, trial.shape))}]"
            wanted = wanted if trial.targets is None else f"samples with {trial.targets} targets"
            raise Defect(f"it does not take {wanted}: {told(error)}") from error
        _check_gives(declared.gives, outputs, len(trial.shape))
        if trial.targets is not None:
            _check_targets(subject, declared.gives_targets or trial.targets, outputs, targets)


@check(
    "transform-shape",
    "transform",
    after=("made", "transform-traits"),
    fix="return one finite float32 input per sample; an augmentation keeps the shape",
)
def shape(subject: Subject) -> None:
    """It returns one finite float input per sample, and keeps the shape if it is used only in training."""
    for trial in _each(subject):
        (inputs, _), _ = trial.given()
        outputs, targets = trial.apply()
        if isinstance(inputs, Tensor):
            expect(isinstance(outputs, Tensor), f"it gives {type(outputs).__name__}, not a tensor")
        if targets is not None:
            expect(_length(targets) == NUM, f"it gives targets of {_length(targets)} samples for {NUM}")
        before, ragged = dict(tree.leaves(inputs)), isinstance(inputs, tree.Rows)
        keeps = isinstance(subject.traits, TransformTraits) and subject.traits.train_only
        keeps = keeps and subject.traits.joint is not True and not ragged  # such ones may resize images and targets
        expect(not ragged or _length(outputs) == NUM, f"it gives {_length(outputs)} samples for {NUM}")
        for path, leaf in tree.leaves(outputs):
            expect(ragged or len(leaf) == NUM, f"it gives {len(leaf)} samples for {NUM}")
            expect(leaf.dtype == torch.float32 or path, f"it turns float32 into {leaf.dtype}")
            expect(bool(torch.isfinite(leaf).all()), "it gives values that are not finite")
            if keeps and path in before:
                got, seen = list(leaf.shape[1:]), list(before[path].shape[1:])
                expect(got == seen, f"it turns {seen} into {got} in training, and evaluation sees {seen}")


@check(
    "transform-deterministic",
    "transform",
    after=("made", "transform-traits"),
    fix="use the draws it is called with (num_draws), or its generator, instead of another generator",
)
def deterministic(subject: Subject) -> None:
    """The same inputs and draws give the same outputs, and the inputs are not changed."""
    for trial in _each(subject):
        given = trial.given()
        first, again = trial.apply(given=given), trial.apply(given=given)
        expect(_same(given, trial.given()), "it changes its inputs in place")
        expect(_same(first, again), "it gives other outputs the second time")


@check(
    "transform-batches",
    "transform",
    after=("made", "transform-deterministic"),
    fix="let each sample's output depend only on that sample, its partner and its draws",
)
def batches(subject: Subject) -> None:
    """The outputs do not depend on how samples are divided into batches or among processes."""
    for trial in _each(subject):
        whole = trial.apply()
        for rows in (range(1), range(1, 4), range(4, NUM)):
            part = trial.apply(rows)
            for place, row in enumerate(rows):
                expect(
                    _same(_sample(part, place, len(rows)), _sample(whole, row, NUM), atol=1e-6),
                    "a sample's output depends on other samples in the batch",
                )


@check(
    "transform-resumes",
    "transform",
    after=("made", "transform-deterministic"),
    fix="save the fitted values in state_dict, and restore them in load_state_dict",
)
def resumes(subject: Subject) -> None:
    """The values fitted by fit() are restored bit for bit, if there are any."""
    for trial in _each(subject):
        if not isinstance(trial.transform, Stateful):
            raise NotChecked("it has no state_dict")
        again = replace(trial, transform=_made(subject, trial.targets, trial.shape))
        again.transform.load_state_dict(restored(saved(dict(trial.transform.state_dict()))))
        expect(_same(trial.apply(), again.apply()), "restored, it gives other outputs")


def _each(subject: Subject) -> Iterator[Trial]:
    """The transform, fitted if it has `fit`, with samples of each form that it takes."""
    for shape in shapes_of(subject):
        transform = _made(subject, None, shape)
        if is_joint(transform):
            yield from _each_joint(subject, shape)
            continue
        if hasattr(transform, "fit"):
            transform.fit(samples.inputs(shape, 24, seed=1))

        def batch(rows: Sequence[int], shape: tuple[int, ...] = shape) -> Batch:
            return samples.inputs(shape, NUM)[list(rows)], None

        yield Trial(transform, shape, None, batch)


def _each_joint(subject: Subject, shape: tuple[int, ...]) -> Iterator[Trial]:
    """The same for a transform that gets targets, on the examples of tasks."""
    forms = subject.traits.targets if isinstance(subject.traits, TransformTraits) else ()
    if not forms:
        raise NotChecked("it does not say which targets it takes: TransformTraits(targets=...)")
    for targets in forms:
        task, transform = task_for(subject, targets), _made(subject, targets, shape)
        try:
            batch = samples.batches_of(task, shape)
        except NotImplementedError as error:
            raise NotChecked(f"the task of {targets} targets gives no example") from error
        if hasattr(transform, "fit"):
            transform.fit(batch(range(24))[0])
        yield Trial(transform, shape, targets, batch)


def _made(subject: Subject, targets: str | None, shape: tuple[int, ...]) -> Any:
    with values(subject, targets, shape) as known:
        return make(subject, known)


def _check_gives(gives: str, outputs: Any, num_axes: int) -> None:
    """Check that its outputs are of the declared kind."""
    if gives == "any" or not isinstance(outputs, Tensor):
        return
    found, taken = samples.kinds_of(outputs.ndim - 1), samples.kinds_of(num_axes)
    right = found == taken if gives == "same" else gives in found
    expect(
        right, f"it declares that it gives {gives}, and turns {taken[0]} into {found[0] if found else 'something else'}"
    )


def _check_targets(subject: Subject, form: str, outputs: Any, targets: Any) -> None:
    """Check that its targets have the declared form."""
    task = task_for(subject, form)
    task.class_names = tuple(task.example().class_names)
    try:
        task.check(outputs, targets, list(ALL), "what it gives")
    except DataError as error:
        raise Defect(str(error).partition("\n")[0]) from error


def _length(targets: Any) -> int:
    return len(targets) if isinstance(targets, (Tensor, list)) else tree.length(targets)


def _sample(own: Any, row: int, num: int) -> Any:
    """One sample of a batch; ragged leaves are lists with an item a sample."""
    if isinstance(own, list) and len(own) == num:
        return own[row]
    if isinstance(own, dict):
        return {key: _sample(one, row, num) for key, one in own.items()}
    if isinstance(own, (tuple, list)):
        return tuple(_sample(one, row, num) for one in own)
    return own[row] if isinstance(own, Tensor) else own


def _same(one: Any, other: Any, atol: float = 0.0) -> bool:
    """Whether two trees hold the same numbers."""
    found, wanted = dict(tree.leaves(one)), dict(tree.leaves(other))
    return found.keys() == wanted.keys() and all(
        leaf.shape == wanted[path].shape and torch.allclose(leaf, wanted[path], rtol=1e-5 if atol else 0.0, atol=atol)
        for path, leaf in found.items()
    )
