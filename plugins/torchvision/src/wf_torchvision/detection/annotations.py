"""Annotations in the format of COCO: a JSON file that lists images, categories, and objects with boxes and masks."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, unknown
from wf_torchvision.detection.masks import decoded

LISTS = ("images", "categories", "annotations")
BEYOND = 1.0
"""Boxes that exceed their image by at most this many pixels, because of rounding, are clipped at its edge."""


@dataclass(frozen=True)
class Pictured:
    """An image and the objects in it."""

    file: Path
    id: int
    size: tuple[int, int]
    """Width and height."""
    boxes: tuple[tuple[float, ...], ...]
    """For each object x0, y0, x1, y1 in pixels."""
    labels: tuple[int, ...]
    shapes: tuple[Any, ...] = field(default=(), repr=False)
    """For each object its outline from the file, if masks are requested: polygons, or a run-length encoding."""

    def masks(self) -> Tensor:
        """uint8 ``[M, H, W]``, 1 where the object is.

        Raises:
            DataError: For an invalid run-length encoding.
        """
        width, height = self.size
        try:
            found = [decoded(shape, height, width) for shape in self.shapes]
        except (ValueError, TypeError) as error:
            raise DataError(
                f"image {self.id} ('{self.file}') has a segmentation that cannot be decoded: {error}"
            ) from error
        return torch.from_numpy(np.stack(found)) if found else torch.zeros(0, height, width, dtype=torch.uint8)


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file."""

    file: Path
    images: tuple[Pictured, ...]
    class_names: tuple[str, ...]
    left_out: Mapping[str, int]
    """The reasons why objects were left out, with counts."""


class _BadError(ValueError):
    """The error in an object."""


def read_annotations(
    file: Path, folder: Path, class_names: Sequence[str] = (), *, masks: bool = False, skip: bool = False
) -> Annotations:
    """Read an annotation file and check all of it.

    Args:
        file: The JSON file.
        folder: The folder of its ``file_name`` entries.
        class_names: The names of the classes, if determined by another file; other categories are refused.
        masks: Whether to read the objects' outlines, too.
        skip: Whether to leave out objects without a box inside their image instead of refusing them.

    Raises:
        DataError: Naming the file, and the image or the annotation that is wrong.
    """
    document = _document(file)
    categories = _categories(file, document["categories"], class_names)
    names = tuple(class_names) or tuple(categories.values())
    sizes = _images(file, document["images"], folder)
    objects: dict[int, list[tuple[Any, ...]]] = {number: [] for number in sizes}
    left_out: Counter[str] = Counter()
    for place, one in enumerate(document["annotations"]):
        owner = f"'{file}': annotation {_id_of(one, place)}"
        if not _is_key(one.get("image_id"), sizes):
            raise DataError(f"{owner} belongs to image {one.get('image_id')!r}, which the file does not list")
        if not _is_key(one.get("category_id"), categories):
            known = [f"{number} ({name})" for number, name in categories.items()]
            raise DataError(
                f"{owner} of image {one['image_id']} has the unknown category {one.get('category_id')!r}\n"
                f"  categories: {', '.join(known)}"
            )
        if one.get("iscrowd"):
            left_out["crowds"] += 1
            continue
        image, size = sizes[one["image_id"]]
        try:
            box, shape = _box(one.get("bbox"), size), _shape(one.get("segmentation"), size) if masks else None
        except _BadError as error:
            if skip:
                left_out[error.args[1]] += 1
                continue
            raise DataError(
                f"{owner} of image {one['image_id']} ('{image.name}'): {error.args[0]}\n"
                "  fix it, or leave out all such objects: --dataset.invalid skip"
            ) from error
        objects[one["image_id"]].append((box, names.index(categories[one["category_id"]]), shape))
    if not any(objects.values()):
        raise DataError(f"'{file}' has no object in any of its {len(sizes)} images: there is nothing to learn")
    images = [
        Pictured(
            image,
            number,
            size,
            tuple(box for box, _, _ in objects[number]),
            tuple(label for _, label, _ in objects[number]),
            tuple(shape for _, _, shape in objects[number]) if masks else (),
        )
        for number, (image, size) in sizes.items()
    ]
    return Annotations(file, tuple(images), names, left_out)


def _document(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The JSON of a file, checked for its three lists."""
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file '{file}' with annotations") from error
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # errors of JSON and UTF-8 are ValueErrors
        raise DataError(f"'{file}' is not JSON: {error}") from error
    lists = found if isinstance(found, dict) else {}
    wrong = [name for name in LISTS if not _is_list_of_tables(lists.get(name))]
    if wrong:
        raise DataError(
            f"'{file}' is not in the format of COCO: it has no list {' and no list '.join(map(repr, wrong))}\n"
            f"  such a file is {{{', '.join(f'{name!r}: [...]' for name in LISTS)}}}"
        )
    if not lists["images"]:
        raise DataError(f"'{file}' lists no images")
    return lists


def _is_key(value: Any, table: Mapping[Any, Any]) -> bool:
    return isinstance(value, int) and value in table


def _is_list_of_tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _id_of(one: Mapping[str, Any], place: int) -> str:
    return str(one["id"]) if "id" in one else f"number {place} in the list, which has no id,"


def _categories(file: Path, tables: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[Any, str]:
    """The name of each category by its id, in the order of these."""
    found: dict[Any, str] = {}
    for one in tables:
        number, name = one.get("id"), one.get("name")
        if not isinstance(number, int) or not isinstance(name, str) or not name:
            raise DataError(f"'{file}': a category needs an integer id and a name: {json.dumps(one)[:100]}")
        if number in found or name in found.values():
            raise DataError(f"'{file}' has two categories {number if number in found else repr(name)}")
        if class_names and name not in class_names:
            hint = "the train split determines the classes"
            raise DataError(f"'{file}': category {number}: {unknown('class', name, class_names, hint)}")
        found[number] = name
    if not found:
        raise DataError(f"'{file}' has no categories")
    return dict(sorted(found.items()))


def _images(file: Path, tables: Sequence[Mapping[str, Any]], folder: Path) -> dict[Any, tuple[Path, tuple[int, int]]]:
    """File and size of each image by its id."""
    found: dict[Any, tuple[Path, tuple[int, int]]] = {}
    for place, one in enumerate(tables):
        number, name, sides = one.get("id"), one.get("file_name"), (one.get("width"), one.get("height"))
        if not isinstance(number, int):
            raise DataError(
                f"'{file}': image number {place} in the list has the id {number!r}, which is not an integer"
            )
        if number in found:
            raise DataError(f"'{file}' has two images with the id {number}: '{found[number][0].name}' and '{name}'")
        if not isinstance(name, str) or not name:
            raise DataError(f"'{file}': image {number} has no file_name")
        if any(not isinstance(side, int) or side < 1 for side in sides):
            raise DataError(f"'{file}': image {number} ('{name}') has no width and height in pixels: {sides}")
        found[number] = (folder / name, (sides[0], sides[1]))  # type: ignore[assignment]  # they are whole numbers
    missing = [(number, image) for number, (image, _) in found.items() if not image.is_file()]
    if missing:
        number, image = missing[0]
        more = f", and {len(missing) - 1:,} others are missing, too" if len(missing) > 1 else ""
        raise DataError(
            f"'{file}': image {number} is missing: '{image}'{more}\n"
            "  put it there, or set the folder with the images: --dataset.images FOLDER"
        )
    return found


def _box(given: Any, size: tuple[int, int]) -> tuple[float, ...]:
    """The corners of a box given as x, y, width and height, clipped at the edges of its image."""
    if not given:
        raise _BadError("it has no bbox", "without a box")
    if not isinstance(given, list) or len(given) != 4 or not all(_is_number(one) for one in given):
        raise _BadError(f"bbox is {json.dumps(given)[:80]}, not four numbers: x, y, width, height", "without a box")
    x, y, width, height = (float(one) for one in given)
    if width <= 0 or height <= 0:
        raise _BadError(f"bbox {given} has no area: its width is {width:g}, its height {height:g}", "of no area")
    corners = (x, y, x + width, y + height)
    low, high = min(corners[:2]), max(corners[2] - size[0], corners[3] - size[1])
    cut = tuple(min(max(value, 0.0), float(size[place % 2])) for place, value in enumerate(corners))
    if low < -BEYOND or high > BEYOND or cut[2] <= cut[0] or cut[3] <= cut[1]:
        raise _BadError(f"bbox {given} is not inside the image of {size[0]}x{size[1]} pixels", "outside of the image")
    return cut


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shape(given: Any, size: tuple[int, int]) -> Any:
    """The outline of an object for pycocotools."""
    if isinstance(given, dict):
        counts, wanted = given.get("counts"), [size[1], size[0]]
        if given.get("size") != wanted or not isinstance(counts, (list, str)):
            raise _BadError(f"its segmentation is not encoded for {wanted} pixels (height, width)", "without a mask")
        whole = isinstance(counts, str) or all(isinstance(one, int) and one >= 0 for one in counts)
        if not whole or (isinstance(counts, list) and sum(counts) != size[0] * size[1]):
            raise _BadError("its segmentation does not count the pixels of the image", "without a mask")
        return given
    polygons = [one for one in given or () if isinstance(one, list) and len(one) >= 6 and len(one) % 2 == 0]
    if not polygons or len(polygons) < len(given) or not all(_is_number(one) for each in polygons for one in each):
        raise _BadError(
            "it has no segmentation"
            if not given
            else "its segmentation is not a list of polygons [x, y, x, y, x, y, ...]",
            "without a mask",
        )
    return polygons
