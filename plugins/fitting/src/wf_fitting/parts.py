"""The basis of rules: the parts of a run with their traits (`wf.traits`), and the known facts.

Plugins provide the rules. Each one judges a component of one kind by the known facts about the others. An unknown fact
is never a reason to refuse.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from typing import Any

from wf.declarations.kinds import KINDS
from wf.declarations.rule import SILENT, Rule, Verdict
from wf.declarations.task import Link, Task
from wf.discovery.entry import Entry
from wf.discovery.modules import describe
from wf.registry import Registry
from wf.traits import DatasetTraits, LossTraits, ModelTraits, TrainerTraits, TransformTraits
from wf_fitting.tasks import Tasks

_LOG = logging.getLogger("wf")

DIMS: dict[str, frozenset[int]] = {
    "vector": frozenset({1}),
    "sequence": frozenset({1, 2}),
    "image": frozenset({3}),
    "video": frozenset({4}),
    "tokens": frozenset({1}),
}
"""The dimensions that a sample of each kind may have."""
SHAPES = {
    "vector": "[F]",
    "sequence": "[T] or [T, F]",
    "image": "[C, H, W]",
    "video": "[C, T, H, W]",
    "tokens": "[T]",
}


@dataclass(frozen=True)
class SampleForm:
    """The form of the samples, as the data have it or after some transforms."""

    dims: frozenset[int]
    """The numbers of dimensions that they may have."""
    words: str
    tokens: bool = False
    """Whether they are indices of a vocabulary rather than numbers."""

    @classmethod
    def of_kind(cls, kind: str) -> SampleForm:
        """The form of samples of a kind that `wf.traits` lists."""
        return cls(DIMS[kind], samples_words(kind), tokens=kind == "tokens")

    @classmethod
    def of_shape(cls, shape: Sequence[int], *, tokens: bool = False) -> SampleForm:
        """The form of samples of a shape."""
        return cls(frozenset({len(shape)}), f"{'tokens' if tokens else 'samples'} {list(shape)}", tokens=tokens)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The known facts of a run; None means unknown."""

    tasks: Tasks | None = None
    """The available tasks and links."""
    task: Task | None = None
    """The task: named by the dataset or the user, or else determined by targets and loss."""
    targets: str | None = None
    """The dataset's."""
    trained: str | None = None
    """The form of targets in training, if a transform changes it."""
    num_classes: int | None = None
    samples: SampleForm | None = None
    model: ModelTraits | None = None
    loss: LossTraits | None = None
    trainer: TrainerTraits | None = None
    taken: frozenset[str] | None = None
    """The run values that the trainer takes."""
    links: Sequence[str] | None = None
    """The links that may be used; None for any."""
    evaluated: tuple[str, ...] | None = None
    """The splits that are evaluated while the run trains."""
    parts: tuple[Part, ...] = ()
    """The components of the run, of every kind."""

    @property
    def all_links(self) -> Sequence[Link]:
        """The available links."""
        return self.tasks.links if self.tasks else ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A component of a run."""

    kind: str
    name: str
    entry: Entry | None = None
    """None for a live object."""
    watched: str | None = None
    """The figure that a scheduler watches, such as ``validation/loss``, if known."""

    @property
    def traits(self) -> Any:
        """Its traits."""
        return self.entry.component.traits if self.entry else None


Judge = Callable[[Part, Facts], Verdict]


def with_parts(known: Facts, parts: Iterable[Part]) -> Facts:
    """The facts, completed by the parts' traits."""
    found: dict[str, Any] = {}
    parts = tuple(parts)
    for part in parts:
        traits = part.traits
        if isinstance(traits, Task):
            found["task"] = traits
        elif isinstance(traits, DatasetTraits):
            found["targets"] = traits.targets
            if traits.task and known.tasks and "task" not in found:
                found["task"] = known.tasks.named(traits.task)
            found["samples"] = SampleForm.of_kind(traits.inputs) if traits.inputs else None
        elif isinstance(traits, (ModelTraits, LossTraits, TrainerTraits)):
            found[part.kind] = traits
        elif gives_targets(traits):
            found["trained"] = traits.gives_targets
        if part.kind == "trainer" and part.entry is not None and known.taken is None:
            found["taken"] = taken_by(part.entry)
    known = replace(
        known,
        parts=known.parts or parts,
        **{name: value for name, value in found.items() if getattr(known, name) is None},
    )
    if known.task is None and known.tasks is not None and known.targets is not None:
        return replace(known, task=known.tasks.of(known.targets, known.loss))
    return known


def taken_by(trainer: Entry) -> frozenset[str] | None:
    """The run values that a trainer takes; None if only importing it would tell."""
    params = trainer.params_unloaded()
    if params is not None:
        return frozenset(param.source for param in params if param.source is not None)
    traits = trainer.component.traits
    return frozenset() if isinstance(traits, TrainerTraits) and not traits.steps else None


def gives_targets(traits: Any) -> bool:
    """Whether a transform changes the form of targets."""
    return isinstance(traits, TransformTraits) and traits.gives_targets is not None


def transformed(traits: Any, samples: SampleForm | None) -> SampleForm | None:
    """The form of samples that a transform gives."""
    gives = traits.gives if isinstance(traits, TransformTraits) else "any"
    if gives == "same":
        return samples
    return None if gives == "any" else SampleForm.of_kind(gives)


def samples_words(kind: str) -> str:
    """Samples of a kind, for messages."""
    if kind == "numbers":
        return "samples of numbers"
    return f"tokens {SHAPES[kind]}" if kind == "tokens" else f"{kind} samples {SHAPES[kind]}"


def listed(names: Iterable[str]) -> str:
    """Names in quotes, joined for messages."""
    quoted = [f"'{name}'" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


@lru_cache(maxsize=4)
def judges(registry: Registry) -> Sequence[tuple[Rule, Judge]]:
    """Every rule with its function, in the order of the kinds that they judge."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    found = [(entry.component.traits, _guarded(entry)) for entry in registry.entries("rule") if _needs_facts(entry)]
    return sorted(found, key=lambda pair: order.get(pair[0].kind, len(order)))


def _needs_facts(entry: Entry) -> bool:
    """Whether a rule needs only fields of `Facts`; a rule that needs others is skipped with a warning."""
    facts = [field.name for field in fields(Facts)]
    wrong = [name for name in entry.component.traits.facts if name not in facts]
    if wrong:
        why = f"it needs '{wrong[0]}', which is not a field of wf_fitting.parts.Facts: {', '.join(facts)}"
        _warn_once(f"rule '{entry.component.name}' of {entry.provider} is left out: {why}")
    return not wrong


def _guarded(entry: Entry) -> Judge:
    """The function of a plugin's rule; if it raises, the rule is skipped with a warning."""

    def judge(part: Part, known: Facts) -> Verdict:
        try:
            verdict = entry.load()(part, known)
            if isinstance(verdict, Verdict) and not isinstance(verdict.why, str):
                return verdict
            why = f"it gave {type(verdict).__name__}, not a Verdict"
            if isinstance(verdict, Verdict):
                why = "'why' of its Verdict is text, not a tuple of texts; is a comma missing?"
        except (Exception, SystemExit) as error:
            why = describe(error)
        _warn_once(f"rule '{entry.component.name}' of {entry.provider} is left out: {why}")
        return SILENT

    return judge


@cache
def _warn_once(text: str) -> None:
    _LOG.warning("%s", text)
