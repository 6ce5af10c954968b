"""Cross-validation: one run per fold, each with its own run directory below a common one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.discovery.modules import message_of
from wf.engine.figures import is_number
from wf.errors import UsageError
from wf.registry import Registry
from wf_processes.failures import status_of
from wf_run.directory.rundir import RunDirectory
from wf_run.experiment import Experiment


@dataclass(frozen=True)
class Folds:
    """The figures of every fold."""

    run_dir: Path | None
    metrics: tuple[Mapping[str, Any], ...]
    epochs: int
    steps: int

    def record(self) -> dict[str, Any]:
        """The record that ``wf run --json`` prints: the means of the figures, the figures of each fold, and the
        missing ones."""
        return {
            "run_dir": None if self.run_dir is None else str(self.run_dir),
            "status": "done",
            "epochs": self.epochs,
            "steps": self.steps,
            "metrics": {name: mean for name, (mean, _) in self.summary().items()},
            "folds": [dict(figures) for figures in self.metrics],
            "missing": {name: list(folds) for name, folds in self.missing().items()},
        }

    def summary(self) -> dict[str, tuple[float | None, float | None]]:
        """Mean and standard deviation over the folds (n - 1) of each figure that is one number.

        Over the folds in which it is a finite number; None if there are too few.
        """
        return {name: _mean_and_deviation(list(self._finite(name).values())) for name in self._names()}

    def missing(self) -> dict[str, dict[int, Any]]:
        """The values that are not finite numbers, by figure and fold number."""
        found: dict[str, dict[int, Any]] = {}
        for name in self._names():
            having = self._finite(name)
            if len(having) < len(self.metrics):
                numbered = enumerate(self.metrics, 1)
                found[name] = {number: figures.get(name) for number, figures in numbered if number not in having}
        return found

    def table(self) -> str:
        """A table of the validation and test figures: one line per fold, then mean and standard deviation."""
        names, summary = [name for name in self._names() if not name.startswith("train/")], self.summary()
        rows = [["fold", *names]]
        for number in range(1, len(self.metrics) + 1):
            rows.append([str(number), *(_cell(self._finite(name).get(number)) for name in names)])
        rows.append(["mean", *(_cell(summary[name][0]) for name in names)])
        rows.append(["std", *(_cell(summary[name][1]) for name in names)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        missing = {name: folds for name, folds in self.missing().items() if name in names}
        if missing:
            lines.append("")
        for name, folds in missing.items():
            why = ", ".join(f"in fold {number} it {_what_it_is(value)}" for number, value in folds.items())
            having = len(self.metrics) - len(folds)
            over = f"mean and std are over the other {having}" if having > 1 else "there is no std"
            lines.append(
                f"n/a: {name} is not a finite number in every fold: {why}; {over if having else 'there is no mean'}"
            )
        return "\n".join(lines)

    def _names(self) -> list[str]:
        """The figures that are one number in some fold."""
        names = dict.fromkeys(name for figures in self.metrics for name in figures)
        return [name for name in names if any(isinstance(one.get(name), (int, float)) for one in self.metrics)]

    def _finite(self, name: str) -> dict[int, float]:
        """The values of a figure in the folds in which it is a finite number, by fold number."""
        numbered = enumerate(self.metrics, 1)
        return {number: float(figures[name]) for number, figures in numbered if is_number(figures.get(name))}


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    mean = statistics.fmean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None


def _cell(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _what_it_is(value: Any) -> str:
    """Describes a figure that is not a finite number."""
    if value is None:
        return "is missing"
    return f"is {value}" if isinstance(value, (int, float)) else f"is of type {type(value).__name__}"


def cross_validate(
    plan: Mapping[str, Any],
    registry: Registry,
    num_folds: int,
    *,
    run_dir: Path | None = None,
    folders: Sequence[Path] = (),
    quiet: bool = False,
    announce: Callable[[int, Experiment], None] | None = None,
) -> Folds:
    """Train once per fold; the test split of run k is the k-th of K folds, stratified by class.

    Several processes call it together, and the first one writes the manifest of the whole.

    Args:
        plan: The run file, as `wf_run.planning.plan.prepare` gives it.
        registry: Where names are looked up.
        num_folds: K.
        run_dir: The folder for the folds' run directories ``fold-1`` ...; None for a default name below ``runs/``.
        folders: The folders for relative paths.
        quiet: Leave out the progress hook.
        announce: Called with the fold's number, from 1, and its experiment before it is trained.

    Returns:
        The figures of every fold.
    """
    if "dataset" not in plan:
        raise UsageError("there is no dataset to divide into folds: the trainer makes its samples itself")
    figures: list[Mapping[str, Any]] = []
    parent: RunDirectory | None = None
    epochs = steps = 0
    with ExitStack() as until_done:
        for number in range(1, num_folds + 1):
            fold = {**plan, "fold": f"{number}/{num_folds}"}
            name = f"fold-{number}"
            place = None if run_dir is None else run_dir / name
            experiment = Experiment(fold, registry, run_dir=place, subfolder=name, folders=folders, quiet=quiet)
            assert experiment.run_dir is not None
            if number == 1:
                experiment.check_folds(num_folds)
                run_dir = experiment.run_dir.parent
                if experiment.strategy.rank == 0:
                    parent = until_done.enter_context(RunDirectory.begin(run_dir))
                    parent.update_manifest(status="running", folds=num_folds)
            if announce is not None:
                announce(number, experiment)
            try:
                with experiment:
                    experiment.fit()
            except BaseException as error:
                if parent is not None:
                    parent.update_manifest(status=status_of(error), reason=f"fold {number}: {message_of(error)}")
                raise
            figures.append(dict(experiment.metrics))
            epochs, steps = experiment.loop.progress.epoch, experiment.loop.progress.step
        folds = Folds(run_dir, tuple(figures), epochs, steps)
        if parent is not None:
            parent.update_manifest(**folds.record(), reason=f"{num_folds} folds done")
        return folds
