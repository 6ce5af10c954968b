"""Numbers a sample."""

from __future__ import annotations


class Regression:
    """Numbers a sample: targets are a number a column."""
