"""Rules: declarations of which components fit each other. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from wf.declarations.fields import check_fields


class Verdict(NamedTuple):
    """Whether a component fits."""

    fits: bool | None
    """None when that is not known, which never refuses anything."""
    why: tuple[str, ...] = ()
    """The mismatch, and what to do about it."""


FITS = Verdict(True)
SILENT = Verdict(None, ("it declares no traits",))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How components of a kind are judged, as a plugin's ``wf_rules`` declares it.

    A run whose components break a rule is refused before step 1; ``wf list KIND --fits NAME`` applies the rules, too.
    """

    word: ClassVar[str] = "rule"
    about: ClassVar[str] = "what fits what"
    is_typed: ClassVar[bool] = False

    name: str
    """Its name in messages: ``few-classes``."""
    kind: str
    """The kind of the components that it judges."""
    target: str | Callable[..., Any]
    """``"package.module:function"``, called as ``function(part, known)`` with the component (`wf_fitting.parts.Part`)
    and the facts known of the run (`wf_fitting.parts.Facts`); returns a `Verdict`. A build calls it as soon as its
    facts are known, before torch is imported where it needs no data, and again only if a fact changes."""
    against: tuple[str, ...] = ()
    """The kinds that it compares them with; empty for the run's settings."""
    needs: str | tuple[str, ...] = ()
    """The fields of `wf_fitting.parts.Facts` that it cannot do without, unless the traits of the parts tell them:
    ``("targets", "num_classes")``. A rule that names fields is called when they are known; a rule that names none is
    called at once, and again when a fact that it looked at becomes known."""
    suggested: tuple[str, ...] = ()
    """The kinds whose fitting components the message of a mismatch suggests."""
    summary: str = ""
    """One line for lists."""

    def __post_init__(self) -> None:
        check_fields(self, "rule '{0.name}'")

    @property
    def facts(self) -> tuple[str, ...]:
        """The fields that it needs."""
        return (self.needs,) * bool(self.needs) if isinstance(self.needs, str) else self.needs
