"""Tokens a second."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from wf import FromRun, Hook, Loop


class TokenRate(Hook):
    """Notes at the end how many tokens a second were trained on; evaluations and checkpoints do not count.

    It is a note and no figure: the figures of a run are the same whenever it is run again.

    Args:
        input_shape: The shape of a sample, ``(T,)``; where samples differ in length nothing is noted.
    """

    def __init__(self, input_shape: Annotated[tuple[int, ...] | None, FromRun("input_shape")] = None) -> None:
        self._tokens = input_shape[0] if input_shape else 0
        self._samples = self._counted = 0
        self._seconds = self._begin = 0.0

    def on_run_start(self, run: Loop) -> None:
        """Begin to count."""
        self._begin_anew(run)

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Take in what was trained on since then; the device was waited for."""
        self._counted += run.progress.samples - self._samples
        self._seconds += time.perf_counter() - self._begin
        self._begin_anew(run)

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Go on behind it."""
        self._begin_anew(run)

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        """Go on behind it."""
        self._begin_anew(run)

    def on_run_end(self, run: Loop) -> None:
        """Note the rate."""
        if self._tokens and self._seconds:
            run.notes["throughput"] = f"{self._counted * self._tokens / self._seconds:,.0f} tokens/s"

    def _begin_anew(self, run: Loop) -> None:
        self._samples, self._begin = run.progress.samples, time.perf_counter()
