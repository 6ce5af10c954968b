"""Output of the command line: tables and figures as plain text."""

from __future__ import annotations

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

from wf.terminal import is_live, message, visible
from wf.typed import finite

_COMMAND = re.compile(r"\b(wf|pip|python|torchrun) [a-z-]")
"""A command in a line of a message."""
_results: list[TextIO] = []
"""The original standard output, while it is reserved for results."""
_phase: list[str] = []
"""The phase shown on the terminal, if any."""


def keep_stdout() -> None:
    """Reserve standard output for `say`, until the process ends; everything else goes to standard error.

    File descriptor 1 itself is redirected: output from a component's C code, a child process or an
    exit handler would corrupt JSON as well. If standard output is not a file (for example in a test) it stays.
    """
    if _results:
        return
    try:
        real = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):
        return
    sys.stdout.flush()
    _results.append(open(real, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors))  # noqa: SIM115 - stays open
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


@contextmanager
def diverted_stdout() -> Iterator[None]:
    """Temporarily redirect file descriptor 1 to standard error, like `keep_stdout`."""
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
    """Make every write succeed: open closed streams on the null device, and escape text that cannot be encoded.

    Otherwise the first file that is opened would get the number of a closed descriptor and receive the output.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115 - stays open
        elif isinstance(stream, TextIOWrapper) and descriptor and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, TextIOWrapper):
        sys.stderr = Messages(sys.stderr)


class Messages(TextIOWrapper):
    """Standard error that never raises: if its pipe is closed or its disk is full, it discards output.

    A run must not end or lose a checkpoint because a message cannot be shown.

    Args:
        stream: Standard error as Python opened it.
    """

    def __init__(self, stream: TextIOWrapper) -> None:
        self._descriptor = stream.fileno()
        unbuffered = open(self._descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 - stays open
        super().__init__(BufferedWriter(unbuffered), stream.encoding, stream.errors, line_buffering=True)

    def write(self, text: str, /) -> int:
        """Write a text, or discard it."""
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Write buffered text, or discard it."""
        try:
            super().flush()
        except OSError:
            self._give_up()
            super().flush()

    def _give_up(self) -> None:
        """Redirect the descriptor itself to the null device, for child processes and C code as well."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._descriptor)
        os.close(nowhere)


def stdout_descriptor() -> int:
    """The file descriptor for results."""
    return _results[0].fileno() if _results else 1


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text on standard output or standard error. All of wf's output goes through here or `say`."""
    end_phase()
    click.echo(visible(str(text)), err=err, nl=nl)


def tell(text: str) -> None:
    """Print a message on standard error, prefixed by `wf:`."""
    end_phase()
    click.echo(_fitted(f"wf: {message(text)}"), err=True)


def _fitted(text: str) -> str:
    """A message whose lines fit the terminal, if standard error is one. Lines with a command are left to the terminal,
    so that they can be copied."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(line if _COMMAND.search(line) else _fitted_line(line, width) for line in text.split("\n"))


def _fitted_line(line: str, width: int) -> str:
    """Lines of at most `width` characters, with the same indent and two more; words and paths are not divided."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line.lstrip(),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def begin_phase(text: str) -> None:
    """Show the current phase on a terminal, until the next output replaces it; nothing if stderr is no terminal."""
    if not is_live(sys.stderr):
        return
    end_phase()
    _phase.append(text)
    sys.stderr.write(f"{text[: terminal_width() - 1]}\r")  # the cursor stays at the beginning of the line
    sys.stderr.flush()


def end_phase() -> None:
    """Clear the text of `begin_phase`."""
    if _phase:
        _phase.clear()
        sys.stderr.write("\x1b[2K")
        sys.stderr.flush()


def show_traceback(error: BaseException) -> None:
    """Print an error's traceback on standard error, indenting lines that look like wf's messages."""
    text = "".join(traceback.format_exception(error))
    echo(re.sub(r"(?m)^wf: ", "  wf: ", text), err=True, nl=False)


def say(text: str, *, nl: bool = True) -> None:
    """Print a result."""
    end_phase()
    click.echo(visible(text), file=_results[0] if _results else None, nl=nl)


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null."""
    import json  # not for wf --help

    say(json.dumps(finite(value), indent=2, default=str).replace("\x7f", "\\u007f"))  # not escaped by json


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows as aligned columns. The last column is wrapped at the terminal's width, or put below if it has no room."""
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
    """Terms, one per line, with their descriptions wrapped below."""
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


def terminal_width() -> int:
    """The number of columns available for output."""
    return max(40, min(120, shutil.get_terminal_size((100, 24)).columns))


def figures(
    metrics: Mapping[str, Any],
    rows: Sequence[str] = ("train", "validation", "test"),
    class_names: Sequence[str] = (),
) -> str:
    """Metrics such as ``{"test/accuracy": 0.97}`` as a table by split, then lists and matrices of the last split.

    Args:
        metrics: The figures.
        rows: The splits; a figure belongs to the longest one that its name starts with.
        class_names: Labels for the elements of lists with the same length.
    """
    found: dict[str, dict[str, Any]] = {row: {} for row in rows}
    for key, value in metrics.items():
        row = max((one for one in rows if key.startswith(f"{one}/")), key=len, default=None)
        if row is not None:
            found[row][visible(key.removeprefix(f"{row}/"), line=True)] = value
    found = {row: own for row, own in found.items() if own}
    names = list(dict.fromkeys(name for own in found.values() for name in own))
    plain = [name for name in names if not any(isinstance(own.get(name), list) for own in found.values())]
    cells = [["", *plain]]
    cells += [[row, *(number(own.get(name)) for name in plain)] for row, own in found.items()]
    widths = [max(len(row[column]) for row in cells) for column in range(len(plain) + 1)]
    lines = [
        "  ".join(f"{row[0]:<{widths[0]}}" if not i else f"{row[i]:>{widths[i]}}" for i in range(len(row)))
        for row in cells
    ]
    for name in names:
        last = next((split for split in reversed(found) if isinstance(found[split].get(name), list)), None)
        if last is not None:
            lines += ["", f"{last} {name}", *_matrix(found[last][name], class_names)]
    return "\n".join(line.rstrip() for line in lines)


def number(value: Any) -> str:
    """A number with four decimals, or six significant digits if four decimals would be too many or too few."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.6g}"


def _matrix(value: list[Any], class_names: Sequence[str]) -> list[str]:
    """A list as one line, a matrix as one line per row; labelled by class names if the lengths agree."""
    is_square = bool(value) and isinstance(value[0], list)
    cells = [[number(cell) for cell in row] for row in (value if is_square else [value])]
    num_columns = max(map(len, cells), default=0)
    width = max((len(cell) for row in cells for cell in row), default=0)
    if len(class_names) != num_columns or (is_square and len(cells) != num_columns):
        return ["  " + " ".join(f"{cell:>{width}}" for cell in row) for row in cells]
    names = [visible(name, line=True) for name in class_names]
    first = "true \\ predicted" if is_square else ""
    left = min(max(len(first), *map(len, names)), 24) if is_square else 0
    room = (terminal_width() - 2 - left) // num_columns - 2
    column = max(width, min(room, max(map(len, names))))  # shortened if the terminal is narrow
    head = f"{first:<{left}}" + "".join(f"  {name[:column]:>{column}}" for name in names)
    labels = names if is_square else [""]
    body = [
        f"{label[:left]:<{left}}" + "".join(f"  {cell:>{column}}" for cell in row)
        for label, row in zip(labels, cells, strict=True)
    ]
    return [f"  {line}" for line in (head, *body)]
