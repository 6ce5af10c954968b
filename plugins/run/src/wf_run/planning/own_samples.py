"""Runs without a dataset: their trainer makes the samples itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wf.declarations.general import GENERAL
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import TrainerTraits
from wf_building.builder import Builder
from wf_building.built import LIVE, name_of_live
from wf_run.parts.data import validation

MAKE_BATCH = "make_batch"
"""The method of a trainer that makes its samples itself, see `wf.protocols.Trainer`."""
OF_DATASET = ("split", "fold", "shuffle", "drop_last", "workers", "serve_from")
"""The general keys that say how a dataset is divided and served."""


def makes_samples(use: Any, registry: Registry, folders: Sequence[Path] = ()) -> bool:
    """Whether a trainer makes its samples itself, so that its run has no dataset.

    A plugin declares it; a user's class has a method `make_batch`.
    """
    if isinstance(use, str) and not use.startswith(LIVE):
        entry = Builder(registry, folders=folders).entry("trainer", use)
        assert entry is not None
        if entry.plugin is not None:
            return isinstance(traits := entry.component.traits, TrainerTraits) and traits.makes_samples
        use = entry.load()
    return hasattr(getattr(use, "func", use), MAKE_BATCH)


def without_dataset(plan: Mapping[str, Any], registry: Registry, folders: Sequence[Path]) -> frozenset[str]:
    """The kinds without a default because the trainer makes its samples itself; none for other trainers.

    Raises:
        UsageError: If the run file has settings of a dataset.
    """
    use = plan.get("trainer", {}).get("use")
    if use is None or not makes_samples(use, registry, folders):
        return frozenset()
    name = use if isinstance(use, str) else name_of_live(use)
    asked = [f"--{kind}" for kind in ("dataset", "transform", validation.VALIDATION) if plan.get(kind)]
    asked += [f"--{key.replace('_', '-')}" for key in OF_DATASET if plan[key] != GENERAL[key].default]
    asked += ["--batch-size full"] if plan["batch_size"] == "full" else []
    if asked:
        raise UsageError(
            f"trainer '{name}' makes its samples itself, so there is no dataset\n  leave out {', '.join(asked)}"
        )
    if "use" in plan.get("evaluator", {}):
        return frozenset({"dataset"})
    if asked := [kind for kind in ("evaluator", "metric") if plan.get(kind)]:
        raise UsageError(
            f"trainer '{name}' makes its samples itself, so there are no splits to evaluate\n"
            f"  leave out --{asked[0]}, or name an evaluator that needs no data: --evaluator NAME"
        )
    return frozenset({"dataset", "evaluator"})
