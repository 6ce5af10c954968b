"""The final comparison of a search: its best trials and the defaults, trained with fresh seeds.

The best of many figures is partly luck, so it overestimates its settings. Runs with fresh seeds do not.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.registry import Registry
from wf_compare.comparison import Line as Plugins
from wf_compare.comparison import Planned, Request, build_rows, check_rows, go_on, make_study, plan_rows
from wf_compare.results import what_trains
from wf_compare.study import Study, repeats_of
from wf_compare.tables.table import Line, Table
from wf_run.runfiles.runfile import RunFile
from wf_storage.files import write_atomically
from wf_tune.directory import Directory
from wf_tune.space import document_of
from wf_tune.trials import Trial

DEFAULTS = "defaults"
"""The row of the unchanged run file."""
BEST = "best.toml"
"""The file name of the run file of the best row."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a search."""

    table: Table
    """The comparison with the defaults."""
    winner: Line
    """The row with the best mean, the defaults included."""
    trial: int | None
    """The winner's trial number; None for the defaults."""

    @property
    def words(self) -> str:
        """One sentence: whether the search improved on the defaults."""
        found = self.winner.difference
        if self.trial is None:
            return "no improvement: with fresh seeds the defaults are at least as good as the best trials"
        if found is None:
            return f"unknown: {self.winner.unpaired or 'the defaults could not be trained'}"
        half = found.estimate.half_width
        by = f"{abs(found.estimate.mean):.3g}" + ("" if half is None else f" ± {half:.2g}")
        if found.verdict == "better":
            return f"better than the defaults by {by}, which is more than noise"
        if found.verdict == "better?":
            return f"better than the defaults by {by}, but with this many finalists it may be chance"
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
    """The row name of a trial."""
    return f"trial {trial.number}"


def choose_finalists(
    directory: Directory,
    best: Sequence[Trial],
    number: int,
    registry: Registry,
    setting: Any,
    jobs: int,
    say: Callable[[str], None],
) -> tuple[list[Planned], list[Any]]:
    """The rows and the results of building them: the defaults, and the best trials with a different training.

    Two trials may train the same thing though their settings differ: one gives an option the value that it has by
    default, or varies a metric that is only read.
    """
    base, folders, first = directory.document, directory.folders, directory.manifest["first"]
    rows: list[Planned] = []
    built: list[Any] = []
    trains: list[Any] = []
    coming = iter(one for one in best if one.point != first)  # the first trial has the settings of the defaults
    space = directory.space
    asked: list[tuple[str, Mapping[str, Any], RunFile]] = [(DEFAULTS, {}, document_of(base, {}, space)[0])]
    while True:
        lacking = number + 1 - len(rows) - len(asked)
        asked += [
            (row_name(one), dict(one.point), document_of(base, one.point, space)[0])
            for one in itertools.islice(coming, lacking)
        ]
        if not asked:
            return rows, built
        planned = plan_rows(asked, registry, folders)
        for row, result in zip(planned, build_rows(planned, setting, jobs), strict=True):
            trained = what_trains(tomllib.loads(result.run_file))
            if trained in trains:
                say(f"{row.name} trains the same as {rows[trains.index(trained)].name}")
                continue
            rows.append(row)
            built.append(result)
            trains.append(trained)
        asked = []


def judge(
    directory: Directory,
    best: Sequence[Trial],
    registry: Registry,
    setting: Any,
    jobs: int,
    say: Callable[[str], None],
    plugins: Plugins,
) -> Verdict | None:
    """Train the best trials and the defaults with fresh seeds and compare them; None if there is nothing to compare.

    Args:
        directory: The search.
        best: Its trials, best first.
        registry: The registry in which names are looked up.
        setting: Settings shared by the processes.
        jobs: Number of concurrent runs.
        say: Called with progress messages.
        plugins: The plugins named on the command line.
    """
    manifest, definition = directory.manifest, directory.definition
    number = manifest["finalists"]
    if not number or not best:
        return None
    fresh = repeats_of(definition["seed"] + definition["repeats"], manifest["final_repeats"], None)
    request = Request(by=_by(definition), repeats=fresh, jobs=jobs)
    key = hashlib.sha256(json.dumps([number, [one.number for one in best], fresh]).encode()).hexdigest()[:16]
    finals = dict(manifest.get("finals", {}))  # the comparisons so far, so that nothing is built to find one again
    study = Study.at(directory.path / finals[key]) if key in finals else None
    if study is None:
        rows, built = choose_finalists(directory, best, number, registry, setting, jobs, say)
        if len(rows) < 2:
            say("all trials train the same as the defaults, so there is nothing to compare")
            return None
        say(f"fresh seeds for the defaults and the best {len(rows) - 1}: {len(rows) * len(fresh)} runs")
        check_rows(rows, built, request, lambda _: None)  # the search has already printed its messages
        study = make_study(_free(directory, manifest["trials"]), rows, built, setting, request, registry)
        directory.update(finals={**finals, key: study.path.name})
    table = go_on(study, registry, request, say, plugins)
    directory.update(final=study.path.name)
    return verdict_of(table, directory)


def verdict_of(table: Table, directory: Directory) -> Verdict | None:
    """The verdict of a comparison; writes the run file of the best row."""
    winner = winner_of(table)
    if winner is None or table.place is None:
        return None
    folder = next(row["folder"] for row in Study(table.place).manifest["rows"] if row["name"] == winner.row.name)
    text = (table.place / folder / "run.toml").read_text(encoding="utf-8")
    write_atomically(directory.path / BEST, text)
    name = winner.row.name
    return Verdict(table=table, winner=winner, trial=None if name == DEFAULTS else int(name.removeprefix("trial ")))


def winner_of(table: Table) -> Line | None:
    """The row with the best mean; a row with failed runs only if there is no other."""
    judged = [line for line in table.lines if line.estimate is not None]
    whole = [line for line in judged if not line.problems]
    return max(whole or judged, key=lambda line: _mean(line) * (1 if table.larger_is_better else -1), default=None)


def _mean(line: Line) -> float:
    assert line.estimate is not None
    return line.estimate.mean


def _by(definition: dict[str, Any]) -> str:
    return f"{definition['by']}:{'max' if definition['larger_is_better'] else 'min'}"


def _free(directory: Directory, number: int) -> Path:
    """A folder for a new comparison."""
    names = (f"final-{number}{f'-{more}' if more else ''}" for more in ("", *range(2, 1000)))
    return next(path for name in names if not (path := directory.path / name).exists())
