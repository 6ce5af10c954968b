"""Commands: declarations of the commands that a plugin adds. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from wf.declarations.fields import check_fields

_NAME = re.compile(r"[a-z][a-z0-9-]*\Z")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command, ``wf NAME``, as a plugin's ``wf_commands`` declares it."""

    word: ClassVar[str] = "command"
    about: ClassVar[str] = "a command, wf NAME"
    is_typed: ClassVar[bool] = True

    name: str
    """What users type: lower case, digits and hyphens."""
    section: str
    """The heading below which ``wf --help`` lists it."""
    summary: str
    """One line for the help."""
    target: str | Callable[..., Any]
    """``"package.module:attribute"``, a `click.Command`, imported when the command is used. Help never imports it."""
    order: int = 100
    """Its place in its section: lower ones come first, equal ones by name."""
    examples: tuple[tuple[str, str], ...] = ()
    """Examples, each with a description, for the top of ``wf --help``."""
    alone: bool = False
    """Whether one process does the work. Of those that torchrun starts, the first one does it and the others end."""

    def __post_init__(self) -> None:
        check_fields(self, "command '{0.name}'")
        if not _NAME.match(self.name):
            raise ValueError(f"'{self.name}' is not the name of a command: use lower case, digits and '-'")
        for name, text in (("section", self.section), ("summary", self.summary)):
            if not text.strip() or "\n" in text:
                raise ValueError(f"command '{self.name}': its {name} must be one line of text")
        if any(len(example) != 2 for example in self.examples):
            raise ValueError(f"command '{self.name}': each of its examples must be a command line and a description")
