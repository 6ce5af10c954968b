"""All checks, in order. To add one, write a function in the module of its kind."""

from __future__ import annotations

from wf_kit.checks import (
    commands,
    datasets,
    declaration,
    loop_parts,
    losses,
    metrics,
    models,
    optimizers,
    runs,
    schedulers,
    tasks,
    transforms,
)
from wf_kit.kit import Check

MODULES = (
    declaration,
    datasets,
    transforms,
    models,
    losses,
    optimizers,
    schedulers,
    metrics,
    loop_parts,
    tasks,
    commands,
    runs,
)

CHECKS: dict[str, Check] = {
    value.id: value for module in MODULES for value in vars(module).values() if isinstance(value, Check)
}
"""All checks by id."""
