"""``wf``: the command group, the options of every command, and error messages."""

from __future__ import annotations

import errno
import logging
import os
import select
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click
from click.shell_completion import CompletionItem

import wf
from wf.blame import blame, blamed, take_blame
from wf.blame import culprit as find_culprit
from wf.discovery.guard import UntrustedError
from wf.discovery.modules import message_of
from wf.errors import DataError, UsageError, WfError
from wf.terminal import visible
from wf_cli.arguments import EVERYWHERE, take_everywhere
from wf_cli.commands import commands_of, examples, find, load, sections
from wf_cli.output import echo, prepare_streams, show_traceback, stdout_descriptor, tell
from wf_processes.signals import INTERRUPTED
from wf_processes.together import is_first, is_told, leave_others, num_processes, telling_others


class _PastClickError(Exception):
    """Carries an error past click, which would exit silently on any broken pipe, and on SystemExit.

    It would also print an empty line on KeyboardInterrupt.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error


@contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, SystemExit, GeneratorExit, KeyboardInterrupt) as error:
        raise _PastClickError(error) from error


class WfGroup(click.Group):
    """A click group that imports a command only when it runs, and explains unknown commands."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """As in click, but errors that click would swallow get past it."""
        with _past_click():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As in click, but errors that click would swallow get past it, and errors are attributed to plugins."""
        with _past_click():
            try:
                return super().invoke(ctx)
            except Exception as error:
                if isinstance(error, click.UsageError):
                    error.ctx = error.ctx or ctx
                if not isinstance(error, (WfError, click.ClickException, click.exceptions.Exit, click.Abort)):
                    blame(error, blamed(error) or find_culprit(error, commands_of(ctx)[0].plugins))
                raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Extract the options of every command; without further arguments show the help."""
        ctx.obj, rest = take_everywhere(args, strict=not ctx.resilient_parsing)
        return super().parse_args(ctx, rest if rest or ctx.resilient_parsing else ["--help"])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the help."""
        return [name for names in sections(commands_of(ctx)[0]).values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with a name, or None."""
        try:
            entry = find(ctx, cmd_name)
        except UsageError:
            return None
        return load(entry)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, with suggestions; errors are ignored during completion."""
        word = args[0]
        if word.startswith("-"):
            return super().resolve_command(ctx, args)
        try:
            entry = find(ctx, word)
            if getattr(entry.component.traits, "alone", False) and num_processes() > 1:
                if not is_first():
                    raise click.exceptions.Exit(0)
                leave_others()
            return word, load(entry), args[1:]
        except WfError:
            if ctx.resilient_parsing:
                return None, None, args[1:]
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands, without importing them, and options."""
        found = [row for rows in sections(commands_of(ctx)[0]).values() for row in rows.items()]
        items = [CompletionItem(name, help=visible(command.summary, line=True)) for name, command in found]
        offered = [item for item in items if item.value.startswith(incomplete)]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """First steps, the commands by section, and the options. No command is imported."""
        registry, problem = commands_of(ctx)
        found = sections(registry)
        shown: dict[str, Sequence[tuple[str, str]]] = {"First steps": examples(found)}
        for section, commands in found.items():
            shown[section] = [(name, command.summary) for name, command in commands.items()]
        shown["Options of every command"] = (*EVERYWHERE, *self._own_options(ctx))
        for title, rows in ((title, rows) for title, rows in shown.items() if rows):
            with formatter.section(visible(title, line=True)):
                formatter.write_dl([(visible(term, line=True), visible(text, line=True)) for term, text in rows], 42)
        if problem is not None:
            tell(f"warning: the commands of plugins are not shown\n  {message_of(problem)}")
        if failed := [plugin.name for plugin in registry.plugins if plugin.status in ("failed", "incompatible")]:
            tell(f"warning: not loaded, so their commands are missing: {', '.join(failed)}; see wf list-plugins")

    def _own_options(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))]


@click.group(
    cls=WfGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="COMMAND ...",
    options_metavar="",
    epilog=(
        "wf COMMAND --help explains a command. Exit codes: 0 done, 1 unexpected failure, 2 usage, 3 a plugin cannot be "
        "loaded, 4 data missing or invalid, 5 diverged, 6 the time was over, 129, 130, 138 or 143 interrupted, 141 the "
        "output pipe was closed."
    ),
)
@click.version_option(wf.__version__, prog_name="wf")
def cli() -> None:
    """Train PyTorch models from components by name: dataset, model, loss, optimizer and more."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its code (0 to 6, 129, 130, 138, 141 or 143; see the README)."""
    words = list(sys.argv[1:] if args is None else args)
    show = "--traceback" in words
    prepare_streams()
    _log_to_stderr()
    try:
        with telling_others():
            code = cli.main(words, prog_name="wf", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort as error:  # click also raises this for an EOFError, which is not an interruption
        cause = error.__cause__
        code = _explain_bug(cause) if isinstance(cause, EOFError) else _say_interrupted(cause)
    except click.ClickException as error:
        code = _say(explain_click(error), 2, show=show)
    except WfError as error:
        if isinstance(error, UntrustedError) and error.checksum:
            error.add_note(f"the whole command: {shlex.join(['wf', *words, '--trust', error.checksum])}")
        code = _say(_with_notes(error), error.exit_code, show=show)
    except KeyboardInterrupt as error:
        code = _say_interrupted(error)
    except Exception as error:
        cause = error.error if isinstance(error, _PastClickError) else error
        if isinstance(cause, KeyboardInterrupt):
            sys.exit(_say_interrupted(cause))
        if is_told(cause):
            sys.exit(1)
        code = _explain_output(cause) or _explain_name(cause, show=show) or _explain_bug(cause)
    sys.exit(code if isinstance(code, int) else 0)


class UnknownOption(click.NoSuchOption):
    """Adds wf's suggestions: click only suggests similar spellings.

    Args:
        option_name: The option.
        suggestions: Options that may be meant.
        ctx: The context of the command.
        hint: A further hint.
    """

    def __init__(self, option_name: str, suggestions: Sequence[str], ctx: click.Context, hint: str = "") -> None:
        super().__init__(option_name, ctx=ctx)
        self.suggestions = suggestions
        self.hint = hint


def explain_click(error: click.ClickException) -> str:
    """Reword a message from click."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    command = filter(None, (ctx.command_path, ctx.invoked_subcommand)) if ctx else ("wf",)
    see = f"see: {' '.join(command)} --help"
    if isinstance(error, click.NoSuchOption):
        found = error.suggestions if isinstance(error, UnknownOption) else error.possibilities
        near = [f"did you mean {' or '.join(found)}?"] if found else []
        hints = [error.hint] if isinstance(error, UnknownOption) and error.hint else []
        return "\n  ".join([f"unknown option '{error.option_name}'", *near, *hints, see])
    return f"{error.format_message().rstrip('.')}\n  {see}"


def tell_interrupted() -> None:
    """Print that the command was interrupted, unless another process of the run does so."""
    _say_interrupted(KeyboardInterrupt())


def _say_interrupted(error: BaseException | None) -> int:
    if not is_told(error or KeyboardInterrupt()):
        if sys.stderr.isatty():
            echo(err=True)  # the terminal shows ^C
        tell("\n  ".join(["interrupted", *getattr(error, "__notes__", [])]))
    return INTERRUPTED


def _with_notes(error: BaseException) -> str:
    return "\n  ".join([message_of(error), *getattr(error, "__notes__", [])])


def _say(message: str, code: int, *, show: bool = False) -> int:
    if (error := sys.exception()) is not None and is_told(error):
        return code
    if show:
        error = sys.exception()
        assert error is not None
        show_traceback(error)
    tell(message)
    return code


def _explain_bug(error: BaseException) -> int:
    """Print the traceback of an unexpected failure, then the plugin whose code raised it."""
    culprit = take_blame(error) or find_culprit(error)
    show_traceback(error)
    where = f" in {culprit}" if culprit else ""
    tell(f"unexpected failure{where}: {type(error).__name__}: {message_of(error)}")
    return 1


def _explain_output(error: BaseException) -> int:
    """The exit code for an error in writing our own output; 0 for any other error.

    If the reader has closed the pipe (``wf list | head``), wf exits silently like other programs.
    """
    if not isinstance(error, OSError):
        return 0
    gone = list(filter(_is_closed, {stdout_descriptor(), 2}))
    if isinstance(error, BrokenPipeError) and gone:
        return _discard(gone, 128 + signal.SIGPIPE)
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if frame.f_code not in (click.echo.__code__, main.__code__):  # click.echo prints everything, main flushes it
        return 0
    return _discard([stdout_descriptor()], _say(f"cannot write to standard output: {error.strerror}", 4))


NAMING = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM)
"""System errors whose cause is the name or the owner of a file."""


def _explain_name(error: BaseException, *, show: bool) -> int:
    """The exit code for an error caused by an unusable file name; 0 for any other error."""
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        shown = error.object[max(0, error.start - 40) : error.end + 40]
        return _say(f"a name is not UTF-8: {shown}\n  rename it", UsageError.exit_code, show=show)
    if isinstance(error, OSError) and error.errno in NAMING and error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
        shown = name if len(name) < 200 else f"{name[:100]}... ({len(name):,} characters)"
        return _say(f"{shown}: {error.strerror}", DataError.exit_code, show=show)
    return 0


def _is_closed(descriptor: int) -> bool:
    """Whether a file descriptor is a pipe that its reader has closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard(descriptors: Sequence[int], code: int) -> int:
    """Discard all further output to these descriptors; returns the code."""
    for descriptor in descriptors:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return code


class _Handler(logging.Handler):
    """Log records on standard error, formatted like other messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; of several processes only the first one prints. Logging reports records with bad formats."""
        if not (is_first() or getattr(record, "of_process", False)):
            return
        try:
            text = record.getMessage()
        except Exception:
            self.handleError(record)
            return
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tell(f"{level}{text}")


def _log_to_stderr() -> None:
    root = logging.getLogger()  # the root logger, because plugins log under their own names
    if not any(isinstance(handler, _Handler) for handler in root.handlers):
        root.addHandler(_Handler())
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Like Python's, but always visible."""
    echo(warnings.formatwarning(message, category, filename, lineno), err=True, nl=False)
