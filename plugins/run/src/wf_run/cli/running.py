"""``wf run``."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from wf.declarations.kinds import KINDS
from wf.errors import DivergedError, UsageError
from wf.parameters import NULL
from wf.registry import Registry
from wf.terminal import plural
from wf.typed import TypedBool, plain
from wf_building.builder import Builder
from wf_building.defaults import SEVERAL, default_of
from wf_cli.arguments import ADD, parse_value, tables_of, take_options
from wf_cli.commands import everywhere_of
from wf_cli.common import WfCommand, of_line, registry_of
from wf_cli.listing.listing import JSON, keep_stdout_if
from wf_cli.listing.showing import options_table, title
from wf_cli.main import UnknownOption
from wf_cli.output import begin_phase, echo, figures, paragraphs, print_json, say, table, tell
from wf_processes.together import (
    follow_launcher,
    is_first,
    is_launched,
    is_restart,
    keep_place,
    kept_place,
    resume_command,
)
from wf_run.cli.afterwards import open_directory
from wf_run.cli.completing import complete_component_options
from wf_run.cli.run_options import (
    kind_of,
    run_options,
    takes_names,
    write_options,
)
from wf_run.cli.several import OF_SEVERAL, launch, launches, several
from wf_run.cli.starting import uncollected
from wf_run.cli.suggesting import suggest
from wf_run.cli.summing_up import text_of
from wf_run.directory.claiming import refuse_taken
from wf_run.directory.lock import refuse_held
from wf_run.directory.naming import place_of
from wf_run.opening import registry_for
from wf_run.parts.data.validation import VALIDATION, names_of
from wf_run.parts.data.validation import rows as rows_of
from wf_run.planning.plan import complete, prepare
from wf_run.runfiles.lists import divided
from wf_run.runfiles.reading import read
from wf_run.runfiles.runfile import RunFile, check_general, merge
from wf_run.runfiles.said import said_in

RUN_FILES = click.argument("run_files", nargs=-1, metavar="[RUN.toml ...]", type=click.Path())
"""Run files, each overriding the previous one."""
VARIANT = click.option("--variant", metavar="NAME", help="Train this [[variant]] of the run file.")
_ONE_PROCESS = "each run of this command has one process; wf run and wf resume can have several"
OWN_OPTIONS = "a component's own options are written --KIND.OPTION, such as --loss.gamma 2"


class RunCommand(WfCommand):
    """``wf run``: options of components are taken out before click parses; `--help` explains the chosen components."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """click's parameters, with the options of the kinds and settings that plugins declare after the arguments."""
        params = super().get_params(ctx)
        at = sum(isinstance(param, click.Argument) for param in params)
        return [*params[:at], *run_options(), *params[at:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        if ctx.resilient_parsing:  # completion of an incomplete line
            return super().parse_args(ctx, args)
        try:
            options, rest = take_options(args)
            ctx.meta["options"] = options
        except UsageError:
            registry_of(ctx)  # raises if a plugin named on the line cannot be loaded
            raise
        wants_help = any(word in ("-h", "--help") for word in rest)
        try:
            result = super().parse_args(ctx, [word for word in rest if word not in ("-h", "--help")])
        except click.NoSuchOption as error:
            registry_of(ctx)
            hint = _ONE_PROCESS if error.option_name in OF_SEVERAL else OWN_OPTIONS
            raise UnknownOption(error.option_name, suggest(ctx, error.option_name, rest), ctx, hint) from error
        if wants_help:
            explained = _explain_chosen(ctx)  # first, so that a wrong name is an error before any help is printed
            echo("\n\n".join([self.get_help(ctx), *explained]))
            ctx.exit()
        return result

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a component's own options, too."""
        if incomplete.startswith("--") and "." in incomplete:
            return complete_component_options(ctx, incomplete)
        return super().shell_complete(ctx, incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options in groups."""
        write_options(self, ctx, formatter)


@click.command("run", cls=RunCommand)
@RUN_FILES
@VARIANT
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@click.option("--folds", metavar="K", help="Cross-validate over K folds, stratified by class.")
@click.option("--name", metavar="NAME", help="The run directory's name below runs/. [date-dataset-loss-optimizer]")
@click.option("--run-dir", metavar="DIR", type=click.Path(), help="The run directory's path, instead of a name.")
@click.option("--resume-if-there", is_flag=True, help="Resume the run of that name, if there is one.")
@click.option("--print-config", is_flag=True, callback=keep_stdout_if, help="Print the resolved run file and end.")
@click.option("--dry-run", is_flag=True, help="Build everything, run two steps and one evaluation, write nothing.")
@click.option("--summary", is_flag=True, help="Print the model first: layers, shapes, parameters, operations.")
@several
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def run(
    ctx: click.Context,
    /,
    run_files: tuple[str, ...],
    variant: str | None,
    lr: str | None,
    folds: str | None,
    name: str | None,
    run_dir: str | None,
    resume_if_there: bool,
    print_config: bool,
    dry_run: bool,
    summary: bool,
    processes: str | None,
    max_restarts: str,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Train a model from components by name, from a run file, or both.

    The command line overrides the run file. A component's own options are written --KIND.OPTION VALUE (--loss.gamma 2)
    or, where a run may have several, --KIND.NAME.OPTION VALUE (--hook.early-stopping.patience 3); --help together with
    a component explains them. Lists replace the defaults: --hook +NAME adds to them, --hook no:NAME removes one. Your
    own code can stand for any NAME: --model net.py:Net. Values are TOML where they parse as TOML ('[64, 32]', 1e-3,
    true), else strings; @null is null.
    """
    started = launches(processes, max_restarts)
    follow_launcher()
    place = place_of(name, run_dir) or kept_place()
    num_folds = None if folds is None else _num_folds(folds)
    if num_folds is not None and settings.get("fold") is not None:
        raise UsageError("--folds and --fold exclude each other: --folds trains every fold, --fold one of them")
    if num_folds is not None and started and started[1]:
        raise UsageError(
            "a cross-validation that lost a process cannot go on as a whole: use --folds without --max-restarts\n"
            f"  or train one fold at a time, which can: --fold 1/{num_folds} --name fold-1 --max-restarts {started[1]}"
        )
    document, folders, registry = assemble(ctx, run_files, variant, lr, settings, notes=started is None)
    if started and started[0] > 1 and "use" not in document.get("strategy", {}):
        document["strategy"] = {"use": default_of(registry, "strategy", SEVERAL), **document.get("strategy", {})}
    plan = prepare(document, registry, folders)
    writes = not (dry_run or print_config)
    again = writes and _again(place, num_folds, asked=resume_if_there)
    if writes and not again:
        refuse_existing(place)
    if started and (started[0] > 1 or not print_config):
        return launch(*started, quiet=quiet)
    logging.getLogger("wf").setLevel(logging.WARNING if quiet else logging.INFO)
    if num_folds is not None and writes:
        _cross_validate(plan, folders, registry, num_folds, place, quiet=quiet, as_json=as_json)
        return 0
    with uncollected("" if quiet else "loading torch ..."):
        from wf_run.experiment import Experiment

        if not quiet:
            begin_phase("preparing data and model ...")
        experiment = Experiment(
            plan,
            registry,
            run_dir=place,
            save=writes,
            folders=folders,
            quiet=quiet or not writes,
            resume_if_there=again,
        )
    if experiment.run_dir is not None:
        keep_place(experiment.run_dir)
    with experiment:
        if print_config:
            text = experiment.run_file()
            if is_first():
                say(text, nl=False)
            return 0
        say_plan(experiment, quiet=quiet)
        first, divided = experiment.strategy.rank == 0, getattr(experiment.strategy, "mesh", None) is not None
        if summary and (first or divided):  # what is divided is called by all processes together
            text = text_of(experiment.summary())
            if first:
                echo(f"{text}\n", err=True)
        if dry_run:
            _report_dry_run(experiment, as_json=as_json)
        else:
            fit(experiment, as_json=as_json)
    return 0


def _again(place: Path | None, num_folds: int | None, *, asked: bool) -> bool:
    """Whether to resume the run in the directory: if the command line, or torchrun's restart, asks for it."""
    if asked and num_folds is not None:
        raise UsageError("a cross-validation cannot be resumed as a whole: use --folds without --resume-if-there")
    if asked and place is None:
        raise UsageError("--resume-if-there needs the run's name: --name NAME, or --run-dir DIR")
    if not asked and is_restart() and place is None:
        tell("warning: restarted by torchrun without --name or --run-dir: the run starts over")
    if not (asked or is_restart()) or place is None or num_folds is not None:
        return False
    if not os.path.isfile(place / "manifest.json"):
        return False
    open_directory(str(place))  # raises if it holds several runs
    refuse_held(place)
    return True


def fit(experiment: Any, *, as_json: bool, resume: bool = False, allow_drift: Collection[str] = ()) -> None:
    """Train, and print how the run ended; errors that leave a run directory explain how to continue."""
    try:
        experiment.fit(resume=resume, allow_drift=allow_drift)
    except DivergedError as error:
        error.add_note(f"its figures so far: {experiment.run_dir}/metrics.jsonl")
        raise
    except BaseException as error:
        step = experiment.loop.saved_step
        speaks = experiment.strategy.rank == 0 or is_launched()
        if speaks and step is not None and not isinstance(error, UsageError):
            command = resume_command(experiment.run_dir, experiment.strategy.world_size)
            error.add_note(f"resume from step {step}: {command}")
        raise
    if experiment.strategy.rank == 0:
        report(experiment, as_json=as_json)


def assemble(
    ctx: click.Context,
    run_files: Sequence[str],
    variant: str | None,
    lr: str | None,
    settings: Mapping[str, Any],
    *,
    notes: bool = True,
) -> tuple[RunFile, Any, Registry]:
    """The run file with the options of the line, the folders for its relative paths, and the registry.

    With `notes` it tells what merging did.
    """
    base, folders = read(run_files or None, variant)
    over = from_line(settings, ctx.meta["options"], lr)
    document, merged = merge(base, over)
    for note in (*said_in(base).notes, *merged) if notes and is_first() else ():
        tell(note)
    plugins = [*document.get("plugins", []), *(p for p in everywhere_of(ctx).plugins if not p.startswith("no:"))]
    if plugins:
        document["plugins"] = list(dict.fromkeys(plugins))
    if not run_files:
        return document, folders, registry_of(ctx)
    return document, folders, registry_for(base, folders, **of_line(ctx, **over))


def from_line(settings: Mapping[str, Any], options: Mapping[str, Any], lr: str | None) -> dict[str, Any]:
    """The command line as a document that overrides a run file."""
    over: dict[str, Any] = dict(options)
    for key, value in settings.items():
        if value is None or value == ():
            continue
        if (kind := kind_of(key)) in KINDS.several:
            over[kind] = [*tables_of(kind, value), *over.get(kind, [])]
        elif kind is not None:
            over[kind] = {"use": value, **over.get(kind, {})}
        else:
            over[key] = check_general(key, _general_value(key, value))
    if lr is not None:
        optimizer = over.get("optimizer", {})
        if "lr" in optimizer:
            raise UsageError("both --lr and --optimizer.lr are given; they are the same option, use one")
        over["optimizer"] = {**optimizer, "lr": parse_value(lr)}
    if over.get("epochs") is not None and over.get("steps") is not None:
        raise UsageError("both --epochs and --steps are given; use one of them")
    return over


def say_plan(experiment: Any, *, quiet: bool = False) -> None:
    """Print the parts of the run and wf's decisions on standard error; only warnings if quiet."""
    if experiment.strategy.rank != 0:
        return
    if not quiet:
        plan, data = experiment.plan, experiment.data
        sizes = ", ".join(f"{split} {data.num_samples(split):,}" for split in data.splits)
        source = (
            f"dataset {experiment.name('dataset')} ({sizes})"
            if "dataset" in plan
            else f"trainer {experiment.name('trainer')}"
        )
        parts = ", ".join(f"{kind} {experiment.name(kind)}" for kind in ("model", "loss", "optimizer") if kind in plan)
        until = plural(plan["steps"], "step") if plan["epochs"] is None else plural(plan["epochs"], "epoch")
        tell(f"{source}, {parts}, {until}")
    for message in experiment.messages:
        if not quiet or message.startswith("warning:"):
            tell(message)


def report(experiment: Any, *, as_json: bool) -> None:
    """Print how a run ended."""
    loop = experiment.loop
    if as_json:
        print_json(
            {
                "run_dir": str(experiment.run_dir),
                "status": "done",
                "epochs": loop.progress.epoch,
                "steps": loop.progress.step,
                "metrics": experiment.metrics,
            }
        )
        return
    kept = (
        f"best by {loop.monitor}"
        if loop.keep == "best" and loop.best is not None
        else f"last step ({loop.progress.step:,})"
    )
    rows = [("weights", kept)]
    if loop.stop_reason:
        rows.append(("stopped", loop.stop_reason))
    rows += [*loop.notes.items(), ("run directory", str(experiment.run_dir))]
    echo(f"{_above(experiment)}{table(rows)}")


def _report_dry_run(experiment: Any, *, as_json: bool) -> None:
    metrics = experiment.dry_run()
    if as_json:
        print_json({"run_dir": None, "status": "dry-run", "epochs": 0, "steps": 2, "metrics": metrics})
    else:
        evaluation = " and one evaluation" if metrics else ""
        echo(f"{_above(experiment)}dry run: 2 steps{evaluation}; nothing was written")


def _above(experiment: Any) -> str:
    """A table of figures and an empty line; empty if nothing was evaluated."""
    metrics = experiment.metrics
    shown = figures(metrics, rows_of(names_of(experiment.plan.get(VALIDATION))), experiment.data.class_names or ())
    return f"{shown}\n\n" if metrics else ""


def _num_folds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise UsageError(f"--folds must be a whole number of at least 2, not {text}")
    return int(text)


def _general_value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if takes_names(key) and value != NULL:
        parsed = parse_value(value)
        return parsed if isinstance(parsed, list) else [word for word in value.split(",") if word]
    return _plain_value(value)


def _plain_value(text: str) -> Any:
    """Numbers as numbers, everything else as it was typed."""
    value = parse_value(text)
    return plain(value) if isinstance(value, (int, float)) and not isinstance(value, TypedBool) else text


def refuse_existing(place: Path | None) -> None:
    """Refuse a run directory that exists."""
    if place is not None and os.path.lexists(place):
        refuse_taken(place)


def _cross_validate(
    plan: RunFile, folders: Any, registry: Registry, folds: int, place: Path | None, *, quiet: bool, as_json: bool
) -> None:
    from wf_run.parts.data.folds import cross_validate

    def announce(number: int, experiment: Any) -> None:
        if number == 1:
            say_plan(experiment, quiet=quiet)
        if not quiet and is_first():
            tell(f"fold {number}/{folds}")

    result = cross_validate(plan, registry, folds, run_dir=place, folders=folders, quiet=quiet, announce=announce)
    if not is_first():
        return
    if as_json:
        print_json(result.record())
        return
    echo(f"{result.table()}\n\nrun directory  {result.run_dir}")


def _explain_chosen(ctx: click.Context) -> list[str]:
    """A text with the options of each component that the command line or its run file names."""
    params = {kind: value for key, value in ctx.params.items() if (kind := kind_of(key))}
    run_files, variant = ctx.params.get("run_files", ()), ctx.params.get("variant")
    document, folders, registry = assemble(ctx, run_files, variant, None, params)
    plan = complete(document, registry, folders)
    builder, texts = Builder(registry, folders=folders), []
    for kind in KINDS:
        value = plan[kind] if kind == "dataset" and kind in document else document.get(kind) or []
        signs = [divided(chosen) for chosen in (value if isinstance(value, list) else [value])]
        names = [name for sign, name in signs if sign in ("", ADD) and isinstance(name, str)]
        entries = [(name, builder.entry(kind, name)) for name in names]
        texts += [f"{paragraphs(title(entry))}\n{options_table(entry, name)}" for name, entry in entries if entry]
    return texts
