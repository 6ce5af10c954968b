"""Accepted forms of a dataset: wf's own, a pair of arrays, torch's datasets and loaders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from wf.discovery.modules import describe
from wf.engine.figures import SPLITS
from wf.errors import DataError, UsageError, unknown
from wf.registry import Registry
from wf_base import tree
from wf_base.data import Dataset, Samples, TensorSamples
from wf_base.streams import AT_ONCE, Stream
from wf_base.task import recognized
from wf_base.tree import Tree
from wf_data.batches.loading import generators_kept
from wf_data.checks import stacked


def as_dataset(value: Any, name: str, registry: Registry | None = None) -> Dataset:
    """Convert the result of a dataset component to a `Dataset`.

    Args:
        value: A `Dataset`, a pair of tensors, arrays or dicts of these, a dataset or loader of torch, or a dict of
            these by split.
        name: The dataset's, for messages.
        registry: The registry with the tasks that may recognize the targets; None for the installed ones.

    Raises:
        UsageError: For anything else.
    """
    if isinstance(value, Dataset):
        return value
    if isinstance(value, (tuple, list)) and len(value) == 2 and not any(map(is_torch_data, value)):
        inputs, targets = value
        return _from_pair(inputs, targets, registry)
    if is_torch_data(value):
        return _from_torch(value, name, registry)
    raise UsageError(
        f"dataset '{name}' returned {type(value).__name__}; it must return a wf_base.Dataset, a pair (inputs, "
        "targets), a "
        "dataset or DataLoader of torch, or a dict of these with the keys train, validation and test"
    )


def collated(value: Any, collate: Callable[[list[Any]], Any]) -> Dataset:
    """A dataset from Python, with its collate function.

    Args:
        value: As for `as_dataset`.
        collate: Like torch's ``collate_fn``: called with a list of samples, it returns a pair (inputs, targets).

    Raises:
        UsageError: If a loader has its own `collate_fn`.
    """
    parts = value if isinstance(value, Mapping) else {"train": value}
    own = [one for one in parts.values() if isinstance(one, DataLoader) and one.collate_fn is not default_collate]
    if own:
        raise UsageError("collate and a DataLoader with its own collate_fn are given; leave one of them out")
    made = as_dataset(value, "data")
    if isinstance(value, Dataset):
        return replace(made, collate=collate)
    return Dataset(
        train=made.train, validation=made.validation, test=made.test, sampler=made.sampler, collate=collate
    )  # facts read from the samples need not hold after collating


def is_torch_data(value: Any) -> bool:
    """Whether it is a dataset or loader of torch, or a dict of these by split."""
    if isinstance(value, Mapping):
        return bool(value) and all(is_torch_data(one) for one in value.values())
    return isinstance(value, (DataLoader, torch.utils.data.Dataset))


def _from_torch(value: Any, name: str, registry: Registry | None) -> Dataset:
    """Convert torch's datasets and loaders to a `Dataset`.

    Its classes are the attribute ``classes`` of a map-style dataset with integer targets, as torchvision's datasets
    have it; floating-point targets are a regression. Other targets are unknown.

    Args:
        value: A dataset, a loader, or a dict of such with the keys ``train``, ``validation``, ``test``. From a loader
            its dataset, `collate_fn` and sampler are used.
        name: The dataset's, for messages.

    Raises:
        UsageError: For a dict without ``train``, or with other keys.
        DataError: If a sample cannot be read.
    """
    parts = dict(value) if isinstance(value, Mapping) else {"train": value}
    for split in parts:
        if split not in SPLITS:
            raise UsageError(unknown("split", str(split), SPLITS, of=f"dataset '{name}'"))
    if "train" not in parts:
        raise UsageError(f"dataset '{name}' has no 'train' among its splits: {', '.join(parts)}")
    loader = parts["train"] if isinstance(parts["train"], DataLoader) else None
    given = {split: one.dataset if isinstance(one, DataLoader) else one for split, one in parts.items()}
    samples = {split: _samples(one, registry) for split, one in given.items()}
    if loader is not None and loader.batch_size is None:
        raise UsageError(
            f"dataset '{name}': a DataLoader with its own batch_sampler, or without batches, is not supported\n"
            "  give its dataset, or a loader with a batch_size and, if the order matters, a sampler"
        )
    collate = _collate(parts, name)
    return Dataset(
        train=samples["train"],
        validation=samples.get("validation"),
        test=samples.get("test"),
        collate=collate,
        sampler=_sampler(loader),
        **({} if collate is not None else _known(given["train"], name, registry)),
    )


def _collate(parts: Mapping[str, Any], name: str) -> Callable[[list[Any]], Any] | None:
    """The `collate_fn` of the loaders, None for torch's default; all splits must have the same."""
    found = {split: one.collate_fn for split, one in parts.items() if isinstance(one, DataLoader)}
    if any(collate is not default_collate for collate in found.values()):
        found = {split: found.get(split, default_collate) for split in parts}
    if len(set(found.values())) > 1:
        raise UsageError(
            f"dataset '{name}': its splits are collated in different ways ({', '.join(found)})\n"
            "  give each split as a DataLoader with the same collate_fn"
        )
    collate = next(iter(found.values()), default_collate)
    return None if collate is default_collate else collate


def batching_of(value: Any) -> dict[str, Any]:
    """The keys of the run file that a loader sets: batch size, and whether a smaller last batch is dropped."""
    loader = value.get("train") if isinstance(value, Mapping) else value
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        return {}
    return {
        "batch_size": loader.batch_size,
        "drop_last": bool(loader.drop_last),
        "shuffle": not isinstance(loader.sampler, SequentialSampler),
    }


def _samples(dataset: Any, registry: Registry | None) -> Samples:
    if isinstance(dataset, IterableDataset):
        return _stream(dataset)
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return _from_pair(*dataset.tensors, registry).train
    samples: Samples = dataset
    return samples


def _sampler(loader: DataLoader[Any] | None) -> Any:
    """A custom sampler; torch's own are expressed by ``shuffle``."""
    if loader is None or isinstance(loader.dataset, IterableDataset):
        return None
    own = loader.sampler
    replaces = isinstance(own, RandomSampler) and (own.replacement or own.num_samples != len(loader.dataset))  # type: ignore[arg-type]
    return None if isinstance(own, SequentialSampler) or (type(own) is RandomSampler and not replaces) else own


def _known(dataset: Any, name: str, registry: Registry | None) -> dict[str, Any]:
    """The known facts about the targets of a torch dataset."""
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        pair = _from_pair(*dataset.tensors, registry)
        return {"targets": pair.targets, "class_names": pair.class_names}
    if isinstance(dataset, IterableDataset):
        return {}
    if len(dataset) == 0:
        raise DataError(f"dataset '{name}' has no samples")
    with generators_kept():
        first = dataset[0]
    target = _number(first[1]) if isinstance(first, (tuple, list)) and len(first) == 2 else None
    classes, indices = _classes(dataset)
    if target is None or (classes is None and not target.is_floating_point()):
        return {}
    found = recognized(target.unsqueeze(0), registry)
    if classes is None or "class_names" not in found:
        return found
    return {**found, "class_names": [str(one) for one in classes], "target_tensor": indices}


def _number(target: Any) -> Tensor | None:
    """The target of a sample as a tensor, if it is one integer or one or several floats; None for anything else."""
    if isinstance(target, bool) or (not isinstance(target, (int, float)) and not hasattr(target, "dtype")):
        return None
    number = torch.as_tensor(target)
    if number.is_floating_point():
        return number if number.ndim < 2 else None
    return number.to(torch.int64) if number.ndim == 0 and number.dtype != torch.bool else None


def _classes(samples: Any) -> tuple[list[Any] | None, Tensor | None]:
    """The names of the classes, and the class of each sample, if the dataset has them without reading samples."""
    if isinstance(samples, Subset):
        classes, whole = _classes(samples.dataset)
        return classes, None if whole is None else whole[torch.as_tensor(list(samples.indices))]
    classes, targets = getattr(samples, "classes", None), getattr(samples, "targets", None)
    if not isinstance(classes, (list, tuple)):
        return None, None
    try:
        indices = torch.as_tensor(targets, dtype=torch.int64) if targets is not None else None
    except (TypeError, ValueError, RuntimeError):
        indices = None
    return list(classes), indices if indices is not None and indices.shape == (len(samples),) else None


def _stream(dataset: IterableDataset[Any]) -> Stream:
    """An iterable dataset as a stream: read from its beginning, skipping unneeded samples."""
    try:
        num_samples = len(dataset)  # type: ignore[arg-type]
    except TypeError:
        with generators_kept():
            num_samples = sum(1 for _ in dataset)
    if not num_samples:
        raise DataError("the iterable dataset has no samples")

    def read(number: int) -> Iterator[tuple[Tree, Tree]]:
        rest = itertools.islice(iter(dataset), number, None)
        while samples := list(itertools.islice(rest, AT_ONCE)):
            yield _pair(samples, number)
            number += len(samples)

    return Stream(num_samples=num_samples, read=read, exact=False)


def _pair(samples: list[Any], number: int) -> tuple[Tree, Tree]:
    """Samples from a number on, as inputs and targets."""
    ids = list(range(number, number + len(samples)))
    for one, sample in zip(ids, samples, strict=True):
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            raise DataError(f"sample {one} is {tree.words(sample)}; a sample is a pair (input, target)")
    inputs, targets = ([sample[place] for sample in samples] for place in (0, 1))
    where = "the iterable dataset"
    return stacked(inputs, ids, "input", where), stacked(targets, ids, "target", where)


def _plain_tensor(value: Any, what: str) -> Tensor:
    """A tensor of samples that can be sliced and trained on; it does not require a gradient."""
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        dtype = getattr(value, "dtype", None)
        held = type(value).__name__ if dtype is None else f"an array of {dtype}"
        lines = [f"{what} that are {held} cannot be made a tensor: {describe(error)}"]
        if what == "targets" and getattr(dtype, "kind", "") in "UST":
            lines.append("give the number of each sample's class, and the names as wf_base.Dataset(class_names=...)")
        raise DataError("\n  ".join(lines)) from error
    if tensor.ndim == 0:
        raise DataError(f"{what} are a single number; samples must be [N] or [N, ...]")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex():
        form = "without values" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
        raise DataError(f"{what} are a tensor that cannot be trained on ({form})\n  make it dense, of real numbers")
    return tensor


def _tensors(value: Any, what: str) -> Tree:
    """A tensor of samples, or a dict of tensors by name."""
    if isinstance(value, Mapping):
        return {str(name): _tensors(leaf, f"{what} '{name}'") for name, leaf in value.items()}
    return _plain_tensor(value, what)


def _from_pair(inputs: Any, targets: Any, registry: Registry | None = None) -> Dataset:
    if isinstance(inputs, Mapping) or isinstance(targets, Mapping):
        made = TensorSamples(_tensors(inputs, "inputs"), _tensors(targets, "targets"))
        return Dataset(train=made, **(recognized(made.targets, registry) if isinstance(made.targets, Tensor) else {}))
    inputs, targets = _plain_tensor(inputs, "inputs"), _plain_tensor(targets, "targets")
    if inputs.ndim == 1:
        inputs = inputs.unsqueeze(1)
    if targets.is_floating_point():
        targets = targets.unsqueeze(1) if targets.ndim == 1 else targets
    else:
        targets = targets.to(torch.int64)
        targets = targets.squeeze(1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
    return Dataset(train=TensorSamples(inputs, targets), **recognized(targets, registry))
