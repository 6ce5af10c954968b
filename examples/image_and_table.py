"""A dataset and a model for images and numbers together, from a CSV file with a column of image file names."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import nn

from wf import Component, hookimpl
from wf.errors import DataError
from wf.traits import DatasetTraits, ModelTraits
from wf_base import Dataset, TensorSamples


class RowReader:
    """Reads the images and numbers of a table, in training and for predictions."""

    endings = (".csv",)
    dataset_endings = (".csv",)

    def __init__(self, image: str, columns: list[str], size: int) -> None:
        self.image, self.columns, self.size = image, columns, size

    def description(self) -> dict:
        """The arguments of the reader, to rebuild it from a bundle."""
        return {"image": self.image, "columns": self.columns, "size": self.size}

    def read(self, path: Path) -> dict:
        """The inputs in a file, for predictions."""
        return self.inputs(path, rows_of(path))

    def dataset(self, path: Path, learned: dict) -> Dataset:
        """The samples in a file with their targets, for evaluations."""
        rows, (target,) = rows_of(path), learned["target_names"]
        return Dataset(
            train=TensorSamples(self.inputs(path, rows), targets_of(path, rows, target)),
            targets="real",
            target_names=(target,),
        )

    def inputs(self, path: Path, rows: list[dict]) -> dict:
        """Images uint8 [N, 3, size, size], which wf divides by 255, and numbers [N, F]."""
        for name in (self.image, *self.columns):
            if name not in rows[0]:
                raise DataError(f"{path}: there is no column '{name}'; its columns: {', '.join(rows[0])}")
        images = [self._image(path, line, row[self.image]) for line, row in enumerate(rows, 2)]
        numbers = [[number(path, line, name, row[name]) for name in self.columns] for line, row in enumerate(rows, 2)]
        return {"image": torch.from_numpy(np.stack(images)), "numbers": torch.tensor(numbers)}

    def _image(self, path: Path, line: int, name: str) -> np.ndarray:
        try:
            with Image.open(path.parent / name) as image:
                return np.asarray(image.convert("RGB").resize((self.size, self.size))).transpose(2, 0, 1)
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"{path}, line {line}, column '{self.image}': '{name}' is not an image: {error}") from error


def rows_of(path: Path) -> list[dict]:
    """The rows of a table, each as a dict from column to cell."""
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise DataError(f"{path} has no rows")
    return rows


def number(path: Path, line: int, column: str, cell: str) -> float:
    """The number in a cell."""
    try:
        return float(cell)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, line {line}, column '{column}': '{cell}' is not a number") from error


def targets_of(path: Path, rows: list[dict], target: str) -> torch.Tensor:
    """The column to predict, float32 [N, 1]."""
    return torch.tensor([[number(path, line, target, row.get(target))] for line, row in enumerate(rows, 2)])


def image_table(path: Path, target: str, image: str = "image", size: int = 16) -> Dataset:
    """A table with a column of image files; all other columns hold numbers.

    Args:
        path: The CSV file; image paths are relative to its folder.
        target: The column to predict.
        image: The column of image file names.
        size: Width and height in pixels to which each image is resized.
    """
    rows = rows_of(path)
    reader = RowReader(image, [name for name in rows[0] if name not in (image, target)], size)
    return Dataset(
        train=TensorSamples(reader.inputs(path, rows), targets_of(path, rows, target)),
        targets="real",
        target_names=(target,),
        facts={"numbers": reader.columns},
        reader=reader,
    )


class TwoTowers(nn.Module):
    """A small convolutional network for the image, and a head on its features and the numbers.

    Args:
        num_outputs: Number of outputs per sample.
        dataset_facts: Facts of the dataset: the names of its number columns.
        width: Number of channels, and of hidden units of the head.
    """

    def __init__(self, num_outputs: int, dataset_facts: dict, width: int = 16) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 3)]
        self.image = nn.Sequential(*convolutions, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        both = width + len(dataset_facts["numbers"])
        self.head = nn.Sequential(nn.Linear(both, width), nn.ReLU(), nn.Linear(width, num_outputs))

    def forward(self, image, numbers):
        """The outputs ``[N, num_outputs]``. wf passes the dataset's inputs by name."""
        return self.head(torch.cat([self.image(image), numbers], dim=1))


@hookimpl
def wf_components():
    """The dataset and the model."""
    reader = DatasetTraits(targets="real", files=(), reader=RowReader)
    return [
        Component("dataset", "image-table", image_table, "images and numbers from a CSV table", traits=reader),
        Component("model", "two-towers", TwoTowers, "a network for an image and numbers", traits=ModelTraits()),
    ]
