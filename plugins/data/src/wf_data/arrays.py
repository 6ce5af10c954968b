"""Arrays in NumPy's ``.npy`` and ``.npz`` files, checked before memory is allocated; nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from wf.errors import DataError, unknown

ENDINGS = (".npy", ".npz")
Array = np.ndarray[Any, np.dtype[Any]]
Look = Callable[[tuple[int, ...], np.dtype[Any]], None]
"""Called with shape and dtype; raises a `DataError` to refuse them."""

_DENSEST = 1032
"""The largest compression ratio of deflate, reached by zeros."""
_KINDS = {"O": "objects", "U": "text", "S": "bytes", "V": "records", "c": "complex numbers", "M": "dates", "m": "times"}


def read_array(path: Path, look: Look, key: str | None = None) -> Array:
    """The numbers in a ``.npy`` file, or in an array of a ``.npz`` file, in this machine's byte order.

    Args:
        path: The file.
        look: Called with shape and dtype before memory is allocated for the array.
        key: The array of a ``.npz`` file; by default its only one, or ``x``.

    Raises:
        DataError: If the file is damaged or truncated, has no such array, or holds anything but numbers.
    """
    with _told(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                info = _member(path, archive, key)
                longest = min(info.file_size, _DENSEST * info.compress_size + 1024)
                with archive.open(info) as stream:
                    return _read(path, stream, longest, look)
        with path.open("rb") as stream:
            return _read(path, stream, path.stat().st_size, look)


def _member(path: Path, archive: zipfile.ZipFile, key: str | None) -> zipfile.ZipInfo:
    arrays = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if not info.is_dir()}
    if not arrays:
        raise DataError(f"{path} holds no array")
    name = key if key is not None else "x" if "x" in arrays else next(iter(arrays)) if len(arrays) == 1 else None
    if name is None:
        raise DataError(f"{path} holds several arrays ({', '.join(arrays)}), but none is called 'x'")
    if name not in arrays:
        raise DataError(f"{path}: {unknown('array', name, arrays)}")
    return arrays[name]


def _read(path: Path, stream: IO[bytes], num_bytes: int, look: Look) -> Array:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise DataError(f"{path} holds records, not an array of numbers")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.kind not in "fiub":
        raise DataError(f"{path} holds {_KINDS.get(dtype.kind, dtype)}, not numbers")
    if any(size < 0 for size in shape):
        raise DataError(f"{path} is damaged: it states the shape {list(shape)}")
    look(shape, dtype)
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > num_bytes:
        raise DataError(f"{path} is cut off or damaged: its shape {list(shape)} needs {wanted:,} bytes")
    data = stream.read(wanted)
    if len(data) != wanted:
        raise DataError(f"{path} is cut off: its shape {list(shape)} needs {wanted:,} bytes, {len(data):,} are there")
    array = np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array, dtype.newbyteorder("="))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile may raise anything for a damaged file
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read: {why[:200]}\n  it must be a file of plain numbers") from error
