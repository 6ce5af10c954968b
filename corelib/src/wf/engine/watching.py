"""Checks before step 1 that a run will have the figures that its parts decide by."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from wf.blame import FAILURES
from wf.discovery.modules import describe
from wf.engine.events import listeners
from wf.engine.figures import LOSS, OF_STEPS, SPLITS, TRAIN, Monitor, declared, divided, fits, two_sources
from wf.errors import UsageError, WfError, unknown

if TYPE_CHECKING:
    from wf.engine.loop import Loop

_LOG = logging.getLogger("wf")

Found = Literal["said", "open", "unknown"]


class Sources:
    """The figures that the parts of a run declare.

    Trainer and evaluator declare names without the split: the trainer's belong to the steps, the evaluator's to each
    evaluated split. Hooks declare them with the split, ``*/NAME`` for each evaluated split; ``train/NAME`` belongs to
    the steps. See `wf.engine.figures.declared`.

    Args:
        trainer: The run's.
        evaluator: The run's; None evaluates nothing.
        others: The checkpointer and the hooks.
        name_of: Returns the name of a part for messages.

    Raises:
        UsageError: For a figure that two parts declare.
    """

    def __init__(
        self,
        trainer: Any,
        evaluator: Any,
        others: Iterable[Any],
        name_of: Callable[[Any], str] = lambda part: type(part).__name__,
    ) -> None:
        self.evaluator = evaluator
        self._of_steps: dict[str, str] = {}
        self._of_evaluations: dict[str, str] = {}
        """Names with their split, and patterns, each with its source."""
        self._open = {"on_log": False, "on_evaluation_end": False}
        """The events at which a part adds figures without saying which."""
        self._take(trainer, "the trainer", "on_log", TRAIN)
        self._take(evaluator, "the evaluator", "on_evaluation_end", "*")
        for part in others:
            if part is not None:
                self._take(part, name_of(part))
        for name in self._of_evaluations:
            if (of_steps := f"{TRAIN}{name[1:]}") in self._of_steps and not of_steps.startswith(f"{TRAIN}/{LOSS}/"):
                raise two_sources(of_steps, self._of_steps[of_steps], self._of_evaluations[name])

    @property
    def of_evaluations(self) -> dict[str, str]:
        """The names that every evaluated split has, each with its source."""
        return {name[2:]: owner for name, owner in self._of_evaluations.items() if name[:2] == "*/"}

    def find(self, figure: str, evaluated: Sequence[str]) -> Found:
        """Whether a figure is declared: ``said``: it is, ``open``: it may exist, ``unknown``: it cannot.

        Args:
            figure: With its split.
            evaluated: The splits that are evaluated while the run trains.
        """
        said = self._said(divided(figure)[0], evaluated)
        if figure in said:
            return "said"
        return "open" if self._is_open(figure, evaluated) or fits(figure, said) else "unknown"

    def is_of_evaluator(self, figure: str) -> bool:
        """Whether the evaluator declares it, or may have it."""
        split, name = divided(figure)
        own = declared(self.evaluator) or {}
        return name in own or fits(figure, [f"{split}/{pattern}" for pattern in own])

    def may_be_added(self) -> bool:
        """Whether a part adds figures to evaluations without saying which."""
        return self._open["on_evaluation_end"]

    def patterns(self, evaluated: Sequence[str]) -> list[str]:
        """All declared figures, and patterns for possible ones: ``train/*`` for any."""
        said = [name for split in dict.fromkeys((TRAIN, *evaluated)) for name in self._said(split, evaluated)]
        open_splits = [split for split in dict.fromkeys((TRAIN, *evaluated)) if self._is_open(f"{split}/", evaluated)]
        return [*dict.fromkeys(said), *(f"{split}/*" for split in open_splits)]

    def names(self, split: str, evaluated: Sequence[str]) -> list[str]:
        """The declared figures of a split, for messages."""
        said = self._said(split, evaluated)
        return list(dict.fromkeys(name.rstrip("*") for name in said if not name.endswith(("-*", "/*"))))

    def is_of_steps(self, figure: str) -> bool:
        """Whether it may be a figure of the steps: of the train split, if that is not evaluated."""
        split, name = divided(figure)
        if split != TRAIN or name in OF_STEPS:
            return False
        return figure in self._of_steps or name.startswith(f"{LOSS}/") or not self.is_of_evaluator(figure)

    def _take(self, part: Any, owner: str, event: str | None = None, split: str | None = None) -> None:
        """Update with the figures of a part; trainer and evaluator report theirs at one event."""
        said = None if part is None else declared(part)
        if said is None and part is not None:
            adds = [] if getattr(part, "told_last", False) else [part]
            for one in self._open:
                self._open[one] |= one == event or bool(listeners(one, adds))
        for name in said or ():
            full = name if split is None else f"{split}/{name}"
            if split is None and (divided(name)[0] not in (*SPLITS, "*") or not divided(name)[1]):
                raise UsageError(
                    f"{owner} declares the figure '{name}', which is not of the form SPLIT/FIGURE\n"
                    f"  write train/{name} for records of the steps, */{name} or SPLIT/{name} for evaluations"
                )
            names = self._of_steps if divided(full)[0] == TRAIN else self._of_evaluations
            if not name.endswith("*") and names.setdefault(full, owner) != owner:
                raise two_sources(full, names[full], owner)
            names[full] = owner

    def _said(self, split: str, evaluated: Sequence[str]) -> list[str]:
        """The names and patterns of a split."""
        said = list(self._of_steps) if split == TRAIN else []
        if split in evaluated:
            pairs = map(divided, self._of_evaluations)
            said = [f"{split}/{name}" for given, name in pairs if given in ("*", split)] + said
        return said

    def _is_open(self, figure: str, evaluated: Sequence[str]) -> bool:
        """Whether a part that does not declare its figures may give it."""
        split = divided(figure)[0]
        return (split == TRAIN and self._open["on_log"]) or (split in evaluated and self._open["on_evaluation_end"])


def expect(monitor: Monitor, option: str, owner: str, sources: Sources, evaluated: Sequence[str]) -> tuple[str, Found]:
    """Check that a monitored figure will exist, as far as known.

    Args:
        monitor: The figure.
        option: The option that chooses another one.
        owner: The part that decides by it.
        sources: The sources of all figures.
        evaluated: The splits that are evaluated while the run trains.

    Returns:
        The split after whose evaluation it has a new value, and whether a part declares it.

    Raises:
        UsageError: If it cannot exist.
    """
    read_after = monitor.read_after(evaluated)
    if monitor.split not in evaluated and not sources.is_of_steps(monitor.figure):
        read_after = None
    if read_after is None:
        raise UsageError(
            f"{owner} watches '{monitor.figure}', but the run does not evaluate '{monitor.split}' while it trains"
            f"\n  evaluated: {', '.join(evaluated) or 'nothing'}"
            f"\n  add the split to --eval-splits, or set {option}"
        )
    found = sources.find(monitor.figure, evaluated)
    if found == "unknown":
        raise missing(monitor.figure, sources.names(monitor.split, evaluated), option)
    return read_after, found


class Watching:
    """Checks of monitored figures before the first record.

    Args:
        run: The loop.
        name_of: Returns the name of a part for messages.
    """

    def __init__(self, run: Loop, name_of: Callable[[Any], str]) -> None:
        self._run, self._name_of = run, name_of
        self.taken: Mapping[str, str] = {}
        """The names that evaluations of the train split give, each with its source; records of that split cannot use
        them."""
        self._expected: list[tuple[str, str]] = []
        self._previews: dict[str, Mapping[str, Any] | None] = {}

    def begin(self) -> None:
        """Collect the figures that the run's parts declare.

        Raises:
            UsageError: For a figure that two of them declare.
        """
        run = self._run
        self._sources = Sources(run.trainer, run.evaluator, (run.checkpointer, *run.hooks), self._name_of)
        names = self._sources.of_evaluations
        self.taken = {name: owner for name, owner in names.items() if divided(name)[0] != LOSS}
        self._expected, self._previews = [], {}

    def expect(self, monitor: Monitor, option: str, owner: str) -> str:
        """See `wf.engine.loop.Loop.expect`."""
        evaluated = self._run.evaluated
        read_after, found = expect(monitor, option, owner, self._sources, evaluated)
        if found == "said":
            return read_after
        if monitor.split in evaluated and self._sources.is_of_evaluator(monitor.figure):
            preview = self._preview(monitor.split)
            if preview is not None and (monitor.figure in preview or not self._sources.may_be_added()):
                monitor.value(preview, owner, option)
        elif monitor.split == TRAIN and monitor.figure not in self._run.figures:  # a resumed run has it already
            self._expected.append((monitor.figure, option))
        return read_after

    def check(self, names: Iterable[str]) -> None:
        """Check that the first record, with these names of figures, has all expected ones.

        Raises:
            UsageError: Naming a missing figure.
        """
        for figure, option in self._expected:
            if figure not in self._run.figures:
                raise missing(figure, [f"{TRAIN}/{name}" for name in names], option)
        self._expected = []

    def _preview(self, split: str) -> Mapping[str, Any] | None:
        """The figures of two batches of a split, to learn their names; None if these cannot be learnt."""
        if split not in self._previews:
            self._previews[split] = None
            preview = getattr(self._run.evaluator, "preview", None)
            if preview is not None:
                try:
                    self._previews[split] = {f"{split}/{name}": value for name, value in preview(split).items()}
                except FAILURES as error:
                    if isinstance(error, WfError) or self._run.agree is not bool:  # other processes wait for this one
                        raise
                    why = describe(error)
                    _LOG.warning("two batches could not be evaluated, so the figures are checked later: %s", why)
        return self._previews[split]


def missing(figure: str, names: Iterable[str], option: str) -> UsageError:
    """The error for a figure without a source."""
    hint = f"set {option} to one of them; a part that gives others says so: figures = {{...}}"
    return UsageError(unknown("figure", figure, list(names), hint))
