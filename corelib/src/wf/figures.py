"""The names of figures: ``SPLIT/NAME``, as ``validation/loss`` and ``test/torchmetrics/MulticlassAccuracy``.

A name may have slashes, dashes and dots, so it is taken apart here and nowhere else. What a metric gives by name has
its key behind a dash: ``validation/spread-low``; an empty key adds nothing. The terms of a loss stand behind a slash:
``validation/loss/price``. Where a figure decides something, its direction may stand behind it:
``validation/spread-low:min``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from wf.errors import UsageError, closest, unknown

TRAIN = "train"
"""The split that is trained on."""
LOSS = "loss"
"""The figure that every evaluator gives."""

_DIRECTIONS = {"min": False, "max": True}


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """A figure that decides something."""

    figure: str
    """The figure, as ``validation/accuracy``."""
    larger_is_better: bool | None
    """Its direction; None where nobody says it."""
    known: tuple[str, ...] = ()
    """The figures, without the split, of which it is known."""

    @classmethod
    def read(cls, text: str, directions: Mapping[str, bool] | None = None) -> Monitor:
        """A monitor as the user writes it.

        Args:
            text: ``SPLIT/NAME``, ``SPLIT/NAME:min`` or ``SPLIT/NAME:max``.
            directions: The directions that are known, by name without the split; the user's own goes before them.
        """
        figure, _, said = text.rpartition(":")
        if said in _DIRECTIONS:
            return cls(figure=figure, larger_is_better=_DIRECTIONS[said])
        known = {LOSS: False, **(directions or {})}
        return cls(figure=text, larger_is_better=known.get(divided(text)[1]), known=tuple(sorted(known)))

    @property
    def split(self) -> str:
        """The split that is evaluated."""
        return divided(self.figure)[0]

    @property
    def name(self) -> str:
        """The figure without its split."""
        return divided(self.figure)[1]

    def read_after(self, evaluated: Sequence[str]) -> str | None:
        """The split after whose evaluation the figure is new; None where a run does not yield it.

        A term of the loss on the train split is what the trainer records of its steps where that split is not
        evaluated, as ``train/loss/price``: it is new whenever anything is evaluated.

        Args:
            evaluated: The splits that are evaluated while the run trains.
        """
        if self.split in evaluated:
            return self.split
        return evaluated[0] if self._is_of_steps and evaluated else None

    @property
    def _is_of_steps(self) -> bool:
        """Whether it is a term of the loss that the trainer records of its steps."""
        return self.split == TRAIN and self.name.startswith(f"{LOSS}/")

    def direction(self, option: str, owner: str = "", *, mode: bool = False) -> bool:
        """Whether a larger figure is better.

        Args:
            option: What the user sets to say it, as ``--monitor``.
            owner: Who wants to know.
            mode: An option `mode` says it as well.

        Raises:
            UsageError: Where nobody says it.
        """
        if self.larger_is_better is not None:
            return self.larger_is_better
        near = [f"{self.split}/{name}" for name in closest(self.name, self.known)]
        lines = [
            f"{f'{owner}: ' if owner else ''}it is not known whether a larger '{self.figure}' is better",
            *(f"did you mean '{one}'?" for one in near[:1]),
            f"say it behind the figure: {option} {self.figure}:max or {self.figure}:min"
            f"{'; or with mode min or max' if mode else ''}",
            f"known: {', '.join(self.known)}",
        ]
        raise UsageError("\n  ".join(lines))

    def check(self, figures: Iterable[str] | None, option: str) -> None:
        """Look for the figure before there is an evaluation.

        Args:
            figures: What an evaluator says that it gives, without the split: the loss and the names of metrics; None
                where it does not say.
            option: What the user sets to have another one.

        Raises:
            UsageError: When it is not among them.
        """
        if self._is_of_steps:  # an evaluator need not give it
            return
        if figures is not None and metric_of(self.name, names := list(figures)) is None:
            given = [f"{self.split}/{name}" for name in names]
            raise UsageError(unknown("figure", self.figure, given, f"set {option} to one of them"))

    def value(self, metrics: Mapping[str, Any], owner: str, option: str) -> float:
        """The figure among those of an evaluation, as ``{"validation/accuracy": 0.9}``.

        Args:
            metrics: The figures.
            owner: Who wants it.
            option: What the user sets to have another one.

        Raises:
            UsageError: When it is not there, or not one number.
        """
        if self.figure not in metrics:
            raise UsageError(unknown("figure", self.figure, metrics, f"set {option} to one of them"))
        value = metrics[self.figure]
        if value is None:  # as JSON holds a number that is not finite
            return math.nan
        if not isinstance(value, (int, float)):
            raise UsageError(f"{owner}: '{self.figure}' is not one number but {type(value).__name__}")
        return float(value)


def divided(figure: str) -> tuple[str, str]:
    """A figure's split and its name."""
    split, _, name = figure.partition("/")
    return split, name


def metric_of(name: str, metrics: Iterable[str]) -> str | None:
    """The metric, or loss, that a figure without its split is of: the longest name that it is, or begins with.

    Behind the name stands a dash, or a slash as in ``loss/price``.
    """
    ends = ("-", "/")
    return max(
        (one for one in metrics if name == one or name.startswith(tuple(one + end for end in ends))),
        key=len,
        default=None,
    )


def best(values: Mapping[Any, Any], *, larger_is_better: bool) -> list[Any]:
    """The keys of values that are finite numbers, the best first and of equal ones the earlier first."""
    numbers = {key: value for key, value in values.items() if is_number(value)}
    return sorted(numbers, key=lambda key: -numbers[key] if larger_is_better else numbers[key])


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a figure is one finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)
