"""``wf predict``: labels and probabilities for files, folders, standard input, or a split of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from wf.engine.figures import SPLITS
from wf.errors import DataError, UsageError
from wf.terminal import plural
from wf_cli.common import WfCommand
from wf_cli.listing.listing import JSON
from wf_cli.output import keep_stdout, number, print_json, say, tell
from wf_run.bundle.folder import path_of
from wf_run.cli.afterwards import (
    CHECKPOINT,
    DEVICE,
    RUN,
    moved,
    on_device,
    open_directory,
    open_experiment,
    open_model,
    places,
)
from wf_run.parts.data.validation import VALIDATION, name_in, names_of
from wf_run.runfiles.reading import read

_FORMATS = ("text", "csv", "jsonl", "parquet")


@click.command(cls=WfCommand)
@RUN
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@CHECKPOINT
@DEVICE
@moved
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write labels with probabilities into FILE: .csv, .jsonl or .parquet.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(_FORMATS),
    help="The format of FILE if its ending does not tell, or of the printed output: text (labels), csv or jsonl.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    help="For an input that cannot be read: stop, or name it, predict for the others and end with code 4.",
)
@click.option(
    "--draw",
    "pictures",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Draw the predictions into the images, one PNG file each: boxes, masks.",
)
@JSON
@click.pass_context
def predict(
    ctx: click.Context,
    place: str,
    inputs: tuple[str, ...],
    checkpoint: str,
    device: str | None,
    path: str | None,
    root: str | None,
    file: Path | None,
    format_: str | None,
    on_error: str,
    pictures: Path | None,
    as_json: bool,
) -> None:
    """Predict for INPUT: files, folders, standard input (-), or a split of the run.

    A file is one that the run's dataset reads (a table, an image), JSON lines or parquet of such rows, or an array
    [N, ...] in a .npy or .npz file, at a path or a URL (s3://bucket/new.csv); the training data are not needed for it,
    and RUN may be a bundle. Prints one line per sample: the class, the labels that apply (- for none), the share of
    pixels of each class of a mask, the boxes of a detection, or the numbers of a regression.
    """
    from wf_run.using import predictions

    keep_stdout()
    if as_json and (file is not None or format_ is not None):
        raise UsageError("--json prints one list; leave it out with --output and --format")
    if format_ == "parquet" and file is None:
        raise UsageError("parquet cannot be printed\n  write it to a file: --output FILE.parquet")
    written = predictions.format_of(file, format_)
    if file is not None and written == "text":
        raise UsageError("text is only printed\n  write csv, jsonl or parquet, or redirect: > FILE")
    named = [name for name in inputs if _is_split(place, name)]
    if named and len(inputs) > 1:
        raise UsageError(f"a split ({', '.join(SPLITS)}) cannot be combined with files")
    show = _Show(as_json=as_json, format=written, file=file, errors=on_error == "skip", several=len(inputs) > 1)
    try:
        if named:
            if (bundle := path_of(place)) is not None:
                raise UsageError(f"{bundle} is a bundle, which has no {inputs[0]} split\n  give files, or name the run")
            changes = places(path, root) | on_device(device)
            with open_experiment(ctx, open_directory(place), checkpoint, quiet=True, **changes) as experiment:
                outputs = experiment.predict(inputs[0])
                trained = experiment.trained()
                records = trained.answers(outputs)
                if pictures is not None:
                    show.draw(pictures, [inputs[0]], experiment.draw(inputs[0], outputs))
                source = predictions.Source(Path(inputs[0]))
                show.write([predictions.Place(source, row) for row in range(1, len(records) + 1)], records)
            num_failed = 0
        else:
            trained = open_model(ctx, place, checkpoint, device)
            sources = predictions.sources_of(inputs, trained, tell)
            show.several = len(sources) > 1
            predicting = predictions.Predicting(trained, on_error, show.fail)
            for found in predicting(sources):
                if pictures is not None:
                    stems = [one.source.path.stem for one in found.places]
                    show.draw(pictures, stems, trained.draw(found.inputs, found.outputs))
                show.write(found.places, trained.answers(found.outputs))
            num_failed = predicting.num_failed
        show.commit()
    except BaseException:
        show.discard()
        raise
    if num_failed:
        inputs_ = "1 input" if num_failed == 1 else f"{num_failed:,} inputs"
        raise DataError(f"{inputs_} could not be read, and {'has' if num_failed == 1 else 'have'} no prediction")


def _is_split(place: str, text: str) -> bool:
    """Whether an input is the name of a split of the run, or of one of its validation sets."""
    if text in SPLITS or path_of(place) is not None:
        return text in SPLITS
    name = name_in(text)
    return bool(name) and name in names_of(read(open_directory(place).run_file)[0].get(VALIDATION))


class _Show:
    """The destination of predictions: a file, lines on standard output, or a list as JSON."""

    def __init__(self, *, as_json: bool, format: str | None, file: Path | None, errors: bool, several: bool) -> None:
        from wf_run.using import predictions

        self._list: list[Any] | None = [] if as_json else None
        self._output = None if file is None else predictions.Output(file, str(format), errors=errors)
        lines = predictions.writer_of(str(format), say, errors=errors) if format in ("csv", "jsonl") else None
        self._writer = self._output.writer if self._output is not None else lines
        self.several = several
        self._num, self._num_drawn, self._folder = 0, 0, Path()
        self._stems: Counter[str] = Counter()

    def write(self, places: Sequence[Any], records: Sequence[Mapping[str, Any]]) -> None:
        """Write records."""
        self._num += len(places)
        if self._list is not None:
            named = [{"input": one.source.name, "row": one.row} if self.several else {} for one in places]
            self._list += [{**name, **record} for name, record in zip(named, records, strict=True)]
        elif self._writer is not None:
            self._writer.write(places, records)
        else:
            for one, record in zip(places, records, strict=True):
                text = _words(record["label"]) if "label" in record else _numbers(record["output"])
                say(f"{one.words}: {text}" if self.several else text)

    def fail(self, source: Any, error: DataError) -> None:
        """Name an input that cannot be read."""
        tell(f"warning: {error}")
        if self._writer is not None:
            self._writer.fail(source, error)
        elif self._list is not None:
            self._list.append({"input": source.name, "error": str(error)})

    def draw(self, folder: Path, stems: Sequence[str], pictures: Sequence[Any]) -> None:
        """Write pictures: ``NAME.png`` if a file has one, else ``NAME-0.png`` and so on."""
        several = len(pictures) > len(set(stems))
        names = [stems[min(number, len(stems) - 1)] for number in range(len(pictures))]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, picture in zip(names, pictures, strict=True):
                number = self._stems[name]
                self._stems[name] += 1
                picture.save(folder / (f"{name}-{number}.png" if several or number else f"{name}.png"))
        except OSError as error:
            raise DataError(f"cannot write pictures into {folder}: {error.strerror or error}") from error
        self._num_drawn, self._folder = self._num_drawn + len(pictures), folder

    def commit(self) -> None:
        """Finish the output."""
        if self._list is not None:
            print_json(self._list)
        elif self._writer is not None and self._output is None:
            self._writer.close()
        if self._output is not None:
            self._output.commit()
            tell(f"{plural(self._num, 'prediction')} in {self._output.file}")
        if self._num_drawn:
            tell(f"{plural(self._num_drawn, 'picture')} in {self._folder}")

    def discard(self) -> None:
        """Remove an incomplete file of predictions."""
        if self._output is not None:
            self._output.discard()


def _numbers(row: Any) -> str:
    """The outputs of a sample on one line; nested or named outputs as JSON."""
    flat = row if isinstance(row, list) else [row]
    return " ".join(map(number, flat)) if all(isinstance(one, (int, float)) for one in flat) else json.dumps(row)


def _words(label: Any) -> str:
    """A class, labels, or the share of pixels of each class of a mask, the largest first.

    Records, and strings of several lines, as JSON.
    """
    if isinstance(label, str):
        return json.dumps(label, ensure_ascii=False) if len(label.splitlines()) > 1 or "\n" in label else label
    if not isinstance(label, list) or any(isinstance(one, Mapping) for one in label):
        return json.dumps(label)
    pixels = [name for row in label if isinstance(row, list) for name in row]
    shares = [f"{name} {count / len(pixels):.1%}" for name, count in Counter(pixels).most_common()]
    return ", ".join(shares or label) or "-"
