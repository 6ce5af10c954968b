"""The end of a search: its best trials and the defaults, trained with fresh seeds and compared.

The best of many figures is partly the luckiest. Runs with other seeds say what its settings are worth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.registry import Registry
from wf_compare.comparison import Line as Plugins
from wf_compare.comparison import Planned, Request, go_on, make_study, plan_rows, try_rows
from wf_compare.study import Study, digest_of, repeats_of
from wf_compare.tables.table import Line, Table
from wf_storage.files import write_atomically
from wf_tune.directory import Directory
from wf_tune.space import document_of
from wf_tune.trials import Trial

DEFAULTS = "defaults"
"""The row of the run file as it is."""
BEST = "best.toml"
"""The run file of the best row."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a search."""

    table: Table
    """The comparison with the defaults."""
    winner: Line
    """The row with the best mean, the defaults included."""
    trial: int | None
    """Its trial; None for the defaults."""

    @property
    def words(self) -> str:
        """Whether the search improved on the defaults, as far as the runs can tell."""
        found = self.winner.difference
        if self.trial is None:
            return "no improvement: the defaults are at least as good as the best trials, with fresh seeds"
        if found is None:
            return f"unknown: {self.winner.unpaired or 'the defaults could not be trained'}"
        half = found.estimate.half_width
        by = f"{abs(found.estimate.mean):.3g}" + ("" if half is None else f" ± {half:.2g}")
        if found.verdict == "better":
            return f"better than the defaults by {by}, which is more than noise"
        if found.verdict == "better?":
            return f"better than the defaults by {by}, but among so many trials that may be chance"
        if found.verdict == "unknown":
            return f"unknown: {found.why}"
        return f"not distinguished from the defaults: the difference is {by}, which may be noise"

    def record(self) -> dict[str, Any]:
        """The record for ``--json``."""
        found = self.winner.difference
        return {
            "winner": self.winner.row.name,
            "trial": self.trial,
            "mean": None if self.winner.estimate is None else self.winner.estimate.mean,
            "interval": None if self.winner.estimate is None else self.winner.estimate.interval,
            "improvement": None if found is None else found.estimate.mean,
            "improvement_interval": None if found is None else found.estimate.interval,
            "verdict": None if found is None else found.verdict,
            "words": self.words,
            "table": self.table.record(),
        }


def row_name(trial: Trial) -> str:
    """The row of a trial."""
    return f"trial {trial.number}"


def plan_finalists(
    directory: Directory, best: Sequence[Trial], number: int, registry: Registry, say: Callable[[str], None]
) -> list[Planned]:
    """The rows: the defaults, and the best trials that differ from them and from each other."""
    base, folders = directory.document, directory.folders
    rows = plan_rows([(DEFAULTS, {}, base)], registry, folders)
    for trial in best:
        if len(rows) > number:
            break
        document, _ = document_of(base, trial.point)
        [row] = plan_rows([(row_name(trial), dict(trial.point), document)], registry, folders)
        if all(row.plan != other.plan for other in rows):
            rows.append(row)
        else:
            say(f"trial {trial.number} has the settings of another row")
    return rows


def judge(
    directory: Directory,
    best: Sequence[Trial],
    registry: Registry,
    setting: Any,
    jobs: int,
    say: Callable[[str], None],
    plugins: Plugins,
) -> Verdict | None:
    """Train the best trials and the defaults with fresh seeds, and compare them; None if there is nothing to judge.

    Args:
        directory: The search.
        best: Its trials, the best first.
        registry: Where names are looked up.
        setting: Settings shared by the processes.
        jobs: Number of concurrent runs.
        say: Called with progress messages.
        plugins: The plugins that the command line names.
    """
    manifest, definition = directory.manifest, directory.definition
    number = manifest["finalists"]
    if not number or not best:
        return None
    rows = plan_finalists(directory, best, number, registry, say)
    if len(rows) < 2:
        say("the best settings are the defaults, so there is nothing to compare")
        return None
    fresh = repeats_of(definition["seed"] + definition["repeats"], manifest["final_repeats"], None)
    request = Request(by=_by(definition), repeats=fresh, jobs=jobs)
    study = _study(directory, rows, fresh)
    if study is None:
        say(f"fresh seeds for the defaults and the best {len(rows) - 1}: {len(rows) * len(fresh)} runs")
        path = _free(directory, manifest["trials"])
        trials = try_rows(rows, setting, request, lambda _: None)  # the search has said it all
        study = make_study(path, rows, trials, setting, request, registry)
    table = go_on(study, registry, request, say, plugins)
    directory.update(final=study.path.name)
    return verdict_of(table, directory)


def verdict_of(table: Table, directory: Directory) -> Verdict | None:
    """What the comparison says; writes the run file of the best row."""
    better = directory.definition["larger_is_better"]
    judged = [line for line in table.lines if line.estimate is not None]
    if not judged or table.place is None:
        return None
    winner = max(judged, key=lambda line: _mean(line) if better else -_mean(line))
    folder = next(row["folder"] for row in Study(table.place).manifest["rows"] if row["name"] == winner.row.name)
    text = (table.place / folder / "run.toml").read_text(encoding="utf-8")
    write_atomically(directory.path / BEST, text)
    name = winner.row.name
    return Verdict(table=table, winner=winner, trial=None if name == DEFAULTS else int(name.removeprefix("trial ")))


def _mean(line: Line) -> float:
    assert line.estimate is not None
    return line.estimate.mean


def _by(definition: dict[str, Any]) -> str:
    return f"{definition['by']}:{'max' if definition['larger_is_better'] else 'min'}"


def _study(directory: Directory, rows: Sequence[Planned], fresh: Sequence[dict[str, Any]]) -> Study | None:
    """The comparison that was begun before with these rows and seeds."""
    digest = digest_of([row.plan for row in rows])
    for path in sorted(directory.path.glob("final-*")):
        study = Study.at(path)
        if study is not None and study.manifest["digest"] == digest and study.manifest["repeats"] == list(fresh):
            return study
    return None


def _free(directory: Directory, number: int) -> Path:
    """A folder for a new comparison."""
    names = (f"final-{number}{f'-{more}' if more else ''}" for more in ("", *range(2, 1000)))
    return next(path for name in names if not (path := directory.path / name).exists())
