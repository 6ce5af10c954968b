"""One of several classes, yes or no, and any number of labels a sample."""

from __future__ import annotations


class Classification:
    """One of several classes a sample: targets are class indices or rows with a single one."""


class Binary:
    """Yes or no a sample: targets are 0 or 1, and the model gives one number."""


class Multilabel:
    """Any number of labels a sample: targets are a 0 or 1 a label."""
