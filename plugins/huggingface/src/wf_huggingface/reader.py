"""Reads a file for predictions in the way the samples were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import torch
from PIL import Image
from torch import Tensor

from wf.errors import DataError, lacking
from wf_base.reading import image_in
from wf_base.text import encode, tokenize
from wf_huggingface.columns import kind_of
from wf_huggingface.inputs import Images, check_missing, numbers, pixels_of, plain, upright
from wf_huggingface.reading import READERS, read

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


class FileReader:
    """Reads the input columns of a file that the library `datasets` reads, or an image.

    Args:
        inputs: The input columns.
        kind: Their contents: ``numbers``, ``array``, ``text`` or ``image``.
        image_size: For images: height and width; None if they are unchanged.
        channels: For images: the number of channels.
        vocabulary: For texts: the tokens.
        length: For texts: the number of tokens of a sample.
        double: Whether numbers are float64, because float32 cannot distinguish some of them.
    """

    endings: tuple[str, ...] = (*READERS, *IMAGES)

    def __init__(
        self,
        inputs: Sequence[str],
        kind: str,
        *,
        image_size: Sequence[int] | None = None,
        channels: int = 3,
        vocabulary: Sequence[str] = (),
        length: int = 1,
        double: bool = False,
    ) -> None:
        self.inputs, self.kind, self.channels = tuple(inputs), kind, channels
        self.size = None if image_size is None else (int(image_size[0]), int(image_size[1]))
        self.vocabulary, self.length, self.double = list(vocabulary), length, double

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        return {
            "inputs": list(self.inputs),
            "kind": self.kind,
            "image_size": None if self.size is None else list(self.size),
            "channels": self.channels,
            "vocabulary": self.vocabulary,
            "length": self.length,
            "double": self.double,
        }

    def read(self, path: Path) -> Tensor:
        """The inputs in a file ``[N, ...]``.

        Raises:
            DataError: For a missing or damaged file, a missing column, or invalid values.
        """
        if path.suffix.lower() in IMAGES:
            return self._image(path)
        tables = read(path, None, None, None)
        (table,) = tables.values()
        for name in self.inputs:
            if name not in table.features:
                raise DataError(f"{path}: {lacking('column', name, table.features)}")
            found = kind_of(table.features[name])
            if found != self.kind:
                raise DataError(f"{path}: column '{name}' holds {found}, the run was trained on {self.kind}")
        if self.kind == "text":
            check_missing(table, self.inputs[0], "file")
            return encode([tokenize(text) for text in plain(table, self.inputs[0])], self.vocabulary, self.length)
        if self.kind == "image":
            images = Images(table, self.inputs[0], self.size, self.channels)
            return torch.stack([images.read(row) for row in range(len(table))])
        return numbers(table, self.inputs, "file", double=self.double)

    def fields(self) -> list[dict[str, Any]]:
        """The input columns: numbers, a text, an image, or a list of numbers (``array``)."""
        kind = "number" if self.kind == "numbers" else self.kind
        found: dict[str, Any] = {"type": kind}
        if kind == "image":
            found |= {"channels": self.channels, **({} if self.size is None else {"size": list(self.size)})}
        return [{"name": name, **found} for name in self.inputs]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The inputs of rows that are given as dicts ``[N, ...]``.

        Raises:
            DataError: As `read`.
        """
        if self.kind == "image":
            rows = [self._opened(record, where, row) for row, record in enumerate(records, first)]
            try:
                return torch.stack(rows)
            except RuntimeError as error:
                raise DataError(f"{where}: the images differ in size: {error}") from error
        for row, record in enumerate(records, first):
            for name in self.inputs:
                if name not in record:
                    raise DataError(f"{where}, row {row}: {lacking('column', name, record)}")
        try:
            table = pyarrow.table({name: [record[name] for record in records] for name in self.inputs})
        except (pyarrow.ArrowException, TypeError) as error:
            raise DataError(f"{where}: these rows make no table: {error}") from error
        if self.kind == "text":
            check_missing(table, self.inputs[0], where, first)
            texts = plain(table, self.inputs[0])
            if not isinstance(texts[0], str):
                raise DataError(f"{where}, row {first}: '{self.inputs[0]}' is {type(texts[0]).__name__}, not a text")
            return encode([tokenize(text) for text in texts], self.vocabulary, self.length)
        return numbers(table, self.inputs, where, first, double=self.double)

    def _image(self, path: Path) -> Tensor:
        if self.kind != "image":
            raise DataError(f"{path} is an image; the run was trained on {self.kind}")
        return self._pixels(path, str(path)).unsqueeze(0)

    def _opened(self, record: Mapping[str, Any], where: str, row: int) -> Tensor:
        """The image of a row; parquet files hold it as its bytes and its path."""
        column = self.inputs[0]
        value = record.get(column)
        if isinstance(value, Mapping) and value.get("bytes") is not None:
            return self._pixels(BytesIO(value["bytes"]), f"{where}, row {row}")
        given, name = image_in(record, where, row, column)
        return self._pixels(given, name or str(given))

    def _pixels(self, given: Any, name: str) -> Tensor:
        try:
            if isinstance(given, Image.Image):
                pixels = pixels_of(upright(given), self.size, self.channels)
            else:
                with Image.open(given) as opened:
                    pixels = pixels_of(upright(opened), self.size, self.channels)
        except Exception as error:  # a damaged file can raise anything
            raise DataError(f"image '{name}' cannot be read: {error}\n  repair, replace or delete it") from error
        return pixels.to(torch.float32).div_(255)
