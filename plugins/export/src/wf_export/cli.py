"""``wf export``: a trained model for use without wf."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from wf.errors import DataError, UsageError, WfError
from wf_cli.arguments import take_options
from wf_cli.common import WfCommand, of_line, registry_of, registry_quietly
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json, tell
from wf_export.formats.known import KIND, Format, chosen, formats_of
from wf_run.api import open_run, reopen, reopen_data
from wf_run.bundle.folder import NAME, path_of
from wf_run.cli.afterwards import CHECKPOINT, DEVICE, RUN, moved, open_directory, open_model, places
from wf_run.cli.completing import complete_component_options
from wf_run.directory.kept import KEPT

SHOWN = 300
"""The maximum number of characters of a transform that are shown."""


class ExportCommand(WfCommand):
    """Extracts the options of the format, ``--exporter.OPTION``, before click parses."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        found, rest = ({}, args) if ctx.resilient_parsing else take_options(args, (KIND,))
        ctx.meta["options"] = found.get(KIND, {})
        return super().parse_args(ctx, rest)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the options of the format, too."""
        if not incomplete.startswith(f"--{KIND}"):
            return super().shell_complete(ctx, incomplete)
        given = ctx.params
        try:
            ctx.params[KIND] = chosen(registry_quietly(ctx), given.get(KIND), given.get("file"), "")[0].name
        except WfError:
            return []
        return complete_component_options(ctx, incomplete)


@click.command(cls=ExportCommand)
@RUN
@click.argument("file", type=click.Path(), required=False)
@click.option(
    "--to",
    KIND,
    metavar="FORMAT",
    shell_complete=lambda ctx, _, text: [name for name in formats_of(registry_quietly(ctx)) if name.startswith(text)],
    help="The format, see wf list exporters; by default from the ending of FILE.",
)
@CHECKPOINT
@DEVICE
@click.option(
    "--check",
    "is_checked",
    is_flag=True,
    help="For a script: also train with it and compare the weights, which takes as long as the run did.",
)
@moved
@JSON
@click.pass_context
def export(
    ctx: click.Context,
    place: str,
    file: str | None,
    exporter: str | None,
    checkpoint: str,
    device: str | None,
    is_checked: bool,
    path: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Write a trained model for use without wf: weights, a graph, ONNX, or its training as a script.

    FILE is by default named after the run.

    onnx and pt2 (torch.export) contain the model and its preprocessing, such as `standardize`, as a graph for any
    number of samples; the file is compared with the model on samples of the run. safetensors and state-dict contain
    the weights of the model alone. script is the training itself in plain PyTorch, for runs whose components can be
    written that way. A format's own options are written --exporter.OPTION, such as --exporter.opset 18 for onnx; see
    wf show exporter NAME.
    """
    registry = registry_of(ctx)
    format, target = chosen(registry, exporter, file, _name(place))
    writer = format.writer(registry, ctx.meta["options"])
    if format.traits.of == "training":
        if device is not None:
            raise UsageError("a script trains on the device of the run: leave out --device")
        changes = places(path, root)
        _script(ctx, format, writer, place, target, checkpoint, changes, is_checked=is_checked, as_json=as_json)
        return
    if is_checked:
        raise UsageError(
            f"--check is for a format that trains, such as script; a file of format {format.name} is always compared"
        )
    trained = open_model(ctx, place, checkpoint, device)
    from wf_export.formats.source import Source
    from wf_export.formats.writer import written

    samples, origin = _samples(ctx, place, trained, places(path, root), writer)
    source = Source(trained, place, _name(place), samples, origin, getattr(writer, "batch_size", None))
    words, difference = written(writer, source, target)
    shown = {"takes": source.takes(), "gives": source.gives()} if writer.in_graph else {}
    shown["use"] = writer.use(source, target)
    if as_json:
        found = {"file": str(target), "format": format.name, "inputs": source.inputs, "outputs": source.outputs}
        compared = None if difference is None else vars(difference)
        print_json({**found, "difference": compared, "use": shown["use"]})
        return
    echo(f"{target}: {words}")
    steps = source.preprocessing
    if steps and writer.in_graph:
        echo(f"  before it  {', '.join(step['use'] for step in steps)}: in the graph")
    if difference is not None:
        echo(f"  checked    {difference.words()}")
    for title, lines in shown.items():
        for number, line in enumerate(lines):
            echo(f"  {title if not number else '':<9}  {line}")
    if steps and not writer.in_graph:
        where = "; it is described in the file's metadata" if format.name == "safetensors" else ""
        lines = [f"warning: the weights are of the model alone, without its preprocessing{where}"]
        lines += [_shortened(json.dumps(step)) for step in steps]
        lines.append(f"wf.load_model({place!r}) gives the model with it, and --to pt2 or onnx writes it into the file")
        tell("\n  ".join(lines))


def _script(
    ctx: click.Context,
    format: Format,
    writer: Any,
    place: str,
    target: Path,
    checkpoint: str,
    changes: dict[str, Any],
    *,
    is_checked: bool,
    as_json: bool,
) -> None:
    """Write the training as a script."""
    if path_of(place):
        raise UsageError(f"{place} is a bundle, which has no record of its training: name the run directory")
    directory = open_directory(place)
    num = directory.manifest.get("world_size", 1)
    if isinstance(num, int) and num > 1:
        raise UsageError(
            f"run {directory.path.name} was trained by {num} processes, which a plain script does not start\n"
            "  write its weights: --to state-dict"
        )
    from wf_export.formats.writer import whole

    if checkpoint not in (KEPT, "latest", "best"):
        raise UsageError(f"--checkpoint {checkpoint}: a script ends with the last weights, or keeps the best")
    weights = f"{target.stem}.pt"
    with reopen(directory.path, None, **of_line(ctx), **changes) as experiment, whole(target) as temporary:
        keep_best = checkpoint == "best" or (checkpoint == KEPT and experiment.plan["keep"] == "best")
        name = directory.path.name
        words = writer.write(experiment, directory.manifest, temporary, name, keep_best=keep_best, weights=weights)
        if is_checked:
            network = open_run(directory.path, checkpoint, **of_line(ctx)).network
            writer.check(temporary, network.model.state_dict())
    compared = "its data and initial weights equal the run's"
    compared += ", and so do its final weights" if is_checked else "; --check also compares its final weights"
    if as_json:
        print_json({"file": str(target), "format": format.name, "weights": weights, "checked": is_checked})
        return
    echo(f"{target}: {words}")
    echo(f"  checked    {compared}")
    echo(f"  use        python {target}  # trains, and writes {weights}")


def _name(place: str) -> str:
    bundle = path_of(place)
    path = (bundle or Path(place)).resolve()
    return path.parent.name if bundle and path.name == NAME else path.name


def _samples(ctx: click.Context, place: str, trained: Any, changes: dict[str, Any], writer: Any) -> tuple[Any, str]:
    """Samples for the comparison and their origin: the run's, if its data are available."""
    from wf_export.formats.source import samples_of

    if writer.in_graph and not path_of(place):
        log = logging.getLogger("wf")
        level = log.level
        log.setLevel(logging.ERROR)  # messages about the data were shown when the run was trained
        try:
            opening = of_line(ctx)
            with reopen_data(open_directory(place).path, opening=opening, **changes, device="cpu") as experiment:
                found = samples_of(experiment)
        except (DataError, UsageError) as error:
            tell(f"warning: compared on made-up samples, because the data are missing: {str(error).splitlines()[0]}")
            found = None
        finally:
            log.setLevel(level)
        if found is not None:
            return found
    return trained.example(), "that are made up"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
