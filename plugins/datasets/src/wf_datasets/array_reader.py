"""Arrays to inputs, for both training and prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, lacking
from wf_base import Dataset
from wf_base.figures import lost_in_float32
from wf_datasets.transforms.fill import FillMissing, Missing

Array = np.ndarray[Any, np.dtype[Any]]


class ArrayReader:
    """Reads arrays in the form that a run was trained on.

    Args:
        key: The name of the array in an ``.npz`` file.
        shape: The shape of a sample in the file.
        images: Whether they are uint8 images ``[C, H, W]`` or ``[H, W]``.
        double: Whether inputs are float64, because float32 cannot distinguish some of the numbers.
        missing: The treatment of missing numbers, nan: ``mean`` keeps them for the run's own transform to fill in;
            otherwise they are refused, because every sample needs a prediction.
        targets: The name of the array of targets.
    """

    endings: tuple[str, ...] = (".npz", ".npy")
    dataset_endings: tuple[str, ...] = (".npz",)

    def __init__(
        self,
        key: str,
        shape: Sequence[int],
        *,
        images: bool = False,
        double: bool = False,
        missing: Missing = "error",
        targets: str = "y",
    ) -> None:
        self.key, self.shape, self.images, self.double, self.missing = key, tuple(shape), images, double, missing
        self.targets = targets

    @classmethod
    def of(
        cls, path: Path | str, key: str, array: Array, missing: Missing = "error", targets: str = "y"
    ) -> ArrayReader:
        """The reader of an array ``[N, ...]``.

        Raises:
            DataError: For an array without samples, or with anything but finite numbers.
        """
        if array.ndim < 2 or array.size == 0:
            raise DataError(
                f"{path}: '{key}' has shape {array.shape}; inputs are [N, ...] with at least one number per sample"
            )
        images = array.dtype == np.uint8 and array.ndim in (3, 4)
        double = array.dtype.kind in "fiu" and array.dtype.itemsize >= 4 and bool(lost_in_float32(_double(array)))
        return cls(key, array.shape[1:], images=images, double=double, missing=missing, targets=targets)

    def description(self) -> Mapping[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        known = {"key": self.key, "shape": list(self.shape), "images": self.images, "double": self.double}
        return {**known, "missing": self.missing, "targets": self.targets}

    def transforms(self) -> tuple[FillMissing, ...]:
        """The transforms that the inputs need first."""
        return (FillMissing(),) if self.missing == "mean" and not self.images else ()

    def read(self, path: Path) -> Tensor:
        """The inputs in an ``.npz`` or ``.npy`` file: samples ``[N, ...]``, or a single one.

        In an ``.npz`` file they have the key of the training file or ``x``, or are the only array.

        Raises:
            DataError: For a file that is damaged, or that does not hold such inputs.
        """
        with opened(path) as arrays:
            if isinstance(arrays, np.ndarray):
                name, array = "the array", arrays
            else:
                names = [one for one in (self.key, "x", *arrays.files) if one in arrays.files]
                if not names or (names[0] not in (self.key, "x") and len(arrays.files) > 1):
                    raise DataError(f"{path}: {lacking('key', self.key, arrays.files)}")
                name, array = names[0], arrays[names[0]]
        if array.shape == self.shape:
            array = array[np.newaxis]
        if array.shape[1:] != self.shape or not array.shape:
            wanted = ", ".join(map(str, ("N", *self.shape)))
            raise DataError(
                f"{path}: '{name}' has shape {list(array.shape)}; the run takes [{wanted}], or one sample of it\n"
                "  the axes must be in this order: nothing is reshaped"
            )
        if array.size == 0:
            raise DataError(f"{path}: '{name}' of shape {list(array.shape)} has no samples")
        if not self.images and array.dtype == np.uint8 and array.ndim in (3, 4):
            raise DataError(f"{path}: '{name}' holds uint8 images; the run was trained on plain numbers")
        return self.encode(path, name, array)

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The samples of an ``.npz`` file with the training file's arrays of inputs and targets."""
        from wf_datasets.npz import npz  # which makes this reader

        task: Literal["classification", "regression"] = "classification"
        if learned["targets"] == "real":
            task = "regression"
        return npz(path, self.key, self.targets, task, self.missing, learned)

    def encode(self, path: Path | str, name: str, array: Array) -> Tensor:
        """Inputs ``[N, ...]`` from an array; images get a channel axis.

        Raises:
            DataError: For anything but finite numbers.
        """
        if not self.images:
            return numbers(path, name, array, double=self.double, missing=self.missing == "mean")
        if array.dtype == np.uint8:
            images = torch.from_numpy(np.ascontiguousarray(array))
        else:
            images = numbers(path, name, array)
            if array.dtype.kind != "f" or bool((images < 0).any() | (images > 1).any()):
                raise DataError(
                    f"{path}: '{name}' holds {array.dtype}; the run was trained on images of uint8, which wf divides "
                    "by 255\n  give them as uint8, or as floats from 0 to 1"
                )
        return images.unsqueeze(1) if array.ndim == 3 else images


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An ``.npz`` or ``.npy`` file; nothing in it is unpickled.

    Raises:
        DataError: When it is damaged.
    """
    try:
        with path.open("rb") as stream:  # given a path, NumPy leaves a damaged file open
            yield np.load(stream, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise anything, even MemoryError for a false size
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}\n  it must be an .npz file of plain arrays") from error


def numbers(path: Path | str, key: str, array: Array, *, double: bool = False, missing: bool = False) -> Tensor:
    """An array as float32, or as float64.

    Args:
        path: Its file.
        key: Its name there.
        array: The array.
        double: Whether float64 is wanted.
        missing: Whether missing numbers, nan, are allowed.

    Raises:
        DataError: For anything but numbers that are finite as float32.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: '{key}' holds {array.dtype}, not numbers")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    wrong = np.argwhere(np.isinf(single) if missing else ~np.isfinite(single))
    if len(wrong):
        raise DataError(
            f"{path}: '{key}' holds {len(wrong)} values that are not finite float32 numbers, first at "
            f"{wrong[0].tolist()}"
        )
    return torch.from_numpy(array.astype(np.float64) if double else single)


def _double(array: Array) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))
