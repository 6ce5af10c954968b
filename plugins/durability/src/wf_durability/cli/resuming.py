"""``wf resume``."""

from __future__ import annotations

import logging
from typing import Any

import click

from wf.errors import UsageError
from wf_cli.common import WfCommand, together
from wf_cli.listing.listing import JSON
from wf_processes.together import follow_launcher, is_launched
from wf_run.cli.afterwards import (
    RUN,
    moved,
    open_directory,
    open_experiment,
    places,
    refuse_alone,
    strategy_of,
)
from wf_run.cli.running import fit
from wf_run.cli.several import launch, launches, several
from wf_run.cli.starting import uncollected
from wf_run.directory.lock import refuse_held
from wf_run.directory.rundir import RunDirectory
from wf_run.runfiles.runfile import check_general, load


@click.command(cls=WfCommand)
@RUN
@click.option("--epochs", metavar="N", help="Train until N epochs are done, counted from the beginning.")
@click.option(
    "--max-time", metavar="TIME", help="Save and stop after this time, such as 8h or 90min; by default as before."
)
@click.option(
    "--workers", metavar="N", help="Processes that load samples, if they are not in memory; by default as before."
)
@click.option("--serve-from", metavar="auto|...", help="Where batches come from; by default as before.")
@click.option(
    "--allow-drift",
    metavar="NAME,...",
    multiple=True,
    callback=together,
    help="Resume although these conditions, or all, have changed; the manifest records it.",
)
@several
@moved
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def resume(
    ctx: click.Context,
    place: str,
    epochs: str | None,
    max_time: str | None,
    workers: str | None,
    serve_from: str | None,
    allow_drift: str | None,
    processes: str | None,
    max_restarts: str,
    path: str | None,
    root: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Resume a run from its newest checkpoint."""
    started = launches(processes, max_restarts)
    follow_launcher()
    allowed = [name for name in (allow_drift or "").split(",") if name]
    wanted = None if epochs is None else check_general("epochs", epochs)
    directory = open_directory(place)
    _refuse_done(directory, wanted)
    if processes is None and not is_launched():
        refuse_alone(ctx, directory)
    refuse_held(directory.path)
    if started:
        return launch(*started, quiet=quiet)
    logging.getLogger("wf").setLevel(logging.WARNING if quiet else logging.INFO)
    changes: dict[str, Any] = {} if wanted is None else {"epochs": wanted, "steps": None}
    changes |= {**strategy_of(ctx, directory), **places(path, root)}
    free = {"workers": workers, "serve_from": serve_from, "max_time": max_time}
    changes |= {name: check_general(name, value) for name, value in free.items() if value is not None}
    with uncollected("" if quiet else "loading torch, data and checkpoint ..."):
        experiment = open_experiment(ctx, directory, None, quiet=quiet, **changes)
    with experiment:
        fit(experiment, as_json=as_json, resume=True, allow_drift=allowed)
    return 0


def _refuse_done(directory: RunDirectory, epochs: int | None) -> None:
    """Refuse to resume a completed run, unless it is extended and can be.

    Raises:
        UsageError: With alternatives.
    """
    manifest, planned = directory.manifest, load(directory.run_file).get("epochs")
    done, fixed = manifest.get("epochs") or 0, manifest.get("follow_length")
    longer = epochs is not None and epochs > done
    if manifest.get("status") != "done" or (longer and (not fixed or epochs == planned)):
        return
    lines = [f"run {directory.path} is done: {manifest.get('reason')}"]
    more = epochs if longer else done + 10
    if fixed:
        length = f"{manifest['total_steps']:,} steps"
        verb = "follows" if len(fixed) == 1 else "follow"
        lines.append(f"{' and '.join(fixed)} {verb} the run's length, {length}, and cannot be stretched")
        if planned and planned > done:
            lines.append(f"resume to that length: wf resume {directory.path} --epochs {planned}")
        lines.append(f"train anew: wf run {directory.run_file} --epochs {more} --name NAME")
    else:
        lines.append(f"train on: wf resume {directory.path} --epochs {more}")
    raise UsageError("\n  ".join(lines))
