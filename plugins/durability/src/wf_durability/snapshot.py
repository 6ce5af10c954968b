"""Tensors copied into host memory, in the layout of their file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The safetensors names of the dtypes in `wf_state.codec`."""

PIECE_BYTES = 1 << 22
"""The number of bytes written or hashed at once: each piece takes the interpreter's lock, which training needs."""


class Snapshot:
    """Host memory for a copy of many tensors, kept from one copy to the next: fresh memory costs more than copying.

    On CUDA the memory is pinned, and the copies run concurrently.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    def take(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], memoryview]:
        """Copies of contiguous tensors, on the host, and their bytes as one; the next call overwrites them.

        They are in the order of a safetensors file: tensors with the largest elements first, so that each is aligned.
        """
        ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))
        self.reserve(ordered)
        copies, begin = {}, 0
        for name, tensor in ordered.items():
            end = begin + tensor.nbytes
            copies[name] = self._memory[begin:end].view(tensor.dtype).view(tensor.shape)
            copies[name].copy_(tensor.detach(), non_blocking=tensor.is_cuda)
            begin = end
        for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        return copies, raw(self._memory[:begin])

    def reserve(self, tensors: Mapping[str, Tensor]) -> None:
        """Reserve memory for these tensors, with every page touched."""
        num_bytes = sum(tensor.nbytes for tensor in tensors.values())
        if num_bytes <= len(self._memory):
            return
        if any(tensor.is_cuda for tensor in tensors.values()):
            self._memory = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
        else:
            self._memory = torch.from_numpy(np.empty(num_bytes, np.uint8))  # numpy asks for huge pages, torch does not
            self._memory.zero_()


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the host."""
    flat = tensor.as_strided((tensor.numel(),), (1,))  # a contiguous tensor of one element may have any stride
    return flat.view(torch.uint8).numpy().data


def pieces(data: memoryview) -> Iterator[memoryview]:
    """The data in parts of `PIECE_BYTES`."""
    return (data[begin : begin + PIECE_BYTES] for begin in range(0, len(data), PIECE_BYTES))


def safetensors_header(tensors: Mapping[str, Tensor]) -> memoryview:
    """The beginning of a safetensors file: the header's length and the header; the bytes of the tensors follow."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def safetensors_file(tensors: Mapping[str, Tensor], data: memoryview) -> Iterator[memoryview]:
    """The content of a safetensors file in pieces.

    `safetensors.torch.save` makes two copies of everything first, and holds the interpreter's lock meanwhile.

    Args:
        tensors: The tensors in the order of their bytes.
        data: Their bytes; both from `Snapshot.take`.
    """
    yield safetensors_header(tensors)
    yield from pieces(data)
