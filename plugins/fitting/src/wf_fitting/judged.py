"""The verdicts of one build: a rule is not evaluated again for a fitting component while its facts are unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from wf.declarations.rule import Rule, Verdict
from wf_fitting.parts import Facts, Judge, Part, SampleForm

_FACTS = frozenset(field.name for field in fields(Facts))


@dataclass(frozen=True)
class _About:
    """A rule, and the component of the run that it judges."""

    rule: str
    kind: str
    place: int
    """The position of the component among those of its kind."""
    name: str
    watched: str | None


class Judged:
    """Evaluates the rules of one build, each as early as its facts allow."""

    def __init__(self) -> None:
        self._fit: dict[_About, Mapping[str, Any]] = {}
        """The fitting components, with the facts that their verdicts depend on."""

    def ask(self, rule: Rule, judge: Judge, part: Part, place: int, known: Facts, *, is_last: bool) -> Verdict | None:
        """The verdict of a rule about a component; None if it is unchanged, or must wait for facts.

        Args:
            rule: The rule.
            judge: Its function.
            part: The component.
            place: Its position among the components of its kind.
            known: The facts known so far.
            is_last: Whether no more facts will be known.
        """
        about = _About(rule.name, part.kind, place, part.name, part.watched)
        before = self._fit.get(about)
        if before is not None and all(_is_same(value, getattr(known, name)) for name, value in before.items()):
            return None
        if not is_last and any(getattr(known, name) is None for name in rule.facts):
            return None
        noting = _Noting.of(known)
        verdict = judge(part, noting)
        self._fit.pop(about, None)
        if verdict.fits:
            self._fit[about] = {name: getattr(known, name) for name in rule.facts or noting.noted}
        return verdict


def _is_same(before: Any, now: Any) -> bool:
    """Whether a fact is unchanged; the form of samples may have become more precise."""
    if isinstance(before, SampleForm) and isinstance(now, SampleForm):
        return now.dims <= before.dims and now.tokens == before.tokens
    return bool(before == now)


class _Noting(Facts):
    """The known facts; it records which ones a rule reads."""

    noted: set[str]

    @classmethod
    def of(cls, known: Facts) -> _Noting:
        """The same facts, with nothing recorded."""
        made = object.__new__(cls)
        made.__dict__.update(vars(known), noted=set())
        return made

    def __getattribute__(self, name: str) -> Any:
        if name in _FACTS:
            object.__getattribute__(self, "noted").add(name)
        return object.__getattribute__(self, name)
