"""Words that plugins add to: kinds, run-file keys, run values and conditions, for ``wf list`` and ``wf show``."""

from __future__ import annotations

from typing import Any

from wf.declarations.component import Param
from wf.declarations.conditions import CONDITIONS, Condition
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS, Kind
from wf.declarations.values import VALUES, RunValue
from wf.declarations.vocabulary import Vocabulary
from wf.errors import UsageError, unknown
from wf.parameters import NULL, type_name

VOCABULARIES: dict[str, Vocabulary[Any]] = {
    "kind": KINDS,
    "setting": GENERAL,
    "value": VALUES,
    "condition": CONDITIONS,
}
SUMMARIES = {
    "kind": "the kinds of components",
    "setting": "general keys of a run file, and options of wf run",
    "value": "what a run fills into the parameters of that name",
    "condition": "what must be equal when a run goes on",
}


def word_kind(text: str) -> str | None:
    """The vocabulary that a word names, in the singular or plural; None for none."""
    singular = text.lower().removesuffix("s")
    return singular if singular in VOCABULARIES else None


def word_rows(kind: str, search: str | None = None) -> list[tuple[str, str, str]]:
    """Name, owner and summary of each word of a vocabulary.

    Args:
        kind: Its key in `VOCABULARIES`.
        search: A text that name or summary must hold.
    """
    words = VOCABULARIES[kind]
    rows = [(name, words.owner(name), _summary(word)) for name, word in words.items()]
    return [row for row in rows if search is None or search.lower() in f"{row[0]} {row[2]}".lower()]


def word_record(kind: str, name: str) -> dict[str, Any]:
    """A word as ``--json`` prints it.

    Raises:
        UsageError: For an unknown word.
    """
    word = _find(kind, name)
    return {"kind": kind, "name": word.name, "plugin": VOCABULARIES[kind].owner(word.name), **_facts(word)}


def word_table(kind: str, name: str) -> list[tuple[str, str]]:
    """The facts about a word, for a table.

    Raises:
        UsageError: For an unknown word.
    """
    record = word_record(kind, name)
    facts = {key: value for key, value in record.items() if key not in ("kind", "name", "summary")}
    return [("provider", facts.pop("plugin")), *((key, _text(value)) for key, value in facts.items() if value != "")]


def _find(kind: str, name: str) -> Any:
    words = VOCABULARIES[kind]
    for known in words:
        if name.replace("-", "_").lower() == known.replace("-", "_"):
            return words[known]
    raise UsageError(unknown(kind, name, list(words), f"see: wf list {kind}s"))


def _summary(word: Any) -> str:
    return str(word.help if isinstance(word, Param) else word.summary)


def _facts(word: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"summary": _summary(word)}
    match word:
        case Param(name=name, type=kind, default=default):
            facts |= {"option": f"--{name.replace('_', '-')}", "type": type_name(kind), "default": default}
        case Kind(name=name, plural=plural, several=several, value=value):
            facts |= {"option": f"--{name}", "plural": plural, "several": several, "run_value": value}
        case RunValue(type=kind, provider=provider):
            facts |= {"type": kind, "target": provider if isinstance(provider, str) else ""}
        case Condition(means=means, level=level, fix=fix):
            facts |= {"means": means, "level": level, "fix": fix}
    return facts


def _text(value: Any) -> str:
    if value is None:
        return NULL
    return str(value).lower() if isinstance(value, bool) else str(value)
