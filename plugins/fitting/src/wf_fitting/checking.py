"""Checks which components fit together: for a run, before step 1, and for ``wf list KIND --fits NAME``."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wf.declarations.declared import DECLARATIONS, plurals
from wf.declarations.kinds import KINDS
from wf.declarations.rule import FITS, Rule, Verdict
from wf.declarations.task import Task
from wf.discovery.entry import Entry
from wf.errors import UsageError
from wf.registry import Registry
from wf_fitting.judged import Judged
from wf_fitting.parts import (
    DIMS,
    Facts,
    Judge,
    Part,
    SampleForm,
    gives_targets,
    judges,
    listed,
    transformed,
    with_parts,
)
from wf_fitting.tasks import tasks_of

OF_DATA = ("targets", "samples")
"""The facts that come from a dataset's data if it does not declare them."""


@dataclass(frozen=True)
class Mismatch:
    """Components of one kind that do not fit the others, with alternatives."""

    kind: str
    names: tuple[str, ...]
    against: tuple[str, ...]
    why: tuple[str, ...]
    fitting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of fitting alternatives, by kind."""

    def lines(self) -> list[str]:
        """The mismatch, the reason, and fitting alternatives, for messages."""
        several = len(self.names) > 1
        subject = f"{plural(self.kind) if several else self.kind} {listed(self.names)}"
        found = {kind: names for kind, names in self.fitting.items() if names} or self.fitting
        fitting = [f"{plural(kind)} that fit: {', '.join(names) or 'none'}" for kind, names in found.items()]
        return [
            f"{subject} {'do' if several else 'does'} not fit {' and '.join(self.against) or 'this run'}",
            *(f"  {line}" for line in (*self.why, *fitting)),
        ]


def check(
    parts: Sequence[Part],
    known: Facts,
    registry: Registry,
    judged: Judged | None = None,
    last: Collection[str] | None = None,
) -> None:
    """Refuse components that do not fit, all of them at once.

    Args:
        parts: The parts of the run, in the order in which they are built.
        known: Further known facts.
        registry: Where alternatives are looked up.
        judged: The verdicts of the build so far, which are not computed again.
        last: The kinds about which no more facts will be known; None for all.

    Raises:
        UsageError: Naming the misfits, the reasons and the fitting alternatives.
    """
    found = list(mismatches(parts, known, registry, judged, last))
    if len(found) == 1:
        raise UsageError("\n".join(found[0].lines()))
    if found:
        lines = [line for mismatch in found for line in mismatch.lines()]
        raise UsageError("\n  ".join([f"{len(found)} components do not fit together", *lines]))


def mismatches(
    parts: Sequence[Part],
    known: Facts,
    registry: Registry,
    judged: Judged | None = None,
    last: Collection[str] | None = None,
) -> Iterator[Mismatch]:
    """Mismatches by rule; components that fail for the same reason are grouped. Takes the arguments of `check`."""
    judged = Judged() if judged is None else judged
    asked = replace(known, tasks=tasks_of(registry))
    known = replace(with_parts(asked, parts), trained=asked.trained)  # transforms are judged one by one below
    named = [part for part in parts if part.kind != "transform" or gives_targets(part.traits)]
    names = {part.kind: f"{part.kind} '{part.name}'" for part in named}
    for rule, judge in judges(registry):
        here, wrong = known, dict[tuple[str, ...], list[tuple[Part, Facts]]]()
        places = itertools.count()
        for part in parts:
            if part.kind == rule.kind:
                is_last = last is None or rule.kind in last
                verdict = judged.ask(rule, judge, part, next(places), here, is_last=is_last)
                if verdict is not None and verdict.fits is False:
                    wrong.setdefault(verdict.why, []).append((part, here))
            if part.kind == "transform":
                trained = part.traits.gives_targets if gives_targets(part.traits) else here.trained
                here = replace(here, samples=transformed(part.traits, here.samples), trained=trained)
        for why, found in wrong.items():
            against = tuple(names[kind] for kind in rule.against if kind in names)
            fitting = {kind: tuple(_that_fit(kind, rule, judge, *found[0], registry)) for kind in rule.suggested}
            yield Mismatch(rule.kind, tuple(part.name for part, _ in found), against, why, fitting)
        if wrong and rule.kind == "dataset":
            return  # other mismatches may disappear with another dataset


def fitting(registry: Registry, kind: str, other: Entry, *, catalogues: bool = False) -> list[tuple[Entry, Verdict]]:
    """The components of a kind, and whether each fits another component, by their traits.

    Args:
        registry: Where components are looked up.
        kind: Their kind.
        other: The other component.
        catalogues: Whether to include the members of catalogues.

    Raises:
        UsageError: If no rule relates the kinds, or the other component does not declare enough.
    """
    related = related_kinds(other.component.kind, registry)
    if kind not in related:
        name = other.component.name if other.plugin else other.component.target_name
        lists = [f"wf list {plural(one)} --fits {other.component.kind}/{name}" for one in related]
        raise UsageError(
            f"{plural(kind)} and {plural(other.component.kind)} have nothing to do with each other"
            + (f"\n  what can be asked: {', '.join(lists)}" if lists else "")
        )
    found = [(entry, pair_verdict(entry, other, registry)) for entry in registry.entries(kind, catalogues=catalogues)]
    if found and all(verdict.fits is None for _, verdict in found):
        _check_says_enough(registry, kind, other)
    return found


def related_kinds(kind: str, registry: Registry) -> list[str]:
    """The kinds that a rule relates to this kind."""
    pairs = [(rule.kind, against) for rule, _ in judges(registry) for against in rule.against]
    related = {a for a, b in pairs if b == kind} | {b for a, b in pairs if a == kind}
    return [other for other in (*KINDS, *DECLARATIONS) if other in related]


def pair_verdict(one: Entry, other: Entry, registry: Registry) -> Verdict:
    """Whether two components fit each other, regardless of the rest of the run."""
    return _best(
        [
            _worst(
                [
                    judge(part_of(subject), known)
                    for subject, known in ((one, of_other), (other, of_one))
                    for rule, judge in judges(registry)
                    if rule.kind == subject.component.kind
                    and (other if subject is one else one).component.kind in rule.against
                ]
            )
            for of_one in _known_by(one, registry)
            for of_other in _known_by(other, registry)
        ]
    )


def _known_by(entry: Entry, registry: Registry) -> list[Facts]:
    """The facts known from one part of a run; for a task, for each form of its targets."""
    plain, task = Facts(tasks=tasks_of(registry)), entry.component.traits
    if isinstance(task, Task):
        return [replace(plain, task=task, targets=targets) for targets in task.targets or (None,)]
    return [with_parts(plain, [part_of(entry)])]


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return next((verdict for fits in (False, None) for verdict in verdicts if verdict.fits is fits), FITS)


def _best(verdicts: Sequence[Verdict]) -> Verdict:
    return next(verdict for fits in (True, None, False) for verdict in verdicts if verdict.fits is fits)


def plural(kind: str) -> str:
    """A kind in the plural."""
    return next((many for many, one in plurals().items() if one == kind), kind)


def _that_fit(kind: str, rule: Rule, judge: Judge, part: Part, known: Facts, registry: Registry) -> Iterator[str]:
    """The names of the components of a kind that satisfy a rule, and that no other rule refuses."""
    others_of_kind = [other for one, other in judges(registry) if one.kind == kind and one is not rule]
    unknown = replace(known, trainer=None, taken=None)
    alone = replace(known, targets=None) if kind == "dataset" else known  # each dataset has its own targets
    for name, entries in _choices(registry, kind):
        for other in map(part_of, entries):
            verdict = judge(other, alone) if kind == rule.kind else judge(part, with_parts(unknown, [other]))
            if verdict.fits and all(one(other, alone).fits is not False for one in others_of_kind):
                yield name
                break


def _choices(registry: Registry, kind: str) -> Iterator[tuple[str, list[Entry]]]:
    """The components of a kind by name; a catalogue counts as one, with a representative member for each of its
    traits."""
    for entry in registry.entries(kind):
        name = entry.component.name
        yield f"{name}@{entry.provider}" if registry.is_ambiguous(entry.component) else name, [entry]
    for catalogue, plugin in registry.catalogues(kind):
        members = [catalogue.member(name) for name in catalogue.names() if name not in catalogue.refused()]
        yield (
            f"{catalogue.prefix}/...",
            [Entry(member, plugin) for member in {id(m.traits): m for m in members}.values()],
        )


def _check_says_enough(registry: Registry, kind: str, other: Entry) -> None:
    """Refuse a component about which too little is known, with advice.

    Raises:
        UsageError: If it depends on its data, with alternatives; or if it has no traits.
    """
    owner = f"{other.component.kind} '{other.component.name}'"
    if other.component.traits is None:
        raise UsageError(
            f"{owner} declares no traits, so wf cannot tell what fits it\n"
            "  a run of two steps shows whether it works: wf run ... --dry-run"
        )
    known = with_parts(Facts(tasks=tasks_of(registry)), [part_of(other)])
    for rule, judge in judges(registry):
        fact = next((fact for fact in rule.facts if fact in OF_DATA), None)
        if rule.kind == kind and fact is not None and getattr(known, fact) is None:
            lines = [f"{words}: {', '.join(names) or 'none'}" for words, names in _guesses(registry, fact, rule, judge)]
            lines.append(f"to find out from its data: wf run --dataset {other.component.name} ... --dry-run")
            what = f"which {fact} {owner} has depends on its data; what would fit:"
            raise UsageError("\n  ".join([what, *lines]))


def _guesses(registry: Registry, fact: str, rule: Rule, judge: Judge) -> Iterator[tuple[str, list[str]]]:
    """The possible forms of a dataset's data, and the components that fit each."""
    if fact == "targets":
        guesses = {
            f"{form} targets": Facts(targets=form, tasks=tasks_of(registry)) for form in tasks_of(registry).forms
        }
    else:
        guesses = {f"{kind} samples": Facts(samples=SampleForm.of_kind(kind)) for kind in DIMS}
    for words, guess in guesses.items():
        known = with_parts(guess, ())
        choices = _choices(registry, rule.kind)
        yield words, [name for name, found in choices if any(judge(part_of(one), known).fits for one in found)]


def part_of(entry: Entry) -> Part:
    """A registry entry as a part of a run."""
    return Part(kind=entry.component.kind, name=entry.component.name, entry=entry)
