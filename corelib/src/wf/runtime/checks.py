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

Numbers = Sequence[int] | Tensor
"""The numbers of samples in their dataset, one a row."""


class Checks:
    """What the samples of a dataset must be like. A batch is looked through in host memory, where it was read.

    Args:
        dataset: What says so.
        name: The dataset's, for messages.
        ignore_index: A class index that the loss leaves out; it need not be that of a class.

    Raises:
        DataError: For classes that cannot be told apart.
    """

    def __init__(self, dataset: Dataset, name: str, ignore_index: int) -> None:
        self._kind, self._classes, self._vocab_size = dataset.targets, dataset.class_names, len(dataset.vocabulary)
        self._name, self._ignore_index = name, ignore_index
        self._first: tuple[tuple[torch.dtype, torch.Size], ...] | None = None
        if self._kind == "class_index" and len(self._classes) == 1:
            raise DataError(
                f"dataset '{name}': there is one class only ({', '.join(self._classes)}), so nothing to tell apart"
            )
        if self._kind in ("class_index", "mask") and not self._classes:
            raise DataError(f"dataset '{name}' has {self._kind} targets and no class_names, one a class")

    def where(self, split: str) -> str:
        """The split in words."""
        return f"dataset '{self._name}', {split} split"

    def tensors(self, samples: TensorSamples, ids: Tensor, split: str) -> None:
        """Look through samples in memory, once; `ids` are their numbers in the dataset."""
        if self._kind in ("class_index", "mask") and bool((samples.targets == self._ignore_index).all()):
            raise DataError(f"{self.where(split)}: every target is {self._ignore_index}, which is left out")
        self._values(samples.inputs, samples.targets, ids, self.where(split))

    def batch(self, inputs: Tensor, targets: Tensor, ids: Sequence[int], split: str) -> None:
        """Look through a batch of samples with these numbers; what is read first says how the others must be."""
        where, inputs, targets = self.where(split), as_default(inputs), as_default(targets)
        self._alike(inputs, targets, ids[0], where)
        if self._kind == "real" and targets.ndim == 1:
            targets = targets.unsqueeze(1)
        self._values(inputs, targets, ids, where)

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
            free = self._kind == "mask" or (what == "input" and len(like) > 1)
            if dtype != wanted or len(shape) != len(like) or (shape != like and not free):
                raise DataError(
                    f"{where}: from sample {index} on {what}s are {dtype} {list(shape)}, and others before were "
                    f"{wanted} {list(like)}"
                )

    def _values(self, inputs: Tensor, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse values that training would silently make nonsense of."""
        if not _all_finite(inputs):
            raise DataError(
                f"{where}: inputs hold values that are not finite{_at(~torch.isfinite(inputs), inputs, ids)}"
            )
        self._check_tokens(inputs, where)
        shape = _SHAPES[self._kind]
        if targets.ndim != len(shape):
            raise DataError(
                f"{where}: {self._kind} targets must be [{', '.join(shape)}], not {list(targets.shape)}\n"
                "  unsqueeze(1) makes [N] to [N, 1], flatten() the other way round"
            )
        if self._kind in ("class_index", "mask"):
            self._check_classes(targets, ids, where)
            return
        if not targets.is_floating_point():
            raise DataError(f"{where}: {self._kind} targets must be floating point, not {targets.dtype}")
        if not _all_finite(targets):
            raise DataError(
                f"{where}: targets hold values that are not finite{_at(~torch.isfinite(targets), targets, ids)}"
            )
        if self._kind != "real":
            self._check_ones(targets, ids, where)

    def _check_classes(self, targets: Tensor, ids: Numbers, where: str) -> None:
        num_classes = len(self._classes)
        integral = targets.dtype == torch.int64
        if integral and _within(targets, num_classes):  # one pass; what is left out may be any number
            return
        wrong = (targets < 0) | (targets >= num_classes)
        wrong = (wrong & (targets != self._ignore_index)) if integral else torch.ones_like(targets, dtype=torch.bool)
        if not bool(wrong.any()):
            return
        counted = targets[targets != self._ignore_index]
        low, high = counted.min().item(), counted.max().item()
        raise DataError(
            f"{where}: class indices from {low:g} to {high:g} ({targets.dtype}) do not fit "
            f"{num_classes} classes; they must be int64 from 0 to {num_classes - 1}{_at(wrong, targets, ids)}"
        )

    def _check_ones(self, targets: Tensor, ids: Numbers, where: str) -> None:
        """Refuse what is neither 0 nor 1, and rows of one_hot that do not add up to 1."""
        if self._kind in ("multilabel", "one_hot") and self._classes and targets.shape[1] != len(self._classes):
            raise DataError(
                f"{where}: {self._kind} targets have {targets.shape[1]} columns, and there are {len(self._classes)} "
                "class_names"
            )
        if self._kind == "one_hot":
            wrong = ((targets.sum(1) - 1).abs() > 1e-3) | (targets < 0).any(1)
            wanted = "must add up to 1, and none be negative"
        else:
            wrong, wanted = (targets != 0) & (targets != 1), "must be 0 or 1"
        if bool(wrong.any()):
            raise DataError(f"{where}: {self._kind} targets {wanted}{_at(wrong, targets, ids)}")

    def _check_tokens(self, inputs: Tensor, where: str) -> None:
        """Refuse inputs that a vocabulary does not fit."""
        if not self._vocab_size:
            return
        if inputs.dtype != torch.int64 or inputs.ndim != 2:
            raise DataError(f"{where}: tokens must be int64 [N, T], not {inputs.dtype} {list(inputs.shape)}")
        if not _within(inputs, self._vocab_size):
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


def _all_finite(tensor: Tensor) -> bool:
    """Whether all values are; in one pass, as no sum with a term that is not finite is finite."""
    if not tensor.is_floating_point():
        return True
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def _within(tensor: Tensor, num: int) -> bool:
    """Whether all values are from 0 to `num` - 1."""
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)
    return bool(low >= 0) and bool(high < num)


def _at(wrong: Tensor, values: Tensor, ids: Numbers) -> str:
    """The first sample with a wrong value, and that value."""
    rows = wrong.flatten(1).any(1) if wrong.ndim > 1 else wrong
    row = int(rows.nonzero()[0])
    value = values[row] if wrong.ndim < values.ndim else values[row][wrong[row]].flatten()[0]
    return f"\n  the first one: sample {int(ids[row])}, {value.tolist()}"


_SHAPES: dict[str, tuple[str, ...]] = {
    "real": ("N", "K"),
    "class_index": ("N",),
    "binary": ("N",),
    "multilabel": ("N", "C"),
    "one_hot": ("N", "C"),
    "mask": ("N", "H", "W"),
}
