"""Readers of files of inputs, for ``wf predict``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from wf.declarations.fields import check_fields


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Reads files of some endings, as a plugin's ``wf_readers`` declares it.

    ``wf predict RUN FILE`` takes it for files that the run's own dataset does not read.
    """

    word: ClassVar[str] = "reader"
    about: ClassVar[str] = "reads files of inputs for wf predict"
    is_typed: ClassVar[bool] = False

    name: str
    """Its name in lists and pins."""
    endings: tuple[str, ...]
    """The endings of the files that it reads, in lower case: ``(".wav",)``."""
    target: str | Callable[..., Any]
    """``"package.module:function"``, called with the file's path. Gives the inputs ``[N, ...]``, as the dataset's
    samples hold them: a tensor, or a tree of tensors.

    Raises:
        wf.errors.DataError: For a file that is damaged, saying where.
    """
    summary: str = ""
    """One line for lists."""

    def __post_init__(self) -> None:
        check_fields(self, "reader '{0.name}'")
        for ending in self.endings:
            if not ending.startswith(".") or ending != ending.lower():
                raise ValueError(f"reader '{self.name}': '{ending}' is not a file ending in lower case, such as '.wav'")
        if not self.endings:
            raise ValueError(f"reader '{self.name}': it reads no files: it has no endings")
