"""``wf replay``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import click

from wf.errors import UsageError
from wf_cli.common import WfCommand, of_line
from wf_cli.listing.listing import JSON
from wf_cli.output import number, print_json, say, table
from wf_processes.together import follow_launcher, num_processes
from wf_run.api import reopen
from wf_run.cli.afterwards import RUN, num_shared, open_directory
from wf_run.cli.several import launch
from wf_run.directory.naming import place_of
from wf_run.directory.records import Figure, compare_records
from wf_run.directory.rundir import RunDirectory
from wf_run.resuming.drift import Drift, compare

SHOWN = 10
"""The number of differing tensors that are named."""


@click.command(cls=WfCommand)
@RUN
@click.option("--name", metavar="NAME", help="The new run directory's name below runs/. [RUN-replay]")
@click.option("--run-dir", metavar="DIR", type=click.Path(), help="The new run directory's path, instead of a name.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def replay(ctx: click.Context, place: str, name: str | None, run_dir: str | None, quiet: bool, as_json: bool) -> int:
    """Run a run again from its run file, and compare each figure and the weights.

    The exit code is 0 if everything is equal bit for bit, else 1. A run of several processes is repeated by as many.
    """
    chosen = place_of(name, run_dir)
    before = open_directory(place)
    _refuse_unfit(before)
    follow_launcher()
    if num_processes() == 1 and (size := num_shared(ctx, before)):
        return launch(size, 0, quiet=quiet or as_json)
    again = f"{before.path.name}-replay" if chosen is None else chosen
    with reopen(before.path, None, **of_line(ctx), quiet=quiet or as_json, again_in=again) as experiment:
        experiment.fit()
    if experiment.strategy.rank != 0:
        return 0
    assert experiment.run_dir is not None
    after = RunDirectory.open(experiment.run_dir)
    equal = _report(
        compare_records(before.records(), after.records()),
        _weights(experiment.state_in(before.path), experiment.state_in(after.path)),
        compare(before.manifest, after.manifest),
        (before, after),
        as_json=as_json,
    )
    return 0 if equal else 1


def _refuse_unfit(run: RunDirectory) -> None:
    """Refuse a run that is not over, or that its file cannot rebuild."""
    manifest = run.manifest
    if manifest.get("status") != "done":
        raise UsageError(
            f"run {run.path} is {manifest.get('status')}: there is no end to compare with\n"
            f"  resume it first: wf resume {run.path}"
        )
    if not manifest.get("repeatable", True):
        raise UsageError(f"run {run.path} used live objects, which its run file cannot rebuild")


def _weights(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A description of the model's tensors that differ."""
    from wf_state.differences import differences

    return [str(one) for one in islice(differences(before["parts"]["model"], after["parts"]["model"]), SHOWN)]


def _report(
    figures: Sequence[Figure],
    weights: Sequence[str],
    drift: Sequence[Drift],
    runs: tuple[RunDirectory, RunDirectory],
    *,
    as_json: bool,
) -> bool:
    """Print the result; True if everything is equal."""
    equal = not weights and all(figure.equal for figure in figures)
    if as_json:
        print_json(
            {
                "run_dir": str(runs[1].path),
                "of": str(runs[0].path),
                "equal": equal,
                "figures": [{**asdict(figure), "equal": figure.equal} for figure in figures],
                "weights": {"equal": not weights, "differences": list(weights)},
                "drift": [asdict(one) for one in drift],
            }
        )
        return equal
    rows = [("figure", "records", "compared")]
    rows += [(f"{one.event} {one.split} {one.name}", str(one.records), _words(one)) for one in figures]
    rows.append(("weights", "", "equal" if not weights else weights[0]))
    say(table([*rows, *(("", "", line) for line in weights[1:])]))
    for one in drift:
        say(f"\nchanged: {one}" if one is drift[0] else f"changed: {one}")
    say(f"\n{runs[1].path} {'is equal to' if equal else 'drifts from'} {runs[0].path}")
    return equal


def _words(figure: Figure) -> str:
    if figure.equal:
        return "equal"
    apart = "" if figure.largest is None else f", by up to {number(figure.largest)}"
    return f"differs from step {figure.first_step:,} on{apart}"
