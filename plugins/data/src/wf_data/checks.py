"""Checks of samples against the dataset's declarations: in memory before step 1, others as they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from wf.blame import FAILURES
from wf.discovery.modules import describe
from wf.errors import DataError
from wf_base import tree
from wf_base.data import Dataset, Samples, TensorSamples, as_default
from wf_base.streams import Stream
from wf_base.task import Numbers, TaskRuntime, at, within
from wf_base.tensors import all_finite
from wf_base.text import TOKENS
from wf_base.tree import Tree
from wf_data.sets import words


class Checks:
    """Checks the form of a dataset's samples. Batches are checked in host memory, in the process that read them.

    Args:
        dataset: The dataset, which declares the form.
        task: The task, which checks targets.
        name: The dataset's name, for messages.

    Raises:
        DataError: For duplicate class names.
    """

    def __init__(self, dataset: Dataset, task: TaskRuntime, name: str) -> None:
        self._task, self._name, self._vocab_size = task, name, len(dataset.vocabulary)
        self._collate = dataset.collate or task.collate
        self._first: dict[str, tuple[torch.dtype, torch.Size]] | None = None
        task.check_dataset(name)

    @property
    def collates(self) -> bool:
        """Whether the dataset makes the batches of its samples itself."""
        return self._collate is not None

    @property
    def draws(self) -> bool:
        """Whether making a batch may draw random numbers."""
        return self._collate is not None and getattr(self._collate, "draws", True)

    @property
    def each(self) -> Callable[[Any], Any] | None:
        """The method `each` of the `collate`, which is called for each sample before the batch is made."""
        return getattr(self._collate, "each", None)

    def where(self, split: str) -> str:
        """The split, for messages."""
        return words(split) if "/" in split else f"dataset '{self._name}', {split} split"

    def split(self, samples: Samples, ids: Tensor | None, split: str) -> None:
        """Check a split before step 1: all samples in memory, the first of a stream. Others are checked when they are
        read. `ids` are their numbers in the dataset, which a stream gives itself.
        """
        if isinstance(samples, Stream):
            inputs, targets, numbers = next(samples.rows(samples.order()))
            self.batch(inputs, targets, numbers.tolist(), split)
        elif isinstance(samples, TensorSamples):
            assert ids is not None
            self._values(samples.inputs, samples.targets, ids, self.where(split))
            self._task.check_split(samples.targets, self.where(split))

    def batch(self, inputs: Tree, targets: Tree, ids: Sequence[int], split: str) -> None:
        """Check a batch of samples with these numbers; the first batch determines the form of the others."""
        where = self.where(split)
        inputs, targets = (tree.map_leaves(as_default, own) for own in (inputs, targets))
        self._alike(inputs, targets, ids[0], where)
        self._values(inputs, self._task.served(targets), ids, where)

    def pairs(self, samples: Sequence[Any], ids: Sequence[int], split: str) -> tuple[Tree, Tree]:
        """Checked inputs and targets of samples that were read one by one."""
        where = self.where(split)
        if len(samples) != len(ids):
            raise DataError(f"{where}: __getitems__ returned {len(samples)} samples instead of {len(ids)}")
        if self._collate is not None:
            try:
                made = self._collate(list(samples))
            except FAILURES as error:
                error.add_note(f"collate of {where}, samples {', '.join(map(str, ids))}")
                raise
            return self._collated(made, ids, where)
        for index, sample in zip(ids, samples, strict=True):
            if not isinstance(sample, (tuple, list)) or len(sample) != 2:
                raise DataError(
                    f"{where}: sample {index} is {_words(sample)}; a sample is a pair (input, target)"
                    "\n  return both from __getitem__, or make them in collate"
                )
        inputs = stacked([sample[0] for sample in samples], ids, "input", where)
        targets = stacked([sample[1] for sample in samples], ids, "target", where)
        self.batch(inputs, targets, ids, split)
        return inputs, targets

    def _collated(self, made: Any, ids: Sequence[int], where: str) -> tuple[Tree, Tree]:
        """Check a batch from the dataset's `collate`, which may have any size."""
        if not isinstance(made, (tuple, list)) or len(made) != 2 or tree.first_leaf(made[0]) is None:
            raise DataError(
                f"{where}: collate returned {_words(made)} for samples {ids[0]}, ...; it must return a pair (inputs, "
                "targets)"
                "\n  each a tensor, or a dict, tuple or list of tensors; targets may be None"
            )
        inputs, targets = (tree.map_leaves(as_default, own) for own in made)
        self._values(inputs, targets, ids, where)
        return inputs, targets

    def _alike(self, inputs: Tree, targets: Tree, index: int, where: str) -> None:
        """Refuse a dtype or shape that differs from the first samples; images may have any size."""
        found = {path: (leaf.dtype, leaf.shape[1:]) for path, leaf in tree.leaves({"input": inputs, "target": targets})}
        first = self._first = self._first or found
        if found.keys() != first.keys():
            one = next(iter(found.keys() ^ first.keys()))
            there, before = ("have the", "did not") if one in found else ("lack the", "had it")
            raise DataError(f"{where}: samples from {index} on {there} {leaf_words(one)}, but earlier ones {before}")
        for path, (dtype, shape) in found.items():
            wanted, like = first[path]
            free = self._task.any_size or (path.startswith("input") and len(like) > 1)
            if dtype != wanted or len(shape) != len(like) or (shape != like and not free):
                what = f"{path}s" if path in ("input", "target") else leaf_words(path)
                raise DataError(
                    f"{where}: from sample {index} on {what} are {dtype} {list(shape)}, but earlier ones are {wanted} "
                    f"{list(like)}"
                )

    def _values(self, inputs: Tree, targets: Tree, ids: Numbers, where: str) -> None:
        """Refuse values with which training would silently give nonsense."""
        for path, leaf in tree.leaves(inputs):
            if not all_finite(leaf):
                name = f" '{path}'" if path else ""
                raise DataError(
                    f"{where}: inputs{name} hold values that are not finite{at(~torch.isfinite(leaf), leaf, ids)}"
                )
        self._check_tokens(inputs, where)
        self._task.check(inputs, targets, ids, where)

    def _check_tokens(self, inputs: Tree, where: str) -> None:
        """Refuse tokens outside of the vocabulary; in a dict they are the leaf `TOKENS`."""
        inputs = inputs.get(TOKENS) if isinstance(inputs, Mapping) else inputs
        if not self._vocab_size or not isinstance(inputs, Tensor):
            return
        if inputs.dtype != torch.int64 or inputs.ndim != 2:
            raise DataError(f"{where}: tokens must be int64 [N, T], not {inputs.dtype} {list(inputs.shape)}")
        if not within(inputs, self._vocab_size):
            low, high = int(inputs.min()), int(inputs.max())
            raise DataError(f"{where}: tokens from {low} to {high} do not fit a vocabulary of {self._vocab_size}")


def leaf_words(path: str) -> str:
    """The name of a leaf in messages: ``input``, ``input 'tokens'``."""
    what, _, rest = path.partition("/")
    return f"{what} '{rest}'" if rest else what


def stacked(values: Sequence[Any], ids: Sequence[int], path: str, where: str) -> Tree:
    """Stack the trees of several samples into one, each leaf a tensor ``[N, ...]``."""
    first = values[0]
    if all(value is None for value in values):
        return None
    if not isinstance(first, (Mapping, tuple, list)) or _is_numbers(first):
        return _stack(values, ids, leaf_words(path), where)
    keys = _keys(first)
    for index, value in zip(ids, values, strict=True):
        if type(value) is not type(first) or _keys(value) != keys:
            raise DataError(
                f"{where}: the {leaf_words(path)} of sample {ids[0]} is {_words(first)}, that of sample {index} "
                f"{_words(value)}\n"
                "  in a batch they must be alike: convert or pad them in the dataset, or give it a collate(samples)"
            )
    if isinstance(first, Mapping):
        return {key: stacked([value[key] for value in values], ids, f"{path}/{key}", where) for key in keys}
    made = [stacked([value[place] for value in values], ids, f"{path}/{place}", where) for place in keys]
    return type(first)(*made) if hasattr(first, "_fields") else type(first)(made)


def _is_numbers(value: Any) -> bool:
    """Whether it is a list of Python numbers that should have been made a tensor."""
    return isinstance(value, list) and all(isinstance(one, (int, float, str)) for one in value)


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Mapping) else list(range(len(value)))


def _stack(values: Sequence[Any], ids: Sequence[int], what: str, where: str) -> Tensor:
    """One tensor of the values of several samples."""
    failure: Exception | None = None
    stacked: Any = None
    try:
        with torch.no_grad():  # a batch never needs gradients
            stacked = default_collate(list(values))
    except (TypeError, ValueError, RuntimeError) as error:  # values that differ or cannot be stacked
        failure = error
    if isinstance(stacked, Tensor) and len({_dtype(value) for value in values if hasattr(value, "dtype")}) < 2:
        return stacked
    words = {index: _words(value) for index, value in zip(ids, values, strict=True)}
    (first, like), *others = words.items()
    other = next((index for index, word in others if word != like), None)
    if other is not None:
        raise DataError(
            f"{where}: the {what} of sample {first} is {like}, that of sample {other} {words[other]}"
            "\n  in a batch they must be alike: convert, resize, crop or pad them in the dataset, or give it a "
            "collate(samples)"
        )
    if hasattr(values[0], "shape"):
        why = "" if failure is None else f": {describe(failure)}"
        raise DataError(f"{where}: the {what} of sample {first}, {like}, cannot be in a batch{why}") from failure
    raise DataError(
        f"{where}: the {what} of sample {first} is {like}, which is not a tensor, array or number"
        "\n  convert it in the dataset, for example with torch.as_tensor(...)"
    ) from failure


def _dtype(value: Any) -> str:
    """The dtype's name; dtypes that are converted to torch's default precision count as equal."""
    name = str(value.dtype).removeprefix("torch.")
    return "float32" if name == "float64" else name


def _words(value: Any) -> str:
    """A description of a value, with its shape or its items."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ in ("builtins", "torch") else f"{kind.__module__}.{kind.__name__}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {name} of {', '.join(map(str, value))}"
    if isinstance(value, (tuple, list)):
        kinds = ", ".join(type(one).__name__ for one in value[:5])
        return f"a {name} of {len(value)} items ({kinds}{', ...' if len(value) > 5 else ''})"
    return f"a {name}"
