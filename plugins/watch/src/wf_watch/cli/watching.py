"""``wf watch``."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from wf.errors import UsageError
from wf.terminal import is_live
from wf_cli.common import WfCommand
from wf_cli.output import echo
from wf_run.directory.finding import is_run
from wf_watch.cli.runs import place_of
from wf_watch.reading import Listed, read_runs
from wf_watch.rows import text_of

NOTE = "q quits; the run continues"


@click.command("watch", cls=WfCommand)
@click.argument("place", default="runs", metavar="[RUN|FOLDER]", type=click.Path())
@click.option("--interval", default=1.0, metavar="SEC", help="Seconds between updates. [1]")
@click.option("--once", is_flag=True, help="Print once, and exit.")
def watch(place: str, interval: float, once: bool) -> None:
    """Watch a run that trains on this machine: curves, load and the last records.

    RUN is a run directory or its name; for a FOLDER, by default runs/, its running runs are listed as by wf runs, or
    the run itself if there is only one. It ends with the run; q and Ctrl-C quit, and the run continues. Nothing is
    written to the run. If standard output is not a terminal, each new record is one line.
    """
    if not interval > 0:
        raise UsageError(f"--interval is {interval:g}; it must be larger than 0")
    found = place_of(place)
    if is_run(found):
        _watch_run(found, interval, once=once)
        return
    training = _training(found)
    if len(training) == 1:
        _watch_run(Path(training[0].run_dir), interval, once=once)
    elif not training:
        echo(f"no run in {found} is running; to see one that has ended, name it: wf watch RUN")
    else:
        _watch_folder(found, interval, once=once)


def _training(folder: Path) -> list[Listed]:
    return [run for run in read_runs(folder) if run.status == "running"]


def _watch_run(run_dir: Path, interval: float, *, once: bool) -> None:
    from wf_watch.machine import Machine
    from wf_watch.view import View, line_of

    view = View(run_dir)
    if not is_live(sys.stdout):
        _follow(lambda: [line_of(record) for record in view.look()], lambda: view.trains, interval, once=once)
        echo(f"{run_dir}: {view.position()}")
        return
    from rich.console import Console

    console, machine = Console(highlight=False), Machine(run_dir)

    def shown(height: int) -> object:
        return view.screen(console.width, height, machine.lines() if view.trains else [])

    view.look()
    if view.trains and not once:
        with _screen(console) as (show, left):
            while view.trains and not left(interval):
                view.look()
                show(shown(console.height - 1))
    console.print(shown(min(console.height - 1, 30)))


def _watch_folder(folder: Path, interval: float, *, once: bool) -> None:
    def text() -> str:
        return text_of(_training(folder))

    if once or not is_live(sys.stdout):
        echo(text())
        return
    from rich.console import Console
    from rich.text import Text

    from wf_watch.machine import Machine

    console, machine = Console(highlight=False), Machine()
    with _screen(console) as (show, left):
        while (now := text()) and not left(interval):
            show(Text("\n".join([now, "", *machine.lines()])))
    echo(text() or f"no run in {folder} is running any longer: wf runs {folder}")


def _follow(look: Callable[[], list[str]], goes_on: Callable[[], bool], interval: float, *, once: bool) -> None:
    """Print new lines until the run has ended."""
    try:
        while True:
            trains = goes_on()  # checked before reading, so that the last records are seen
            for line in look():
                echo(line)
            if once or not trains:
                return
            sys.stdout.flush()
            time.sleep(interval)
    except KeyboardInterrupt:
        return


@contextmanager
def _screen(console: object) -> Iterator[tuple[Callable[[object], None], Callable[[float], bool]]]:
    """An alternate screen; yields a function that shows something, and one that waits and returns whether to quit."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    assert isinstance(console, Console)
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:

        def show(found: object) -> None:
            live.update(Group(found, Text(NOTE, "dim")), refresh=True)  # type: ignore[arg-type]  # a renderable

        def left(seconds: float) -> bool:
            try:
                return pressed(seconds) in ("q", "\x03", "\x04")
            except KeyboardInterrupt:
                return True

        yield show, left


def _asleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits some seconds for a key and returns it; "" for none."""
    try:
        import termios
        import tty

        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
    except (ImportError, OSError, ValueError, termios.error):  # standard input is not a terminal, or this is Windows
        yield _asleep
        return

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([number], [], [], seconds)
        return os.read(number, 1).decode(errors="replace") if ready else ""

    tty.setcbreak(number)
    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
