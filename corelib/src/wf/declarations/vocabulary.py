"""Words that plugins declare: kinds of components, run values, settings of run files and conditions.

Loading a plugin makes its words known to the whole process, as pluggy does with hooks. A word is declared once in a
vocabulary, and once among vocabularies that share a namespace, such as kinds and settings at the top level of a run
file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from wf.errors import PluginError


class Word(Protocol):
    """A declaration with a name."""

    @property
    def name(self) -> str:
        """What users type."""

    def facts(self) -> dict[str, Any]:
        """What ``wf show`` says of it, ``summary`` first."""


T = TypeVar("T", bound=Word)


VOCABULARIES: dict[str, Vocabulary[Any]] = {}
"""Every vocabulary, by the word for one of its words."""


class Vocabulary(Mapping[str, T]):
    """Declarations by name, in the order in which they were declared.

    Args:
        what: The word for one of them in messages: ``run value``. Its last word is what ``wf list`` calls them.
        summary: One line that describes them, for lists.
        beside: Vocabularies in the same namespace, so that a name may be in only one of them.
    """

    def __init__(self, what: str, summary: str, beside: Iterable[Vocabulary[Any]] = ()) -> None:
        self.what = what
        self.summary = summary
        self._words: dict[str, T] = {}
        self._owners: dict[str, str] = {}
        self._beside: list[Vocabulary[Any]] = []
        for other in beside:
            self._beside.append(other)
            other._beside.append(self)
        VOCABULARIES[what.rpartition(" ")[2]] = self

    def __getitem__(self, name: str) -> T:
        return self._words[name]

    def __contains__(self, name: object) -> bool:
        return name in self._words

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def owner(self, name: str) -> str:
        """The plugin that declared a word."""
        return self._owners[name]

    def of(self, owner: str) -> list[T]:
        """The words that a plugin declared."""
        return [word for name, word in self._words.items() if self._owners[name] == owner]

    def add(self, words: Iterable[T], owner: str) -> None:
        """Add the words of a plugin, or none of them.

        A plugin that is loaded again may declare its words again.

        Raises:
            PluginError: When a word is declared twice, or another plugin has declared it.
        """
        words = list(words)
        names = [word.name for word in words]
        for name in names:
            if names.count(name) > 1:
                raise PluginError(f"it declares {self.what} '{name}' twice")
            for other in (self, *self._beside):
                if name in other and (other is not self or other.owner(name) != owner):
                    raise PluginError(f"it declares {self.what} '{name}', and {_taken(other, name, owner)}")
        for word in words:
            self._words[word.name] = word
            self._owners[word.name] = owner

    def remove(self, owner: str) -> None:
        """Forget the words of a plugin that could not be loaded after all."""
        for name in [name for name, one in self._owners.items() if one == owner]:
            del self._words[name], self._owners[name]


def forget(owner: str) -> None:
    """Take back all words of a plugin that is not loaded after all."""
    for words in VOCABULARIES.values():
        words.remove(owner)


def _taken(words: Vocabulary[Any], name: str, mine: str) -> str:
    """The message for a name that is taken."""
    owner = words.owner(name)
    return f"{words.what} '{name}' is declared by {owner}: one of the two can be loaded (-p no:{mine} or -p no:{owner})"
