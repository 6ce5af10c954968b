"""``wf prove-resume``: the same run with and without kills, in separate processes, compared bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from wf.discovery.guard import Guard
from wf.engine.cadence import Every
from wf.errors import UsageError, WfError
from wf.terminal import plural
from wf_building.defaults import SEVERAL, default_of
from wf_cli.commands import everywhere_of
from wf_cli.listing.listing import JSON
from wf_cli.output import print_json, say, table, tell
from wf_run.cli.running import RUN_FILES, VARIANT, RunCommand, assemble, refuse_existing
from wf_run.cli.several import number
from wf_run.directory.claiming import claim, make
from wf_run.directory.naming import place_of
from wf_run.directory.records import compare_records
from wf_run.directory.rundir import RunDirectory
from wf_run.planning.plan import prepare
from wf_storage.files import write_atomically

STRAIGHT, KILLED = "straight", "killed"
SHOWN = 5
"""The number of differing values of a part that are named."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    num_values: int
    differences: Sequence[str]


class Died(WfError):  # noqa: N818 - named for what it is
    """A process of the proof did not end as expected."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@click.command("prove-resume", cls=RunCommand)
@RUN_FILES
@VARIANT
@click.option("--kill-at", type=int, metavar="STEP", multiple=True, help="Kill the run after this step; repeatable.")
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@click.option("--name", metavar="NAME", help="The proof's name below runs/. [date-prove-resume]")
@click.option("--run-dir", metavar="DIR", type=click.Path(), help="The proof's path, instead of a name.")
@click.option("--processes", metavar="N", help="Train in N processes of this machine, of which each is killed.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def prove_resume(
    ctx: click.Context,
    /,
    run_files: tuple[str, ...],
    variant: str | None,
    kill_at: tuple[int, ...],
    lr: str | None,
    name: str | None,
    run_dir: str | None,
    processes: str | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a run twice, uninterrupted and with kill -9, and compare everything bit for bit.

    Takes the options of wf run. Each part runs in a new process. The exit code is 0 if both runs end with the same
    bits, and 1 if not: then a part of the run does not save its whole state, and the table names it.
    """
    chosen = place_of(name, run_dir)
    kills = sorted(set(kill_at))
    if not kills or kills[0] < 1:
        raise UsageError("give the steps after which the run is killed: --kill-at 20 --kill-at 45")
    refuse_existing(chosen)
    num = number(processes, "--processes", 1) or 1
    document, folders, registry = assemble(ctx, run_files, variant, lr, settings)
    shared = document.get("strategy", {})
    if num > 1:
        shared = {"use": default_of(registry, "strategy", SEVERAL), **shared}
        prepare({**document, "strategy": shared}, registry, folders)  # raises where it cannot work
        document["strategy"] = {"use": default_of(registry, "strategy")}  # this process looks at results alone
    document["checkpoint_every"] = _cadence(document.get("checkpoint_every"), kills[0])
    from wf_run.experiment import Experiment

    with Experiment(
        prepare(document, registry, folders), registry, save=False, folders=folders, quiet=True
    ) as experiment:
        _check(experiment, kills)
    place = chosen or claim(Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-prove-resume").path
    make(place)
    write_atomically(place / "run.toml", experiment.run_file(**({"strategy": shared} if num > 1 else {})))
    proof = _Proof(ctx, place, experiment, folders, registry.guard, num, quiet=quiet or as_json)
    resumed_from = proof.run(kills)
    rows = _compare(experiment, RunDirectory.open(place / STRAIGHT), RunDirectory.open(place / KILLED))
    exact = bool(RunDirectory.open(place / STRAIGHT).manifest["exact_resume"])
    _report(rows, list(zip(kills, resumed_from, strict=True)), place, experiment.total_steps, exact, as_json=as_json)
    ctx.exit(0 if not any(row.differences for row in rows) else 1)


def _cadence(chosen: Any, first: int) -> Any:
    """A checkpoint cadence with a checkpoint before the first kill, not only by the clock, such that some steps are
    repeated."""
    if chosen is not None and Every.parse(chosen).unit != "minutes":
        return chosen
    return f"{max(1, 2 * first // 3)}steps"


def _check(experiment: Any, kills: Sequence[int]) -> None:
    """Refuse an impossible proof."""
    if experiment.strategy.world_size > 1:
        raise UsageError(
            "wf prove-resume starts its processes itself: say how many, --processes 2, and start it without torchrun"
        )
    if not experiment.repeatable:
        raise UsageError("the run uses live objects, which its run file cannot rebuild")
    if kills[-1] >= experiment.total_steps:
        raise UsageError(
            f"the run has {plural(experiment.total_steps, 'step')}: it cannot be killed after step {kills[-1]}\n"
            f"  --kill-at takes steps from 1 to {experiment.total_steps - 1}"
        )


class _Proof:
    """Starts the processes of a proof."""

    def __init__(
        self,
        ctx: click.Context,
        place: Path,
        experiment: Any,
        folders: Sequence[Path],
        guard: Guard | None,
        processes: int,
        *,
        quiet: bool,
    ) -> None:
        everywhere = everywhere_of(ctx)
        self._order = {
            "folders": [str(folder.resolve()) for folder in folders],
            "plugins": everywhere.plugins,
            "of_run": experiment.plan["plugins"],
            "guard": guard and {**asdict(guard), "targets": sorted(guard.targets)},
            "only_builtin": everywhere.only_builtin,
            "processes": processes,
        }
        self._place, self._experiment, self._quiet = place, experiment, quiet
        self._killed = 128 + signal.SIGKILL if processes > 1 else -signal.SIGKILL

    def run(self, kills: Sequence[int]) -> list[int]:
        """Train both runs; returns the step of the checkpoint from which the run resumed after each kill."""
        self._say("straight")
        self._start(STRAIGHT, resume=False)
        found = []
        for place, step in enumerate(kills):
            self._say(f"kill -9 after step {step}")
            self._start(KILLED, resume=place > 0, kill_at=step)
            state: Mapping[str, Any] = self._experiment.state_in(self._place / KILLED)
            found.append(int(state["progress"]["step"]))
        self._say(f"on from step {found[-1]} to the end")
        self._start(KILLED, resume=True)
        return found

    def _start(self, which: str, *, resume: bool, kill_at: int | None = None) -> None:
        """Train in a new process, to the end or until it is killed."""
        order = {
            **self._order,
            "run_dir": str(self._place / which),
            "run_file": str(self._place / "run.toml"),
            "resume": resume,
            "kill_at": kill_at,
        }
        command = [sys.executable, "-P", "-m", "wf_durability.cli.proving", json.dumps(order)]
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False).returncode
        if code == (0 if kill_at is None else self._killed):
            return
        if code == 0:
            raise UsageError(
                f"the run in {self._place / which} ended before step {kill_at}, so it was not killed there"
            )
        ended = f"ended with code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
        raise Died(f"the run in {self._place / which} {ended}", code if code > 0 else 1)

    def _say(self, text: str) -> None:
        if not self._quiet:
            tell(text)


def _compare(experiment: Any, straight: RunDirectory, killed: RunDirectory) -> list[Row]:
    """Compare the results of both runs: the final checkpoint part by part, the records and the final figures."""
    from wf_state.differences import differences, num_values

    before, after = experiment.state_in(straight.path), experiment.state_in(killed.path)
    one, other = (
        {**{key: state[key] for key in state if key != "parts"}, **state["parts"]} for state in (before, after)
    )
    rows = [
        Row(name, num_values(one.get(name)), [str(found) for found in islice(differences(*pair), SHOWN)])
        for name, pair in ((name, (one.get(name), other.get(name))) for name in dict.fromkeys((*one, *other)))
    ]
    rows.append(_compare_records(straight, killed))
    keys = ("status", "reason", "epochs", "steps", "metrics", "recorded")
    ended, resumed = ({key: run.manifest.get(key) for key in keys} for run in (straight, killed))
    rows.append(Row("manifest.json", num_values(ended), [str(found) for found in differences(ended, resumed)]))
    return rows


def _compare_records(straight: RunDirectory, killed: RunDirectory) -> Row:
    """Compare ``metrics.jsonl`` byte by byte."""
    before, after = ((run.path / "metrics.jsonl").read_bytes() for run in (straight, killed))
    words = []
    if before != after:
        figures = [one for one in compare_records(straight.records(), killed.records()) if not one.equal]
        words = [f"{one.event} {one.split} {one.name}: from step {one.first_step} on" for one in figures[:SHOWN]]
        words = words or ["the same figures, in a different notation"]
    return Row("metrics.jsonl", len(straight.records()), words)


def _report(
    rows: Sequence[Row], kills: Sequence[tuple[int, int]], place: Path, total_steps: int, exact: bool, *, as_json: bool
) -> None:
    equal = not any(row.differences for row in rows)
    if as_json:
        print_json(
            {
                "run_dir": str(place),
                "equal": equal,
                "steps": total_steps,
                "exact_resume": exact,
                "kills": [{"step": step, "resumed_from": start} for step, start in kills],
                "parts": [
                    {
                        "name": row.name,
                        "values": row.num_values,
                        "equal": not row.differences,
                        "differences": list(row.differences),
                    }
                    for row in rows
                ],
            }
        )
        return
    cells = [("part", "values", "compared")]
    for row in rows:
        first, *more = row.differences or ["equal"]
        cells += [(row.name, f"{row.num_values:,}", first), *(("", "", one) for one in more)]
    lines = [f"killed after step {step}, resumed from step {start}" for step, start in kills]
    verdict = (
        "the killed run ends with the bits of the uninterrupted one" if equal else "the killed run ended differently"
    )
    if not exact:
        lines.append(
            "the dataset is iterable, so this applies only to the samples that it gave here (exact_resume: false)"
            if equal
            else "the dataset is iterable: does it give the same samples in one order each time? (exact_resume: false)"
        )
    say("\n".join([table(cells), "", *lines, f"{plural(total_steps, 'step')}: {verdict}", f"both are in {place}"]))
