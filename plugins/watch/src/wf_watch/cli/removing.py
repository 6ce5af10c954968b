"""``wf runs rm``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from wf.errors import DataError, UsageError
from wf.terminal import plural
from wf_cli.common import WfCommand
from wf_cli.output import echo, number, tell
from wf_run.directory.lock import is_held, locked
from wf_run.directory.rundir import RunDirectory
from wf_storage.folders import LATEST
from wf_watch.cli.runs import WHERE, place_of, sort
from wf_watch.conditions import chosen
from wf_watch.reading import Listed, read_run, read_runs
from wf_watch.rows import grouped


@click.command("rm", cls=WfCommand)
@click.argument("names", nargs=-1, metavar="[RUN ...]", type=click.Path())
@click.option("--keep-best", metavar="N", type=click.IntRange(min=0), help="Remove all but the N best of each dataset.")
@click.option("--by", metavar="FIGURE", help="The figure to compare by; by default the one that the runs monitor.")
@WHERE
@click.option("--folder", default="runs", metavar="FOLDER", type=click.Path(), help="The folder to search. [runs]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def remove(
    ctx: click.Context,
    names: tuple[str, ...],
    keep_best: int | None,
    by: str | None,
    conditions: tuple[str, ...],
    folder: str,
    yes: bool,
) -> None:
    """Remove runs: RUN ... by name, or with --keep-best all but the best of each dataset.

    It lists the runs and asks for confirmation. A running run is never removed. With --keep-best, comparisons and
    cross-validations are kept.
    """
    if bool(names) == (keep_best is not None):
        raise UsageError("name the runs to remove, or use --keep-best N")
    if names and (by or conditions):
        raise UsageError("--by and --where are for --keep-best, but runs are named, too")
    place = place_of(folder)
    known = read_runs(place)
    if keep_best is None:
        going = [_named(name) for name in names]
        if held := [run for run in going if is_held(Path(run.run_dir) / ".lock")]:
            raise UsageError(
                f"{held[0].run_dir} is running: nothing was removed\n  stop it first, or wait until it ends"
            )
    else:
        going = list(_beyond(ctx, chosen(known, conditions), keep_best, by))
    if not going:
        echo("nothing to remove")
        return
    for run in going:
        echo(_line(run, by))
    for text in _depending(going, known):
        tell(f"warning: {text}")
    if not (yes or _agreed(len(going))):
        echo("nothing was removed")
        return
    removed = sum(map(_remove, going))
    _repoint(place)
    echo(f"removed {plural(removed, 'run')}")


def _named(name: str) -> Listed:
    directory = RunDirectory.open(name)
    if directory.path.resolve() == Path.cwd().resolve():
        raise UsageError(f"{name} is the working directory\n  change to another directory first")
    return read_run(directory.path, directory.path.parent)


def _beyond(ctx: click.Context, runs: Sequence[Listed], keep: int, by: str | None) -> Iterator[Listed]:
    """The single runs that have ended and are not among the best of their dataset.

    Raises:
        UsageError: If the runs of a dataset monitor different figures and none is given.
    """
    for dataset, group in grouped(runs).items():
        single = [run for run in group if run.is_single and run.status != "unreadable"]
        if len(single) <= keep:
            continue
        figure = by or _monitored(dataset, single)
        ordered = sort(ctx, single, figure) if any(run.figures for run in single) else single
        yield from (run for run in ordered[keep:] if run.status != "running")


def _monitored(dataset: str, runs: Sequence[Listed]) -> str:
    found = {str(run.settings["monitor"]) for run in runs if run.settings.get("monitor")}
    if len(found) != 1:
        raise UsageError(
            f"the runs on {dataset or 'no dataset'} monitor different figures: {', '.join(sorted(found)) or 'none'}"
            "\n  choose one: --by FIGURE"
        )
    return found.pop()


def _line(run: Listed, by: str | None) -> str:
    """``runs/a  done  validation/loss 0.1``."""
    figure = by or run.settings.get("monitor")
    value = run.figures.get(str(figure).partition(":")[0]) if figure else None
    parts = [run.run_dir, run.status, *([f"{figure} {number(value)}"] if value is not None else [])]
    return "  ".join(parts)


def _depending(going: Sequence[Listed], known: Sequence[Listed]) -> Iterator[str]:
    """The remaining runs that began with weights of a removed one."""
    gone = {run.run_dir for run in going}
    for run in going:
        place = Path(run.run_dir).resolve()
        for other in known:
            source = other.init_from
            if source and other.run_dir not in gone and _is_in(source, place):
                yield f"{other.run_dir} began with weights of {run.run_dir} (init_from)"


def _is_in(source: str, place: Path) -> bool:
    """Whether ``checkpoint NAME of RUN``, or a file, lies in a directory."""
    path = Path(source.partition(" of ")[2] or source)
    return path.resolve() == place or place in path.resolve().parents


def _agreed(num: int) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{plural(num, 'run')} would be removed\n  add --yes, because standard input is not a terminal"
        )
    return click.confirm(f"remove {plural(num, 'run')}?", default=False, err=True)


def _remove(run: Listed) -> bool:
    """Remove a run directory, unless a process has started to work there; returns whether it was removed."""
    path = Path(run.run_dir)
    if path.is_symlink():
        path.unlink()
        return True
    hidden = path.with_name(f".removed-{os.getpid()}-{path.name}")
    try:
        with locked(path / ".lock"):
            path.rename(hidden)  # atomic, so that no incomplete run is ever listed
    except UsageError:
        tell(f"warning: {path} is running: it is kept")
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be removed: {error.strerror}") from error
    try:
        shutil.rmtree(hidden)
    except OSError as error:
        raise DataError(f"{hidden}, which was {path}, cannot be removed: {error.strerror}") from error
    return True


def _repoint(place: Path) -> None:
    """Point the link ``latest`` to the newest remaining run."""
    link = place / LATEST
    if not link.is_symlink() or link.exists():
        return
    with suppress(OSError):
        link.unlink()
        started = [run for run in read_runs(place) if run.started and "/" not in run.name]
        if started:
            link.symlink_to(started[-1].name)
