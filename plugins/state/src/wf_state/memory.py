"""How tensors lie in memory: which of them share it, and how to store and restore them so that they still do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

STORED_AS_IS = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
    | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)
"""The dtypes that every reader of safetensors knows; the others are stored as bytes."""


class View:
    """A dense tensor, and where its elements lie.

    Args:
        tensor: On any device, of any strides.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor = tensor.detach().resolve_conj().resolve_neg()
        span, self.separate = 1, True
        """separate: no two elements share memory."""
        for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
            if size > 1 and tensor.numel():
                self.separate &= stride >= span
                span += (size - 1) * stride
        self.is_dense = self.separate and span == tensor.numel()
        self.num_bytes = span * tensor.element_size() if tensor.numel() else 0
        self.device, self.begin = str(tensor.device), tensor.data_ptr()
        self.end = self.begin + self.num_bytes

    @property
    def place(self) -> tuple[Any, ...]:
        """Equal for two views that are the same elements in the same order."""
        return self.tensor.dtype, self.begin, self.tensor.shape, self.tensor.stride()

    def bytes(self) -> Tensor:
        """The memory from the first element to the last, uint8 ``[num_bytes]``."""
        offset = self.tensor.storage_offset() * self.tensor.element_size()
        flat = self.tensor.new_empty(0, dtype=torch.uint8)
        return flat.set_(self.tensor.untyped_storage(), offset, (self.num_bytes,), (1,))


def clusters(views: Sequence[View]) -> list[list[int]]:
    """The numbers of the views, those whose memory overlaps together; everything in the order of `views`."""
    found: list[list[int]] = []
    end: tuple[Any, ...] = ()
    for number in sorted(range(len(views)), key=lambda number: (views[number].device, views[number].begin)):
        view = views[number]
        if not view.num_bytes or (view.device, view.begin) >= end:
            found.append([])
        found[-1].append(number)
        end = max(end, (view.device, view.end))
    return sorted(sorted(cluster) for cluster in found)


def store(views: Sequence[View]) -> tuple[Tensor, list[dict[str, Any]]]:
    """One contiguous tensor for the views of one cluster, and for each view what restores it from that tensor.

    Views that are one and the same are stored under their own shape and dtype, without a copy where they are
    contiguous: `restore` takes ``stride``. Others are stored as the bytes that they span: `restore_view` takes
    ``dtype``, ``offset``, ``shape`` and ``stride``.
    """
    first = views[0]
    if all(view.place == first.place for view in views) and first.separate and first.tensor.dtype in STORED_AS_IS:
        restrided = first.is_dense and not first.tensor.is_contiguous()
        return first.tensor.contiguous(), [{"stride": list(first.tensor.stride())} if restrided else {} for _ in views]
    return _store_bytes(views)


def restore(stored: Tensor, stride: Sequence[int] | None) -> Tensor:
    """A tensor that was stored with its own shape, with its original strides."""
    if stride is None:
        return stored
    return torch.empty_strided(stored.shape, stride, dtype=stored.dtype).copy_(stored)


def restore_view(
    memory: Tensor, dtype: torch.dtype, offset: int, shape: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """One view of stored bytes; views of the same `memory` share it.

    Raises:
        RuntimeError: For a view that reaches out of the memory.
    """
    part = memory[offset : len(memory) - (len(memory) - offset) % dtype.itemsize]
    if offset % dtype.itemsize:  # views of different widths may lie anywhere in memory from elsewhere
        part = part.clone()
    return part.view(dtype).as_strided(shape, stride)


def dtype_name(dtype: torch.dtype) -> str:
    """The dtype without the module: ``float32``."""
    return str(dtype).removeprefix("torch.")


def _store_bytes(views: Sequence[View]) -> tuple[Tensor, list[dict[str, Any]]]:
    widest, begin = max(views, key=lambda view: view.tensor.element_size()), min(view.begin for view in views)
    begin -= (begin - widest.begin) % widest.tensor.element_size()  # every element stays aligned to its size
    end = max(view.end for view in views)
    memory = widest.tensor.new_zeros(end - begin, dtype=torch.uint8)
    for view in views:
        memory[view.begin - begin : view.end - begin] = view.bytes()
    return memory, [
        {
            "dtype": dtype_name(view.tensor.dtype),
            "offset": view.begin - begin,
            "shape": list(view.tensor.shape),
            "stride": list(view.tensor.stride()),
        }
        for view in views
    ]
