"""``wf run``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from wf.api import read
from wf.component import KINDS, MANY
from wf.errors import UsageError
from wf.plan import check_early, complete
from wf.registry import Registry
from wf.runfile import GENERAL, RunFile, check_general, merge
from wf_cli.arguments import names_to_change, parse_value, take_options
from wf_cli.common import complete_names, registry_of
from wf_cli.listing import JSON, options_table
from wf_cli.main import everywhere_of
from wf_cli.output import figures, print_json

LISTED = ("eval_splits", "links", "plugins")
"""General keys whose values are lists: on the command line names with commas between them."""


class RunCommand(click.Command):
    """``wf run``: options of components are taken out before click parses; `--help` explains the chosen components."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a line."""
        options, rest = take_options(args)
        ctx.meta["options"] = options
        wants_help = any(word in ("-h", "--help") for word in rest)
        result = super().parse_args(ctx, [word for word in rest if word not in ("-h", "--help")])
        if wants_help:
            click.echo(self.get_help(ctx))
            click.echo(_explain_chosen(ctx), nl=False)
            ctx.exit()
        return result


def _kind_options(command: Any) -> Any:
    for kind in reversed(KINDS):
        several = kind in MANY
        command = click.option(
            f"--{kind}",
            kind,
            multiple=several,
            metavar="[+|no:]NAME" if several else "NAME",
            shell_complete=complete_names(kind),
            help=KINDS[kind][0].upper() + KINDS[kind][1:] + ("; may be repeated." if several else "."),
        )(command)
    return command


def _general_options(command: Any) -> Any:
    for name, param in reversed(GENERAL.items()):
        if name in ("shuffle", "plugins"):
            continue
        metavar = {"batch_size": "N|full", "split": "A/B/C", "seed": "N", "epochs": "N", "steps": "N"}.get(name, "X")
        command = click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=param.help)(command)
    return click.option("--shuffle/--no-shuffle", "shuffle", default=None, help=GENERAL["shuffle"].help)(command)


@click.command("run", cls=RunCommand)
@click.argument("run_file", required=False, metavar="[RUN.toml]", type=click.Path())
@_kind_options
@_general_options
@click.option("--lr", metavar="X", help="The optimizer's learning rate, short for --optimizer.lr.")
@click.option(
    "--folds", type=click.IntRange(min=2), metavar="K", help="Cross-validate over K folds, stratified by class."
)
@click.option("--name", help="The run directory's name below runs/.")
@click.option("--run-dir", type=click.Path(), help="The run directory's path.")
@click.option("--print-config", is_flag=True, help="Print the resolved run file and end.")
@click.option("--dry-run", is_flag=True, help="Build everything, run two steps and one evaluation, write nothing.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@JSON
@click.pass_context
def run(
    ctx: click.Context,
    /,
    run_file: str | None,
    lr: str | None,
    folds: int | None,
    name: str | None,
    run_dir: str | None,
    print_config: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train: components by name, from a run file, or both; the command line wins.

    A component's own options are written --KIND.OPTION VALUE (--loss.gamma 2) or, where a run may have several,
    --KIND.NAME.OPTION VALUE (--hook.early-stopping.patience 3). Values are TOML where they parse as TOML, else strings;
    @null is null. One's own code: --model net.py:Net. --help beside a component explains its options.
    """
    if name and run_dir:
        raise UsageError("both --name and --run-dir are given; choose one")
    document, folders, registry = assemble(ctx, run_file, lr, settings)
    plan = complete(document, registry)
    check_early(plan, registry)
    place = Path(run_dir) if run_dir else Path("runs") / name if name else None
    _refuse_existing(place)
    logging.getLogger("wf").setLevel(logging.WARNING if quiet else logging.INFO)
    if folds is not None and not (dry_run or print_config):
        _cross_validate(document, folders, registry, folds, place, quiet=quiet, as_json=as_json)
        return
    from wf.runtime.experiment import Experiment

    writes = not (dry_run or print_config)
    experiment = Experiment(document, registry, run_dir=place, save=writes, folders=folders, quiet=quiet or not writes)
    if print_config:
        click.echo(experiment.run_file(), nl=False)
        return
    if not quiet:
        say_plan(experiment)
    if dry_run:
        metrics = experiment.dry_run()
        status = {"run_dir": None, "status": "dry-run", "epochs": 0, "steps": 2, "metrics": metrics}
        print_json(status) if as_json else click.echo(
            f"{figures(metrics)}\n\ndry run: 2 steps and one evaluation; nothing was written"
        )
        return
    try:
        experiment.fit()
    finally:
        experiment.strategy.close()
    if experiment.strategy.rank == 0:
        report(experiment, as_json=as_json)


def assemble(
    ctx: click.Context, run_file: str | None, lr: str | None, settings: Mapping[str, Any]
) -> tuple[RunFile, Any, Registry]:
    """The run file that the line says, the folders of its relative paths, and the registry."""
    base, folders = read(run_file)
    over = from_line(settings, ctx.meta["options"], lr)
    document, notes = merge(base, over)
    plugins = [*document.get("plugins", []), *(p for p in everywhere_of(ctx).plugins if not p.startswith("no:"))]
    if plugins:
        document["plugins"] = list(dict.fromkeys(plugins))
    for note in notes:
        click.echo(f"wf: {note}", err=True)
    return document, folders, registry_of(ctx, tuple(document.get("plugins", [])))


def from_line(settings: Mapping[str, Any], options: Mapping[str, Any], lr: str | None) -> dict[str, Any]:
    """The command line as a document to lay over a run file."""
    over: dict[str, Any] = dict(options)
    for key, value in settings.items():
        if value is None or value == ():
            continue
        if key in MANY:
            over[key] = {**names_to_change(key, value), **over.get(key, {})}
        elif key in KINDS:
            over[key] = {"use": value, **over.get(key, {})}
        else:
            over[key] = check_general(key, _general_value(key, value))
    if lr is not None:
        over["optimizer"] = {**over.get("optimizer", {}), "lr": parse_value(lr)}
    if over.get("epochs") is not None and over.get("steps") is not None:
        raise UsageError("both --epochs and --steps are given; say how long to train in one of them")
    return over


def say_plan(experiment: Any) -> None:
    """Say on standard error what will be trained, and what wf decided."""
    plan, data = experiment.plan, experiment.data
    sizes = ", ".join(f"{split} {data.num_samples(split):,}" for split in data.splits)
    parts = ", ".join(f"{kind} {experiment.name(kind)}" for kind in ("model", "loss", "optimizer") if kind in plan)
    length = f"{plan['epochs']} epochs" if plan["epochs"] is not None else f"{plan['steps']} steps"
    click.echo(f"wf: dataset {experiment.name('dataset')} ({sizes}), {parts}, {length}", err=True)
    for message in experiment.messages:
        click.echo(f"wf: {message}", err=True)


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
        else f"of the last step, {loop.progress.step:,}"
    )
    lines = [figures(experiment.metrics), "", f"weights        {kept}"]
    if loop.stop_reason:
        lines.append(f"stopped        {loop.stop_reason}")
    lines += [f"{name:<13}  {text}" for name, text in loop.notes.items()]
    lines.append(f"run directory  {experiment.run_dir}")
    click.echo("\n".join(lines))


def _general_value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if key in LISTED:
        parsed = parse_value(value)
        return parsed if isinstance(parsed, list) else [word for word in value.split(",") if word]
    return value if value == "@null" else _plain_value(value)


def _plain_value(text: str) -> Any:
    """Numbers as numbers, everything else as it was typed."""
    value = parse_value(text)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else text


def _refuse_existing(place: Path | None) -> None:
    if place is not None and place.exists():
        raise UsageError(
            f"run directory {place} exists already\n  continue that run: wf resume {place}   or choose another name"
        )


def _cross_validate(
    document: RunFile, folders: Any, registry: Registry, folds: int, place: Path | None, *, quiet: bool, as_json: bool
) -> None:
    from wf.runtime.folds import cross_validate

    def announce(number: int, experiment: Any) -> None:
        if not quiet:
            if number == 1:
                say_plan(experiment)
            click.echo(f"wf: fold {number}/{folds}", err=True)

    result = cross_validate(document, registry, folds, run_dir=place, folders=folders, quiet=quiet, announce=announce)
    if as_json:
        print_json(result.record())
        return
    click.echo(f"{result.table()}\n\nrun directory  {result.run_dir}")


def _explain_chosen(ctx: click.Context) -> str:
    """The options of the components that the line or its run file name."""
    params = {key: value for key, value in ctx.params.items() if key in KINDS}
    document, _, registry = assemble(ctx, ctx.params.get("run_file"), None, params)
    parts = []
    for kind in KINDS:
        value = document.get(kind) or {}
        tables = (
            value if isinstance(value, list) else value.get("tables", [value]) if isinstance(value, Mapping) else []
        )
        for chosen in tables:
            if isinstance(chosen.get("use"), str):
                entry = registry.find(kind, chosen["use"])
                parts.append(f"\n{kind} {entry.component.name}: {entry.component.summary}\n{options_table(entry)}\n")
    return "".join(parts)
