"""Decoded images in a file, so that each image file is decoded once."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError


class PixelCache:
    """Images of one form as bytes, in a memory-mapped file that processes share.

    A row is filled when its image is first requested. Its checksum is written after it, so that a row left incomplete
    by a crash is decoded again. The cached pixels are the same in every epoch: augmentations come later, and a run has
    the same bits with and without a cache.

    Args:
        folder: The folder for the file; it is created if needed.
        key: Everything that determines the pixels: files with their sizes and times, and the form, as a JSON value.
            Its checksum names the file.
        num: The number of images.
        shape: The shape of an image, ``[C, H, W]``.

    Raises:
        DataError: If the file cannot be created, for example because the disk is full.
    """

    def __init__(self, folder: Path, key: Any, num: int, shape: tuple[int, int, int]) -> None:
        self.path = folder / f"{hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()}.pixels"
        self._num, self._shape = num, shape
        self._open()

    def get(self, index: int, read: Callable[[], Tensor]) -> Tensor:
        """An image, uint8 ``[C, H, W]``.

        Args:
            index: Its number.
            read: Reads it if it is not in the cache; only uint8 is cached.
        """
        row = self._rows[index]
        if self._sums[index] and self._sums[index] == _checksum(row):
            return torch.from_numpy(row.copy())
        image = read()
        if image.dtype == torch.uint8:
            row[...] = image.numpy()
            self._sums[index] = _checksum(row)
        return image

    def __getstate__(self) -> dict[str, Any]:
        """The state without the mapped memory: another process maps the file itself."""
        return {name: value for name, value in vars(self).items() if name not in ("_rows", "_sums")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        sums, row = self._num * 4, int(np.prod(self._shape))
        try:
            if not self.path.exists():
                self._make(sums + self._num * row)
            self._sums = np.memmap(self.path, np.uint32, "r+", shape=(self._num,))
            self._rows = np.memmap(self.path, np.uint8, "r+", offset=sums, shape=(self._num, *self._shape))
        except (OSError, ValueError) as error:
            raise DataError(
                f"the cache of images '{self.path}' cannot be used: {error}\n"
                f"  it takes {(sums + self._num * row) / 1e6:,.0f} MB; choose another folder with --dataset.cache, or "
                "leave it out"
            ) from error

    def _make(self, size: int) -> None:
        """Make the file with all its space, so that no write to the mapped memory finds the disk full."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        own = self.path.with_suffix(f".{os.getpid()}")
        try:
            with own.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            own.rename(self.path)  # another process that was faster only loses its rows
        finally:
            own.unlink(missing_ok=True)


def _checksum(row: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    """The CRC-32 of an image; never 0, which marks an empty row."""
    return zlib.crc32(row.data) or 1
