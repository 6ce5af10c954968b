"""The kinds of components, which plugins declare with ``wf_kinds``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wf.declarations.fields import check_fields
from wf.declarations.vocabulary import Vocabulary

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of component, as a plugin's ``wf_kinds`` declares it.

    Its components are chosen by a table ``[NAME]`` of a run file and by ``--NAME``, and are the run value of that name
    (`value`), which other components, and the run values of plugins, may ask for.
    """

    name: str
    """What users type: ``anchor-generator``."""
    summary: str = ""
    """One line that describes its components."""
    plural: str = ""
    """The plural, which ``wf list`` also takes; by default the name with an s."""
    several: bool = False
    """Whether a run may have several: ``[[NAME]]``."""
    traits: type | None = None
    """The class of its components' traits."""
    together: str = ""
    """``"package.module:Class"`` that combines the components of several scopes, see
    `wf_building.scopes`; a dict of them where it names none."""
    objects: str = ""
    """The expected object, for messages when users give a function instead: ``an object with update(...) and
    compute()``."""

    of_runs: bool = True
    """Whether a run has components of this kind, chosen in run files and by ``wf run``."""
    chosen_by: str = ""
    """Who chooses its default components, if these do not declare it themselves."""
    by_inputs: bool = False
    """Whether a component may be the default one of certain inputs: ``default="tokens"``."""
    by_processes: bool = False
    """Whether a component may be the default one of several processes: ``default="processes"``."""
    of_task: bool = True
    """Whether a task may name the components of a run that names none."""
    on_demand: bool = True
    """Whether its components are a run value, made when something asks for it; otherwise the plugin that declares the
    kind makes them, and declares their run value if they are one."""
    keys: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Keys in the tables of its components that are not options of these, each with its JSON Schema: ``on_error``."""
    may_change: bool = False
    """Whether a run may go on with another component, or other options, and keep its bits."""
    order: int = 100
    """Its place in lists: lower ones come first, equal ones by name."""

    def __post_init__(self) -> None:
        check_fields(self, "kind '{0.name}'")
        if not _NAME.match(self.name):
            raise ValueError(f"'{self.name}' is not the name of a kind: use lower case, digits and single hyphens")
        if not self.plural:
            object.__setattr__(self, "plural", f"{self.name}s")

    @property
    def value(self) -> str:
        """The name of its run value: the component; a list of them where a run may have several."""
        return (self.plural if self.several else self.name).replace("-", "_")

    def facts(self) -> dict[str, Any]:
        """What ``wf show`` says of it."""
        facts = {"option": f"--{self.name}", "plural": self.plural, "several": self.several, "run_value": self.value}
        return {"summary": self.summary, **facts}


class Kinds(Vocabulary[Kind]):
    """The kinds by name, in the order that they declare, whichever plugin came first."""

    def add(self, words: Iterable[Kind], owner: str) -> None:
        """As every vocabulary's."""
        words = list(words)
        super().add(words, owner)
        if words:  # a plugin without kinds may have broken `sorted`
            self._words = dict(sorted(self._words.items(), key=lambda item: (item[1].order, item[0])))

    @property
    def several(self) -> tuple[str, ...]:
        """The kinds that a run may have several of."""
        return tuple(name for name, kind in self.items() if kind.several)

    @property
    def on_demand(self) -> dict[str, Kind]:
        """The kinds whose components are made when something asks for them."""
        return {name: kind for name, kind in self.items() if kind.on_demand}

    @property
    def of_runs(self) -> tuple[str, ...]:
        """The kinds that runs are made of."""
        return tuple(name for name, kind in self.items() if kind.of_runs)


KINDS = Kinds("kind", "the kinds of components")
"""Every kind of component; plugins declare them with ``wf_kinds``."""


def option_prefix(kind: str, use: str) -> str:
    """The prefix of a component's options on the command line: ``loss``, ``hook.plots``."""
    return f"{kind}.{use}" if KINDS[kind].several else kind
