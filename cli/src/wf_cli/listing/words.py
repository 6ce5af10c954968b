"""Vocabularies for ``wf list`` and ``wf show``: kinds, run-file keys, run values and conditions."""

from __future__ import annotations

from typing import Any

from wf.declarations.vocabulary import VOCABULARIES
from wf.errors import UsageError, unknown
from wf.parameters import NULL, type_name


def word_kind(text: str) -> str | None:
    """The vocabulary with this name, in the singular or plural; None if there is none."""
    singular = text.lower().removesuffix("s")
    return singular if singular in VOCABULARIES else None


def word_rows(kind: str, search: str | None = None) -> list[tuple[str, str, str]]:
    """Name, owner and summary of each word of a vocabulary.

    Args:
        kind: The vocabulary, a key of `VOCABULARIES`.
        search: Keep only words whose name or summary contains this text.
    """
    words = VOCABULARIES[kind]
    rows = [(name, words.owner(name), str(word.facts()["summary"])) for name, word in words.items()]
    return [row for row in rows if search is None or search.lower() in f"{row[0]} {row[2]}".lower()]


def word_record(kind: str, name: str) -> dict[str, Any]:
    """The record of a word for ``--json``.

    Raises:
        UsageError: If the word is unknown.
    """
    word = _find(kind, name)
    facts = word.facts()
    if not isinstance(facts.get("type", ""), str):
        facts["type"] = type_name(facts["type"])
    return {"kind": kind, "name": word.name, "plugin": VOCABULARIES[kind].owner(word.name), **facts}


def word_table(kind: str, name: str) -> list[tuple[str, str]]:
    """The properties of a word, as rows of a table.

    Raises:
        UsageError: If the word is unknown.
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


def _text(value: Any) -> str:
    if value is None:
        return NULL
    return str(value).lower() if isinstance(value, bool) else str(value)
