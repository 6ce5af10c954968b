"""The limits of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a server takes at once."""

    max_bytes: int
    """Of one request."""
    max_records: int
    """Of one request."""
    batch_size: int
    """Records of waiting requests that go through the model at once."""
    batch_wait_sec: float
    """How long a request waits for others."""
