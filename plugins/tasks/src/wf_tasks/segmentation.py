"""One of several classes a pixel."""

from __future__ import annotations


class Segmentation:
    """One of several classes a pixel: targets are a class index a pixel."""
