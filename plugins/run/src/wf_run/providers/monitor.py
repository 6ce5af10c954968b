"""The figure that selects the best weights, and the directions of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wf.declarations.general import GENERAL
from wf.declarations.task import Task
from wf.engine.figures import TRAIN, Monitor
from wf.engine.watching import Sources, expect
from wf.errors import UsageError, unknown
from wf_base.directions import declared_directions
from wf_base.directions import directions as directions_of
from wf_run.parts.data.validation import VALIDATION, names_of
from wf_run.run_build import RunBuild


def monitor(run: RunBuild) -> str:
    """The monitored figure, such as ``validation/loss``."""
    return Monitor.read(run.plan["monitor"]).figure


def directions(run: RunBuild, task: Task | None, bare_loss: Any) -> dict[str, bool]:
    """Whether a larger figure is better, by name without the split."""
    asked = run.as_asked()
    sets = names_of(asked.get(VALIDATION))
    return directions_of(asked, run.builder, declared_directions(asked, run.builder, bare_loss), sets)


def checked_monitor(run: RunBuild, sources: Sources, evaluated: Sequence[str]) -> Monitor:
    """The figure that selects the best weights.

    Raises:
        UsageError: If it is needed, or the user chose it, and no evaluation gives it; or if it is needed and its
            direction is unknown.
    """
    found = Monitor.read(run.plan["monitor"], run.values["directions"])
    splits = [split for split in run.plan["eval_splits"] if split in evaluated]
    task, decides = run.values["run.task"], run.plan["keep"] == "best"
    own = task.default("monitor") if task else None
    matters = decides or run.plan["monitor"] not in (GENERAL["monitor"].default, own)
    of_steps = found.read_after(splits) is not None and sources.is_of_steps(found.figure)
    is_read = found.split in splits or of_steps
    if matters and not (is_read and sources.find(found.figure, splits) != "unknown"):
        if not splits:
            what = "decide which weights are best" if decides else "be monitored"
            raise UsageError(
                f"'{found.figure}' cannot {what}: no split is evaluated while it trains\n"
                "  see --eval-splits and --split, or --keep last"
            )
        known = [name for split in dict.fromkeys((*splits, TRAIN)) for name in sources.names(split, splits)]
        hint = ""
        if found.split in evaluated and not is_read:
            hint = f"'{found.split}' is not evaluated while the run trains: --eval-splits {found.split}"
        raise UsageError(unknown("figure in 'monitor':", found.figure, known, hint))
    if decides:
        found.direction("--monitor")
    _check_watched(run, sources, splits)
    return found


def _check_watched(run: RunBuild, sources: Sources, splits: Sequence[str]) -> None:
    """Refuse a scheduler or hook that watches a figure that nothing adds."""
    watching = [("scheduler", table) for table in (run.plan.get("scheduler"),) if table]
    for kind, table in [*watching, *(("hook", table) for table in run.plan.get("hook", ()))]:
        entry = run.builder.entry(kind, table["use"])
        if entry is None or not isinstance(table.get("monitor"), str):
            continue
        if any(param.name == param.source == "monitor" for param in run.builder.params(entry)):
            option = f"--hook.{entry.component.name}.monitor" if kind == "hook" else "--scheduler.monitor"
            owner = entry.component.name if kind == "hook" else "the scheduler"
            expect(Monitor.read(table["monitor"]), option, owner, sources, splits)
