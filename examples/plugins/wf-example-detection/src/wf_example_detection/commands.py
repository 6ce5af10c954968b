"""The command ``wf show-boxes``."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import wf
from wf.errors import DataError, UsageError
from wf_cli.common import WfCommand
from wf_cli.output import echo
from wf_example_detection.boxes import Found
from wf_example_detection.dataset import drawn, read_image

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""Of the classes, one after the other."""
SIDE = 480
"""Smaller images are drawn larger, until they have about so many pixels a side."""
FIRST = 1_000_000
"""The number of the first drawing that is made where no image is named."""


@click.command("show-boxes", cls=WfCommand)
@click.argument("place", metavar="RUN")
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--num", type=click.IntRange(min=1), default=4, metavar="N", help="So many drawings without images.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), default=0.3, metavar="P", help="Draw boxes from this score on."
)
@click.option("--into", type=click.Path(path_type=Path), default="boxes", metavar="FOLDER", help="Default: boxes.")
def show_boxes(place: str, images: tuple[Path, ...], num: int, min_score: float, into: Path) -> None:
    """Draw the boxes that a run's detector finds in images, one PNG file an image.

    Without images these are new drawings, of which no run has seen any.
    """
    model = wf.load_model(place)
    given = {path.stem: read_image(path)[0] for path in images}
    if len(given) < len(images):
        raise UsageError("two images have one name, and their pictures would, too\n  name each of them by itself")
    given = given or {f"drawing-{number}": drawn(FIRST + number)[0] for number in range(num)}
    for name, image in given.items():
        file = into / f"{name}.png"
        picture = pictured(image, found_in(model, image, place), min_score, getattr(model.model, "class_names", ()))
        try:
            into.mkdir(parents=True, exist_ok=True)
            picture.save(file)
        except OSError as error:
            raise DataError(f"cannot write {file}: {error.strerror or error}") from error
        echo(str(file))


def pictured(image: Tensor, found: Found, min_score: float, class_names: tuple[str, ...] = ()) -> Image.Image:
    """An image with the boxes in it, each in the colour of its class, with its class and score."""
    factor = max(1, SIDE // max(image.shape[1:]))
    small = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for box, label, score in zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True):
        if score >= min_score:
            colour, (x0, y0, x1, y1) = COLOURS[label % len(COLOURS)], (side * factor for side in box)
            name = class_names[label] if label < len(class_names) else str(label)
            pen.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=colour, width=2)
            pen.text((x0 + 3, y0 + 1), f"{name} {score:.2f}", fill=colour, stroke_width=2, stroke_fill="white")
    return picture


def found_in(model: torch.nn.Module, image: Tensor, place: str) -> Found:
    """What the model finds in an image.

    Raises:
        UsageError: When it is no detector.
    """
    with torch.inference_mode():
        found = model(image[None])
    if not isinstance(found, list) or not isinstance(found[0], dict) or "boxes" not in found[0]:
        raise UsageError(f"run {place} is no detection: its model finds no boxes")
    return cast(Found, found[0])
