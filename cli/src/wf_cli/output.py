"""What the command line prints: tables and figures as plain text."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedWriter, TextIOWrapper
from typing import Any, TextIO

import click

from wf.terminal import message, visible
from wf.typed import finite

_results: list[TextIO] = []
"""Standard output as it was, while it is kept for results."""


def keep_stdout() -> None:
    """From now on standard output gets what `say` is given; whatever else is printed goes to standard error.

    File descriptor 1 itself is redirected, to the end of the process: what a component's C code, a child process or an
    exit handler writes would spoil JSON as well. Where standard output is no file (in a test, say) it stays.
    """
    if _results:
        return
    try:
        real = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):
        return
    sys.stdout.flush()
    _results.append(open(real, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors))  # noqa: SIM115 - to the end
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


@contextmanager
def diverted_stdout() -> Iterator[None]:
    """Meanwhile file descriptor 1 leads to standard error, as `keep_stdout` does it for good."""
    try:
        number, errors = sys.stdout.fileno(), sys.stderr.fileno()
        real = os.dup(number)
    except (OSError, ValueError):
        yield
        return
    sys.stdout.flush()
    os.dup2(errors, number)
    try:
        yield
    finally:
        os.dup2(real, number)
        os.close(real)


def prepare_streams() -> None:
    """Let whatever is written be written: to nowhere where a stream is closed, escaped where it cannot be encoded.

    A closed descriptor would be that of the first file to be opened, and what is printed would go into that.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest one that is free
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif isinstance(stream, TextIOWrapper) and descriptor and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, TextIOWrapper):
        sys.stderr = Messages(sys.stderr)


class Messages(TextIOWrapper):
    """Standard error that takes nothing down: once its reader has gone, or its disk is full, it goes nowhere.

    What is written there tells of a run. That this cannot be read any more must not end the run, nor cost a checkpoint.

    Args:
        stream: Standard error as Python opened it.
    """

    def __init__(self, stream: TextIOWrapper) -> None:
        self._descriptor = stream.fileno()
        unbuffered = open(self._descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 - to the end
        super().__init__(BufferedWriter(unbuffered), stream.encoding, stream.errors, line_buffering=True)

    def write(self, text: str, /) -> int:
        """Write a text, or let it go."""
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Write what is held back, or let it go."""
        try:
            super().flush()
        except OSError:
            self._give_up()
            super().flush()

    def _give_up(self) -> None:
        """From now on let the descriptor itself lead nowhere, for child processes and C code as well."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._descriptor)
        os.close(nowhere)


def stdout_descriptor() -> int:
    """The file descriptor that results are written to."""
    return _results[0].fileno() if _results else 1


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text on standard output or standard error. All that wf prints comes through here or `say`."""
    click.echo(visible(str(text)), err=err, nl=nl)


def tell(text: str) -> None:
    """Print a message on standard error, with `wf:` before it."""
    click.echo(f"wf: {message(text)}", err=True)


def show_traceback(error: BaseException) -> None:
    """Print an error's traceback on standard error; no line of the error's own looks like a message of wf."""
    text = "".join(traceback.format_exception(error))
    echo(re.sub(r"(?m)^wf: ", "  wf: ", text), err=True, nl=False)


def say(text: str, *, nl: bool = True) -> None:
    """Print a result."""
    click.echo(visible(text), file=_results[0] if _results else None, nl=nl)


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite are null."""
    say(json.dumps(finite(value), indent=2, default=str).replace("\x7f", "\\u007f"))  # which JSON leaves as it is


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows as aligned columns; the last is wrapped at the terminal's width, below the others where these fill it."""
    if not rows:
        return ""
    num_columns = max(len(row) for row in rows)
    padded = [[*(visible(cell, line=True) for cell in row[:-1]), *row[-1:]] for row in rows]
    padded = [[*row, *[""] * (num_columns - len(row))] for row in padded]
    widths = [max(len(row[column]) for row in padded) for column in range(num_columns - 1)]
    left = len(indent) + sum(width + 2 for width in widths)
    below = left > terminal_width() - 24
    if below:
        left = len(indent) + 4
    lines = []
    for row in padded:
        head = indent + "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
        last = textwrap.wrap(row[-1], terminal_width() - left, break_on_hyphens=False)
        if last and not below:
            head += last.pop(0)
        lines += [head.rstrip(), *(" " * left + line for line in last)]
    return "\n".join(lines)


def definitions(rows: Sequence[tuple[str, str]], *, indent: str = "") -> str:
    """Terms, each on a line, with their descriptions wrapped below."""
    lines = []
    for term, text in rows:
        lines += [f"{indent}{term}", *([paragraphs(text, indent=f"{indent}    ")] if text else [])]
    return "\n".join(lines)


def paragraphs(text: str, *, indent: str = "") -> str:
    """Text wrapped at the terminal's width; paragraphs with indented lines stay as they are."""
    width = terminal_width()
    return "\n\n".join(
        textwrap.indent(block, indent)
        if "\n " in block
        else textwrap.fill(block, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        for block in text.split("\n\n")
    )


def plural(number: int, noun: str) -> str:
    """``1 epoch``, ``1,000 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def terminal_width() -> int:
    """The columns that an output may fill."""
    return max(40, min(120, shutil.get_terminal_size((100, 24)).columns))


def figures(metrics: Mapping[str, Any]) -> str:
    """Figures by split, as ``{"test/accuracy": 0.97}``, as a table; lists and matrices below it."""
    splits = [split for split in ("train", "validation", "test") if any(key.startswith(f"{split}/") for key in metrics)]
    metrics = {visible(key, line=True): value for key, value in metrics.items()}
    names = list(dict.fromkeys(key.partition("/")[2] for key in metrics))
    plain = [name for name in names if not any(isinstance(metrics.get(f"{split}/{name}"), list) for split in splits)]
    cells = [["", *plain]]
    cells += [[split, *(number(metrics.get(f"{split}/{name}")) for name in plain)] for split in splits]
    widths = [max(len(row[column]) for row in cells) for column in range(len(plain) + 1)]
    lines = [
        "  ".join(f"{row[0]:<{widths[0]}}" if not i else f"{row[i]:>{widths[i]}}" for i in range(len(row)))
        for row in cells
    ]
    for name in names:
        for split in splits:
            value = metrics.get(f"{split}/{name}")
            if isinstance(value, list):
                lines += ["", f"{split} {name}", *_matrix(value)]
    return "\n".join(line.rstrip() for line in lines)


def number(value: Any) -> str:
    """A figure with four decimals, or six digits where that would be too many or not show it."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.6g}"


def _matrix(value: list[Any]) -> list[str]:
    rows = value if value and isinstance(value[0], list) else [value]
    cells = [[number(cell) for cell in row] for row in rows]
    width = max((len(cell) for row in cells for cell in row), default=0)
    return ["  " + " ".join(f"{cell:>{width}}" for cell in row) for row in cells]
