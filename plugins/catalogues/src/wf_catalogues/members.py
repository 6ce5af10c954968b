"""Another library's classes as the members of a catalogue, for authors of adapters.

A library's annotations name types that no run file can hold (tensors, functions, dtypes), some of its parameters are
not options, and its descriptions contain markup. This module reads a class, cleans up its options, and makes a
function with them as its signature, for `Catalogue.like`.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from importlib.metadata import version
from typing import Annotated, Any, Literal, Union

from wf.declarations.component import Param, check_name
from wf.errors import PluginError
from wf.parameters import annotations_of, convert, docstring_params

Empty = inspect.Parameter.empty
_NOTHING: Mapping[Any, Any] = {}
_PLAIN = (bool, int, float, str, list, tuple, dict, type(None), Any)


@dataclass(frozen=True)
class Member:
    """One class of a library, and how its options differ from the library's parameters.

    Args:
        kind: The class.
        summary: One line for lists.
        group: Its group in the index.
        module: The module that exports it, such as ``torch.nn``.
        more: Additional parameters, placed before the library's: run values and other options.
        without: The library's parameters that are not options.
        fixed: The library's parameters that always have a certain value, with that value.
        types: Annotations that replace the library's, by option.
        defaults: Defaults that replace the library's, by option.
        help: Descriptions that replace or complete the library's, by option.
        instead: As for `writable`.
    """

    kind: Any
    summary: str
    _: KW_ONLY
    group: str = ""
    module: str
    more: tuple[inspect.Parameter, ...] = ()
    without: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    help: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[Any, Any] = field(default_factory=dict)

    def parameters(self) -> list[inspect.Parameter]:
        """Its options and run values; a parameter whose values a run file cannot hold keeps its default.

        Raises:
            PluginError: If such a parameter has no default.
        """
        taken = {*self.without, *self.fixed, *(one.name for one in self.more)}
        theirs = [row for name, row in parameters_of(self.kind).items() if name not in taken]
        return [*self.more, *filter(None, map(self._option, theirs))]

    def _option(self, row: inspect.Parameter) -> inspect.Parameter | None:
        annotation = self.types.get(row.name, writable(row.annotation, self.instead))
        default = self.defaults.get(row.name, row.default)
        if annotation is None and default is Empty:
            raise PluginError(
                f"no run file can hold the parameter '{row.name}' of {self.kind.__name__}, and it has no default\n"
                "  define it in `types`, `more` or `fixed`"
            )
        if annotation is None:
            return None
        # the default of a float is 0.0, even if the library writes 0: run files use one notation
        if default is not Empty:
            default = convert(Param(name=row.name, type=annotation, default=default), default, self.kind.__name__)
        return option(row.name, annotation, default)

    def descriptions(self) -> dict[str, str]:
        """The library's descriptions of its parameters."""
        return descriptions(self.kind)

    def described(self) -> Callable[..., None]:
        """A stand-in with its options, for `Catalogue.like`."""
        text = headline(self.summary, f"{self.module}.{self.kind.__name__}")
        return stand_in(self.kind, self.parameters(), text, {**self.descriptions(), **self.help})

    def make(self, **options: Any) -> Any:
        """The library's object."""
        return self.kind(**options, **self.fixed)


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or function, by name, with annotations resolved as far as they can be."""
    made: Any = target
    if inspect.isclass(target):
        made = target.__new__ if "__new__" in vars(target) else target.__init__
    hints = annotations_of(made)
    rows = list(inspect.signature(made).parameters.values())[1 if inspect.isclass(target) else 0 :]
    named = [row for row in rows if row.kind not in (row.VAR_POSITIONAL, row.VAR_KEYWORD)]
    return {row.name: row.replace(annotation=hints.get(row.name, row.annotation)) for row in named}


def option(name: str, annotation: Any, default: Any = Empty) -> inspect.Parameter:
    """A parameter of a stand-in: an option or a run value."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def writable(annotation: Any, instead: Mapping[Any, Any] = _NOTHING) -> Any:
    """An annotation without the types that no run file can hold; None if nothing is left.

    Numbers, strings, choices, and lists, tuples and tables of these remain; a sequence becomes a list. ``float |
    Tensor`` becomes ``float``, ``list[Tensor]`` None.

    Args:
        annotation: The library's annotation.
        instead: Replacements for annotations, or parts of them: ``{Tensor: list[float]}``.
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in instead:
        return instead[annotation]
    if annotation is Empty:
        return Any
    if annotation in _PLAIN or origin in (Literal, Annotated):
        return annotation
    if origin in (Union, types.UnionType):
        left = dict.fromkeys(one for one in (writable(arg, instead) for arg in args) if one is not None)
        return Union[tuple(left)] if set(left) - {type(None)} else None  # noqa: UP007 - it is made, not written
    return _writable_parts(origin, args, instead)


def _writable_parts(origin: Any, args: tuple[Any, ...], instead: Mapping[Any, Any]) -> Any:
    """As `writable`, for an annotation with parts: a list, tuple, sequence or table."""
    if origin not in (list, tuple, dict, Sequence) or (origin is dict and args[0] is not str):
        return None
    parts = [arg if arg in (None, Ellipsis) else writable(arg, instead) for arg in args]
    if any(part is None and arg is not None for part, arg in zip(parts, args, strict=True)):
        return None
    return (list if origin is Sequence else origin)[tuple(parts)]


def descriptions(*targets: Callable[..., Any], markup: bool = False) -> dict[str, str]:
    """The parameter descriptions in the docstrings of classes or functions, each on one line.

    Args:
        targets: The classes or functions; the first description counts, and a class's docstring before its
            `__init__`'s.
        markup: Keep the markup.
    """
    found: dict[str, str] = {}
    for target in targets:
        said = {name: text for name, text in docstring_params(target).items() if text and name not in found}
        found |= said if markup else {name: without_markup(text) for name, text in said.items()}
    return found


_ROLE = re.compile(r":\w+:(?=`)")
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*")
_QUOTED = re.compile(r"`+~?([^`<]*?)(?:\s*<[^`>]*>)?`+_*")


def without_markup(text: str) -> str:
    """reStructuredText as plain text: without roles, backquotes, link targets and bold type."""
    return _BOLD.sub(r"\1", _QUOTED.sub(r"\1", _ROLE.sub("", text)))


def headline(summary: str, name: str) -> str:
    """A summary as the first line of a docstring, with the public name of the class."""
    return f"{summary[0].upper()}{summary[1:]} (`{name}`)."


def stand_in(
    kind: Callable[..., Any], parameters: Iterable[inspect.Parameter], text: str, help: Mapping[str, str]
) -> Callable[..., None]:
    """A function whose signature has the options of a library's class, for `Catalogue.like`; it must not be called.

    Args:
        kind: The class; it determines the name, and the file and line that `wf show` prints.
        parameters: The parameters of its signature; those without a default are moved to the front.
        text: The part of its docstring above the options.
        help: The description of each parameter.
    """

    def function() -> None: ...

    rows = [row.replace(kind=row.KEYWORD_ONLY) for row in sorted(parameters, key=lambda row: row.default is not Empty)]
    lines = [f"    {row.name}: {help.get(row.name, '')}" for row in rows]
    function.__name__ = function.__qualname__ = kind.__name__
    function.__doc__ = "\n".join([text, "", "Args:", *lines])
    function.__signature__ = inspect.Signature(rows)  # type: ignore[attr-defined]  # inspect looks there
    function.__wrapped__ = kind  # type: ignore[attr-defined]  # for its file and line
    return function


def index_text(library: str, module: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """The text of a catalogue's index.

    Args:
        library: The distribution that has the classes; the first line names its version.
        module: The module that writes the index, run as ``python -m wf_zoo.index``.
        rows: Name, group and summary of each member; in the group ``refused`` the summary is the reason. Both may be
            empty.

    Raises:
        ValueError: For a row that could not be read back, or a duplicate name.
    """
    header = f"# generated from {library} {version(library).partition('+')[0]} by: python -m {module}"
    lines: dict[str, str] = {}
    for name, group, summary in rows:
        check_name(f"x/{name}")
        if name in lines:
            raise ValueError(f"'{name}' is there twice")
        if len(group.split()) > 1 or (summary and not group) or len(summary.splitlines()) > 1:
            raise ValueError(f"'{name}' has the group '{group}' and the summary '{summary}'; use one word and one line")
        lines[name] = " ".join(filter(None, (name, group, summary)))
    return "\n".join([header, *lines.values()]) + "\n"
