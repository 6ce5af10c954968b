"""The records of a run: the lines of its ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.engine.figures import POSITION
from wf.typed import finite
from wf_storage import manifests

if TYPE_CHECKING:
    from wf.engine.loop import Loop

FILE = "metrics.jsonl"
"""The file of a run directory that holds the records."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of ``metrics.jsonl``."""

    number: int
    """Its index in the file, from 0. A run that is resumed exactly has equal records at equal indices."""
    event: str
    """``train`` for a training record, ``eval`` for an evaluation."""
    split: str
    epoch: int
    """From 0 on."""
    step: int
    """The number of completed updates."""
    figures: Mapping[str, Any]
    """The figures by name, without the split: numbers, None for a number that is not finite, lists, and strings."""

    @classmethod
    def read(cls, number: int, line: Mapping[str, Any]) -> Record:
        """Read a line of the file."""
        figures = {name: finite(value) for name, value in line.items() if name not in POSITION}
        position = {"event": line["event"], "split": line["split"], "epoch": line["epoch"], "step": line["step"]}
        return cls(number=number, figures=figures, **position)

    @property
    def numbers(self) -> dict[str, float]:
        """The figures that are one number, such as ``validation/accuracy``; nan if not finite."""
        return {
            f"{self.split}/{name}": math.nan if value is None else float(value)
            for name, value in self.figures.items()
            if value is None or isinstance(value, (int, float))
        }

    @property
    def lists(self) -> dict[str, list[Any]]:
        """The figures with several numbers, such as ``test/recall`` or ``test/confusion``: lists, or lists of lists."""
        return {f"{self.split}/{name}": value for name, value in self.figures.items() if isinstance(value, list)}


def line_of(run: Loop, event: str, split: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the loop's present figures for ``metrics.jsonl``; numbers may still be infinite."""
    progress = run.progress
    epoch = progress.epoch - (run.finished and progress.batch == 0 < progress.epoch)
    return {"event": event, "split": split, "epoch": epoch, "step": progress.step, **figures}


def read(run_dir: Path) -> Iterator[Record]:
    """The records of a run so far; none if the file is missing.

    Raises:
        DataError: If the file cannot be read, or is damaged.
    """
    for number, line in enumerate(manifests.read_records(run_dir / FILE)):
        yield Record.read(number, line)
