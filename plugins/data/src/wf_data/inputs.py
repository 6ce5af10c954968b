"""Raw inputs in the form of a run's samples: their checks, and reading them from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.engine.figures import SPLITS
from wf.errors import DataError, UsageError, closest
from wf_base import tree
from wf_base.data import as_float
from wf_base.reading import ENDINGS, Reader, broken_link, unpacking
from wf_base.text import TOKENS
from wf_base.tree import Rows, Tree
from wf_data import arrays


@dataclass(frozen=True)
class Inputs:
    """The form of one sample's input, or of one leaf of it, before wf and the run's transforms change it."""

    shape: tuple[int | None, ...]
    """The shape without the axis of the samples; None for an axis of any length, as with a `collate` that pads."""
    dtype: torch.dtype
    """The dtype in the dataset: uint8 for images as bytes."""
    vocab_size: int | None = None
    """The size of the vocabulary; None if inputs are numbers."""
    path: str = ""
    """The leaf's path in a tree, such as ``image`` or ``views/0``."""

    @property
    def is_bytes(self) -> bool:
        """Whether they are uint8 images, which wf divides by 255; in a tree only ``[C, H, W]`` is an image."""
        return self.dtype == torch.uint8 and (not self.path or len(self.shape) > 2)

    def check(self, shape: Sequence[int], dtype: torch.dtype, where: str) -> None:
        """Refuse inputs of another shape, or of a dtype that training treated differently.

        Raises:
            DataError: Naming the expected form.
        """
        where = f"{where}, '{self.path}'" if self.path else where
        if not shape or not self._has_shape(shape[1:]):
            wanted = ", ".join("any" if size is None else str(size) for size in ("N", *self.shape))
            sample = "" if None in self.shape else f", or one sample of {list(self.shape)}"
            raise DataError(
                f"{where}: inputs of shape {list(shape)}; the run takes [{wanted}]{sample}"
                "\n  the axes must be in this order: nothing is reshaped"
            )
        if not shape[0]:
            raise DataError(f"{where}: there are no samples in {list(shape)}")
        if self.is_bytes and not (dtype == torch.uint8 or dtype.is_floating_point):
            raise DataError(
                f"{where}: inputs of {_name(dtype)}; the run was trained on images of uint8, which wf divides by 255"
                "\n  give them as uint8, or as numbers from 0 to 1"
            )
        if self.dtype.is_floating_point and dtype == torch.uint8 and len(self.shape) == 3:
            raise DataError(
                f"{where}: images of uint8; the run was trained on images of {_name(self.dtype)}, and the divisor for "
                "uint8 is unknown\n"
                "  give numbers as in training"
            )
        if dtype.is_complex or (_is_whole(self.dtype) and not _is_whole(dtype)):
            raise DataError(f"{where}: inputs of {_name(dtype)}; the run was trained on {_name(self.dtype)}")

    def check_values(self, inputs: Tensor, where: str) -> None:
        """Refuse numbers that are not finite, pixel values out of range, and invalid tokens.

        Raises:
            DataError: With the position of the first one.
        """
        if inputs.is_floating_point():
            wrong, why = ~torch.isfinite(inputs.to(torch.float32)), "not a finite float32 number"
            if self.is_bytes:
                wrong, why = wrong | (inputs < 0) | (inputs > 1), "outside of 0 to 1, the range of images in floats"
        elif self.vocab_size is not None:
            wrong = (inputs < 0) | (inputs >= self.vocab_size)
            why = f"outside of 0 to {self.vocab_size - 1}, the tokens of the vocabulary"
        else:
            return
        places = torch.nonzero(wrong)
        if len(places):
            place = places[0].tolist()
            raise DataError(f"{where}: {len(places):,} values, the first at {place}, {inputs[tuple(place)]}: {why}")

    def numbers(self, inputs: Tensor) -> Tensor:
        """Inputs for the run's transforms: images from 0 to 1, all others in the dtype of the samples."""
        return as_float(inputs) if self.is_bytes else inputs.to(self.dtype)

    def _has_shape(self, shape: Sequence[int]) -> bool:
        pairs = zip(shape, self.shape, strict=False)
        return len(shape) == len(self.shape) and all(like in (None, size) for size, like in pairs)

    def read(self, path: Path) -> Tensor:
        """The inputs in a ``.npy`` or ``.npz`` file: ``[N, ...]``, or one sample.

        Each leaf of a tree is in the array named after its path.

        Raises:
            DataError: If the file is damaged, or does not hold such inputs.
        """

        def look(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            self.check((1, *shape) if shape == self.shape else shape, _of_numpy(dtype), str(path))

        array = arrays.read_array(path, look, self.path or None)
        with np.errstate(over="ignore"):
            if self.dtype.is_floating_point:
                array = array.astype(np.float64 if self.dtype == torch.float64 else np.float32)
            elif array.dtype != np.uint8:
                array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        inputs = torch.from_numpy(array)
        inputs = inputs.unsqueeze(0) if array.shape == self.shape else inputs
        self.check_values(inputs, str(path))
        return inputs


Form = Any
"""The form of one sample's inputs: `Inputs` for a tensor, else a dict, tuple or list of forms with the same structure.
`Rows`, for samples that differ in size, contain the form of the first sample only."""


def form_of(inputs: Tree, vocab_size: int | None = None, *, any_size: bool = False) -> Form:
    """The form of inputs ``[N, ...]``.

    Args:
        inputs: Example inputs.
        vocab_size: The size of the vocabulary, if inputs are a tensor of tokens, or a dict with the leaf `TOKENS`.
        any_size: Whether axes and lists may have any length; the first item of a list is the form of all its items.
    """

    def leaf(path: str, tensor: Tensor) -> Inputs:
        shape = tuple(None if any_size else size for size in tensor.shape[1:])
        return Inputs(shape, tensor.dtype, vocab_size if path in ("", TOKENS) else None, path)

    return _form(inputs, "", leaf, shorten=any_size)


def _as_batch(row: Tree) -> Tree:
    """One sample of `Rows` as a separate batch."""
    return tree.map_leaves(lambda leaf: leaf.unsqueeze(0), row)


def _form(inputs: Tree, path: str, leaf: Callable[[str, Tensor], Inputs], *, shorten: bool) -> Form:
    if isinstance(inputs, Tensor):
        return leaf(path, inputs)
    if isinstance(inputs, Rows):
        return Rows(_form(_as_batch(row), path, leaf, shorten=shorten) for row in inputs[:1])
    below = [
        (key, _form(one, f"{path}/{key}" if path else str(key), leaf, shorten=shorten))
        for key, one in tree.children(inputs if isinstance(inputs, (Mapping, tuple, list)) else ())
    ]
    if isinstance(inputs, Mapping):
        return dict(below)
    items = [form for _, form in below]
    return tuple(items) if isinstance(inputs, tuple) else items[:1] if shorten else items


def leaves_of(form: Form) -> Iterator[Inputs]:
    """The leaves of a form."""
    if isinstance(form, Inputs):
        yield form
    elif isinstance(form, (Mapping, tuple, list)):
        for _, one in tree.children(form):
            yield from leaves_of(one)


def check_form(form: Form, inputs: Tree, where: str) -> None:
    """Refuse inputs whose structure, shape or dtype differs from that of training.

    Raises:
        DataError: Naming the expected form.
    """
    if isinstance(form, Inputs):
        if not isinstance(inputs, Tensor):
            what = f", '{form.path}'" if form.path else ""
            raise DataError(f"{where}{what}: inputs are {tree.words(inputs)}; the run takes a tensor")
        form.check(inputs.shape, inputs.dtype, where)
        return
    if isinstance(form, Mapping):
        found = list(inputs) if isinstance(inputs, Mapping) else None
        if found is None or set(found) != set(form):
            raise DataError(
                f"{where}: inputs are {tree.words(inputs)}; the run takes a dict of {', '.join(map(str, form))}"
            )
        for key, one in form.items():
            check_form(one, inputs[key], where)
        return
    if isinstance(form, Rows):
        if not isinstance(inputs, (tuple, list)):
            raise DataError(f"{where}: inputs are {tree.words(inputs)}; the run takes a list, one item per sample")
        for row in inputs:
            check_form(form[0], _as_batch(row), where)
        return
    if not isinstance(inputs, (tuple, list)) or (isinstance(form, tuple) and len(inputs) != len(form)):
        raise DataError(f"{where}: inputs are {tree.words(inputs)}; the run takes {len(form)} in sequence")
    for place, one in enumerate(inputs):
        check_form(form[min(place, len(form) - 1)], one, where)


def numbers_of(form: Form, inputs: Tree) -> Tree:
    """Inputs of that form for the run's transforms, see `Inputs.numbers`."""
    if isinstance(form, Inputs):
        return form.numbers(inputs)
    if isinstance(form, Mapping):
        return {key: numbers_of(one, inputs[key]) for key, one in form.items()}
    if isinstance(form, Rows):
        return Rows(numbers_of(form[0], row) for row in inputs)
    made = [numbers_of(form[min(place, len(form) - 1)], one) for place, one in enumerate(inputs)]
    return tuple(made) if isinstance(form, tuple) else made


def record_of(form: Form) -> Any:
    """The form as JSON: ``{"shape": ..., "dtype": ...}`` for a leaf, else ``dict``, ``tuple``, ``list`` or ``rows``
    (with the first one's form)."""
    if isinstance(form, Inputs):
        return {"shape": form.shape, "dtype": str(form.dtype).removeprefix("torch.")}
    if isinstance(form, Mapping):
        return {"dict": {key: record_of(one) for key, one in form.items()}}
    if isinstance(form, Rows):
        return {"rows": record_of(form[0])}
    return {type(form).__name__: [record_of(one) for one in form]}


def form_from(record: Mapping[str, Any], vocab_size: int | None, path: str = "") -> Form:
    """The form from the result of `record_of`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: For anything else.
    """
    below = f"{path}/" if path else ""
    if "dict" in record:
        sizes = {TOKENS: None if path else vocab_size}
        return {key: form_from(one, sizes.get(key), f"{below}{key}") for key, one in record["dict"].items()}
    if "rows" in record:
        return Rows([form_from(record["rows"], vocab_size, path)])
    for kind in (tuple, list):
        if kind.__name__ in record:
            return kind(form_from(one, None, f"{below}{place}") for place, one in enumerate(record[kind.__name__]))
    dtype = getattr(torch, record["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"unknown dtype {record['dtype']}")
    shape = tuple(None if size is None else int(size) for size in record["shape"])
    return Inputs(shape, dtype, vocab_size, path)


ANY = 8
"""The length of made-up inputs along an axis of any length."""


def example_of(form: Form, num: int, generator: torch.Generator, length: int = ANY) -> Tree:
    """Made-up inputs ``[N, ...]`` of a form: random floats, bytes or tokens of the vocabulary; zeros for other
    integers, and ones for a leaf named ``..._mask``, so that nothing is masked.

    Args:
        form: The form.
        num: How many samples.
        generator: Draws them.
        length: Their length along an axis of any length.
    """
    if isinstance(form, Inputs):
        shape = (num, *(length if size is None else size for size in form.shape))
        if form.dtype == torch.uint8:
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        if form.dtype.is_floating_point:
            return torch.rand(shape, generator=generator, dtype=torch.float64).to(form.dtype)
        if form.vocab_size is not None:
            return torch.randint(0, form.vocab_size, shape, generator=generator).to(form.dtype)
        return torch.full(shape, int(form.path.endswith("mask")), dtype=form.dtype)
    if isinstance(form, Mapping):
        return {key: example_of(one, num, generator, length) for key, one in form.items()}
    if isinstance(form, Rows):
        return Rows(
            tree.map_leaves(lambda leaf: leaf[0], example_of(form[0], 1, generator, length)) for _ in range(num)
        )
    made = [example_of(one, num, generator, length) for one in form]
    return tuple(made) if isinstance(form, tuple) else made


def _read_form(form: Form, path: Path) -> Tree:
    """The inputs in a ``.npz`` file, each leaf in an array of its path's name."""
    if isinstance(form, Inputs):
        return form.read(path)
    if isinstance(form, Mapping):
        return {key: _read_form(one, path) for key, one in form.items()}
    if isinstance(form, Rows):
        found = _read_form(form[0], path)
        return Rows(tree.map_leaves(lambda leaf, row=row: leaf[row], found) for row in range(tree.length(found)))
    return type(form)(_read_form(one, path) for one in form)


def _read_arrays(form: Form, path: Path) -> Tree:
    found = _read_form(form, path)
    lengths = {name: len(leaf) for name, leaf in tree.leaves(found)}
    if len(set(lengths.values())) > 1:
        words = ", ".join(f"'{name}' has {num}" for name, num in lengths.items())
        raise DataError(f"{path}: the first axis of every array must be the samples, but {words}")
    return found


Read = Callable[[Path], Tree]
"""A function that returns the inputs in a file."""


def read_inputs(
    path: Path,
    reader: Reader | None,
    inputs: Form,
    others: Mapping[str, Read] | None = None,
    rows: Sequence[str] = (),
) -> Tree:
    """The inputs in a file, exactly as the run's samples hold them.

    Args:
        path: A file for the dataset's own reader, or a ``.npy`` or ``.npz`` file.
        reader: The dataset's reader; None without one.
        inputs: The form of the run's samples.
        others: Readers of other files, by ending.
        rows: The endings of files of rows that the run reads in another way, to look for the file and for messages.

    Raises:
        UsageError: For another ending.
        DataError: If the file is missing, damaged or does not hold such inputs.
    """
    own, ending = () if reader is None else tuple(reader.endings), path.suffix.lower()
    others = others or {}
    endings = dict.fromkeys((*own, *rows, *arrays.ENDINGS, *others))
    if ending not in endings:
        raise UsageError(
            f"input '{path}' is neither a split ({', '.join(SPLITS)}) nor a file that this run reads: "
            f"{', '.join(endings)}" + (f"\n  {unpacking(path.name, ENDINGS[ending])}" if ending in ENDINGS else "")
        )
    if (link := broken_link(path)) is not None:
        raise DataError(link)
    if not path.is_file():
        near = closest(path.name, [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise DataError(f"there is no file '{path}'" + (f"\n  did you mean {' or '.join(near)}?" if near else ""))
    if ending in others and ending not in own:
        found = others[ending](path)
        check_form(inputs, found, str(path))
        return found
    if ending not in own or reader is None:
        return _read_arrays(inputs, path)
    found = reader.read(path)
    check_form(inputs, found, str(path))
    # otherwise its transforms may fill in missing values
    if isinstance(inputs, Inputs) and not getattr(reader, "transforms", tuple)():
        inputs.check_values(found, str(path))
    return found


def _of_numpy(dtype: np.dtype[Any]) -> torch.dtype:
    if dtype == np.uint8:
        return torch.uint8
    return {"f": torch.float32, "b": torch.bool}.get(dtype.kind, torch.int64)


def _is_whole(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype in (torch.bool, torch.uint8))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
