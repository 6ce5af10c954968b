"""Choosing the device."""

from __future__ import annotations

import torch

from wf.errors import UsageError, unknown


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
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(unknown("device", name, [*available, "auto"]))
    if name not in available:
        raise UsageError(f"device '{name}' is not there\n  {listed}")
    return torch.device(name), f"device {name}"


def _available() -> list[str]:
    """The available devices, the preferred one first."""
    found = []
    if torch.cuda.is_available():
        found = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]
