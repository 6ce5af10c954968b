"""Writes the tables in the pages of this folder that come from the code: `python docs/generate.py`.

A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; NAME is a key of `TABLES`. It also writes the
index of the catalogues' members, `MEMBERS`. A test checks that all of it is up to date.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.resources
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from wf import traits
from wf.declarations.component import REQUIRED, Catalogue, Param
from wf.declarations.conditions import CONDITIONS
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.declarations.values import VALUES
from wf.declarations.vocabulary import Vocabulary
from wf.discovery.entry import Entry
from wf.discovery.known import index
from wf.engine.events import EVENTS, Hook
from wf.parameters import type_name
from wf.registry import Registry
from wf_building.defaults import default_hooks
from wf_cli.arguments import Everywhere
from wf_cli.commands import sections
from wf_cli.doctor.examining import CHECKS
from wf_cli.main import cli
from wf_fitting.tasks import tasks_of
from wf_run.cli.run_options import KindOption
from wf_run.declared.settings import OWN_PLUGIN
from wf_run.runfiles.runfile import dump

FOLDER = Path(__file__).parent
MEMBERS = FOLDER.parent / "corelib" / "src" / "wf" / "known_members.txt"
CONTEXT = click.Context(cli, obj=Everywhere(only_builtin=True))
VERBS = [name for names in sections(Registry.discover(only_builtin=True)).values() for name in names]
MARKS = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(\n?<!-- end -->)", re.DOTALL)


def components() -> str:
    """A section a kind, a table of its components and a list of their options."""
    registry = Registry.discover(only_builtin=True)
    parts = []
    for kind, what in ((kind.name, kind.summary) for kind in KINDS.values()):
        entries = list(registry.entries(kind))
        parts.append(
            f"## {kind}\n\n{what[0].upper()}{what[1:]}. A run that names none gets {_chosen_by_default(kind)}."
        )
        parts.append(table(("name", "what it is", "options"), [_component_row(entry) for entry in entries]))
        for catalogue, plugin in registry.catalogues(kind):
            example = Entry(catalogue.member(catalogue.names()[0]), plugin)
            parts.append(
                f"**`{catalogue.prefix}/...`**, {len(catalogue.names())} names: {catalogue.summary}. "
                f"`wf list {kind} --all` lists them."
            )
            parts.append(_options(example, f"{catalogue.prefix}/..."))
        parts += [_options(entry, entry.component.name) for entry in entries if _params(entry)]
    return "\n\n".join(parts)


def _in_order(words: Vocabulary[Any]) -> list[tuple[str, Any]]:
    """Words by name, those of every run first."""
    return sorted(words.items(), key=lambda pair: words.owner(pair[0]) != OWN_PLUGIN)


def general_keys() -> str:
    """The general keys of a run file."""
    rows = [(f"`{name}`", _type(param), _default(param), param.help) for name, param in _in_order(GENERAL)]
    return table(("key", "type", "default", "meaning"), rows)


def kinds() -> str:
    """The kinds of component, how each is written in a run file, and what a run that names none gets."""
    rows = [
        (f"`[[{kind}]]`" if kind in KINDS.several else f"`[{kind}]`", what.summary, _chosen_by_default(kind))
        for kind, what in ((name, KINDS[name]) for name in KINDS.of_runs)
    ]
    return table(("table", "what it is", "where the run names none"), rows)


def run_values() -> str:
    """What the run fills in."""
    rows = [(f"`{name}`", f"`{value.type}`", value.summary) for name, value in _in_order(VALUES)]
    return table(("parameter", "type", "what it is"), rows)


def events() -> str:
    """The events of the loop."""
    parts = []
    for event in EVENTS:
        method = getattr(Hook, event)
        names = ", ".join(inspect.signature(method).parameters)
        parts.append(f"### `{event}({names})`\n\n{_prose(inspect.getdoc(method) or '')}")
    return "\n\n".join(parts)


def links() -> str:
    """What may stand between model and loss."""
    links = [link for link in tasks_of(Registry.discover(only_builtin=True)).links if link.target]
    return table(("link", "what it does"), [(f"`{link.name}`", link.summary) for link in links])


def fits() -> str:
    """The tasks, and the loss, metrics and model of a run that names none."""
    registry = Registry.discover(only_builtin=True)
    tasks = [entry.component.traits for entry in registry.entries("task")]
    rows = [
        (
            f"`{task.name}`",
            f"`{targets}`",
            *(f"`{name}`" if (name := task.default(kind)) else "-" for kind in ("loss", "model")),
            _names(tasks_of(registry).default_metrics(task, targets)) or "-",
        )
        for task in tasks
        if isinstance(task, Task)
        for targets in task.targets
    ]
    return table(("task", "targets of the dataset", "loss", "model", "metrics"), rows)


def trait_classes() -> str:
    """The traits of each kind."""
    rows = []
    for name, found in vars(traits).items():
        if dataclasses.is_dataclass(found):
            fields = [
                f"`{field.name}`" + ("" if field.default is dataclasses.MISSING else f" = `{field.default!r}`")
                for field in dataclasses.fields(found)
            ]
            rows.append((f"`{name}`", ", ".join(fields), _prose(inspect.getdoc(found) or "")))
    return table(("class", "fields", "what it says"), rows)


def verbs() -> str:
    """The verbs."""
    rows = [(f"[`wf {name}`](#wf-{name})", _help(_command(name).help)) for name in VERBS]
    return table(("command", "what it does"), rows)


def options_of(verb: str) -> Callable[[], str]:
    """A table of the options of a verb."""

    def options() -> str:
        command = _command(verb)
        rows = [
            (_spelling(param), _help(_text(param)))
            for param in command.get_params(click.Context(command))
            if isinstance(param, click.Option) and param.name != "help"
        ]
        return table(("option", "meaning"), rows)

    return options


def broken_plugins() -> str:
    """What becomes of each kind of broken plugin, from the list that the tests install."""
    sys.path.insert(0, str(FOLDER.parent / "tests"))
    from broken_plugins import BROKEN

    rows = [
        (
            broken.defect,
            f"`{broken.status}`",
            _code(broken.error or broken.on_use),
            "; ".join(filter(None, (_code(broken.fix), broken.remark))),
        )
        for broken in BROKEN
    ]
    return table(("a plugin that ...", "status", "what wf says", "what it advises, and what else happens"), rows)


def doctor_checks() -> str:
    """What `wf doctor` looks at."""
    return table(("check", "what is looked at"), [(f"`{name}`", what) for name, what in CHECKS.items()])


def known_plugins() -> str:
    """The index of known plugins."""
    rows = [
        (
            f"`{known.distribution}`",
            known.summary,
            "; ".join(f"{kind} {_names(names)}" for kind, names in known.names.items()),
        )
        for known in index()
    ]
    return table(("distribution", "what it is", "names"), rows)


def checks() -> str:
    """The conformance checks, each with the defect that is planted to see it caught."""
    sys.path.insert(0, str(FOLDER.parent / "tests"))
    from planted_defects import PLANTED

    from wf_kit.checks import CHECKS
    from wf_kit.kit import ALL_KINDS

    defects = {planted.check: planted.defect for planted in PLANTED}
    rows = []
    for name, check in CHECKS.items():
        of = ", ".join("all" if kind == ALL_KINDS else kind for kind in check.kinds)
        rows.append((f"`{name}`", of, _prose(check.summary), check.fix, defects[name]))
    return table(("check", "of", "what it means", "what to do", "the defect that proves it"), rows)


def drift() -> str:
    """What is compared when a run goes on, and what a difference means."""
    rows = [(f"`{one.name}`", one.summary, one.means, one.level) for one in CONDITIONS.values()]
    return table(("name", "what it is", "what a difference means for the bits", "level"), rows)


def ecosystem() -> str:
    """The catalogues of this workspace, each with the library whose components it brings."""
    rows = []
    for catalogue, distribution in _catalogues():
        names, usable = catalogue.names(), catalogue.usable()
        rows.append(
            (
                _library(catalogue),
                f"`{distribution}`",
                catalogue.kind,
                f"`{catalogue.prefix}/...`",
                *(f"{count:,}" for count in (len(names), len(usable), len(names) - len(usable))),
            )
        )
    return table(("library", "distribution", "kind", "names", "in all", "working", "refused"), rows)


def refused() -> str:
    """The members of catalogues that cannot be used, by reason."""
    rows = []
    for catalogue, _ in _catalogues():
        reasons: dict[str, list[str]] = {}
        for name, reason in catalogue.refused().items():
            reasons.setdefault(reason, []).append(f"{catalogue.prefix}/{name}")
        rows += [(catalogue.kind, _names(names), reason) for reason, names in reasons.items()]
    return table(("kind", "names", "why they cannot be used"), rows)


def members() -> str:
    """The members of the catalogues that can be used: lines of a kind, a prefix and names."""
    lines = []
    for catalogue, _ in _catalogues():
        start = f"{catalogue.kind} {catalogue.prefix} "
        names = " ".join(catalogue.usable())
        lines += textwrap.wrap(names, 120, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def _catalogues() -> Iterator[tuple[Catalogue, str]]:
    """Read from the declarations themselves, which import no library: none of them has to be installed."""
    for folder in sorted((FOLDER.parent / "plugins").glob("*/src")):
        package = next(folder.glob("wf_*")).name
        if (folder / package / "plugin.py").exists():
            sys.path.insert(0, str(folder))
            plugin = importlib.import_module(f"{package}.plugin")
            declared = plugin.wf_components() if hasattr(plugin, "wf_components") else ()
            yield from ((found, f"wf-{folder.parent.name}") for found in declared if isinstance(found, Catalogue))


def _library(catalogue: Catalogue) -> str:
    """The library and its version that the index was made from, as its first line says."""
    package, _, file = catalogue.index.partition(":")
    first = importlib.resources.files(package).joinpath(file).read_text(encoding="utf-8").partition("\n")[0]
    found = re.fullmatch(r"# generated from (\S+ \S+) by: python -m [\w.]+", first)
    assert found, f"{catalogue.index}: its first line does not say what it was generated from"
    return found[1]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


TABLES: dict[str, Callable[[], str]] = {
    "components": components,
    "general-keys": general_keys,
    "kinds": kinds,
    "run-values": run_values,
    "events": events,
    "links": links,
    "fits": fits,
    "traits": trait_classes,
    "broken-plugins": broken_plugins,
    "known-plugins": known_plugins,
    "doctor-checks": doctor_checks,
    "drift": drift,
    "checks": checks,
    "ecosystem": ecosystem,
    "refused": refused,
    "verbs": verbs,
    **{f"options-{verb}": options_of(verb) for verb in VERBS},
}
"""What may stand after ``generated:``."""


def renew(text: str) -> str:
    """A page with its tables as the code has them."""
    return MARKS.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}", text)


def main() -> None:
    """Renew every page, and the index of members."""
    for page in sorted(FOLDER.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = renew(old)
        if new != old:
            page.write_text(new, encoding="utf-8")
            print(page.name)
    MEMBERS.write_text(members(), encoding="utf-8")


def _component_row(entry: Entry) -> tuple[str, str, str]:
    component = entry.component
    aliases = f" (also {_names(component.aliases)})" if component.aliases else ""
    names = [param.name for param in _params(entry) if param.source is None]
    return f"`{component.name}`{aliases}", component.summary, _names(names) or "-"


def _params(entry: Entry) -> tuple[Param, ...]:
    return entry.params()


def _options(entry: Entry, name: str) -> str:
    rows = [(f"`{param.name}`", _type(param), _default(param), _prose(param.help)) for param in _params(entry)]
    heading = f"### {entry.component.kind} {name}"
    return f"{heading}\n\n{table(('option', 'type', 'default', 'meaning'), rows)}"


def _chosen_by_default(kind: str) -> str:
    registry = Registry.discover(only_builtin=True)
    special = {
        "hook": _names(default_hooks(registry)),
        "loss": "one that fits the dataset's targets",
        "metric": "what fits the dataset's targets",
        "transform": "what the dataset asks for",
        "scheduler": "a learning rate that stays as it is",
    }
    if kind in special:
        return special[kind]
    claims = [entry.component for entry in registry.claims.get(kind, ())]
    every = [f"`{one.name}`{f' for {one.default}' if isinstance(one.default, str) else ''}" for one in claims]
    return ", ".join([*every, *(["or the task's"] if kind == "model" else [])]) or "none"


def _type(param: Param) -> str:
    return f"`{type_name(param.type)}`"


def _default(param: Param) -> str:
    if param.source is not None:
        return "from the run"
    if param.default is REQUIRED:
        return "required"
    return "`null`" if param.default is None else f"`{_value(param.default)}`"


def _value(value: Any) -> str:
    """A value as it is written in a run file; text without its quotes."""
    return value if isinstance(value, str) else dump({"links": value}).removeprefix("links = ").strip()


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _prose(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _command(verb: str) -> click.Command:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return command


def _spelling(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    metavar = option.metavar or (option.type.name.upper() if not option.is_flag else "")
    if isinstance(option.type, click.Choice):
        metavar = "|".join(map(str, option.type.choices))
    return f"{names} `{metavar}`" if metavar else names


def _text(option: click.Option) -> str | None:
    """What help says of an option, with the defaults of the built-in plugins."""
    if not isinstance(option, KindOption):
        return option.help
    record = option.get_help_record(CONTEXT)
    return record and record[1]


def _help(text: str | None) -> str:
    return _prose((text or "").split("\n\n")[0])


if __name__ == "__main__":
    main()
