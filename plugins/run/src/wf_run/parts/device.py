"""Choosing the device."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

import torch

from wf.errors import UsageError, unknown

_LOG = logging.getLogger("wf")
_KINDS = ("cpu", "cuda", "mps")


def choose_device(name: str) -> tuple[torch.device, str]:
    """The device with a name, and the reason for the choice, for messages.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: If it does not exist.
    """
    available = _available()
    if name == "auto":
        chosen = available[0]
        reason = "no GPU found" if chosen == "cpu" else "the first accelerator found"
        return torch.device(chosen), f"device {chosen} ({reason})"
    kind = name.partition(":")[0]
    listed = f"available: {', '.join(reversed(available))}, auto"
    if kind == "gpu":
        raise UsageError(f"unknown device '{name}'\n  a GPU of NVIDIA or AMD is cuda, one of Apple mps\n  {listed}")
    if kind not in _KINDS:
        raise UsageError(unknown("device", name, [*available, "auto"]))
    if name not in available:
        raise UsageError(f"device '{name}' is not there\n  {listed}")
    return torch.device(name), f"device {name}"


def or_another(name: str) -> str:
    """The name of the device for a finished run: its own, or with a warning another one, if its own is not there."""
    available = _available()
    if name == "auto" or name in available or name.partition(":")[0] not in _KINDS:
        return name
    _LOG.warning("device '%s' of the run is not there: %s is used", name, available[0])
    return available[0]


def current(device: torch.device) -> AbstractContextManager[object]:
    """Context in which a device with a number, such as ``cuda:1``, is torch's current one.

    Graphs, random states and pinned memory are those of the current device.
    """
    found = torch.accelerator.current_accelerator()
    if device.index is None or found is None or found.type != device.type:
        return nullcontext()
    return torch.accelerator.device_index(device.index)


def _available() -> list[str]:
    """The available devices, the preferred one first."""
    found = []
    if torch.cuda.is_available():
        found = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]
