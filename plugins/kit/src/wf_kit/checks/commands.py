"""Checks of commands, of the formats of ``wf export``, and of plots."""

from __future__ import annotations

from collections.abc import Iterator

from wf.errors import unknown
from wf_charts import PlotTraits
from wf_kit.kit import NotChecked, Subject, check, expect
from wf_kit.making import make, values
from wf_run.directory.group import RunGroup
from wf_run.views.choosing import RUN, traits_of

METHODS = {"model": ("write", "outputs", "use"), "training": ("write", "check")}
"""The methods of an exporter, by the object that it writes."""


@check(
    "exporter-methods",
    "exporter",
    after=("made",),
    fix="give it the methods of its protocol, and in_graph; see docs/export.md",
)
def exporter_methods(subject: Subject) -> None:
    """It has the methods that ``wf export`` calls, and says whether its files hold the preprocessing."""
    if subject.traits is None:
        raise NotChecked("it declares no traits")
    of = getattr(subject.traits, "of", "model")
    endings = getattr(subject.traits, "endings", ())
    expect(endings, "it declares no ending of its files")
    wrong = [ending for ending in endings if not ending.startswith(".") or ending != ending.lower()]
    expect(not wrong, f"its endings must begin with a dot and be in lower case: {', '.join(wrong)}")
    with values(subject) as known:
        made = make(subject, known)
    lacks = [name for name in METHODS[of] if not callable(getattr(made, name, None))]
    expect(not lacks, f"it has no method {', '.join(lacks)}")
    if of == "model":
        expect(isinstance(getattr(made, "in_graph", None), bool), "its in_graph is not True or False")


@check(
    "plot-draws",
    "plot",
    after=("made",),
    fix="name a kind of directory in PlotTraits(of=...), and give it charts(), and update() if it needs predictions",
)
def plot_draws(subject: Subject) -> None:
    """It draws a kind of directory that there is, and has the methods that are called for it."""
    traits = subject.traits
    if not isinstance(traits, PlotTraits):
        raise NotChecked("it declares no traits")
    of_others = {
        traits_of(entry).of for entry in subject.registry.entries("plot") if entry.plugin != subject.entry.plugin
    }
    known = {RUN, *of_others, *(one.KIND for one in _groups(RunGroup))}
    expect(traits.of in known, unknown("kind of directory", traits.of, known).replace("\n ", ";"))
    with values(subject) as present:
        made = make(subject, present)
    needs = ("charts", "update") if traits.of == RUN and traits.needs == "predictions" else ("charts",)
    lacks = [name for name in needs if not callable(getattr(made, name, None))]
    expect(not lacks, f"it has no method {', '.join(lacks)}")


def _groups(kind: type[RunGroup]) -> Iterator[type[RunGroup]]:
    """The kinds of directories with several runs in the modules that are loaded."""
    for one in kind.__subclasses__():
        yield one
        yield from _groups(one)


@check("command-help", "command", after=("loads",), fix="decorate it with @click.command(), and give it a docstring")
def explains_itself(subject: Subject) -> None:
    """Its target is a click command with a help text."""
    import click  # only needed for commands

    command = subject.entry.load()
    expect(isinstance(command, click.Command), f"its target is {type(command).__name__}, not a click command")
    assert isinstance(command, click.Command)
    expect((command.help or "").strip(), "it has no help")
