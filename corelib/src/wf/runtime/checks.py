"""Refusing samples that do not fit what a dataset says of them: those in memory before step 1, others as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from wf.errors import DataError
from wf.modules import describe
from wf.runtime.data import Dataset, TensorSamples, as_default
from wf.runtime.task import Numbers, TaskRuntime, all_finite, at, within


class Checks:
    """What the samples of a dataset must be like. A batch is looked through in host memory, where it was read.

    Args:
        dataset: What says so.
        task: What its targets must be like.
        name: The dataset's, for messages.

    Raises:
        DataError: For classes that cannot be told apart.
    """

    def __init__(self, dataset: Dataset, task: TaskRuntime, name: str) -> None:
        self._task, self._name, self._vocab_size = task, name, len(dataset.vocabulary)
        self._first: tuple[tuple[torch.dtype, torch.Size], ...] | None = None
        task.check_dataset(name)

    def where(self, split: str) -> str:
        """The split in words."""
        return f"dataset '{self._name}', {split} split"

    def tensors(self, samples: TensorSamples, ids: Tensor, split: str) -> None:
        """Look through samples in memory, once; `ids` are their numbers in the dataset."""
        self._task.check_split(samples.targets, self.where(split))
        self._values(samples.inputs, samples.targets, ids, self.where(split))

    def batch(self, inputs: Tensor, targets: Tensor, ids: Sequence[int], split: str) -> None:
        """Look through a batch of samples with these numbers; what is read first says how the others must be."""
        where, inputs, targets = self.where(split), as_default(inputs), as_default(targets)
        self._alike(inputs, targets, ids[0], where)
        self._values(inputs, self._task.served(targets), ids, where)

    def pairs(self, samples: Sequence[Any], ids: Sequence[int], split: str) -> tuple[Tensor, Tensor]:
        """Inputs and targets of samples that were read one by one, looked through."""
        where = self.where(split)
        if len(samples) != len(ids):
            raise DataError(f"{where}: __getitems__ gave {len(samples)} samples where {len(ids)} were asked for")
        for index, sample in zip(ids, samples, strict=True):
            if not isinstance(sample, (tuple, list)) or len(sample) != 2:
                raise DataError(
                    f"{where}: sample {index} is {_words(sample)}; a sample is a pair (input, target)"
                    "\n  let __getitem__ give the two of them"
                )
        inputs = _stacked([sample[0] for sample in samples], ids, "input", where)
        targets = _stacked([sample[1] for sample in samples], ids, "target", where)
        self.batch(inputs, targets, ids, split)
        return inputs, targets

    def _alike(self, inputs: Tensor, targets: Tensor, index: int, where: str) -> None:
        """Refuse another dtype or shape than that of what was read first; images may be of any size."""
        found = tuple((tensor.dtype, tensor.shape[1:]) for tensor in (inputs, targets))
        first = self._first = self._first or found
        for what, (dtype, shape), (wanted, like) in zip(("input", "target"), found, first, strict=True):
            free = self._task.any_size or (what == "input" and len(like) > 1)
            if dtype != wanted or len(shape) != len(like) or (shape != like and not free):
                raise DataError(
                    f"{where}: from sample {index} on {what}s are {dtype} {list(shape)}, and others before were "
                    f"{wanted} {list(like)}"
                )

    def _values(self, inputs: Tensor, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse values that training would silently make nonsense of."""
        if not all_finite(inputs):
            raise DataError(
                f"{where}: inputs hold values that are not finite{at(~torch.isfinite(inputs), inputs, ids)}"
            )
        self._check_tokens(inputs, where)
        self._task.check(inputs, targets, ids, where)

    def _check_tokens(self, inputs: Tensor, where: str) -> None:
        """Refuse inputs that a vocabulary does not fit."""
        if not self._vocab_size:
            return
        if inputs.dtype != torch.int64 or inputs.ndim != 2:
            raise DataError(f"{where}: tokens must be int64 [N, T], not {inputs.dtype} {list(inputs.shape)}")
        if not within(inputs, self._vocab_size):
            low, high = int(inputs.min()), int(inputs.max())
            raise DataError(f"{where}: tokens from {low} to {high} do not fit a vocabulary of {self._vocab_size}")


def _stacked(values: Sequence[Any], ids: Sequence[int], what: str, where: str) -> Tensor:
    """One tensor of what several samples have."""
    failure: Exception | None = None
    stacked: Any = None
    try:
        with torch.no_grad():  # a batch is a leaf, whoever reads it
            stacked = default_collate(list(values))
    except (TypeError, ValueError, RuntimeError) as error:  # they differ, or cannot be stacked
        failure = error
    if isinstance(stacked, Tensor) and len({_dtype(value) for value in values if hasattr(value, "dtype")}) < 2:
        return stacked
    words = {index: _words(value) for index, value in zip(ids, values, strict=True)}
    (first, like), *others = words.items()
    other = next((index for index, word in others if word != like), None)
    if other is not None:
        raise DataError(
            f"{where}: the {what} of sample {first} is {like}, that of sample {other} {words[other]}"
            "\n  in a batch they must be alike: let the dataset convert, resize, crop or pad them"
        )
    if hasattr(values[0], "shape"):
        why = "" if failure is None else f": {describe(failure)}"
        raise DataError(f"{where}: the {what} of sample {first}, {like}, cannot be in a batch{why}") from failure
    raise DataError(
        f"{where}: the {what} of sample {first} is {like}, which is no tensor, array or number"
        "\n  let the dataset make one of it, such as torch.as_tensor(...)"
    ) from failure


def _dtype(value: Any) -> str:
    """The dtype's name; all that becomes torch's default precision is one."""
    name = str(value.dtype).removeprefix("torch.")
    return "float32" if name == "float64" else name


def _words(value: Any) -> str:
    """What a value is, with its shape or its items."""
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
