"""The names of figures: ``SPLIT/NAME``, as ``validation/loss`` and ``test/torchmetrics/MulticlassAccuracy``.

A name may have slashes, dashes and dots, so only this module takes names apart. If a metric gives a dict, each key
follows a dash: ``validation/spread-low``; an empty key adds nothing, and a key that begins with a slash is appended as
it is: ``validation/map/50``. The terms of a loss follow a slash: ``validation/loss/price``. A monitored figure may be
followed by its direction: ``validation/spread-low:min``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from wf.errors import UsageError, closest, unknown

TRAIN = "train"
"""The split that is trained on."""
SPLITS = (TRAIN, "validation", "test")
"""The names of all splits."""
LOSS = "loss"
"""The figure that every evaluator has."""
OF_STEPS = (LOSS, "running_loss", "epoch_loss")
"""Keys that the loop itself writes into train records."""
POSITION = ("event", "split", "epoch", "step")
"""Keys in a line of ``metrics.jsonl`` besides figures."""

_DIRECTIONS = {"min": False, "max": True}


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """A figure by which a part decides something: the best weights, the end of a run, a learning rate."""

    figure: str
    """The figure, as ``validation/accuracy``."""
    larger_is_better: bool | None
    """Its direction; None if undeclared."""
    known: tuple[str, ...] = ()
    """The figures with a known direction, without the split."""

    @classmethod
    def read(cls, text: str, directions: Mapping[str, bool] | None = None) -> Monitor:
        """Read a monitor as the user writes it.

        Args:
            text: ``SPLIT/NAME``, ``SPLIT/NAME:min`` or ``SPLIT/NAME:max``.
            directions: The known directions, by name without the split; a direction in `text` overrides them.
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
        """The split after whose evaluation the figure has a new value; None if the run does not produce it.

        If the train split is not evaluated, its figures come from the steps, such as ``train/loss/price`` or
        ``train/lr``: these are new whenever anything is evaluated.

        Args:
            evaluated: The splits that are evaluated while the run trains.
        """
        if self.split in evaluated:
            return self.split
        return evaluated[0] if evaluated and self.split == TRAIN and self.name not in OF_STEPS else None

    def direction(self, option: str, owner: str = "", *, mode: bool = False) -> bool:
        """Whether a larger figure is better.

        Args:
            option: The option that sets it, such as ``--monitor``.
            owner: The part that asks, for messages.
            mode: Whether the part also has an option `mode` for the direction.

        Raises:
            UsageError: If it is undeclared.
        """
        if self.larger_is_better is not None:
            return self.larger_is_better
        near = [f"{self.split}/{name}" for name in closest(self.name, self.known)]
        lines = [
            f"{f'{owner}: ' if owner else ''}it is not known whether a larger '{self.figure}' is better",
            *(f"did you mean '{one}'?" for one in near[:1]),
            f"write the direction behind the figure: {option} {self.figure}:max or {self.figure}:min"
            f"{'; or set mode to min or max' if mode else ''}",
            f"known: {', '.join(self.known)}",
        ]
        raise UsageError("\n  ".join(lines))

    def value(self, metrics: Mapping[str, Any], owner: str, option: str) -> float:
        """The figure among those of an evaluation, as ``{"validation/accuracy": 0.9}``.

        Args:
            metrics: The figures.
            owner: The part that asks, for messages.
            option: The option that chooses another one.

        Raises:
            UsageError: If it is missing, or not a single number.
        """
        if self.figure not in metrics:
            raise UsageError(unknown("figure", self.figure, metrics, f"set {option} to one of them"))
        value = metrics[self.figure]
        if value is None:  # a number that is not finite, read from JSON
            return math.nan
        if not isinstance(value, (int, float)):
            raise UsageError(f"{owner}: '{self.figure}' is not one number but {type(value).__name__}")
        return float(value)


def divided(figure: str) -> tuple[str, str]:
    """A figure's split and its name."""
    split, _, name = figure.partition("/")
    return split, name


def joined(name: str, key: str) -> str:
    """The name of one figure of a metric that gives several."""
    if key == "":
        return name
    return f"{name}{key}" if key.startswith("/") else f"{name}-{key}"


def declared(part: Any) -> dict[str, bool | None] | None:
    """The declared figures of a part, each with whether larger is better (None: unknown).

    They are in its attribute `figures`: a mapping, or a tuple of names; a metric that gives several figures may be
    named as a whole. A name that ends with ``*`` is a prefix.

    Returns:
        None if it declares nothing.

    Raises:
        UsageError: For a mapping to anything else.
    """
    said = getattr(part, "figures", None)
    if isinstance(said, Mapping):
        for name, larger in said.items():
            if not isinstance(name, str) or not (larger is None or isinstance(larger, bool)):
                owner = part.__name__ if isinstance(part, type) else type(part).__name__
                raise UsageError(
                    f"{owner}.figures says {larger!r:.40} of {name!r:.40}\n"
                    "  give for each name whether a larger figure is better: True, False, or None for unknown"
                )
        return dict(said)
    if isinstance(said, tuple):
        return {f"{name}{end}": None for name in said for end in ("", "-*", "/*")}
    return None


def fits(figure: str, names: Iterable[str]) -> bool:
    """Whether the figure matches a pattern among the names, a prefix that ends with ``*``."""
    return any(name.endswith("*") and figure.startswith(name[:-1]) for name in names)


def terms(loss: Any) -> dict[str, bool | None]:
    """The figures of a loss's terms, ``loss/NAME``, each with whether a larger value is better."""
    said = declared(loss)
    if said is None:
        return {f"{LOSS}/*": None}
    return {f"{LOSS}/{name}": direction for name, direction in said.items()}


def metric_of(name: str, metrics: Iterable[str]) -> str | None:
    """The metric or loss of a figure, without its split: the longest matching name or prefix.

    After it, a dash or a slash follows, as in ``loss/price``.
    """
    ends = ("-", "/")
    return max(
        (one for one in metrics if name == one or name.startswith(tuple(one + end for end in ends))),
        key=len,
        default=None,
    )


def best(values: Mapping[Any, Any], *, larger_is_better: bool) -> list[Any]:
    """The keys of values that are finite numbers, the best first; equal values keep their order."""
    numbers = {key: value for key, value in values.items() if is_number(value)}
    return sorted(numbers, key=lambda key: -numbers[key] if larger_is_better else numbers[key])


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a figure is one finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def plain(value: Any) -> Any:
    """Convert a tensor, array or number to a number or a list of numbers.

    Raises:
        TypeError: For anything else.
    """
    found = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(found, (list, tuple)):
        return [plain(item) for item in found]
    if isinstance(found, (bool, int, float)):
        return found
    raise TypeError(type(value).__name__)


class Figures:
    """The figures of one record or evaluation by name; each has one source, and is a number or a list of numbers.

    A dict as a value is several figures: its keys follow the name and a slash.

    Args:
        given: The figures that trainer or evaluator gave.
        split: Their split.
        source: Their source, for messages.
        taken: Names that other parts give for this split, each with its source.

    Raises:
        UsageError: For a name with another source, or a value that is not a figure.
    """

    def __init__(
        self, given: Mapping[str, Any], split: str, source: str, taken: Mapping[str, str] | None = None
    ) -> None:
        self.split = split
        self.values: dict[str, Any] = {}
        """The figures: a plain dict, passed to hooks, which may add to it."""
        self.added: list[str] = []
        """The names that hooks have added."""
        self._taken, self._sources = dict(taken or {}), dict[str, Callable[[], str]]()
        for name, value in given.items():
            self._add(name, value, lambda: source)
        self._known = dict(self.values)

    def take(self, source: Callable[[], str]) -> None:
        """Update with new entries of `values`.

        Args:
            source: Returns their source, for messages.

        Raises:
            UsageError: As above; `values` are then as they were before.
        """
        before, now = self._known, dict(self.values)
        new = {name: value for name, value in now.items() if name not in before or value is not before[name]}
        if not new and len(now) == len(before):
            return
        self._put_back(before)
        try:
            added = [one for name, value in new.items() for one in self._add(name, value, source)]
        except UsageError:
            self._put_back(before)
            raise
        for name in before.keys() - now.keys():
            del self.values[name]
            self._sources.pop(name, None)
        self.added = [name for name in (*self.added, *added) if name in self.values]
        self._known = dict(self.values)

    def forget(self) -> None:
        """Undo every change of `values` since the last `take`."""
        self._put_back(self._known)

    def replace(self, names: Iterable[str], figures: Mapping[str, Any]) -> None:
        """Replace the figures with some names by `figures`."""
        for name in names:
            if name not in figures:
                del self.values[name]
        self.values.update(figures)
        self._known = dict(self.values)

    def _put_back(self, figures: Mapping[str, Any]) -> None:
        """Hold exactly these figures."""
        self.values.clear()
        self.values.update(figures)
        self._sources = {name: source for name, source in self._sources.items() if name in figures}

    def _add(self, name: str, value: Any, source: Callable[[], str]) -> list[str]:
        """Add a figure, or the figures of a dict; returns the names."""
        if isinstance(value, Mapping):
            found = ((f"{name}/{key}" if key != "" else name, item) for key, item in value.items())
            return [one for key, item in found for one in self._add(key, item, source)]
        self._check_free(name, source)
        try:
            self.values[name] = None if value is None else plain(value)
        except TypeError as error:
            raise UsageError(
                f"{source()} gave {value!r:.40} of type {type(value).__name__} as '{self.split}/{name}', which is not "
                "a figure\n"
                "  give a number, a tensor or a list of them, or a dict of these; nan for a missing value"
            ) from error
        self._sources[name] = source
        return [name]

    def _check_free(self, name: Any, source: Callable[[], str]) -> None:
        if not isinstance(name, str) or not name or name in POSITION:
            raise UsageError(
                f"{source()} gave a figure the name {name!r}\n"
                f"  a name must be a string other than {', '.join(POSITION)}"
            )
        other = self._sources[name]() if name in self._sources else self._taken.get(name)
        if other is not None:
            raise two_sources(f"{self.split}/{name}", other, source())


def two_sources(figure: str, one: str, other: str) -> UsageError:
    """The error for a figure that two parts give."""
    return UsageError(
        f"the figure '{figure}' has two sources: {one}, and {other}\n  let one of them give it another name"
    )
