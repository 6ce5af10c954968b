"""A vector a sample, near to those of its class."""

from __future__ import annotations


class Embedding:
    """A vector a sample, near to those of its class: no class can be read from it."""
