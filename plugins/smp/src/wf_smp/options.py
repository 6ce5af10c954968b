"""A library's loss as a member of a catalogue: its options, annotated so that wf converts and checks their values."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, Union

import docstring_parser
import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]
"""What gives one figure."""

Empty = inspect.Parameter.empty


@dataclass(frozen=True)
class Member:
    """One loss of a library.

    Args:
        kind: The library's class.
        group: Its group in the index: what it wants.
        summary: One line for lists.
        filled: Parameters that the run fills in, by name, with their types.
        fixed: The library's parameters that are no options, with what they are.
        hidden: The library's parameters that the adapter sets.
        defaults: Defaults in the place of the library's.
        types: Annotations in the place of the library's.
        help: What is to be said of an option in the place of the library's description, or where it has none.
    """

    kind: Any
    group: str
    summary: str
    _: KW_ONLY
    filled: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    types: Mapping[str, Any] = field(default_factory=dict)
    help: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> list[inspect.Parameter]:
        """What the run fills in and what the user may choose."""
        hints = typing.get_type_hints(self.kind.__init__)
        theirs = [
            _parameter(name, self.types.get(name, mended(hints.get(name, Any))), self.defaults.get(name, row.default))
            for name, row in inspect.signature(self.kind).parameters.items()
            if name not in (*self.fixed, *self.filled, *self.hidden) and row.kind is row.POSITIONAL_OR_KEYWORD
        ]
        return [_parameter(name, annotation) for name, annotation in self.filled.items()] + theirs

    def described(self) -> Callable[..., None]:
        """A function with its parameters and a docstring that describes them; not to be called."""

        def function() -> None: ...

        rows = sorted(self.parameters(), key=lambda row: row.default is not Empty)
        texts = [self.kind.__doc__, self.kind.__init__.__doc__]
        parsed = [docstring_parser.parse(inspect.cleandoc(text)) for text in texts if text]
        said = {param.arg_name: _plain(param.description or "") for one in parsed for param in one.params}
        said |= {name: text for name, text in self.help.items() if name in {row.name for row in rows}}
        lines = [f"    {row.name}: {said.get(row.name, '')}" for row in rows]
        package = self.kind.__module__.partition(".")[0]
        summary = f"{self.summary[0].upper()}{self.summary[1:]} (`{package}.losses.{self.kind.__name__}`)."
        function.__name__ = function.__qualname__ = self.kind.__name__
        function.__doc__ = "\n".join([summary, "", "Args:", *lines])
        function.__signature__ = inspect.Signature(rows)  # type: ignore[attr-defined]  # inspect looks there
        function.__annotations__ = {row.name: row.annotation for row in rows}
        function.__wrapped__ = self.kind  # type: ignore[attr-defined]  # for its file and line
        return function

    def make(self, **options: Any) -> Any:
        """The library's loss; lists of numbers become tensors where it wants those."""
        hints = typing.get_type_hints(self.kind.__init__)
        return self.kind(**{name: _given(hints.get(name, Any), value) for name, value in options.items()}, **self.fixed)


def mended(annotation: Any) -> Any:
    """An annotation in which a list of numbers stands for a tensor."""
    if annotation is Tensor:
        return list[float]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return Union[tuple(mended(arg) for arg in typing.get_args(annotation))]  # noqa: UP007 - it is made, not written
    return annotation


def index(library: str, module: str, members: Mapping[str, Member], refused: Mapping[str, str]) -> str:
    """The text of a catalogue's index."""
    lines = {name: f"{name} {member.group} {member.summary}" for name, member in members.items()}
    lines |= {name: f"{name} refused {why}" for name, why in refused.items()}
    header = f"# generated from {library} by: python -m {module}"
    return "\n".join([header, *(lines[name] for name in sorted(lines))]) + "\n"


def _parameter(name: str, annotation: Any, default: Any = Empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _given(annotation: Any, value: Any) -> Any:
    wants_tensor = annotation is Tensor or Tensor in typing.get_args(annotation)
    return torch.tensor(value) if wants_tensor and isinstance(value, list) else value


def _plain(text: str) -> str:
    """A description without line breaks and markup."""
    return " ".join(re.sub(r":\w+:`~?([^`]*)`|`+([^`]*)`+_*", r"\1\2", text).replace("**", "").split())
