"""Running a search: ask for trials, train them, report their figures."""

from __future__ import annotations

import errno
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from wf.engine.figures import Monitor, is_number
from wf.errors import DataError
from wf.registry import Registry
from wf.terminal import duration
from wf_building.builder import Builder
from wf_compare.results import Run, read_run
from wf_compare.workers import Died, Pool, preload
from wf_run.runfiles.runfile import RunFile
from wf_tune.directory import Directory
from wf_tune.engine.traits import PrunerTraits, SearcherTraits
from wf_tune.space import Space, document_of, name_of
from wf_tune.trials import HEARTBEAT_SEC, Trial, Trials

Say = Callable[[str], None]
"""Called with progress messages, one line each."""
MOST_POINTS = 100_000
"""A space with more points than these counts as endless."""
MAX_FAILED = 5
"""The search ends if this many trials have failed and none has succeeded."""
FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
"""How a run says that a disk is full."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The searcher and the pruner of a search."""

    searcher: Any
    pruner: Any
    seed: int
    grid: bool = False
    """Whether the searcher tries every point."""
    paired: bool = False
    """Whether the pruner compares single repeats."""
    prunes: bool = True

    @classmethod
    def build(cls, searcher: Mapping[str, Any], pruner: Mapping[str, Any], seed: int, registry: Registry) -> Engine:
        """Build both from their tables.

        Raises:
            UsageError: For an unknown name, option or value.
        """
        builder = Builder(registry)
        one, other = builder.build("searcher", dict(searcher)), builder.build("pruner", dict(pruner))
        of_searcher = one.entry.component.traits if one.entry else None
        of_pruner = other.entry.component.traits if other.entry else None
        return cls(
            searcher=one.value,
            pruner=other.value.make(),
            seed=seed,
            grid=isinstance(of_searcher, SearcherTraits) and of_searcher.grid,
            paired=isinstance(of_pruner, PrunerTraits) and of_pruner.compares == "repeats",
            prunes=other.name != "none",
        )

    def draws(self, trial: int, space: Space) -> Any:
        """The Optuna sampler for a trial."""
        return self.searcher.make(self.seed, trial, space)


@dataclass(kw_only=True)
class Search:
    """A running search.

    Args:
        directory: Its directory, locked.
        trials: Its trials.
        engine: Its searcher and pruner.
        setting: Settings shared by the processes, `wf_compare.training.Setting`.
        jobs: Number of concurrent trials.
        total: Number of trials.
        say: Called with progress messages.
    """

    directory: Directory
    trials: Trials
    engine: Engine
    setting: Any
    jobs: int
    total: int
    say: Say
    _document: RunFile = field(init=False)
    _by: Monitor = field(init=False)

    def __post_init__(self) -> None:
        definition, space = self.directory.definition, self.directory.space
        self._document, self._by = self.directory.document, Monitor.read(definition["by"])
        self._better = definition["larger_is_better"]
        self._space = space.on_grid(self.engine.searcher.points) if self.engine.grid else space
        self._size = size_of(self._space)
        self._worker = self.directory.manifest["worker"]
        self._running: dict[int, Trial] = {}
        self._notes: set[str] = set()

    def run(self) -> bool:
        """Train until the search has enough trials; returns False if it ends because the first trials have all failed.

        Raises:
            DataError: If the database cannot be reached, or a disk is full.
            InterruptedRun: On SIGINT or SIGTERM, after the runs have saved checkpoints.
        """
        from wf_tune.worker import train

        pool: Pool[int] = Pool(
            train,
            self.jobs,
            lambda number, how: self.say(f"trial {number}: {how}; restarted"),
            answer=self._answer,
            beat=self._beat,
            beat_sec=HEARTBEAT_SEC,
        )
        with closing(pool.run(self._tasks())) as results:
            for number, outcome in results:
                trial = self._running.pop(number)
                _refuse_full(number, outcome)
                if not isinstance(outcome, Died):
                    preload(outcome.modules)
                found = self._ended(trial, outcome)
                self.trials.release()
                if self._gives_up(found):
                    return False
        return not self._gives_up(self.trials.all())

    def _tasks(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """The unfinished trials of this directory, then new ones."""
        for trial in self._own():
            sampler, pruner = self.engine.draws(trial.number, self._space), self.engine.pruner
            begun = self.trials.take_up(trial.number, self._space, sampler, pruner, self._worker)
            self.say(f"trial {begun.number} is resumed")
            if (task := self._task(begun, self.trials.all())) is not None:
                yield task
        while (taken := self._next(found := self.trials.all())) is not None:
            if (task := self._task(taken, found)) is not None:
                yield task

    def _own(self) -> list[Trial]:
        """The trials that this directory started and did not finish."""
        running = [trial for trial in self.trials.all() if trial.state == "running"]
        return [one for one in running if one.worker == self._worker or not (one.worker or self.trials.is_shared)]

    def _next(self, found: Sequence[Trial]) -> Trial | None:
        """The next new trial; `found` are those that there are."""
        if (
            self._size is not None
            and len({tuple(sorted(one.point.items())) for one in found if one.point}) >= self._size
        ):
            if len(found) < self.total and not self._notes & {"all"}:
                self._notes.add("all")
                self.say(f"there are {self._size} combinations, so the search ends after them")
            if not any(one.state == "waiting" for one in found):
                return None
        sampler = self.engine.draws(len(found), self._space)
        return self.trials.take(self._space, sampler, self.engine.pruner, self._worker, self.total)

    def _task(self, trial: Trial, found: Sequence[Trial]) -> tuple[int, Sequence[Any]] | None:
        """The task of a trial; None if an earlier trial with the same settings has already given its figure."""
        from wf_tune.worker import Job

        place = self.directory.place(trial.number)
        if not place.exists() and (other := _same(trial, found)) is not None:
            self.trials.copy_reports(trial, other)
            self._tell(trial, other.state, other.value, status=other.status, seconds=0.0, same_as=other.number,
                       run_dir=other.run_dir)  # fmt: skip
            return None
        document, notes = document_of(self._document, trial.point, self._space)
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                self.say(note)
        self._running[trial.number] = trial
        job = Job(
            number=trial.number,
            document=document,
            place=place,
            runs=list(self.directory.runs(trial.number)),
            by=Monitor(figure=self._by.figure, larger_is_better=self._better),
            means=not self.engine.paired,
            prunes=self.engine.prunes,
        )
        return trial.number, (job, self.setting)

    def _answer(self, number: int, question: tuple[int, float]) -> bool:
        """Record the figure of an evaluation; returns whether the trial should stop."""
        step, value = question
        if not is_number(value):
            return False
        stops = self.trials.report(self._running[number], step, value, self.engine.pruner)
        self.trials.release()
        return stops

    def _beat(self) -> None:
        self.trials.beat(list(self._running.values()))
        self.trials.release()

    def _ended(self, trial: Trial, outcome: Any) -> Sequence[Trial]:
        """Record how a trial ended; returns all trials."""
        runs = [read_run(place, "") for place, _ in self.directory.runs(trial.number)]
        took = [run.seconds for run in runs if run.seconds is not None]
        said: dict[str, Any] = {
            "seconds": sum(took) if took else None,
            "run_dir": str(self.directory.place(trial.number)),
        }
        if isinstance(outcome, Died):
            return self._tell(trial, "failed", None, status="failed", reason=f"{outcome.reason} repeatedly", **said)
        if outcome.status == "pruned":
            return self._tell(trial, "pruned", None, status="pruned", reason=outcome.reason, **said)
        if outcome.status == "diverged":
            why = next((run.reason for run in runs if run.reason), None) or outcome.reason
            return self._tell(trial, "pruned", None, status="diverged", reason=why, **said)
        if outcome.status != "done":
            return self._tell(trial, "failed", None, status="failed", reason=outcome.reason, **said)
        lacking = [run for run in runs if self._by.figure not in run.metrics]
        if lacking:
            names = ", ".join(name for name in lacking[0].metrics if not name.startswith("train/")) or "none"
            reason = f"the run has no figure {self._by.figure}; its figures: {names}"
            return self._tell(trial, "failed", None, status="failed", reason=reason, **said)
        if (value := self._value(runs)) is None:
            reason = f"{self._by.figure} is not a finite number"
            return self._tell(trial, "pruned", None, status="diverged", reason=reason, **said)
        return self._tell(trial, "complete", value, status="done", **said)

    def _value(self, runs: Sequence[Run]) -> float | None:
        values = [run.metrics.get(self._by.figure) for run in runs]
        numbers = [float(value) for value in values if is_number(value)]
        return statistics.fmean(numbers) if len(numbers) == len(values) else None

    def _tell(self, trial: Trial, state: str, value: float | None, **said: Any) -> Sequence[Trial]:
        if not self.trials.tell(trial, state, self.engine.draws(trial.number, self._space), value=value, **said):
            self.say(f"trial {trial.number} was restarted by another machine, because this one stopped reporting")
            return self.trials.all()
        found = self.trials.all()
        own = next(one for one in found if one.number == trial.number)
        ended = sum(one.state not in ("running", "waiting") for one in found)
        self.say(in_words(own, best_of(found, larger_is_better=self._better), ended, self.total, self._by.figure))
        return found

    def _gives_up(self, found: Sequence[Trial]) -> bool:
        """Whether the first trials have all failed."""
        ended = [one for one in found if one.state not in ("running", "waiting")]
        if len(ended) < MAX_FAILED or not all(one.state == "failed" for one in ended):
            return False
        self.say(f"the first {len(ended)} trials failed, so the search ends")
        return True


def _refuse_full(number: int, outcome: Any) -> None:
    """End the search where a disk is full, which is no fault of the settings: the trial is resumed later."""
    if not isinstance(outcome, Died) and outcome.status == "failed" and any(words in outcome.reason for words in FULL):
        raise DataError(f"trial {number}: {outcome.reason}\n  make room: the search continues with this trial")


def _same(trial: Trial, found: Sequence[Trial]) -> Trial | None:
    """An earlier trial with the same settings; with the same seed the figure would be the same."""
    ended = (one for one in found if one.state in ("complete", "pruned") and one.same_as is None)
    return next((one for one in ended if one.point == trial.point and one.number != trial.number), None)


def best_of(trials: Sequence[Trial], *, larger_is_better: bool) -> Trial | None:
    """The best complete trial, and the first of equally good ones."""
    done = [one for one in trials if one.state == "complete" and one.value is not None]
    return min(done, key=lambda one: _rank(one, larger_is_better=larger_is_better), default=None)


def ranked(trials: Sequence[Trial], *, larger_is_better: bool) -> list[Trial]:
    """The complete trials, best first, each combination of settings once."""
    done = [one for one in trials if one.state == "complete" and one.value is not None]
    best = sorted(done, key=lambda one: _rank(one, larger_is_better=larger_is_better))
    return list({tuple(sorted(one.point.items())): one for one in reversed(best)}.values())[::-1]


def in_words(trial: Trial, best: Trial | None, ended: int, total: int, by: str) -> str:
    """The progress line of a trial: `` 3/50  trial 2  adam, lr 0.00132  validation/accuracy 0.9741  2.3 s``."""
    from wf_compare.tables.text import plain_number

    parts = [f"{ended:>{len(str(total))}}/{total}", f"trial {trial.number}", name_of(trial.point)]
    if trial.state == "complete":
        parts.append(f"{by} {plain_number(trial.value)}")
    else:
        reason = trial.reason.partition("\n")[0].removeprefix("pruned: ")
        parts.append(f"{trial.status}: {reason}" if reason else trial.status)
    if trial.same_as is not None:
        parts.append(f"as trial {trial.same_as}")
    elif trial.seconds is not None:
        parts.append(duration(trial.seconds))
    if best is not None and best.number == trial.number:
        parts.append("best so far")
    return "  ".join(parts)


def size_of(space: Space) -> int | None:
    """The number of points of a space of choices; None if the space has a range or more than `MOST_POINTS` points."""
    number = 1
    for one in space.dimensions:
        number *= len(one.choices)
    if not 0 < number <= MOST_POINTS:
        return None
    return sum(1 for _ in space.points())


def check_points(base: RunFile, space: Space, prepare: Callable[[RunFile], Any]) -> list[Any]:
    """Refuse a search with a component, option or value that a run file cannot have.

    Args:
        base: The run file of the search.
        space: The search space.
        prepare: Prepares a run file, or raises `WfError`.

    Returns:
        The prepared run file of each point.

    Raises:
        WfError: For the first invalid point, with its settings as a note.
    """
    made = []
    for point in space.samples():
        try:
            made.append(prepare(document_of(base, point, space)[0]))
        except Exception as error:
            error.add_note(f"in a trial with {name_of(point)}")
            raise
    return made


def _rank(trial: Trial, *, larger_is_better: bool) -> tuple[float, int]:
    assert trial.value is not None
    return (-trial.value if larger_is_better else trial.value, trial.number)
