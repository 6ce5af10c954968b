"""Conditions: what must be equal when a run goes on, for its bits to stay the same. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from wf.fields import check_fields

Level = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something that a run is made under, as a plugin's ``wf_conditions`` declares it."""

    name: str
    """How ``--allow-drift`` calls it."""
    summary: str
    """What it is, as a table says it."""
    means: str
    """What a difference means for the bits of the run."""
    level: Level
    """Whether a run refuses to go on under another one, or says so and goes on."""
    fix: str = ""
    """How to have the old one back."""
    target: str | Callable[..., Any] | None = None
    """``"package.module:function"``, which reads it, as JSON holds it; called with the run values that its parameters
    are named after. None for those that wf reads itself."""

    def __post_init__(self) -> None:
        check_fields(self, "condition '{0.name}'")
