"""Leaving an evaluation that is under way, in one process or in several that ask each other now and then."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

from wf.protocols import Evaluator, Stateful

PERIOD_SEC = 1.0
"""About how long several processes go on before they ask each other again whether to end."""


class EvaluationLeft(Exception):  # noqa: N818 - named for what happened, which is no error
    """Raised between two batches of an evaluation that an interrupted run does not finish."""


class Rounds:
    """The steps after which several processes ask each other a question: about as many as take `PERIOD_SEC`.

    All processes count the same steps and decide together how many lie between two questions, so all of them ask at
    the same ones. The number doubles until they take long enough.

    Args:
        agree: See `wf.protocols.Strategy.agree`.
    """

    def __init__(self, agree: Callable[[bool], bool]) -> None:
        self._agree, self._num = agree, 1
        self.begin(0)

    def begin(self, step: int) -> None:
        """Count from this step and from now on: what came before took its own time."""
        self._step, self._time = step, time.monotonic()

    def next(self, step: int) -> int:
        """The step of the next question, if this one has just been asked."""
        num = step - self._step
        if self._agree(time.monotonic() - self._time > PERIOD_SEC):
            self._num = max(1, num // 2)
        elif num >= self._num:
            self._num *= 2
        self.begin(step)
        return step + self._num


class Leaving:
    """Evaluations that can be left between two batches, and what is owed after one was left.

    Args:
        is_over: Whether to leave, decided by all processes together: each asks it after the same batches.
        agree: See `wf.protocols.Strategy.agree`; `bool` in a single process, which asks before each batch.
        reading: Parts that reading samples changes, and that an evaluation that is left must not change.
    """

    def __init__(
        self, is_over: Callable[[], bool], agree: Callable[[bool], bool], reading: Sequence[Stateful] = ()
    ) -> None:
        self._is_over, self._agree, self._reading = is_over, agree, reading
        self.owed: dict[str, Any] | None = None
        """The ``splits`` that the resumed run evaluates first, and the ``unit`` of their cadence."""

    @property
    def num_owed(self) -> int:
        """The number of splits that are owed."""
        return len(self.owed["splits"]) if self.owed else 0

    def owes(self, unit: str) -> bool:
        """Whether an evaluation is owed that is due at a cadence of this unit."""
        return self.owed is not None and self.owed["unit"] == unit

    def take(self, splits: Sequence[str]) -> Sequence[str]:
        """The splits to evaluate now: what is owed, or all."""
        owed, self.owed = self.owed, None
        return splits if owed is None else owed["splits"]

    def evaluate(self, evaluator: Evaluator, split: str, *, unit: str = "", splits: Sequence[str] = ()) -> Any:
        """The figures of a split; an evaluator without ``between_batches`` finishes it in any case.

        Args:
            evaluator: The evaluator.
            split: The split.
            unit: The unit of the cadence at which it is due; empty for an evaluation that will not be owed.
            splits: All splits that are due, in their order.

        Raises:
            EvaluationLeft: If it is left; then it and the splits after it are owed.
        """
        leaving: Any = evaluator
        if not hasattr(leaving, "between_batches"):
            return evaluator.evaluate(split)
        states = [copy.deepcopy(part.state_dict()) for part in self._reading]
        before, leaving.between_batches = leaving.between_batches, self._asking()
        try:
            return evaluator.evaluate(split)
        except EvaluationLeft:
            for part, state in zip(self._reading, states, strict=True):
                part.load_state_dict(state)
            if unit:
                self.owed = {"unit": unit, "splits": [*splits[splits.index(split) :]]}
            raise
        finally:
            leaving.between_batches = before

    def _asking(self) -> Callable[[], None]:
        """What is called before each batch of one evaluation."""
        rounds, batch, asks_at = None if self._agree is bool else Rounds(self._agree), 0, 1

        def ask() -> None:
            nonlocal batch, asks_at
            batch += 1
            if rounds is not None and batch < asks_at:
                return
            if self._is_over():
                raise EvaluationLeft
            if rounds is not None:
                asks_at = rounds.next(batch)

        return ask
