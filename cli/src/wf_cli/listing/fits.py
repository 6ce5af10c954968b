"""``wf list KIND --fits NAME``: the components that fit another one, according to their traits."""

from __future__ import annotations

from dataclasses import replace

from wf.declarations.component import of_declaration
from wf.declarations.kinds import KINDS
from wf.declarations.rule import Verdict
from wf.discovery.entry import Entry
from wf.errors import UsageError
from wf.registry import Registry, split_kind
from wf_fitting.checking import fitting, plural, related_kinds
from wf_fitting.tasks import tasks_of


def fitting_entries(registry: Registry, wanted: str | None, other: Entry) -> list[tuple[Entry, Verdict]]:
    """The components of a kind, or of all relevant kinds, with their verdicts; catalogue members included.

    Raises:
        UsageError: If traits do not decide what fits.
    """
    kinds = [wanted] if wanted else [kind for kind in related_kinds(other.component.kind, registry) if kind in KINDS]
    if not kinds:
        raise UsageError(f"the traits of a {other.component.kind} do not decide what fits it")
    found = [pair for kind in kinds for pair in fitting(registry, kind, other, catalogues=True)]
    return [(entry, verdict) for entry, verdict in found if not entry.refused]


def find_other(registry: Registry, wanted: str | None, word: str) -> Entry | None:
    """Resolve ``--fits``: ``[KIND/]NAME``, the name of a file that a dataset reads, or a form of targets.

    Args:
        registry: The registry to search.
        wanted: The kind to list; if several components have the name, those of related kinds are preferred.
        word: The name.

    Returns:
        The component; None if there is none with that name.

    Raises:
        UsageError: If the name is ambiguous.
    """
    if pair := split_kind(word):
        return registry.find(*pair)
    kinds = registry.kinds_of(word.partition("@")[0])
    related = [kind for kind in kinds if wanted in (None, *related_kinds(kind, registry))]
    if len(related or kinds) > 1:
        ways = " or ".join(f"--fits {kind}/{word}" for kind in related or kinds)
        raise UsageError(f"'{word}' is ambiguous\n  use one of: {ways}")
    if kinds:
        return registry.find((related or kinds)[0], word)
    return registry.for_file("dataset", word) or _of_form(registry, word)


def _of_form(registry: Registry, word: str) -> Entry | None:
    """The task for a form of targets, restricted to that form."""
    task = tasks_of(registry).of(word)
    return Entry(of_declaration(replace(task, targets=(word,)))) if task else None


def unknown_note(found: list[tuple[Entry, Verdict]], wanted: str | None) -> str:
    """A note on components whose traits do not decide; empty if there are none."""
    reasons: dict[tuple[str, ...], list[str]] = {}
    for entry, verdict in found:
        if verdict.fits is None:
            name = entry.component.name
            reasons.setdefault(verdict.why, []).append(name if wanted else f"{entry.component.kind} {name}")
    return "\n".join(f"unknown for {', '.join(names)}: {'; '.join(why)}" for why, names in reasons.items())


def nothing_note(found: list[tuple[Entry, Verdict]], other: Entry) -> str:
    """The message that nothing is known to fit, with the reason if all have the same one."""
    why = {verdict.why[0] for _, verdict in found if verdict.fits is False}
    kinds = " or ".join(dict.fromkeys(plural(entry.component.kind) for entry, _ in found)) or "components"
    reason = f": {why.pop()}" if len(why) == 1 else ""
    return f"no {kinds} are known to fit {other.component.kind} '{other.component.name}'{reason}"
