"""The precision of a run: torch's default `fp32`, `bf16` or `fp16` by autocast, or `tf32` for products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from wf.errors import UsageError
from wf_base import tree

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_forward(model: nn.Module, precision: str, device: torch.device) -> None:
    """Make the model's forward run under `torch.autocast` for every caller, if the precision requires it.

    Weights are unchanged; predictions are converted to torch's default dtype, so that loss and metrics use it.

    Args:
        model: The model, whose attribute ``forward`` is replaced; a copy of the model gets its own.
        precision: The run's precision.
        device: The model's device.

    Raises:
        UsageError: If the device does not support it.
    """
    if precision not in _AUTOCAST:
        return
    dtype, kind = _AUTOCAST[precision], device.type
    emulated = kind == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.amp.is_autocast_available(kind) or emulated:
        raise UsageError(f"device {device} does not support {precision}\n  train with --precision fp32, or fp16")

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(kind, dtype):
            predictions = type(self).forward(self, *args, **kwargs)
        return tree.map_leaves(_as_default, predictions)

    model.forward = MethodType(forward, model)


def _as_default(leaf: Tensor) -> Tensor:
    return leaf.to(torch.get_default_dtype()) if leaf.is_floating_point() else leaf


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler | None:
    """The scaler that keeps small gradients from becoming 0 in fp16; None in another precision."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None


def check_tf32(precision: str, device: torch.device) -> None:
    """Refuse to train in tf32 on a device without it.

    Raises:
        UsageError: Naming the device.
    """
    if precision == "tf32" and not _has_tf32(device):
        raise UsageError(
            f"device {device} has no tf32, which needs an NVIDIA GPU of compute capability 8.0 or higher\n"
            "  train with --precision bf16, or fp32"
        )


@contextmanager
def products_in(precision: str, device: torch.device) -> Iterator[None]:
    """Context with tf32 for float32 matrix products and convolutions, if the precision is tf32 and the device supports
    it."""
    if precision != "tf32" or not _has_tf32(device):
        yield
        return
    cudnn: Any = torch.backends.cudnn  # torch's stubs lack its parts
    backends = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before, own = products(), [backend.fp32_precision for backend in backends]
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before["float32_matmul"])
        torch.backends.cudnn.allow_tf32 = before["cudnn_tf32"]
        for backend, value in zip(backends, own, strict=True):
            backend.fp32_precision = value


def products() -> dict[str, Any]:
    """The precision of float32 products, in the words of torch's older interface.

    Once a program has set it by the newer one, ``torch.backends.cuda.matmul.fp32_precision``, the older one raises.
    """
    try:
        matmul = torch.get_float32_matmul_precision()
    except RuntimeError:
        matmul = {"tf32": "high", "bf16": "medium"}.get(torch.backends.cuda.matmul.fp32_precision, "highest")
    try:
        convolution = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        cudnn: Any = torch.backends.cudnn
        convolution = cudnn.conv.fp32_precision == "tf32"
    return {"float32_matmul": matmul, "cudnn_tf32": convolution}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """torch's default dtype, in which new weights and numbers from Python are made."""
    before = torch.get_default_dtype()
    if before == dtype:
        yield
        return
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def dtype_named(name: Any) -> torch.dtype:
    """A floating dtype by its name in a manifest; torch's default for any other name."""
    found = getattr(torch, str(name), None)
    return found if isinstance(found, torch.dtype) and found.is_floating_point else torch.get_default_dtype()


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
