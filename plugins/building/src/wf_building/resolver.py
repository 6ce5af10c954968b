"""The values of a run, each made once, when it is first needed.

A value is already known, or has one provider: the component of a kind, or a plugin's function. The needs of a provider
are resolved first, so they determine the order in which values are made.
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
"""The provider of values that are known from the start, or that have no other provider."""


@dataclass(frozen=True)
class Provider:
    """The provider of a value."""

    title: str
    """Its name in messages: ``anchor-generator 'grid' of wf-boxes``."""
    make: Callable[[], Any]
    """Makes the value, asking the resolver for its needs. A generator yields it, and is continued when the run is
    over."""
    needs: tuple[str, ...] = ()
    """The values that it needs, if they have providers: made first, before its random stream is set."""
    of_run: bool = False
    """Whether the run itself provides it: it then draws from the run's random numbers, and the run saves its state."""


Find = Callable[[str], Provider | None]
"""Finds the provider of a value; None without one.

Raises:
    UsageError: If several plugins provide it.
"""


class Resolver(MutableMapping[str, Any]):
    """The values of a run by name.

    As a mapping it holds the values known so far; `need` makes others.

    Args:
        known: The values known from the start.
        find: Finds the provider of a value.
        apart: Called with a value's name; returns a context that gives it a separate random stream.
    """

    def __init__(
        self,
        known: Mapping[str, Any] | None = None,
        find: Find = lambda name: None,
        apart: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
    ) -> None:
        self._known: dict[str, Any] = dict(known or {})
        self._finder = find
        self._found: dict[str, Provider] = {}
        """The providers that were looked up, each once."""
        self._apart = apart
        self._askers: list[str] = []
        """The parts being made that asked for values, outermost first."""
        self._for = ""
        """The run's value that is being made: it counts as the asker if no component asks."""
        self._making: list[str] = []
        """The values that are being made, outermost first."""
        self._of_run: set[str] = set()
        """The values that the run itself provides, of those requested."""
        self._closing = ExitStack()
        self._providers: dict[str, str] = {}
        self.asked_by: dict[str, list[str]] = {}
        """The askers of each requested value, in order."""
        self.made: list[str] = []
        """The values that providers of plugins made, in that order."""

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
        """Keep values that a provider has made: ``dataset 'digits'``."""
        self._known.update(values)
        self._providers.update(dict.fromkeys(values, provider))

    def at_close(self, end: Callable[[], object]) -> None:
        """Call a function when the run is over, before values made earlier are closed."""
        self._closing.callback(end)

    def provider(self, name: str) -> str:
        """The provider of a known value, as named in messages."""
        return self._providers.get(name, RUN)

    @contextmanager
    def asking(self, owner: str) -> Iterator[None]:
        """Context for making a part that may need values: ``model 'mlp'``."""
        self._askers.append(owner)
        try:
            yield
        finally:
            self._askers.pop()

    @contextmanager
    def _asking_anew(self, owner: str) -> Iterator[None]:
        """Context in which the run makes a value itself: messages show it as the asker, without the requests before
        it."""
        before, self._askers, self._for = (self._askers, self._for), [], owner
        try:
            yield
        finally:
            self._askers, self._for = before

    def apart(self, name: str) -> AbstractContextManager[Any]:
        """Context for making a value with a separate random stream."""
        return self._apart(name)

    @contextmanager
    def within(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Replace some values for a while, for one scope."""
        before = {name: self._known[name] for name in values if name in self._known}
        self._known.update(values)
        try:
            yield
        finally:
            for name in values:
                self._known.pop(name, None)
            self._known.update(before)

    def provides(self, name: str) -> bool:
        """Whether a value is known or has a provider.

        Raises:
            UsageError: When several provide it.
        """
        return name in self._known or name in self._making or self._find(name) is not None or name in self._known

    def _find(self, name: str) -> Provider | None:
        """The provider of a value. A missing one is looked up again, because making another value may add it."""
        if name not in self._found and (provider := self._finder(name)) is not None:
            self._found[name] = provider
        return self._found.get(name)

    def comes_later(self, name: str) -> bool:
        """Whether a value of the run needs the value that is being made now, so that it must come later."""
        if name in self._known or name in self._making:
            return name in self._making and name in self._of_run
        provider = self._find(name)
        return provider is not None and provider.of_run and any(map(self.comes_later, provider.needs))

    def need(self, name: str) -> Any:
        """A value, made now if it is not known yet.

        Raises:
            UsageError: If it needs itself, with the chain.
            KeyError: If nothing provides it.
        """
        if name not in self._known:
            self._known[name] = self._make(name)
        asked_by = self.asked_by.setdefault(name, [])
        asker = self._askers[-1] if self._askers else self._for
        if asker and asker not in asked_by:
            asked_by.append(asker)
        return self._known[name]

    def close(self) -> None:
        """Close the values that were made, in reverse order."""
        self._closing.close()

    def chain(self) -> str:
        """The chain of requests, outermost first: ``model 'detector', which needs ...``; empty for a direct request."""
        return " > ".join(self._askers[:-1])

    def _make(self, name: str) -> Any:
        if name in self._making:
            cycle = [*self._making[self._making.index(name) :], name]
            raise UsageError(
                f"'{name}' needs itself: {' needs '.join(cycle)}\n  asked for by {' > '.join(self._askers)}\n"
                "  leave out one of them, or set the option that asks for it"
            )
        provider = self._find(name)
        if name in self._known:  # made together with another value during the search for a provider
            return self._known[name]
        if provider is None:
            raise KeyError(name)
        self._making.append(name)
        if provider.of_run:
            self._of_run.add(name)
        try:
            with self._asking_anew(provider.title) if provider.of_run else self.asking(provider.title):
                for need in provider.needs:
                    if not self.comes_later(need) and self.provides(need):
                        self.need(need)
                with nullcontext() if provider.of_run else self._apart(name):
                    value = provider.make()
                    if inspect.isgenerator(value):
                        value = self._closing.enter_context(_until_closed(value, provider.title))
        finally:
            self._making.pop()
        self._providers.setdefault(name, provider.title)
        if not provider.of_run:
            self.made.append(name)
        return value


@contextmanager
def _until_closed(generator: Iterator[Any], title: str) -> Iterator[Any]:
    """The value that a generator yields; it is continued when the context ends."""
    made = list(itertools.islice(generator, 1))
    if not made:
        raise PluginError(f"{title} ends without a value: its function must yield exactly one")
    yield made[0]
    next(generator, None)
