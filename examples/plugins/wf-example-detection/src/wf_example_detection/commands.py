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
"""The colours of the classes."""
SIDE = 480
"""Smaller images are enlarged to at most this many pixels per side."""
FIRST = 1_000_000
"""The number of the first new drawing, if no image is given."""


@click.command("show-boxes", cls=WfCommand)
@click.argument("place", metavar="RUN")
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--num", type=click.IntRange(min=1), default=4, metavar="N", help="Number of drawings if no image is given."
)
@click.option(
    "--min-score", type=click.FloatRange(0, 1), default=0.3, metavar="P", help="Minimum score of the boxes to draw."
)
@click.option("--into", type=click.Path(path_type=Path), default="boxes", metavar="FOLDER", help="Default: boxes.")
def show_boxes(place: str, images: tuple[Path, ...], num: int, min_score: float, into: Path) -> None:
    """Draw the boxes that a run's detector finds in images, one PNG file per image.

    Without images it uses new drawings, which no run has used for training.
    """
    model = wf.load_model(place)
    given = {path.stem: read_image(path)[0] for path in images}
    if len(given) < len(images):
        raise UsageError("two images have the same name, so one output would replace the other\n  draw them separately")
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
    """The image with its boxes drawn in, each in the colour of its class and labelled with class and score.

    Args:
        image: uint8 ``[3, H, W]``.
        found: The detections.
        min_score: The minimum score of the boxes to draw.
        class_names: The name of each class; by default their numbers.
    """
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
    """The detections of the model in an image.

    Raises:
        UsageError: If the model is not a detector.
    """
    with torch.inference_mode():
        found = model(image[None])
    if not isinstance(found, list) or not isinstance(found[0], dict) or "boxes" not in found[0]:
        raise UsageError(f"the model of run {place} is not a detector: its outputs are not boxes")
    return cast(Found, found[0])
