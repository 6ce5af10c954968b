"""Run values: the values that a run fills into parameters of components, by name.

Plugins declare them with ``wf_values``; every kind of a plugin is one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from wf.declarations.fields import check_fields
from wf.declarations.kinds import Kind
from wf.declarations.vocabulary import Vocabulary

_WRITTEN = (
    "int",
    "float",
    "bool",
    "str",
    "Path",
    "tuple[",
    "list[str]",
    "list[int]",
    "dict[str, str]",
    "dict[str, bool]",
    "torch.dev",
)
"""Prefixes of the types whose values a run file can hold."""


@dataclass(frozen=True, kw_only=True)
class RunValue:
    """A value of a run, as a plugin's ``wf_values`` declares it.

    It fills each parameter of its name that has no default, or that is marked with `wf.FromRun`, unless the user sets
    it.
    """

    word: ClassVar[str] = "value"
    about: ClassVar[str] = "a value that a run fills into parameters of that name"
    is_typed: ClassVar[bool] = False

    name: str
    """A Python name: ``vocab_size``."""
    type: str = "Any"
    """Its type, as lists show it: ``int``, ``list[str]``, ``torch.nn.Module``."""
    summary: str = ""
    """A one-line description."""
    provider: str | Callable[..., Any] | None = None
    """``"package.module:function"``, which provides it: called once, when the value is first needed, with the run
    values that its parameters are named after. A generator function yields the value, and is continued when the run is
    over. None for a value that the run itself or a trainer's `run_values` provides."""

    def __post_init__(self) -> None:
        check_fields(self, "run value '{0.name}'")
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"'{self.name}' is not the name of a run value: use a Python name in lower case")

    @classmethod
    def of_kinds(cls, kinds: Iterable[Kind]) -> list[RunValue]:
        """The components of kinds that are made on demand, as run values; of others their plugin declares these."""
        return [cls(name=kind.value, type="object", summary=kind.summary) for kind in kinds if kind.on_demand]

    def facts(self) -> dict[str, Any]:
        """What ``wf show`` says of it."""
        target = self.provider if isinstance(self.provider, str) else ""
        return {"summary": self.summary, "type": self.type, "target": target}

    @property
    def is_written(self) -> bool:
        """Whether a run file can hold it."""
        return self.type.startswith(_WRITTEN)

    @property
    def is_count(self) -> bool:
        """Whether it is a number of things, so at least 1."""
        return self.type == "int" and self.name != "seed"


VALUES: Vocabulary[RunValue] = Vocabulary("run value", RunValue.about)
"""All run values: they fill the parameters of these names that have no default, unless the user sets them."""
