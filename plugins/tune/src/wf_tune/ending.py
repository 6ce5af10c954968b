"""The end of a search without a best trial: why no trial was trained to its end, and what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wf.errors import DivergedError
from wf.terminal import plural
from wf_tune.trials import Trial

OVER = ("done", "failed", "diverged")
"""The statuses of a search that has ended."""
MAX_NAMED = 5
"""The number of trials to name."""


@dataclass(frozen=True, kw_only=True)
class NoBest:
    """Why a search has no best trial."""

    status: str
    """The status of the search: ``diverged`` if all trials diverged, else ``failed``."""
    reasons: Sequence[tuple[str, str]]
    """For each status of trials how these ended: ``("pruned", "2 by 'median' after evaluation 1 (trials 0, 1)")``."""
    advice: Sequence[str]
    """What to change, one sentence for each status."""
    number: int
    """The number of trials that ended."""

    @property
    def words(self) -> str:
        """One sentence with all reasons."""
        told = "; ".join(f"{status}: {reason}" for status, reason in self.reasons)
        return f"none of {plural(self.number, 'trial')} was trained to its end: {told}"

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return DivergedError.exit_code if self.status == "diverged" else 1


def no_best(manifest: Mapping[str, Any], trials: Sequence[Trial]) -> NoBest | None:
    """Why a search that is over has no best trial; None if it has one or goes on.

    Args:
        manifest: Of its directory.
        trials: Its trials.
    """
    ended = [one for one in trials if one.state not in ("running", "waiting")]
    if manifest["status"] not in OVER or not ended or any(one.state == "complete" for one in ended):
        return None
    return why_none(ended, manifest["definition"])


def why_none(ended: Sequence[Trial], definition: Mapping[str, Any]) -> NoBest:
    """As `no_best`, for trials that have ended without a figure, by the definition of the search."""
    pruner = definition["pruner"]["use"]
    by_status: dict[str, list[Trial]] = {}
    for one in ended:
        by_status.setdefault(one.status or one.state, []).append(one)
    advice = {
        "pruned": f"stop trials later by the options of the pruner (wf show pruner {pruner}), evaluate more often "
        "(--epochs, --eval-every), or choose --pruner none; with another --name",
        "diverged": "search other values, such as smaller learning rates, or another --by; with another --name",
        "failed": "read the logs of the trials: trial-*.log in the directory of the search",
    }
    return NoBest(
        status="diverged" if by_status.keys() == {"diverged"} else "failed",
        reasons=[(status, _reason(status, own, definition)) for status, own in by_status.items()],
        advice=[advice[status] for status in by_status if status in advice],
        number=len(ended),
    )


def _reason(status: str, trials: Sequence[Trial], definition: Mapping[str, Any]) -> str:
    names = ", ".join(str(one.number) for one in trials[:MAX_NAMED])
    more = f" and {len(trials) - MAX_NAMED} more" if len(trials) > MAX_NAMED else ""
    named = f"trial{'s' if len(trials) > 1 else ''} {names}{more}"
    if status == "pruned":
        steps = sorted({max(one.steps, default=0) for one in trials})
        when = str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
        unit = "evaluation" if definition["repeats"] == 1 else "repeat"
        return f"{len(trials)} by '{definition['pruner']['use']}' after {unit} {when} ({named})"
    first = trials[0].reason.partition("\n")[0]
    return f"{len(trials)} ({named}){f', the first with: {first}' if first else ''}"
