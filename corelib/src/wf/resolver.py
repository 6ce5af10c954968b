"""The values of a run, each made once, when somebody first needs it.

A value is known to the run already, or it has one provider: the component of a kind, or the function of a plugin. What
a provider needs is resolved first, so the order in which things are made follows from their needs.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from wf.errors import PluginError, UsageError

RUN = "the run"
"""Who provides what is known from the start, or what nobody says more of."""


@dataclass(frozen=True)
class Provider:
    """Who makes a value."""

    title: str
    """As messages call it: ``anchor-generator 'grid' of wf-boxes``."""
    make: Callable[[], Any]
    """Makes it; asks the resolver for what it needs. A generator yields it, and is continued when the run is over."""


Find = Callable[[str], Provider | None]
"""Finds the provider of a value; None where nobody provides it.

Raises:
    UsageError: Where several do.
"""


class Resolver(MutableMapping[str, Any]):
    """The values of a run by name.

    As a mapping it holds what is known so far. `need` makes what is not.

    Args:
        known: What is known already.
        find: Finds the provider of a value.
        apart: Given a value's name, a context in which it is made, whatever it draws.
    """

    def __init__(
        self,
        known: Mapping[str, Any] | None = None,
        find: Find = lambda name: None,
        apart: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
    ) -> None:
        self._known: dict[str, Any] = dict(known or {})
        self._find = find
        self._apart = apart
        self._askers: list[str] = []
        """Who is being made and asked for something, outermost first."""
        self._making: list[str] = []
        """The values that are being made, outermost first."""
        self._closing = ExitStack()
        self._providers: dict[str, str] = {}
        self.asked_by: dict[str, list[str]] = {}
        """Who asked for each value that somebody asked for, in that order."""
        self.made: list[str] = []
        """The values that providers made, in that order."""

    def __getitem__(self, name: str) -> Any:
        return self._known[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._known[name] = value

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, provider: str, values: Mapping[str, Any]) -> None:
        """Keep values that somebody has made: ``dataset 'digits'``."""
        self._known.update(values)
        self._providers.update(dict.fromkeys(values, provider))

    def provider(self, name: str) -> str:
        """Who provides a value that is known, as messages call it."""
        return self._providers.get(name, RUN)

    @contextmanager
    def asking(self, owner: str) -> Iterator[None]:
        """While something is made that may need values: ``model 'mlp'``."""
        self._askers.append(owner)
        try:
            yield
        finally:
            self._askers.pop()

    def apart(self, name: str) -> AbstractContextManager[Any]:
        """While something is made that draws from a stream of its own."""
        return self._apart(name)

    @contextmanager
    def within(self, values: Mapping[str, Any]) -> Iterator[None]:
        """While some values are others: those of one scope."""
        before = dict(self._known)
        self._known.update(values)
        try:
            yield
        finally:
            self._known = before | {name: value for name, value in self._known.items() if name in self.made}

    def provides(self, name: str) -> bool:
        """Whether a value is known, or somebody can be asked for it.

        Raises:
            UsageError: When several provide it.
        """
        return name in self._known or name in self._making or self._find(name) is not None

    def need(self, name: str) -> Any:
        """A value; made now, where it is not known yet.

        Raises:
            UsageError: When it needs itself, with the chain.
            KeyError: When nobody provides it.
        """
        if name not in self._known:
            self._known[name] = self._make(name)
        asked_by = self.asked_by.setdefault(name, [])
        if self._askers and self._askers[-1] not in asked_by:
            asked_by.append(self._askers[-1])
        return self._known[name]

    def close(self) -> None:
        """End what was made, in reverse order."""
        self._closing.close()

    def chain(self) -> str:
        """Who asked whom, outermost first: ``model 'detector', which needs ...``; empty for one that asks directly."""
        return " > ".join(self._askers[:-1])

    def _make(self, name: str) -> Any:
        if name in self._making:
            cycle = [*self._making[self._making.index(name) :], name]
            raise UsageError(
                f"'{name}' needs itself: {' needs '.join(cycle)}\n  asked for by {' > '.join(self._askers)}\n"
                "  leave out one of them, or set the option that asks for it"
            )
        provider = self._find(name)
        if provider is None:
            raise KeyError(name)
        self._making.append(name)
        try:
            with self._apart(name), self.asking(provider.title):
                value = provider.make()
                if inspect.isgenerator(value):
                    value = self._closing.enter_context(_until_closed(value, provider.title))
        finally:
            self._making.pop()
        self._providers[name] = provider.title
        self.made.append(name)
        return value


@contextmanager
def _until_closed(generator: Iterator[Any], title: str) -> Iterator[Any]:
    """What a generator yields; it goes on when the context ends."""
    made = list(itertools.islice(generator, 1))
    if not made:
        raise PluginError(f"{title} ends without a value: let its function yield one, once")
    yield made[0]
    next(generator, None)
