"""A class of torch as a member of a catalogue: its options, annotated so that wf converts and checks their values.

torch's annotations name tensors, which no run file holds, and say `str` where there is a choice.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Union

import docstring_parser
from torch import Tensor

from wf import Param
from wf.errors import UsageError
from wf.parameters import convert


@dataclass(frozen=True)
class Member:
    """One class of torch.

    Args:
        kind: The class.
        summary: One line for lists.
        group: Its group in the index.
        types: Annotations in the place of torch's, by option.
        defaults: Defaults in the place of torch's.
        without: Options that are left out.
        more: Parameters that torch does not have, before its own: those that the run fills in, and options of wf's.
        help: What is to be said of an option in the place of torch's description, or where torch has none.
    """

    kind: type
    summary: str
    _: KW_ONLY
    group: str = ""
    types: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    more: tuple[inspect.Parameter, ...] = ()
    help: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> list[inspect.Parameter]:
        """What wf calls it with: `more`, and torch's own parameters with annotations that wf can check."""
        names = {"Callable": Callable, "Iterable": Iterable, "Sequence": Sequence}  # torch has them for type checkers
        make: Any = self.kind
        hints = typing.get_type_hints(make.__init__, localns=names)
        taken = {*self.without, *(one.name for one in self.more)}
        own = [row for row in inspect.signature(make).parameters.values() if row.name not in taken]
        return [*self.more, *(self._mended(row, hints.get(row.name, Any)) for row in own)]

    def _mended(self, row: inspect.Parameter, hint: Any) -> inspect.Parameter:
        annotation = self.types.get(row.name, mended(hint))
        default = self.defaults.get(row.name, row.default)
        if default is not row.empty:  # of a float 0.0, not 0 as torch writes it: a run file says it in the one way
            default = convert(Param(name=row.name, type=annotation, default=default), default, self.kind.__name__)
        return row.replace(kind=row.KEYWORD_ONLY, annotation=annotation, default=default)

    def described(self) -> Callable[..., None]:
        """A function with its parameters and a docstring that describes them; not to be called."""

        def function() -> None: ...

        rows = self.parameters()
        function.__name__ = function.__qualname__ = self.kind.__name__
        function.__doc__ = self._docstring(rows)
        function.__signature__ = inspect.Signature(rows)  # type: ignore[attr-defined]  # inspect looks there
        function.__wrapped__ = self.kind  # type: ignore[attr-defined]  # where its source is
        return function

    def _docstring(self, rows: Iterable[inspect.Parameter]) -> str:
        parsed = docstring_parser.parse(inspect.cleandoc(self.kind.__doc__ or ""))
        said = {param.arg_name: _plain(param.description or "") for param in parsed.params} | dict(self.help)
        lines = [f"    {row.name}: {said[row.name]}" for row in rows]
        summary = self.summary[0].upper() + self.summary[1:]
        return "\n".join([f"{summary} (`{_public(self.kind)}`).", "", "Args:", *lines])


def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter that torch does not have."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def made(owner: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What torch makes.

    Raises:
        UsageError: When it refuses a value.
    """
    try:
        return make(*args, **options)
    except UsageError as error:
        raise UsageError(f"{owner}: {error}") from error
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(f"{owner}: {error}") from error


def mended(annotation: Any) -> Any:
    """An annotation without tensors: numbers stand for those of one element."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return Union[tuple(mended(arg) for arg in args if arg is not Tensor)]  # noqa: UP007 - it is made, not written
    if origin in (tuple, list):
        return origin[tuple(arg if arg is Ellipsis else mended(arg) for arg in args)]
    return annotation


def index(library: str, members: Mapping[str, Member], refused: Mapping[str, str]) -> str:
    """The text of a catalogue's index."""
    lines = {name: f"{name} {member.group} {member.summary}" for name, member in members.items()}
    lines |= {name: f"{name} refused {why}" for name, why in refused.items()}
    header = f"# generated from {library} by: python -m wf_torch.index"
    return "\n".join([header, *(lines[name] for name in sorted(lines, key=str.lower))]) + "\n"


_ROLE = re.compile(r":\w+:`~?([^`<]+?)(?:\s*<[^`>]*>)?`")


def _plain(text: str) -> str:
    """A description without line breaks, markup and what it repeats: the default."""
    text = _ROLE.sub(r"\1", " ".join(text.split()))
    text = re.sub(r"`+([^`<]+?)(?:\s*<[^`>]*>)?`+_*", r"\1", text)
    text = re.sub(r"\s*\([Dd]efault: [^()]*(\([^()]*\))?[^()]*\)|\s*Default: \S+$", "", text).strip(" .")
    return f"{text[:1].upper()}{text[1:]}."


def _public(kind: type) -> str:
    """The name of torch's class, which may be a base, with the package that exports it."""
    base = next(one for one in kind.__mro__ if one.__module__.startswith("torch."))
    public = next(
        name for name in ("torch.optim.lr_scheduler", "torch.optim", "torch.nn") if base.__module__.startswith(name)
    )
    return f"{public}.{base.__name__}"
