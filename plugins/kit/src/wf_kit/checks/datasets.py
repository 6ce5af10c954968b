"""Checks of datasets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf.traits import DatasetTraits
from wf_base import Dataset, Samples, Stream, TensorSamples, tree
from wf_base.data import as_default, as_float, collated, split_dataset
from wf_base.task import TaskRuntime, make_task
from wf_base.tree import Tree
from wf_data.given import as_dataset
from wf_data.serving import RunData
from wf_fitting.tasks import tasks_of
from wf_kit.kit import Defect, NotChecked, Subject, check, expect
from wf_kit.making import make, values
from wf_kit.samples import kinds_of

MANY = 2000
"""Number of samples per split that are checked."""
SHARED = 0.01
"""Share of a split that may occur in another one: real data has a few duplicates."""


@check("dataset-traits", "dataset", fix="declare its contents: DatasetTraits(targets=..., transforms=..., files=...)")
def traits(subject: Subject) -> None:
    """Its targets, inputs, transforms and files are as declared."""
    declared = subject.traits
    if not isinstance(declared, DatasetTraits):
        raise NotChecked("it declares no traits")
    dataset = _dataset(subject)
    targets, first = dataset.targets, next(_first(dataset.train))[0]
    inputs = kinds_of(first.ndim) if isinstance(first, Tensor) else ()
    inputs = ("tokens",) if dataset.vocabulary else inputs
    expect(declared.targets in (None, targets), f"it declares {declared.targets} targets, but has {targets}")
    expect(
        declared.inputs is None or declared.inputs in inputs, f"it declares {declared.inputs} inputs, but has {inputs}"
    )
    for name in declared.transforms:
        try:
            subject.registry.find("transform", name)
        except UsageError as error:
            raise Defect(f"it names transform '{name}': {str(error).splitlines()[0]}") from error
    expect(not declared.files or subject.param("path"), "it declares files, but has no option 'path'")


@check(
    "dataset-spec",
    "dataset",
    after=("made",),
    fix="return targets as wf.traits defines them, and one class name per class",
)
def spec(subject: Subject) -> None:
    """Shapes, dtypes, ranges and names match its form of targets."""
    dataset = _dataset(subject)
    declared = (
        tasks_of(subject.registry).named(dataset.task)
        if dataset.task
        else tasks_of(subject.registry).of(dataset.targets)
    )
    facts = {"class_names": dataset.class_names, "vocabulary": dataset.vocabulary}
    task = make_task(subject.registry, declared, dataset.targets, **facts)
    collate = dataset.collate or task.collate
    for split, samples in _splits(dataset):
        shape = None
        for number, sample in enumerate(_first(samples)):
            shape = shape or _shapes(sample)
            text = f"{split}: the first sample is {shape}, but another one {_shapes(sample)}"
            expect(collate is not None or _shapes(sample) == shape, text)
            finite = all(bool(torch.isfinite(leaf).all()) for _, leaf in tree.leaves(sample[0]))
            expect(finite, f"{split}: an input is not finite")
            try:
                inputs, targets = (
                    tree.map_leaves(lambda leaf: leaf[None], sample)
                    if collate is None
                    else collated(collate, [samples[number]])
                )
                task.check(inputs, task.served(targets), [number], split)
            except DataError as error:
                raise Defect(str(error).partition("\n")[0]) from error
    _check_names(dataset, task)
    RunData(dataset, split_dataset(dataset, "70/15/15", 0, shuffle=True, task=task), task=task)


@check(
    "dataset-deterministic",
    "dataset",
    after=("made",),
    fix="draw from its own generator, seeded by an option or the run's seed",
)
def deterministic(subject: Subject) -> None:
    """Built twice it has the same samples."""
    first = _dataset(subject)
    second = _dataset(subject, torch_seed=1)
    for (split, one), (other_split, other) in zip(_splits(first), _splits(second), strict=True):
        expect(
            split == other_split and len(one) == len(other),
            f"built again it has different splits: {split}, {other_split}",
        )
        for number, (left, right) in enumerate(zip(_first(one), _first(other), strict=True)):
            pairs = zip(tree.leaves(left), tree.leaves(right), strict=True)
            same = all(path == other and torch.equal(a, b) for (path, a), (other, b) in pairs)
            expect(same, f"built again, sample {number} of {split} differs")


@check("dataset-splits", "dataset", after=("made",), fix="put every sample into one split only")
def splits(subject: Subject) -> None:
    """Its own splits share no samples, except for a few duplicates (1%)."""
    dataset = _dataset(subject)
    brought = dict(_splits(dataset))
    if len(brought) == 1:
        raise NotChecked("it has no splits of its own")
    found = {split: _keys(samples) for split, samples in brought.items()}
    for one, other in itertools.combinations(found, 2):
        shared, least = len(found[one] & found[other]), min(len(found[one]), len(found[other]))
        expect(shared <= SHARED * least, f"{shared} samples are in both {one} and {other}")


def _dataset(subject: Subject, torch_seed: int = 0) -> Dataset:
    with values(subject) as known:
        torch.manual_seed(torch_seed)
        return as_dataset(make(subject, known), str(subject), subject.registry)


def _splits(dataset: Dataset) -> Iterator[tuple[str, Samples]]:
    for split in ("train", "validation", "test"):
        samples = getattr(dataset, split)
        if samples is not None:
            yield split, samples


def _first(samples: Samples) -> Iterator[tuple[Tree, Tree]]:
    """The first samples, as a run serves them."""
    each = iter(samples) if isinstance(samples, Stream) else (samples[number] for number in range(len(samples)))
    for input_, target in itertools.islice(each, MANY):
        yield tree.map_leaves(lambda leaf: as_float(as_default(leaf)), _tensors(input_)), _tensors(target)


def _tensors(value: Any) -> Tree:
    """Arrays and numbers of a sample as tensors."""
    if isinstance(value, Mapping):
        return {key: _tensors(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map(_tensors, value))
    return None if value is None else torch.as_tensor(value)


def _shapes(sample: Tree) -> list[list[int]]:
    return [list(leaf.shape) for _, leaf in tree.leaves(sample)]


def _keys(samples: Samples) -> set[bytes]:
    """Keys that identify samples: of all samples if they are in memory, else of the first ones."""
    if isinstance(samples, TensorSamples) and isinstance(samples.inputs, Tensor):
        return {row.tobytes() for row in samples.inputs.numpy()}
    return {b"".join(leaf.numpy().tobytes() for _, leaf in tree.leaves(input_)) for input_, _ in _first(samples)}


def _check_names(dataset: Dataset, task: TaskRuntime) -> None:
    """Check that there is a name for each class, feature and target, if there are names."""
    first, target = next(_first(dataset.train))
    num_features = len(dataset.feature_names)
    if num_features and isinstance(first, Tensor):
        expect(num_features == first.numel(), f"it has {num_features} feature names for {first.numel()} features")
    if dataset.target_names and isinstance(target, Tensor):
        expect(
            len(dataset.target_names) == target.numel(),
            f"it has {len(dataset.target_names)} target names for {target.numel()}",
        )
    num, columns = len(dataset.class_names), None
    if isinstance(target, Tensor):
        columns = task.facts(target).get("num_targets")
    if columns is not None and task.counts(task.judged_by[0]):
        expect(num == columns, f"it has {num} class names for {columns} classes")
    if isinstance(target, Tensor) and not target.is_floating_point() and not dataset.vocabulary:
        expect(num > 1, f"it has {num} class names")
    if dataset.target_tensor is not None:
        same = len(dataset.target_tensor) == len(dataset.train) and int(dataset.target_tensor[0]) == int(target)
        expect(same, "target_tensor does not hold the classes of the train samples")
