"""``wf find-lr`` and ``wf find-batch-size``."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from wf.errors import UsageError
from wf.registry import Registry
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json, table, tell, terminal_width
from wf_run.cli.running import RUN_FILES, VARIANT, RunCommand, assemble
from wf_run.cli.starting import uncollected
from wf_run.planning.plan import prepare

_OWN = "own words"
OF_RATES, OF_SIZES = "loss over the learning rate", "µs a sample over the batch size"
"""The titles of the curves."""


class FindCommand(RunCommand):
    """Like `RunCommand`, but keeps the arguments, to print the command line of the run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        ctx.meta[_OWN] = list(args)
        return super().parse_args(ctx, args)


OUTPUT = click.option("-o", "--output", metavar="FILE", type=click.Path(), help="Draw the curve: .png or .svg.")
QUIET = click.option("--quiet", is_flag=True, help="Show neither progress nor the curve.")


@click.command("find-lr", cls=FindCommand)
@RUN_FILES
@VARIANT
@click.option("--min", "lowest", metavar="X", type=float, default=1e-7, help="The first learning rate. [1e-7]")
@click.option("--max", "highest", metavar="X", type=float, default=10.0, help="The last learning rate. [10]")
@click.option("--num-steps", metavar="N", type=int, default=100, help="The number of rates to try, one per step. [100]")
@OUTPUT
@QUIET
@JSON
@click.pass_context
def find_lr(
    ctx: click.Context,
    /,
    run_files: tuple[str, ...],
    variant: str | None,
    lowest: float,
    highest: float,
    num_steps: int,
    output: str | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Try rising learning rates for some steps, and suggest one.

    Takes the options of wf run. The rate grows by the same factor at every step; if groups of parameters have
    different rates, it is the largest, and the others keep their ratio to it. The scheduler is left out, and so are
    all hooks except those that change gradients. Nothing is written, and later runs are not affected.
    """
    from wf_finding.drawing import as_text, curve, draw
    from wf_finding.rates import RateTest, bounds, short, suggest

    bounds(lowest, highest, num_steps)
    place = _begin(output, "find-lr")
    document, folders, registry = assemble(ctx, run_files, variant, None, settings)
    if document.pop("scheduler", None):
        tell("the scheduler is left out: the rate grows at every step")
    with _built(document, registry, folders) as experiment:
        test = RateTest(_optimizer_of(experiment), lowest, highest, num_steps)
        experiment.try_steps(num_steps, (test,))
    tried = test.curve
    try:
        found = suggest(tried)
    except UsageError:
        if tried.smoothed and not quiet:
            rates = tried.rates[: len(tried.smoothed)]
            echo(as_text(OF_RATES, rates, tried.smoothed, None, terminal_width()), err=True)
        raise
    line = _line(ctx, {"--lr": short(found.rate)}, without=("--lr", "--optimizer.lr"))
    if place is not None:
        curves = [("mean", tried.smoothed), ("each step", tried.losses)]
        draw(place, curve(OF_RATES, tried.rates, curves, found.rate))
    if as_json:
        print_json({"lr": found.rate, "reason": found.reason, "command": line, **asdict(tried)})
        return
    if not quiet:
        rates = tried.rates[: len(tried.smoothed)]
        echo(f"{as_text(OF_RATES, rates, tried.smoothed, found.rate, terminal_width())}\n")
    echo(table([("suggestion", f"--lr {short(found.rate)}"), ("why", found.reason), ("next", line)]))


@click.command("find-batch-size", cls=FindCommand)
@RUN_FILES
@VARIANT
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@click.option("--max", "largest", metavar="N", type=int, help="The largest size that is tried. [the train split]")
@click.option("--memory", metavar="SIZE", help="Memory that may be used, such as 800MB or 2GB. [all free memory]")
@click.option("--seconds", metavar="X", type=float, default=0.5, help="How long each size is timed. [0.5]")
@OUTPUT
@QUIET
@JSON
@click.pass_context
def find_batch_size(
    ctx: click.Context,
    /,
    run_files: tuple[str, ...],
    variant: str | None,
    lr: str | None,
    largest: int | None,
    memory: str | None,
    seconds: float,
    output: str | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Try growing batches, and suggest the one that trains fastest and fits the memory.

    Takes the options of wf run. The size doubles until it reaches the train split or the memory runs out: on a GPU
    with an out-of-memory error, on the CPU when free memory or --memory is used up. Each size trains a new model for
    some steps, only with hooks that change gradients. Nothing is written. Another batch size may need another learning
    rate.
    """
    from wf_finding.drawing import as_text, curve, draw
    from wf_finding.sizes import parse_memory, suggest, try_sizes

    place = _begin(output, "find-batch-size")
    limit = None if memory is None else parse_memory(memory)
    if largest is not None and largest < 1:
        raise UsageError(f"--max {largest}: a batch has at least 1 sample")
    if not 0 < seconds < 3600:
        raise UsageError(f"--seconds {seconds:g}: it must be larger than 0")
    document, folders, registry = assemble(ctx, run_files, variant, lr, settings)
    document["batch_size"] = 2
    with _built(document, registry, folders) as experiment:
        if "dataset" not in experiment.plan:
            name = experiment.name("trainer")
            raise UsageError(f"trainer '{name}' makes its batches itself: there is no batch size to find")
        num_train = experiment.data.num_samples("train")

    def make(size: int) -> Any:
        return _built({**document, "batch_size": size}, registry, folders)

    upto = min(num_train, largest or num_train)
    trials, end = try_sizes(make, upto, seconds, limit, (lambda text: None) if quiet else tell)
    found = suggest(trials, end)
    line = _line(ctx, {"--batch-size": str(found.size)}, without=("--batch-size",))
    places, times = [float(trial.size) for trial in trials], [trial.us_per_sample for trial in trials]
    if place is not None:
        draw(place, curve(OF_SIZES, places, [("µs a sample", times)], float(found.size)))
    if as_json:
        tried = [asdict(trial) for trial in trials]
        print_json({"batch_size": found.size, "reason": found.reason, "command": line, "trials": tried})
        return
    if not quiet:
        head = ("batch size", "ms a step", "µs a sample", "memory so far")
        rows = [
            (f"{one.size:,}", f"{one.ms_per_step:,.2f}", f"{one.us_per_sample:,.1f}", f"{one.peak_bytes / 1e6:,.0f} MB")
            for one in trials
        ]
        echo(f"{table([head, *rows])}\n")
        if len(trials) > 2:
            echo(f"{as_text(OF_SIZES, places, times, found.size, terminal_width(), log=True)}\n")
    echo(table([("suggestion", f"--batch-size {found.size}"), ("why", found.reason), ("next", line)]))


def _begin(output: str | None, name: str) -> Path | None:
    """Check the options before torch is imported; returns the file to draw."""
    from wf_finding.drawing import check_path

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(f"wf {name} works in one process: run it without torchrun")
    logging.getLogger("wf").setLevel(logging.WARNING)
    if output is None:
        return None
    check_path(Path(output))
    return Path(output)


def _built(document: Mapping[str, Any], registry: Registry, folders: Any) -> Any:
    """The run that a document describes, which writes nothing."""
    with uncollected():
        from wf_run.experiment import Experiment

        return Experiment(prepare(dict(document), registry, folders), registry, save=False, folders=folders, quiet=True)


def _optimizer_of(experiment: Any) -> Any:
    """The one optimizer of a run.

    Raises:
        UsageError: If it has several, or none.
    """
    values = experiment.values
    if several := values.get("optimizers"):
        raise UsageError(
            f"the run has several optimizers ({', '.join(several)}), whose rates depend on each other"
            "\n  find-lr tries one; compare several rates: wf compare --vary optimizer."
            f"{next(iter(several))}.lr=1e-4,1e-3,1e-2"
        )
    if values.get("optimizer") is None:
        raise UsageError(f"trainer '{experiment.name('trainer')}' takes no optimizer: there is no rate to find")
    return values["optimizer"]


def _line(ctx: click.Context, add: Mapping[str, str], without: Sequence[str]) -> str:
    """The command line of the run: the arguments without this command's own options, and with these."""
    flags = {"--quiet", "--json"}
    dropped = {*without, "--min", "--max", "--num-steps", "-o", "--output", "--memory", "--seconds"}
    words, kept = iter(ctx.meta[_OWN]), []
    for word in words:
        name = word.partition("=")[0]
        if name in dropped:
            if "=" not in word:
                next(words, None)
        elif name not in flags:
            kept.append(word)
    return shlex.join(["wf", "run", *kept, *(part for option in add.items() for part in option)])
