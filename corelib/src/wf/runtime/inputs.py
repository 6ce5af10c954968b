"""Raw inputs as a run's samples hold them: what they must be, and the one way in from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, UsageError, closest
from wf.plan import SPLITS
from wf.runtime import arrays
from wf.runtime.data import as_float
from wf.runtime.reading import Reader


@dataclass(frozen=True)
class Inputs:
    """What one sample's input is, before wf and the run's transforms change it."""

    shape: tuple[int, ...]
    """Without the axis of the samples."""
    dtype: torch.dtype
    """As the dataset gave it: uint8 for the bytes of images."""
    vocab_size: int | None = None
    """The tokens of the vocabulary, None where inputs are numbers."""

    def check(self, shape: Sequence[int], dtype: torch.dtype, where: str) -> None:
        """Refuse inputs of another shape, or of a dtype that training would have read in another way.

        Raises:
            DataError: Saying what is wanted.
        """
        if not shape or tuple(shape[1:]) != self.shape:
            wanted = ", ".join(map(str, ("N", *self.shape)))
            raise DataError(
                f"{where}: inputs of shape {list(shape)}; the run takes [{wanted}], or one sample of {list(self.shape)}"
                "\n  the axes must be in this order: nothing is reshaped"
            )
        if not shape[0]:
            raise DataError(f"{where}: there are no samples in {list(shape)}")
        if self.dtype == torch.uint8 and not (dtype == torch.uint8 or dtype.is_floating_point):
            raise DataError(
                f"{where}: inputs of {_name(dtype)}; the run was trained on images of uint8, which wf divides by 255"
                "\n  give them as uint8, or as numbers from 0 to 1"
            )
        if self.dtype.is_floating_point and dtype == torch.uint8 and len(self.shape) == 3:
            raise DataError(
                f"{where}: images of uint8; the run was trained on images of {_name(self.dtype)}, and does not know by "
                "what these would be divided\n  give such numbers as it was trained on"
            )
        if dtype.is_complex or (_is_whole(self.dtype) and not _is_whole(dtype)):
            raise DataError(f"{where}: inputs of {_name(dtype)}; the run was trained on {_name(self.dtype)}")

    def check_values(self, inputs: Tensor, where: str) -> None:
        """Refuse numbers that are not finite, bytes of images in another dtype, and tokens that are none.

        Raises:
            DataError: With the place of the first.
        """
        if inputs.is_floating_point():
            wrong, why = ~torch.isfinite(inputs.to(torch.float32)), "no finite float32 number"
            if self.dtype == torch.uint8:
                wrong, why = wrong | (inputs < 0) | (inputs > 1), "outside of 0 to 1, as images in numbers are"
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
        """Inputs as the run's transforms get them: images from 0 to 1, all others in the dtype of the samples."""
        return as_float(inputs) if self.dtype == torch.uint8 else inputs.to(self.dtype)

    def read(self, path: Path) -> Tensor:
        """The inputs in a ``.npy`` or ``.npz`` file: ``[N, ...]``, or one sample.

        Raises:
            DataError: When the file is damaged, or does not hold such inputs.
        """

        def look(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
            self.check((1, *shape) if shape == self.shape else shape, _of_numpy(dtype), str(path))

        array = arrays.read_array(path, look)
        with np.errstate(over="ignore"):
            if self.dtype.is_floating_point:
                array = array.astype(np.float64 if self.dtype == torch.float64 else np.float32)
            elif array.dtype != np.uint8:
                array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        inputs = torch.from_numpy(array)
        inputs = inputs.unsqueeze(0) if array.shape == self.shape else inputs
        self.check_values(inputs, str(path))
        return inputs


def read_inputs(path: Path, reader: Reader | None, inputs: Inputs) -> Tensor:
    """The inputs in a file, just as the run's samples hold them.

    Args:
        path: What the dataset's own reader reads, or a ``.npy`` or ``.npz`` file.
        reader: That reader, None where the dataset has none.
        inputs: What the run's samples are.

    Raises:
        UsageError: For another ending.
        DataError: When the file is not there, is damaged or does not hold such inputs.
    """
    own, ending = () if reader is None else tuple(reader.endings), path.suffix.lower()
    endings = dict.fromkeys((*own, *arrays.ENDINGS))
    if ending not in endings:
        raise UsageError(
            f"input '{path}' is neither a split ({', '.join(SPLITS)}) nor a file that this run reads: "
            f"{', '.join(endings)}"
        )
    if not path.is_file():
        near = closest(path.name, [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else [])
        raise DataError(f"there is no file '{path}'" + (f"\n  did you mean {' or '.join(near)}?" if near else ""))
    if ending not in own or reader is None:
        return inputs.read(path)
    found = reader.read(path)
    inputs.check(found.shape, found.dtype, str(path))
    if not getattr(reader, "transforms", tuple)():  # or missing values are for these
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
