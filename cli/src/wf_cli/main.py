"""``wf``: the command group, the options that may stand anywhere, and the way of errors to the screen."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

import wf
from wf.errors import UsageError, WfError, closest
from wf_cli.arguments import Everywhere, take_everywhere

COMMANDS: dict[str, str] = {
    "list-plugins": "wf_cli.listing:list_plugins",
    "list": "wf_cli.listing:list_components",
    "show": "wf_cli.listing:show",
    "run": "wf_cli.running:run",
    "resume": "wf_cli.afterwards:resume",
    "evaluate": "wf_cli.afterwards:evaluate",
    "predict": "wf_cli.afterwards:predict",
    "export": "wf_cli.afterwards:export",
    "plot": "wf_cli.afterwards:plot",
}
"""The verbs and where they are; a module is imported when its verb is used or listed."""

SYNONYMS = {"train": "run", "fit": "run", "plugins": "list-plugins", "ls": "list", "test": "evaluate", "info": "show"}
"""What people type from other tools."""


class Verbs(click.Group):
    """A group that imports a verb when it is needed, and explains unknown ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which they are explained."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        import importlib

        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # a command by construction

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with suggestions."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            near = [SYNONYMS[word]] if word in SYNONYMS else closest(word, COMMANDS)
            hint = f"\n  did you mean: wf {near[0]}?" if near else ""
            raise UsageError(f"unknown command '{word}'{hint}\n  available: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Anywhere on the line: -p MODULE_OR_FILE loads a plugin, -p no:NAME leaves one out, --only-builtin loads just "
        "those that come with wf, --traceback shows tracebacks of errors."
    ),
)
@click.version_option(wf.__version__, prog_name="wf")
def cli() -> None:
    """Train PyTorch models from components by name.

    wf run --loss focal --optimizer adam
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line and exit with its code (0 to 5, 130 or 143; see the README)."""
    words = list(sys.argv[1:] if args is None else args)
    _log_to_stderr()
    everywhere = Everywhere()
    try:
        everywhere, words = take_everywhere(words)
        code = cli.main(words, prog_name="wf", standalone_mode=False, obj=everywhere)
    except click.exceptions.Abort:
        code = _say("interrupted", 130)
    except click.ClickException as error:
        code = _say(explain_click(error), 2, show=everywhere.traceback)
    except WfError as error:
        code = _say(_with_notes(error), error.exit_code, show=everywhere.traceback)
    except KeyboardInterrupt:
        code = _say("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone: nothing is left to be said
        sys.stderr.close()
        code = 1
    except Exception as error:
        code = _explain_bug(error)
    sys.exit(code if isinstance(code, int) else 0)


def explain_click(error: click.ClickException) -> str:
    """Click's message in wf's words."""
    if isinstance(error, click.NoSuchOption):
        near = f"\n  did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
        verb = error.ctx.command_path if error.ctx else "wf"
        own = "\n  a component's own options are written --KIND.OPTION, as --loss.gamma 2" if verb == "wf run" else ""
        return f"unknown option '{error.option_name}'{near}{own}\n  see: {verb} --help"
    verb = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "wf"
    return f"{error.format_message().rstrip('.')}\n  see: {verb} --help"


def _with_notes(error: BaseException) -> str:
    return "\n  ".join([str(error), *getattr(error, "__notes__", [])])


def _say(message: str, code: int, *, show: bool = False) -> int:
    if show:
        traceback.print_exc()
    click.echo(f"wf: {message}", err=True)
    return code


def _explain_bug(error: Exception) -> int:
    """A failure that wf did not foresee keeps its traceback, and the plugin is named where one is involved."""
    traceback.print_exception(error)
    click.echo(f"wf: unexpected failure: {type(error).__name__}: {error}", err=True)
    return 1


class _Handler(logging.Handler):
    """Log records on standard error, in the manner of the other messages."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        click.echo(f"wf: {level}{record.getMessage()}", err=True)


def _log_to_stderr() -> None:
    root = logging.getLogger()  # plugins log under their own names
    if not any(isinstance(handler, _Handler) for handler in root.handlers):
        root.addHandler(_Handler())


def everywhere_of(ctx: click.Context) -> Everywhere:
    """The options that stood anywhere on the line."""
    found: Any = ctx.find_root().obj
    return found if isinstance(found, Everywhere) else Everywhere()
