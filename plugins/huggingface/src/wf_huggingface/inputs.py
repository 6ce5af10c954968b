"""From input columns to samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import datasets
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Samples, TensorSamples
from wf_base.figures import lost_in_float32
from wf_base.text import encode, make_vocabulary, tokenize
from wf_huggingface.columns import Columns


class Inputs(Protocol):
    """The inputs of a split."""

    def with_targets(self, targets: Tensor) -> Samples:
        """Samples of these inputs and targets."""


class KnownDataset(Protocol):
    """The settings of the earlier reading, see `wf_huggingface.reader.FileReader`."""

    vocabulary: list[str]
    length: int
    double: bool


@dataclass(frozen=True)
class InMemory:
    """Inputs that are a tensor."""

    tensor: Tensor

    def with_targets(self, targets: Tensor) -> Samples:
        """Samples of these inputs and targets."""
        return TensorSamples(self.tensor, targets)


@dataclass(frozen=True)
class Images:
    """Images that are read from the Arrow file when they are requested."""

    table: Any
    column: str
    size: tuple[int, int] | None
    """Height and width; None for images that already have one size."""
    channels: int
    start: int = 0
    """The number of the first row, if they are a part of a stream."""

    def with_targets(self, targets: Tensor) -> Samples:
        """Samples of these inputs and targets."""
        return ImageSamples(self, targets)

    def read(self, index: int) -> Tensor:
        """float32 ``[C, H, W]`` from 0 to 1.

        Raises:
            DataError: If the image is missing or damaged.
        """
        return self.pixels(index).to(torch.float32).div_(255)

    def pixels(self, index: int) -> Tensor:
        """uint8 ``[C, H, W]``."""
        return pixels_of(read_image(self.table, self.column, index, self.start), self.size, self.channels)


def pixels_of(image: Image.Image, size: tuple[int, int] | None, channels: int) -> Tensor:
    """An image as uint8 ``[C, H, W]``, resized if a size is given."""
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image))
    return pixels.reshape(image.height, image.width, channels).permute(2, 0, 1)


@dataclass(frozen=True)
class ImageSamples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images with their targets."""

    draws: ClassVar[bool] = False

    images: Images
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images.read(index), self.targets[index]

    def identity(self) -> list[Any]:
        """The column, the bytes of its table and the targets, which identify these images."""
        return [self.images.column, self.images.table.data.nbytes, self.targets.tolist()]


def read_inputs(
    tables: Mapping[str, Any],
    columns: Columns,
    *,
    image_size: int | tuple[int, int] | None,
    channels: int,
    vocab_size: int,
    length: int,
    known: KnownDataset | None,
) -> tuple[dict[str, Inputs], list[str]]:
    """The inputs of each split, and the vocabulary if they are tokens.

    Args:
        tables: The splits.
        columns: The chosen columns.
        image_size: The size to which images are resized.
        channels: The channels of images.
        vocab_size: The maximum size of the vocabulary.
        length: The maximum number of tokens of a text.
        known: The learned facts of the run; None for a new run.

    Raises:
        DataError: For missing or invalid values.
        UsageError: For an option out of range.
    """
    if columns.kind == "image":
        return _images(tables, columns.inputs[0], image_size, channels), []
    if columns.kind == "text":
        return _texts(tables, columns.inputs[0], vocab_size, length, known)
    found = {split: numbers(table, columns.inputs, split, double=True) for split, table in tables.items()}
    double = bool(lost_in_float32(found["train"])) if known is None else known.double
    return {split: InMemory(tensor if double else tensor.float()) for split, tensor in found.items()}, []


def numbers(table: Any, names: Sequence[str], split: str, start: int = 0, *, double: bool = False) -> Tensor:
    """Columns of numbers as float32 or float64 ``[N, F]``, or one of lists of numbers as ``[N, ...]``.

    Args:
        table: The rows.
        names: The columns.
        split: The split of the rows, for messages.
        start: The number of the first row, if they are a part of a stream.
        double: Whether float64 is wanted.

    Raises:
        DataError: Naming the first row with a missing value, or with a list of another length.
    """
    found = [_column(table, name, split, start, torch.float64 if double else torch.float32) for name in names]
    return found[0] if len(found) == 1 and found[0].ndim > 1 else torch.stack([one.flatten() for one in found], dim=1)


def check_missing(table: Any, name: str, split: str, start: int = 0) -> None:
    """Refuse a column with missing values.

    Raises:
        DataError: Naming the first such row.
    """
    values = plain(table, name)
    missing = [row for row, value in enumerate(values) if value is None]
    if missing:
        raise DataError(
            f"{split} split, column '{name}': {len(missing)} values are missing, first in row {start + missing[0]} "
            "(from 0)\n  fill them or remove those rows first: wf does not make up values"
        )


def read_image(table: Any, column: str, index: int, start: int = 0) -> Image.Image:
    """One image, turned upright according to its EXIF data.

    Raises:
        DataError: When it is missing or damaged.
    """
    try:
        return upright(table[index][column])
    except (OSError, SyntaxError, ValueError, AttributeError, Image.DecompressionBombError) as error:
        raise DataError(
            f"column '{column}', row {start + index} (from 0): the image cannot be read: {error}"
        ) from error


def upright(image: Image.Image) -> Image.Image:
    """An image of 8 bits, turned upright according to its EXIF data.

    Raises:
        ValueError: For an image of more bits, which Pillow would truncate.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"it has more than 8 bits a pixel (mode {image.mode}); convert it first")
    return image


def plain(table: Any, name: str) -> list[Any]:
    """A column as Python values, without decoding."""
    values: list[Any]
    if isinstance(table, datasets.Dataset):
        values = table.with_format(None).select_columns([name])[:][name]
    else:  # an Arrow table, a part of a stream
        values = table.column(name).to_pylist()
    return values


def _column(table: Any, name: str, split: str, start: int, dtype: torch.dtype) -> Tensor:
    check_missing(table, name, split, start)
    try:
        array = np.array(plain(table, name), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{split} split, column '{name}': its lists differ in length, or contain missing values\n"
            "  bring them to one shape first"
        ) from error
    with np.errstate(over="ignore"):
        wrong = np.argwhere(~np.isfinite(array.astype(np.float32)))
    if len(wrong):
        raise DataError(
            f"{split} split, column '{name}': {len(wrong)} values are not finite float32 numbers, "
            f"first in row {start + wrong[0][0]} (from 0)"
        )
    return torch.from_numpy(array).to(dtype)


def _texts(
    tables: Mapping[str, Any], name: str, vocab_size: int, length: int, known: KnownDataset | None
) -> tuple[dict[str, Inputs], list[str]]:
    tokens = {}
    for split, table in tables.items():
        check_missing(table, name, split)
        tokens[split] = [tokenize(text) for text in plain(table, name)]
    if known is None:
        vocabulary = make_vocabulary(tokens["train"], vocab_size)
        longest = max((len(one) for one in tokens["train"]), default=1)
        length = max(1, min(length, longest))
    else:
        vocabulary, length = known.vocabulary, known.length
    return {split: InMemory(encode(found, vocabulary, length)) for split, found in tokens.items()}, vocabulary


def _images(
    tables: Mapping[str, Any], name: str, image_size: int | tuple[int, int] | None, channels: int
) -> dict[str, Inputs]:
    size = both_sides(image_size)
    if size is None:
        _check_one_size(tables, name)
    return {split: Images(table, name, size, channels) for split, table in tables.items()}


def both_sides(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width.

    Raises:
        UsageError: For less than one pixel.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and min(size) < 1:
        raise UsageError(f"huggingface: image_size is {image_size}; it must be at least 1")
    return size


def _check_one_size(tables: Mapping[str, Any], name: str) -> None:
    """Refuse images of several sizes, which cannot be batched; this reads the header of each image."""
    first: tuple[int, int] | None = None
    for split, table in tables.items():
        for index in range(len(table)):
            size = read_image(table, name, index).size
            first = first or size
            if size != first:
                raise UsageError(
                    f"{split} split, column '{name}', row {index} (from 0): the image is {size[1]}x{size[0]} pixels, "
                    f"the first one {first[1]}x{first[0]}\n  resize them: --dataset.image_size 64"
                )
