"""What transforms keep to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from wf.protocols import Stateful
from wf.runtime import sample_uniform
from wf.runtime.transforming import is_joint
from wf.traits import TransformTraits
from wf_kit import samples
from wf_kit.kit import Defect, NotChecked, Subject, check, expect, told
from wf_kit.making import make, shapes_of, values
from wf_kit.states import restored, saved

NUM = 6


@check(
    "transform-traits",
    "transform",
    fix="declare what it takes, and that it is random: TransformTraits(inputs=..., train_only=True)",
)
def traits(subject: Subject) -> None:
    """It takes the inputs that it declares, and is declared for training alone where it is random."""
    declared = subject.traits
    if not isinstance(declared, TransformTraits):
        raise NotChecked("it declares no traits")
    for shape, transform in _each(subject):
        random = _num_draws(transform) > 0
        expect(declared.train_only or not random, "it takes draws, so it must be declared with train_only=True")
        try:
            outputs = _apply(transform, samples.inputs(shape, NUM))
        except Exception as error:
            raise Defect(f"it does not take inputs [N, {', '.join(map(str, shape))}]: {told(error)}") from error
        _check_gives(declared.gives, outputs, len(shape))


@check(
    "transform-shape",
    "transform",
    after=("made", "transform-traits"),
    fix="give one finite float32 input a sample; an augmentation keeps the shape",
)
def shape(subject: Subject) -> None:
    """It gives one finite float input a sample, of the same shape where only training sees it."""
    for shape, transform in _each(subject):
        outputs = _apply(transform, samples.inputs(shape, NUM))
        expect(isinstance(outputs, Tensor), f"it gives {type(outputs).__name__}, not a tensor")
        expect(len(outputs) == NUM, f"it gives {len(outputs)} samples for {NUM}")
        expect(outputs.dtype == torch.float32, f"it turns float32 into {outputs.dtype}")
        expect(bool(torch.isfinite(outputs).all()), "it gives values that are not finite")
        if isinstance(subject.traits, TransformTraits) and subject.traits.train_only:
            got = tuple(outputs.shape[1:])
            expect(
                got == shape, f"it turns {list(shape)} into {list(got)} in training, and evaluation sees {list(shape)}"
            )


@check(
    "transform-deterministic",
    "transform",
    after=("made", "transform-traits"),
    fix="use the draws it is called with (num_draws) instead of a generator",
)
def deterministic(subject: Subject) -> None:
    """The same inputs and draws give the same outputs, and the inputs stay as they are."""
    for shape, transform in _each(subject):
        inputs = samples.inputs(shape, NUM)
        first, again = _apply(transform, inputs), _apply(transform, inputs)
        expect(torch.equal(inputs, samples.inputs(shape, NUM)), "it changes its inputs in place")
        expect(torch.equal(first, again), "it gives other outputs the second time")


@check(
    "transform-batches",
    "transform",
    after=("made", "transform-deterministic"),
    fix="let each sample's output follow from that sample and its draws alone",
)
def batches(subject: Subject) -> None:
    """How samples are put into batches changes nothing."""
    for shape, transform in _each(subject):
        inputs, draws = samples.inputs(shape, NUM), _draws(transform, NUM)
        parts = [_apply(transform, inputs[rows], draws[rows]) for rows in (slice(0, 1), slice(1, 4), slice(4, NUM))]
        whole = _apply(transform, inputs, draws)
        expect(
            torch.allclose(whole, torch.cat(parts), atol=1e-6),
            "a sample's output depends on what is beside it in the batch",
        )


@check(
    "transform-resumes",
    "transform",
    after=("made", "transform-deterministic"),
    fix="let state_dict hold what fit() measured, and load_state_dict put it back",
)
def resumes(subject: Subject) -> None:
    """What it has measured is restored bit for bit, if it measures anything."""
    for shape, transform in _each(subject):
        if not isinstance(transform, Stateful):
            raise NotChecked("it has no state_dict")
        with values(subject, shape=shape) as known:
            again = make(subject, known)
        again.load_state_dict(restored(saved(dict(transform.state_dict()))))
        inputs = samples.inputs(shape, NUM)
        same = torch.equal(_apply(transform, inputs), _apply(again, inputs))
        expect(same, "restored, it gives other outputs")


def _each(subject: Subject) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Each shape of input that it takes, and a transform for it, fitted if it is one that is."""
    for shape in shapes_of(subject):
        with values(subject, shape=shape) as known:
            transform = make(subject, known)
        if is_joint(transform):
            raise NotChecked("it changes inputs and targets together: a run alone tries it")
        if hasattr(transform, "fit"):
            transform.fit(samples.inputs(shape, 24, seed=1))
        yield shape, transform


def _check_gives(gives: str, outputs: Any, num_axes: int) -> None:
    """See that it gives the kind of inputs that it declares."""
    if gives == "any" or not isinstance(outputs, Tensor):
        return
    found, taken = samples.kinds_of(outputs.ndim - 1), samples.kinds_of(num_axes)
    right = found == taken if gives == "same" else gives in found
    expect(
        right, f"it declares that it gives {gives}, and turns {taken[0]} into {found[0] if found else 'something else'}"
    )


def _num_draws(transform: Any) -> int:
    return int(getattr(transform, "num_draws", 0))


def _draws(transform: Any, num: int) -> Tensor:
    return sample_uniform(0, 0, torch.arange(num), _num_draws(transform))


def _apply(transform: Any, inputs: Tensor, draws: Tensor | None = None) -> Any:
    """As a run applies it: a random one is given its draws."""
    if not _num_draws(transform):
        return transform(inputs)
    return transform(inputs, _draws(transform, len(inputs)) if draws is None else draws)
