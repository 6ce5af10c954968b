"""Writes a file under a temporary name, checks it, and renames it, so that an incomplete file is never visible."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from wf.errors import DataError, UsageError, WfError
from wf_export.formats.source import TOLERANCES, Difference, Source
from wf_storage import files

TOLERANCE = TOLERANCES["float32"]


class Writer(Protocol):
    """Writes one format; `written` calls its methods in this order."""

    in_graph: bool
    """Whether the file contains the preprocessing and the model as a graph, rather than weights only. A writer of
    graphs may also have `batch_size`, the number of samples that its file takes, and `tolerance`, see
    `Source.difference`."""

    def write(self, source: Source, file: Path) -> str:
        """Write the file; returns a description of its content."""

    def outputs(self, source: Source, file: Path) -> Any:
        """The file's outputs for the samples; None for a file of weights, after checking that these are unchanged."""

    def use(self, source: Source, file: Path) -> list[str]:
        """The lines of Python that use it."""


def written(writer: Writer, source: Source, file: Path) -> tuple[str, Difference | None]:
    """Write a file as a whole or not at all, and compare it with the model.

    Returns:
        A description of its content, and the difference of its outputs from the model's.

    Raises:
        DataError: When it cannot be written.
        UsageError: If the model cannot be written in this format, or the file is not equal to it.
    """
    with whole(file) as temporary:
        words = writer.write(source, temporary)
        found = writer.outputs(source, temporary)
        difference = None if found is None else source.difference(found, getattr(writer, "tolerance", TOLERANCE))
        if difference is not None and not difference.is_small:
            raise UsageError(f"{file} is not written, because it differs from the model: {difference.words()}")
    return words, difference


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Context for writing a file under a temporary name; it is renamed at the end.

    Raises:
        DataError: When it cannot be written.
    """
    target = file.resolve()
    temporary = target.with_name(f".tmp-{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        yield temporary
        with temporary.open("rb") as stream:
            files.sync(stream.fileno())
        files.rename(temporary, target)
    except OSError as error:
        raise DataError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        if temporary.exists():
            files.remove(temporary)


def traced(format: str, make: Callable[[], Any]) -> Any:
    """The result of tracing or exporting a model with torch.

    Warnings of the libraries are left out: the file is compared with the model, which says more.

    Raises:
        UsageError: If torch cannot, with its reason.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    except (WfError, OSError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = f"{type(error).__name__}: {lines[0] if lines else ''}"
        raise UsageError(
            f"torch cannot write this model as {format}: {why}\n  its weights can be written: --to safetensors"
        ) from error
    finally:
        logging.disable(before)
