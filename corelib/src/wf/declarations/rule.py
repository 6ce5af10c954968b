"""Rules: what a plugin declares of which components fit each other. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from wf.declarations.fields import check_fields


class Verdict(NamedTuple):
    """Whether a component fits."""

    fits: bool | None
    """None when that is not known, which never refuses anything."""
    why: tuple[str, ...] = ()
    """What does not fit, in words, and what to do."""


FITS = Verdict(True)
SILENT = Verdict(None, ("it says nothing about itself (no traits)",))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How components of a kind are judged, as a plugin's ``wf_rules`` declares it.

    A run whose components break a rule is refused before step 1; ``wf list KIND --fits NAME`` goes by the rules, too.
    """

    name: str
    """What it is called where it fails: ``few-classes``."""
    kind: str
    """The kind of the components that it judges."""
    target: str | Callable[..., Any]
    """``"package.module:function"``, called as ``function(part, known)`` with the component (`wf_fitting.parts.Part`)
    and what is known of the run (`wf_fitting.parts.Known`); gives a `Verdict`. It is asked before torch is imported,
    and again when the data are known."""
    against: tuple[str, ...] = ()
    """The kinds by which it judges them; empty for the run's settings."""
    needs: str = ""
    """The field of `wf_fitting.parts.Known` that only the dataset's data may tell: ``targets`` or ``samples``."""
    suggested: tuple[str, ...] = ()
    """The kinds of which those that fit are named where something does not."""
    summary: str = ""
    """One line for lists."""

    def __post_init__(self) -> None:
        check_fields(self, "rule '{0.name}'")
        if self.needs not in ("", "targets", "samples"):
            raise ValueError(f"rule '{self.name}': needs is '{self.needs}', not targets or samples")
