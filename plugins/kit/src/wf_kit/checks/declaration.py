"""Checks of components of every kind: declaration, options, and that it can be built."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from functools import cache
from typing import Any

from wf.declarations.component import REQUIRED, Param
from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.discovery.modules import is_path
from wf.discovery.plugins import HEAVY, Plugin
from wf.errors import DataError, UsageError, unknown
from wf.parameters import convert, type_name
from wf_fitting.tasks import tasks_of
from wf_kit.kit import ALL_KINDS, Defect, NotChecked, NotHere, Subject, check, expect, told
from wf_kit.making import check_kind, make, values

DECLARING = (ALL_KINDS, *DECLARATIONS)
FORMED = ("dataset", "transform", "model", "loss", "metric")
"""Kinds whose traits have forms of targets or predictions."""
LIMIT_MS = 100.0
REPEATS = 5
EXAMPLES = {"int": "10", "float": "0.5", "bool": "true"}
"""Example values as typed on the command line, by type."""


@check("summary", *DECLARING, after=(), fix="give the declaration a summary of one line with less than 100 characters")
def summary(subject: Subject) -> None:
    """The declaration has a summary that fits into a list."""
    _declared(subject)
    text = subject.component.summary
    expect(text.strip(), "there is no summary")
    expect("\n" not in text, "the summary has more than one line")
    expect(len(text) < 100, f"the summary has {len(text)} characters")


@check(
    "traits",
    *(name for name, kind in KINDS.items() if kind.traits is not None and name != "hook"),
    after=(),
    fix="declare the traits class of its kind, see wf.traits",
)
def has_traits(subject: Subject) -> None:
    """It declares the traits of its kind."""
    _declared(subject)
    expect(subject.traits is not None, f"it declares none, but {_traits_of(subject.kind)} is expected")


def _traits_of(kind: str) -> str:
    traits = KINDS[kind].traits
    return traits.__name__ if traits else "none"


@check(
    "forms",
    *FORMED,
    after=(),
    fix="correct the word in its traits, or install the package that declares such a task or link",
)
def forms(subject: Subject) -> None:
    """Each form of targets and predictions in its traits is declared by an installed task or link."""
    if subject.traits is None:
        raise NotChecked("it declares no traits")
    for of, form, known in tasks_of(subject.registry).unknown_forms(subject.traits):
        raise Defect(unknown(f"form of {of}", form, known).replace("\n ", ";"))


@check("name", *DECLARING, after=(), fix="choose a unique name or alias, or tell users to pin it")
def name(subject: Subject) -> None:
    """Its name and its aliases refer to it and to nothing else that is installed."""
    plugin = _declared(subject)
    for word in (subject.component.name, *subject.component.aliases):
        try:
            found = subject.registry.find(subject.kind, word)
        except UsageError as error:
            raise Defect(str(error).replace("\n ", ";")) from error
        other = f"{found.component.name}@{found.provider}"
        expect(other == f"{subject.component.name}@{plugin.name}", f"{subject.kind} '{word}' refers to {other}")


@check(
    "light",
    *DECLARING,
    after=(),
    fix="write targets as strings, 'package.module:Attr', and keep the package's __init__ empty",
)
def light(subject: Subject) -> None:
    """Declaring the plugin imports nothing heavy."""
    heavy = [name for record in _declared_anew(_installed(subject), _declaring(subject)) for name in record["heavy"]]
    expect(not heavy, f"declaring {_declared(subject).module} imports {', '.join(sorted(set(heavy)))}")


@check("fast", *DECLARING, after=("light",), fix="import less in plugin.py and in the package's __init__")
def fast(subject: Subject) -> None:
    """Declaring the plugin takes less than 100 ms in a fresh interpreter, in the best of five attempts."""
    best = min(record["ms"] for record in _declared_anew(_installed(subject), _declaring(subject)))
    expect(best < LIMIT_MS, f"declaring {_declared(subject).module} takes {best:.0f} ms")


@check("loads", *DECLARING, after=(), fix="fix the target's module, or the target's name in the declaration")
def loads(subject: Subject) -> None:
    """Its target can be imported."""
    expect(callable(subject.entry.load()), "the target cannot be called")


@check("docstring", ALL_KINDS, after=("loads",), fix="write a Google-style docstring; 'Args:' describes every option")
def docstring(subject: Subject) -> None:
    """Its docstring describes it and each option."""
    text = inspect.getdoc(subject.entry.load()) or ""
    expect(text.strip(), "the target has no docstring")
    unsaid = [param.name for param in subject.params if not param.help]
    expect(not unsaid, f"no description of {_options(unsaid)}")


@check(
    "options",
    ALL_KINDS,
    after=("loads",),
    fix="annotate each option with a type that pydantic checks; defaults must have that type",
)
def options(subject: Subject) -> None:
    """Every option has a type that values are checked against, and a default of that type."""
    for param in subject.params:
        if param.source is None and param.kind is None:
            _check_option(param, str(subject))


def _check_option(param: Param, owner: str) -> None:
    from pydantic import PydanticUserError, TypeAdapter

    expect(param.type is not Any, f"option '{param.name}' has no annotation")
    expect(not isinstance(param.type, str), f"the annotation of option '{param.name}' cannot be resolved: {param.type}")
    try:
        TypeAdapter(param.type)
    except PydanticUserError as error:
        text = f"no value can be checked against the annotation of '{param.name}': {told(error)[:120]}"
        raise Defect(text) from error
    if param.default is REQUIRED:
        return
    converted = convert(param, param.default, owner)
    expect(
        converted == param.default,
        f"the default of '{param.name}' is {param.default!r}, which its annotation converts to {converted!r}",
    )


@check(
    "made",
    ALL_KINDS,
    after=("loads", "forms"),
    fix='set its required options: [tool.wf.check.options."KIND/NAME"]; see docs/plugins.md',
)
def made(subject: Subject) -> None:
    """It can be built from its options and run values, and has the interface of its kind."""
    missing = subject.missing()
    if missing:
        must = "locate its data" if subject.kind == "dataset" else "be given"
        raise NotHere(f"{_options(missing)} must {must}; set a value: {_line(subject, missing)}")
    with values(subject) as known:
        try:
            value = make(subject, known)
        except DataError as error:
            if subject.kind != "dataset":
                raise
            raise NotHere(f"its data is missing: {str(error).splitlines()[0]}") from error
        except UsageError as error:
            unset = [param.name for param in subject.params if param.default is None and param.source is None]
            if subject.given or not unset:  # it refuses a given value rather than a missing one
                raise
            raise NotHere(f"{error}; set a value: {_line(subject, unset[:1])}") from error
        check_kind(subject, value)


def _line(subject: Subject, names: list[str]) -> str:
    """The command-line options that set values."""
    start = f"{subject.kind}.{subject.component.name}" if subject.kind in KINDS.several else subject.kind
    return " ".join(f"--{start}.{name} {_example(subject.param(name))}" for name in names)


def _example(param: Param | None) -> str:
    """A value of an option's type, as typed on the command line."""
    words = re.findall(r"\w+", type_name(param.type)) if param else []
    value = next((EXAMPLES[word] for word in words if word in EXAMPLES), "VALUE")
    return f"'[{value}]'" if words[:1] in (["list"], ["tuple"], ["Sequence"]) else value


def _options(names: list[str]) -> str:
    return f"option {names[0]!r}" if len(names) == 1 else f"options {', '.join(map(repr, names))}"


def _declared(subject: Subject) -> Plugin:
    """The plugin that declares it."""
    if subject.entry.plugin is None:
        raise NotChecked("your own code has no declaration")
    return subject.entry.plugin


def _installed(subject: Subject) -> str:
    """The module that declares it."""
    plugin = _declared(subject)
    if is_path(plugin.module):
        raise NotChecked("a single-file plugin may contain its components")
    return plugin.module.partition(":")[0].strip()


def _declaring(subject: Subject) -> tuple[str, ...]:
    """The modules of the plugins that declare the kinds of its plugin's components."""
    plugin = _declared(subject)
    owners = {KINDS.owner(component.kind) for component in plugin.components if component.kind in KINDS}
    others = [one for one in subject.registry.plugins if one.name in owners and one.name != plugin.name]
    return tuple(one.module.partition(":")[0].strip() for one in others)


_DECLARE = f"""
import json, sys
from wf.declarations.vocabulary import forget
from wf.discovery.plugins import Selection, discover
import wf_run  # declares its words when it is imported; here its plugin does so, under another name
forget("wf-run")
module, *declaring = sys.argv[1:]
names = tuple(dict.fromkeys(("wf_run.plugin", *declaring, module)))  # wf_run declares the run values that others take
[plugin] = [one for one in discover(Selection(extra=names, autoload=False)) if one.module == module]
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print("\\n" + json.dumps({{"error": plugin.error, "ms": plugin.import_ms, "heavy": heavy}}))
"""


@cache
def _declared_anew(module: str, declaring: tuple[str, ...]) -> list[dict[str, Any]]:
    """The cost of declaring a plugin in fresh interpreters: repeated until it was fast once."""
    records: list[dict[str, Any]] = []
    while len(records) < REPEATS and not any(record["ms"] < LIMIT_MS for record in records):
        records.append(_declare(module, declaring))
    return records


def _declare(module: str, declaring: tuple[str, ...]) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-c", _DECLARE, module, *declaring]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    expect(done.returncode == 0, f"declaring {module} ends python: {done.stderr.strip()[-200:]}")
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    expect(record["error"] is None, f"{module} cannot be declared: {record['error']}")
    return record
