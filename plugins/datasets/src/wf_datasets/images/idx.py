"""The IDX format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from wf.errors import DataError


def read_idx(path: Path) -> Tensor:
    """Read a file of unsigned bytes, gzipped or not.

    Args:
        path: The file; if its name ends in ``.gz`` it is decompressed.

    Returns:
        uint8 of the shape in the file's header.

    Raises:
        DataError: If the file is unreadable, damaged, truncated or of another format.

    The format: two zero bytes, the type (8: uint8), the number of axes, each size as a big-endian uint32, the data
    (LeCun, Cortes, Burges, "The MNIST database").
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}\n  it is damaged; delete it and get it again") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise DataError(f"{path} is not an IDX file of bytes (it begins with {data[:4].hex(' ') or 'nothing'})")
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise DataError(
            f"{path} is cut off or damaged: {shape} needs {math.prod(shape):,} bytes, {len(data) - start:,} are there\n"
            "  delete it and get it again"
        )
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)[start:].reshape(shape)
