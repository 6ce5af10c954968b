"""Conditions that must be equal on resume for the bits to stay the same. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from wf.declarations.fields import check_fields
from wf.declarations.vocabulary import Vocabulary

Level = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A property of the surroundings of a run that may change its bits, as a plugin's ``wf_conditions`` declares it."""

    word: ClassVar[str] = "condition"
    about: ClassVar[str] = "a property that must be unchanged when a run is resumed"
    is_typed: ClassVar[bool] = False

    name: str
    """Its name, as ``--allow-drift`` takes it."""
    summary: str
    """A description for tables."""
    means: str
    """The effect of a difference on the bits of the run."""
    level: Level
    """Whether a changed condition refuses a resume, or only warns."""
    fix: str = ""
    """How to restore the old state."""
    target: str | Callable[..., Any] | None = None
    """``"package.module:function"``, which returns its present value in a form that JSON can hold; called with the run
    values that its parameters are named after. None for a condition that ``manifest.json`` holds anyway under its
    name, such as ``world_size``."""

    def __post_init__(self) -> None:
        check_fields(self, "condition '{0.name}'")

    def facts(self) -> dict[str, Any]:
        """What ``wf show`` says of it."""
        return {"summary": self.summary, "means": self.means, "level": self.level, "fix": self.fix}


CONDITIONS: Vocabulary[Condition] = Vocabulary("condition", Condition.about)
"""All conditions that are compared on resume."""
