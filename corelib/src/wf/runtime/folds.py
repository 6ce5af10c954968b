"""Cross-validation: one run a fold, each with its own run directory below one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.modules import message_of
from wf.registry import Registry
from wf.rundir import RunDirectory
from wf.runtime.experiment import Experiment
from wf.runtime.failures import status_of


@dataclass(frozen=True)
class Folds:
    """The figures of every fold."""

    run_dir: Path | None
    metrics: tuple[Mapping[str, Any], ...]
    epochs: int
    steps: int

    def record(self) -> dict[str, Any]:
        """As ``wf run --json`` prints it: the means of the figures, and those of each fold."""
        return {
            "run_dir": None if self.run_dir is None else str(self.run_dir),
            "status": "done",
            "epochs": self.epochs,
            "steps": self.steps,
            "metrics": {name: mean for name, (mean, _) in self.summary().items()},
            "folds": [dict(figures) for figures in self.metrics],
        }

    def summary(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation over the folds (n - 1) of each figure that is one number."""
        names = [name for name, value in self.metrics[0].items() if isinstance(value, (int, float))]
        columns = {name: [float(figures[name]) for figures in self.metrics] for name in names}
        return {name: (statistics.fmean(values), statistics.stdev(values)) for name, values in columns.items()}

    def table(self) -> str:
        """A line a fold and the mean with its standard deviation, of the validation and test figures."""
        names = [name for name in self.summary() if not name.startswith("train/")]
        rows = [["fold", *names]]
        rows += [
            [str(number), *(f"{figures[name]:.4f}" for name in names)] for number, figures in enumerate(self.metrics, 1)
        ]
        rows.append(["mean", *(f"{self.summary()[name][0]:.4f}" for name in names)])
        rows.append(["std", *(f"{self.summary()[name][1]:.4f}" for name in names)])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


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
    """Train once a fold; the test split of run k is the k-th of K folds, stratified by class.

    Args:
        plan: The run file, as `wf.plan.prepare` gives it.
        registry: Where names are looked up.
        num_folds: K.
        run_dir: Where the folds' run directories ``fold-1`` ... are made; None for a default name below ``runs/``.
        folders: Where relative paths are looked up.
        quiet: Leave out the progress hook.
        announce: Called with the fold's number, from 1, and its experiment before it is trained.

    Returns:
        The figures of every fold.
    """
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
            if parent is None:
                run_dir = experiment.run_dir.parent
                parent = until_done.enter_context(RunDirectory.begin(run_dir))
                parent.update_manifest(status="running", folds=num_folds)
            if announce is not None:
                announce(number, experiment)
            try:
                with experiment:
                    experiment.fit()
            except BaseException as error:
                parent.update_manifest(status=status_of(error), reason=f"fold {number}: {message_of(error)}")
                raise
            figures.append(dict(experiment.metrics))
            epochs, steps = experiment.loop.progress.epoch, experiment.loop.progress.step
        assert parent is not None
        folds = Folds(parent.path, tuple(figures), epochs, steps)
        parent.update_manifest(**folds.record(), reason=f"{num_folds} folds done")
        return folds
