"""Switching between the trained weights of a model and its separate weights for evaluation and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wf.protocols import Modes


class Weights:
    """Switches between the two sets of weights of a model, if it has two.

    Args:
        modes: Puts one or the other set into the model; None if there is only one.
    """

    def __init__(self, modes: Modes | None) -> None:
        self._modes = modes
        self._judging = False

    def to_train(self) -> None:
        """Put the weights that are trained into the model."""
        self._judging = False
        if self._modes is not None:
            self._modes.to_train()

    @contextmanager
    def judged(self, *, for_good: bool = False) -> Iterator[None]:
        """Within the context, the model has the weights that are evaluated and kept.

        Args:
            for_good: Leave them there afterwards.
        """
        if self._modes is None or self._judging:
            yield
            return
        self._judging = True
        self._modes.to_eval()
        try:
            yield
        finally:
            if not for_good:
                self.to_train()
