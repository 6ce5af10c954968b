"""Whether a larger figure is better: the run value `directions`, known before trainer, metrics and hooks are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wf.engine.figures import LOSS, Monitor, declared, divided, joined, metric_of, terms
from wf.traits import MetricTraits
from wf_building.builder import Builder
from wf_building.built import name_of_live


def declared_directions(plan: Mapping[str, Any], builder: Builder, loss: Any) -> dict[str, bool]:
    """The directions that the loss and the classes of all other parts declare in `figures`, by name without the split.

    Args:
        plan: The run file.
        builder: Looks up names.
        loss: The run's loss, which is already made; None for none.
    """
    found = terms(loss)
    for kind, use in _parts(plan):
        entry = builder.entry(kind, use)
        said = declared(entry.load() if entry else use) or {}
        for name, larger in said.items():
            if kind == "metric":
                found[joined(entry.component.name if entry else name_of_live(use), name)] = larger
            else:
                found[divided(name)[1] if kind == "hook" else name] = larger
    return {name: larger for name, larger in found.items() if larger is not None and not name.endswith("*")}


def directions(
    plan: Mapping[str, Any], builder: Builder, said: Mapping[str, bool] | None = None, sets: Sequence[str] = ()
) -> dict[str, bool]:
    """All known directions by name without the split: also from the metrics' traits and the run's monitor.

    Args:
        plan: The run file.
        builder: Looks up names.
        said: The declarations of the parts, see `declared_directions`.
        sets: The names of further validation sets, which have the same figures: ``night/loss``.
    """
    found, names = {LOSS: False, **(said or {})}, []
    for use in (table["use"] for table in plan.get("metric", ())):
        entry = builder.entry("metric", use)
        names.append(entry.component.name if entry else name_of_live(use))
        traits = entry.component.traits if entry else None
        if isinstance(traits, MetricTraits) and traits.larger_is_better is not None:
            found.setdefault(names[-1], traits.larger_is_better)
    watching = [plan.get("scheduler") or {}, *plan.get("hook", ())]
    for text in [plan["monitor"], *(table["monitor"] for table in watching if "monitor" in table)]:
        monitor = Monitor.read(str(text), found)
        own = next((monitor.name.removeprefix(f"{one}/") for one in sets if monitor.name.startswith(f"{one}/")), None)
        metric = metric_of(own or monitor.name, names)
        if metric in found and metric is not None:  # a metric that gives several figures, all in its direction
            found.setdefault(own or monitor.name, found[metric])
    found |= {f"{name}/{figure}": larger for name in sets for figure, larger in found.items()}
    monitor = Monitor.read(plan["monitor"], found)
    if monitor.larger_is_better is not None:
        found[monitor.name] = monitor.larger_is_better
    return found


def _parts(plan: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The kind and the name, or live object, of each part that may declare figures."""
    for kind in ("metric", "trainer", "evaluator", "hook"):
        tables = plan.get(kind, ())
        for table in [tables] if isinstance(tables, Mapping) else tables:
            yield kind, table["use"]
