"""The limits of a server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a server."""

    max_bytes: int
    """The maximum size of a request in bytes."""
    max_records: int
    """The maximum number of records in a request."""
    batch_size: int
    """The maximum number of records of waiting requests in one batch."""
    batch_wait_sec: float
    """The time that a request waits for others, in seconds."""
