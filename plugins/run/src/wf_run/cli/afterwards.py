"""Commands that use the weights of a run: ``wf evaluate`` and ``plot``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from wf.errors import DataError, PluginError, UsageError
from wf_building.defaults import SEVERAL, default_of
from wf_cli.common import WfCommand, of_line, registry_of, registry_quietly
from wf_cli.listing.listing import JSON
from wf_cli.output import begin_phase, echo, figures, print_json, tell, terminal_width
from wf_processes.together import num_processes, resume_command
from wf_run.api import open_run, reopen
from wf_run.bundle.folder import path_of
from wf_run.cli.completing import complete_runs
from wf_run.cli.several import strategy_for
from wf_run.cli.starting import progress_of
from wf_run.directory.kept import KEPT
from wf_run.directory.rundir import RunDirectory
from wf_run.parts.data.validation import VALIDATION, names_of, rows
from wf_run.runfiles.reading import read

MAX_WIDTH = 100
"""The maximum width of charts in the terminal, in characters."""
RUN = click.argument("place", metavar="RUN", type=click.Path(), shell_complete=complete_runs)
CHECKPOINT = click.option(
    "--checkpoint",
    default=KEPT,
    metavar="best|latest|NAME",
    help="The weights to use; by default those that the run keeps: the best with --keep best, else the latest.",
)


DEVICE = click.option(
    "--device",
    metavar="DEVICE",
    help="auto, cpu, cuda, cuda:N or mps; by default the run's, or another one if that is not there.",
)
DATA = (
    click.option("--dataset.path", "path", metavar="PATH", help="Where its data are, if they have moved."),
    click.option("--dataset.root", "root", metavar="PATH", help="The same, for a dataset that takes a root."),
)


def moved(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that reads a run's data the options that say where they are now."""
    for option in DATA:
        command = option(command)
    return command


def places(path: str | None, root: str | None) -> dict[str, Any]:
    """The changes to the run file from the options of `moved`."""
    given = {name: value for name, value in (("path", path), ("root", root)) if value is not None}
    return {"dataset": given} if given else {}


def open_directory(place: str) -> RunDirectory:
    """The run directory that the user means.

    Raises:
        UsageError: For a directory with several runs, suggesting alternatives.
    """
    directory = RunDirectory.open(place)
    if not directory.run_file.exists():
        _refuse_several(directory)
    return directory


def _refuse_several(directory: RunDirectory) -> None:
    path, manifest = directory.path, directory.manifest
    if kind := manifest.get("kind"):
        command = manifest.get("resumed_by")
        raise UsageError(f"{path} is a {kind}" + (f"\n  go on with it: {command} {path}" if command else ""))
    folds = manifest.get("folds")
    if folds is None:
        return
    number = len(folds) if isinstance(folds, list) else folds
    lines = [f"{path} is a cross-validation of {number} runs", f"choose one: {path / 'fold-1'} ..."]
    missing = [fold for fold in range(1, number + 1) if not (path / f"fold-{fold}" / "manifest.json").exists()]
    if missing and len(missing) < number:
        begin = f"wf run {path / 'fold-1' / 'run.toml'} --fold {missing[0]}/{number}"
        lines.append(f"not trained yet: fold {', '.join(map(str, missing))}")
        lines.append(f"train the first of them: {begin} --run-dir {path / f'fold-{missing[0]}'}")
    raise UsageError("\n  ".join(lines))


def on_device(device: str | None) -> dict[str, Any]:
    """The change to the run file from the option `DEVICE`."""
    return {} if device is None else {"device": device}


def open_model(ctx: click.Context, place: str, checkpoint: str, device: str | None = None) -> Any:
    """The trained model alone, without the run's data."""
    place = place if path_of(place) else str(open_directory(place).path)
    return open_run(place, checkpoint, device=device, **of_line(ctx))


def open_experiment(ctx: click.Context, directory: RunDirectory, checkpoint: str | None, **changes: Any) -> Any:
    """The experiment of a run directory, opened with the options of the command line."""
    return reopen(directory.path, checkpoint, **of_line(ctx), **changes)


@click.command(cls=WfCommand)
@RUN
@click.option("--split", metavar="S", help="train, validation, validation/NAME or test (the default).")
@click.option(
    "--data",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Other samples than the run's: a file like the training file, a table with targets, or a folder of images by "
    "class; a path or a URL, or - for standard input.",
)
@click.option(
    "--target", "targets", multiple=True, metavar="COLUMN", help="The target columns in FILE; by default the run's."
)
@CHECKPOINT
@DEVICE
@moved
@JSON
@click.pass_context
def evaluate(
    ctx: click.Context,
    place: str,
    split: str | None,
    file: Path | None,
    targets: tuple[str, ...],
    checkpoint: str,
    device: str | None,
    path: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Evaluate a run's weights on one split, or on the samples of a file.

    With --data, RUN may be a bundle, and neither the training data nor its dataset are needed.
    """
    if file is not None:
        if split is not None or path is not None or root is not None:
            raise UsageError("--data is for other samples than the run's: leave out --split and --dataset.*")
        _evaluate_file(ctx, place, checkpoint, device, file, targets, as_json=as_json)
        return
    if targets:
        raise UsageError("--target names columns of --data FILE")
    if (bundle := path_of(place)) is not None:
        raise UsageError(f"{bundle} is a bundle, which has no samples\n  give some: --data FILE, or name the run")
    begin_phase("loading torch and data ...")
    changes = places(path, root) | on_device(device)
    with open_experiment(ctx, open_directory(place), checkpoint, quiet=True, **changes) as experiment:
        split = split or _default_split(experiment)
        evaluator = experiment.loop.evaluator
        with progress_of(f"evaluating {split}", lambda: getattr(evaluator, "fraction", None)):
            metrics = {f"{split}/{name}": value for name, value in experiment.evaluate(split).items()}
        shown, names = rows(names_of(experiment.plan.get(VALIDATION))), experiment.data.class_names or ()
    if not metrics:
        raise UsageError(
            "there is nothing to evaluate: the run has no metric, and no loss that an evaluation could compute\n"
            "  its trainer needs compute_loss(batch), or its run file a metric: --metric NAME"
        )
    if as_json:
        print_json({"run_dir": str(experiment.run_dir), "checkpoint": experiment.restored, "metrics": metrics})
    else:
        echo(figures(metrics, shown, names))


def _default_split(experiment: Any) -> str:
    """The test split.

    Raises:
        UsageError: If the run has none, with the splits that it has.
    """
    if (splits := experiment.splits) and "test" not in splits:
        raise UsageError(f"the run has no test split\n  name another: --split {'|'.join(splits)}")
    return "test"


def _evaluate_file(
    ctx: click.Context,
    place: str,
    checkpoint: str,
    device: str | None,
    file: Path,
    targets: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """The figures of the samples of a file."""
    trained = open_model(ctx, place, checkpoint, device)
    from wf_run.using.raw import STDIN, spooled, standard_input
    from wf_storage.remote import copied, url_of

    url, is_piped = url_of(file), str(file) == STDIN
    with ExitStack() as stack:
        stack.enter_context(progress_of(f"evaluating {'standard input' if is_piped else url or file}"))
        if is_piped:
            path = stack.enter_context(spooled(*standard_input(trained.reader)))
        else:
            path = file if url is None else copied(url)
        found, num = trained.evaluate(path, targets)
    metrics = {f"data/{name}": value for name, value in found.items()}
    if as_json:
        print_json({"data": url or str(file), "samples": num, "checkpoint": checkpoint, "metrics": metrics})
    else:
        echo(figures(metrics, ["data"], trained.class_names))


@click.command(cls=WfCommand)
@RUN
@click.option(
    "--plot", "names", multiple=True, metavar="NAME", help="Draw only this plot, see wf list plots; repeatable."
)
@click.option("--format", "format_", type=click.Choice(["svg", "png"]), default="svg", help="Of the files.")
@click.option("--terminal", is_flag=True, help="Print the charts as text instead of writing files.")
@DEVICE
@click.pass_context
def plot(
    ctx: click.Context, place: str, names: tuple[str, ...], format_: str, terminal: bool, device: str | None
) -> None:
    """Draw a run: curves, confusion matrix, worst samples and more, as files or in the terminal.

    The files go to RUN/plots/. Curves are drawn from the recorded figures. All other plots need the run's weights and
    data; plots that cannot be drawn are named with the reason. RUN may be a comparison or a search. Exit code 3 if a
    plot fails.
    """
    from wf_run.views.choosing import draw_group, kind_of, write

    directory = RunDirectory.open(place)
    if of := kind_of(directory.path):
        if device is not None:
            raise UsageError(f"{directory.path} is a {of}, drawn from its records: leave out --device")
        drawn = draw_group(directory.path, of, registry_of(ctx), names)
    else:
        from wf_run.views.plotting import draw_run

        directory = open_directory(place)
        drawn = draw_run(directory.path, names, device, **of_line(ctx))
    if terminal:
        _show(drawn.charts)
    else:
        for file in write(drawn.charts, directory.path, format_):
            echo(file)
    if drawn.missing and not drawn.charts:
        raise DataError("\n  ".join(["nothing could be drawn", *drawn.missing]))
    for problem in drawn.missing:
        tell(f"warning: not drawn: {problem}")
    if not (drawn.charts or drawn.missing or drawn.broken):
        tell("the plots have nothing to show")
    if drawn.broken:
        raise PluginError("\n  ".join(["not all plots could be drawn", *drawn.broken]))


def _show(charts: Sequence[Any]) -> None:
    """Print charts as text."""
    from wf_charts.terminal import as_text

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for place, chart in enumerate(charts):
        text = as_text(chart, min(terminal_width(), MAX_WIDTH), colour=colour)
        echo(f"\n{text}" if place else text)


def num_shared(ctx: click.Context, directory: RunDirectory) -> int:
    """The processes of a run whose strategy is for several; 0 for one of a single process."""
    size, strategy = directory.manifest.get("world_size", 1), read(directory.run_file)[0].get("strategy", {})
    is_shared = strategy.get("use") not in (None, default_of(registry_quietly(ctx), "strategy"))
    return size if is_shared and isinstance(size, int) and size > 1 else 0


def refuse_alone(ctx: click.Context, directory: RunDirectory) -> None:
    """Refuse to go on with a run of several processes in one, unless its strategy is for a single process.

    Raises:
        UsageError: With the command that starts them.
    """
    if num_processes() == 1 and (size := num_shared(ctx, directory)):
        raise UsageError(
            f"run {directory.path} is one of {size} processes\n  start them: {resume_command(directory.path, size)}"
            "\n  or with another number of them, --processes 1 for this one alone"
        )


def strategy_of(ctx: click.Context, directory: RunDirectory) -> dict[str, Any]:
    """The strategy of the number of processes that there are, where the run file names one for another number."""
    registry, use = registry_quietly(ctx), read(directory.run_file)[0].get("strategy", {}).get("use")
    of_one, of_several = default_of(registry, "strategy"), default_of(registry, "strategy", SEVERAL)
    default = {"use": of_several} if of_several else None
    had = directory.manifest.get("strategy_of_several", default)
    return strategy_for(directory.manifest.get("world_size", 1), str(use or of_one).partition("@")[0], of_one, had)
