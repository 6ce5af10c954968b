"""The result of a search as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wf.terminal import duration, visible
from wf_cli.output import table
from wf_compare.tables.text import plain_number, to_text
from wf_tune.directory import RESULT, Directory
from wf_tune.ending import no_best
from wf_tune.judging import BEST, Verdict
from wf_tune.search import best_of, ranked
from wf_tune.space import name_of, text_of
from wf_tune.trials import Trial

MAX_SHOWN = 5
"""The number of best trials to show."""


def to_words(directory: Directory, trials: Sequence[Trial], verdict: Verdict | None, width: int) -> str:
    """The best trials, the comparison with the defaults, and the verdict."""
    definition = directory.definition
    larger, by = definition["larger_is_better"], definition["by"]
    blocks = []
    shown = ranked(trials, larger_is_better=larger)[:MAX_SHOWN]
    if shown:
        rows = [["trial", by, "time", "settings"]]
        rows += [
            [
                str(one.number),
                plain_number(one.value),
                "-" if one.seconds is None else duration(one.seconds),
                visible(name_of(one.point), line=True),
            ]
            for one in shown
        ]
        blocks.append(table(rows))
    if verdict is not None:
        blocks.append(to_text(verdict.table, width))
    blocks.append(table(_summary(directory, trials, verdict)))
    return "\n\n".join(blocks)


def _summary(directory: Directory, trials: Sequence[Trial], verdict: Verdict | None) -> list[tuple[str, str]]:
    rows = [("trials", counts_of(trials))]
    manifest = directory.manifest
    if manifest["status"] == "interrupted":
        rows.append(("status", f"interrupted: {manifest['reason']}; to continue: wf tune --resume {directory.path}"))
    best = best_of(trials, larger_is_better=directory.definition["larger_is_better"])
    if verdict is not None:
        chosen = next((one for one in trials if one.number == verdict.trial), None)
        rows.append(("best", f"trial {chosen.number}: {_settings(chosen)}" if chosen else "the defaults"))
        rows.append(("verdict", verdict.words))
        rows.append(("run file", f"wf run {directory.path / BEST}"))
    elif (none := no_best(directory.manifest, trials)) is not None:
        rows.append(("best", "none: no trial was trained to its end"))
        rows += none.reasons
        rows += [("to do" if not number else "", text) for number, text in enumerate(none.advice)]
    elif best is not None:
        rows.append(("best", f"trial {best.number}: {_settings(best)}"))
        why = "the figure of the best trial is partly luck"
        rows.append(
            (
                "verdict",
                f"not compared on fresh seeds: {why}" if directory.manifest["home"] else "left to the first machine",
            )
        )
    return [*rows, ("search", str(directory.path))]


def counts_of(trials: Sequence[Trial]) -> str:
    """The number of trials by status: ``50: 41 done, 7 pruned, 2 diverged``."""
    words: dict[str, int] = {}
    for one in trials:
        word = "same as earlier" if one.same_as is not None else one.status or one.state
        words[word] = words.get(word, 0) + 1
    return f"{len(trials)}: {', '.join(f'{number} {word}' for word, number in words.items())}" if trials else "none"


def record_of(directory: Directory, trials: Sequence[Trial], verdict: Verdict | None) -> dict[str, Any]:
    """The record for ``--json`` and ``search.json``."""
    manifest, definition = directory.manifest, directory.definition
    best = best_of(trials, larger_is_better=definition["larger_is_better"])
    return {
        "directory": str(directory.path),
        "study": manifest["study"],
        "status": manifest["status"],
        "reason": manifest["reason"],
        "by": definition["by"],
        "larger_is_better": definition["larger_is_better"],
        "space": [{"key": key, "values": text} for key, text in definition["space"]],
        "searcher": definition["searcher"],
        "pruner": definition["pruner"],
        "seed": definition["seed"],
        "repeats": definition["repeats"],
        "best": None if best is None else best.number,
        "final": None if verdict is None else verdict.record(),
        "run_file": None if verdict is None else str(directory.path / BEST),
        "trials": [
            {
                "number": one.number,
                "settings": dict(one.point),
                "state": one.state,
                "status": one.status or one.state,
                "value": one.value,
                "same_as": one.same_as,
                "seconds": one.seconds,
                "reason": one.reason or None,
                "run_dir": one.run_dir or None,
            }
            for one in trials
        ],
    }


def _settings(trial: Trial) -> str:
    return visible(", ".join(f"{key} {text_of(value)}" for key, value in trial.point.items()), line=True)


def words_of(directory: Directory) -> str:
    """The verdict in ``search.json``; empty if no final comparison was made."""
    try:
        found = json.loads((directory.path / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    final = found.get("final") if isinstance(found, dict) else None
    return f"{final['winner']}: {final['words']}" if isinstance(final, dict) else ""
