"""The limits of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a server."""

    max_bytes: int
    """Of one request."""
    max_records: int
    """Of one request."""
    batch_size: int
    """The maximum number of records of waiting requests in one batch."""
    batch_wait_sec: float
    """How long a request waits for others."""
