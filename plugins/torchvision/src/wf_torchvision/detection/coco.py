"""Datasets in the format of COCO: boxes around objects and their masks, or the class of each pixel."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_base.reading import image_in
from wf_base.tree import Rows
from wf_torchvision.detection.annotations import Annotations, Pictured, read_annotations
from wf_torchvision.reader import check_bits, image_field, opened_image, to_pixels

_log = logging.getLogger("wf.torchvision")  # below "wf": told unless the run is quiet
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
BACKGROUND = "background"
"""The name of the class of pixels that belong to no object."""
_NAMES = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
_OFFICIAL = re.compile(r"instances_((train|val|test)\w*)\.json")
Learned = Annotated[Mapping[str, Any] | None, FromRun("learned")]


@dataclass(frozen=True)
class Objects(torch.utils.data.Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images that are read when they are requested, and the objects in them."""

    draws: ClassVar[bool] = False

    images: tuple[Pictured, ...]
    with_masks: bool

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The image uint8 ``[3, H, W]``, with ``boxes [M, 4]``, ``labels [M]`` and optionally ``masks [M, H, W]``.

        Raises:
            DataError: If the file is damaged, or its size differs from its annotations.
        """
        one = self.images[index]
        targets = {
            "boxes": torch.tensor(one.boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(one.labels, dtype=torch.int64),
        }
        if self.with_masks:
            targets["masks"] = one.masks()
        return _pixels(read_photo(one.file, one.size)), targets

    def identity(self) -> list[Any]:
        """Name and size of each file, with its objects, which identify these images."""
        return [(one.file.name, one.file.stat().st_size, one.boxes, one.labels) for one in self.images]


@dataclass(frozen=True)
class Classes(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images that are read when they are requested and resized to one size, with the class of each pixel."""

    draws: ClassVar[bool] = False

    images: tuple[Pictured, ...]
    size: tuple[int, int]
    """Height and width."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image float32 ``[3, H, W]`` from 0 to 1, and int64 ``[H, W]``: 0 for the background.

        If objects overlap, the smaller one is in front.

        Raises:
            DataError: If the file is damaged, or its size differs from its annotations.
        """
        one = self.images[index]
        classes = np.zeros(one.size[::-1], dtype=np.int32)
        masks = one.masks().numpy()
        for place in sorted(range(len(masks)), key=lambda place: -int(masks[place].sum())):
            classes[masks[place] > 0] = one.labels[place] + 1
        small = Image.fromarray(classes).resize(self.size[::-1], Image.Resampling.NEAREST)
        pixels = to_pixels(read_photo(one.file, one.size), self.size, 3)
        return pixels.to(torch.float32).div_(255), torch.from_numpy(np.array(small)).to(torch.int64)

    def identity(self) -> list[Any]:
        """Name and size of each file, with its objects, which identify these images."""
        return [(one.file.name, one.file.stat().st_size, one.boxes, one.labels) for one in self.images]


def coco(
    path: Path,
    images: Path | None = None,
    validation: Path | None = None,
    test: Path | None = None,
    masks: bool = False,
    invalid: Literal["refuse", "skip"] = "refuse",
    learned: Learned = None,
) -> Dataset:
    """Images with boxes around objects, in the format of COCO: a JSON file with images, categories and annotations.

    `path` is such a file, which wf divides unless `validation` or `test` name others; or a folder with ``train.json``,
    ``val.json`` and ``test.json``, or ``annotations/instances_train2017.json`` and so on, as in COCO itself. Boxes
    that exceed their image by less than a pixel are clipped. Crowds (``iscrowd``) are left out. Images are read when
    they are needed, in their own size, and turned upright if the annotations are for upright images.

    Args:
        path: The file with the annotations, or the folder with one per split.
        images: The folder with the images, in which each ``file_name`` is looked up. By default the folder of the
            annotation file; beside COCO's own ``annotations`` the folder named after the split (``train2017``).
        validation: The annotations of the validation split, if it is separate.
        test: The annotations of the test split, if it is separate.
        masks: Whether to add each object's mask, from its polygons or its run-length encoding.
        invalid: ``skip`` leaves out objects without a box with an area inside their image, and reports their number;
            ``refuse`` ends the run with the first one.
        learned: For a resumed run: its description, which determines the classes.

    Returns:
        Inputs uint8 ``[3, H, W]``, targets ``boxes``; the classes are the names of the categories.

    Raises:
        DataError: For a file that is missing, broken or contradicts itself, naming it and what is wrong in it.
    """
    splits = _read(path, images, validation, test, learned, masks=masks, skip=invalid == "skip")
    samples = {split: Objects(found.images, masks) for split, found in splits.items()}
    return Dataset(
        train=samples["train"],
        validation=samples.get("validation"),
        test=samples.get("test"),
        targets="boxes",
        task="detection",
        class_names=splits["train"].class_names,
        reader=PhotoReader(masks=masks, skip=invalid == "skip"),
    )


def coco_masks(
    path: Path,
    images: Path | None = None,
    validation: Path | None = None,
    test: Path | None = None,
    image_size: int | tuple[int, int] = 256,
    invalid: Literal["refuse", "skip"] = "refuse",
    learned: Learned = None,
) -> Dataset:
    """The class of each pixel, from masks in the format of COCO: see dataset `coco`.

    Image and classes are resized together. Pixels without an object have the first class, ``background``.

    Args:
        path: The file with the annotations, or the folder with one per split.
        images: The folder with the images.
        validation: The annotations of the validation split, if it is separate.
        test: The annotations of the test split, if it is separate.
        image_size: The size to which images are resized, in pixels: one side of a square, or height and width.
        invalid: ``skip`` leaves out objects without a mask or a box in their image, and reports their number.
        learned: For a resumed run: its description, which determines the classes.

    Returns:
        Inputs float32 ``[3, H, W]`` from 0 to 1, targets ``mask``.

    Raises:
        DataError: For a file that is missing, broken or contradicts itself, naming it and what is wrong in it.
        UsageError: For a size below 1.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(size) < 1:
        raise UsageError(f"coco-masks: image_size is {image_size}; it must be at least 1")
    splits = _read(path, images, validation, test, learned, masks=True, skip=invalid == "skip", first=1)
    samples = {split: Classes(found.images, size) for split, found in splits.items()}
    return Dataset(
        train=samples["train"],
        validation=samples.get("validation"),
        test=samples.get("test"),
        targets="mask",
        class_names=(BACKGROUND, *splits["train"].class_names),
        reader=SizedPhotoReader(size, skip=invalid == "skip"),
    )


def _read(
    path: Path,
    images: Path | None,
    validation: Path | None,
    test: Path | None,
    learned: Mapping[str, Any] | None,
    *,
    masks: bool,
    skip: bool,
    first: int = 0,
) -> dict[str, Annotations]:
    """The annotations of each split; all use the classes of the first, or those that the run learned."""
    files = _files(path.expanduser())
    files |= {split: given.expanduser() for split, given in (("validation", validation), ("test", test)) if given}
    names = tuple(learned["class_names"])[first:] if learned is not None else ()
    found: dict[str, Annotations] = {}
    for split, file in files.items():
        folder = images.expanduser() if images is not None else _folder(file)
        found[split] = read_annotations(file, folder, names, masks=masks, skip=skip)
        names = found[split].class_names
        _say(found[split])
    return found


def _files(path: Path) -> dict[str, Path]:
    """The annotation file of each split: a single file, or the files in a folder.

    Raises:
        DataError: If a folder has none, or two of one split.
    """
    if not path.is_dir():
        return {"train": path}
    found: dict[str, list[Path]] = {}
    for split, names in _NAMES.items():
        plain = [path / f"{name}.json" for name in names]
        official = [
            one
            for one in sorted((path / "annotations").glob("instances_*.json"))
            if (match := _OFFICIAL.fullmatch(one.name)) and match[2] in names
        ]
        found[split] = [one for one in plain if one.is_file()] or official
    twice = next((files for files in found.values() if len(files) > 1), None)
    if twice:
        raise DataError(
            f"'{path}' has several annotation files of one split: {', '.join(one.name for one in twice)}\n"
            f"  choose one: --dataset.path {twice[0]}"
        )
    if not found["train"]:
        raise DataError(
            f"'{path}' has neither train.json nor annotations/instances_train*.json\n"
            "  name the file with the annotations: --dataset.path FILE.json"
        )
    return {split: files[0] for split, files in found.items() if files}


def _folder(file: Path) -> Path:
    """The default folder of an annotation file's images."""
    match = _OFFICIAL.fullmatch(file.name)
    if match and file.parent.name == "annotations":
        return file.parent.parent / match[1]
    return file.parent


def _say(found: Annotations) -> None:
    """Report the objects and images that were left out."""
    empty = sum(not one.boxes for one in found.images)
    if empty:
        _log.info("%s: %d of %d images have no object", found.file, empty, len(found.images))
    if found.left_out:
        parts = ", ".join(f"{num:,} {why}" for why, num in found.left_out.items())
        _log.warning("%s: left out of the objects: %s", found.file, parts)


def read_photo(file: Any, size: tuple[int, int] | None = None, name: str = "") -> Image.Image:
    """An image, turned upright according to its EXIF data.

    Args:
        file: The image file, a stream of it, or an image.
        size: Width and height of its annotations; an image that only matches them unrotated is not turned.
        name: What it is called in messages; its path where it is empty.

    Raises:
        DataError: If it is missing, damaged, has more than 8 bits per pixel, or another size.
    """
    with opened_image(file, name) as opened:
        check_bits(opened)
        upright = ImageOps.exif_transpose(opened)
        chosen = opened if size is not None and upright.size != size == opened.size else upright
        found = chosen.convert("RGB")
    if size is not None and found.size != size:
        raise DataError(
            f"image '{file}' has {'x'.join(map(str, found.size))} pixels, but its annotations are for "
            f"{'x'.join(map(str, size))}\n"
            "  it may have been resized: use the annotated image"
        )
    return found


def _pixels(image: Image.Image) -> Tensor:
    """uint8 ``[3, H, W]``."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


class PhotoReader:
    """Reads an image file in its own size, turned upright.

    Args:
        masks: Whether annotation files are read with masks.
        skip: Whether objects without a box in their image are left out.
    """

    endings: tuple[str, ...] = ENDINGS
    dataset_endings: tuple[str, ...] = (".json",)

    def __init__(self, masks: bool = False, skip: bool = False) -> None:
        self.masks, self.skip = masks, skip

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        return {"masks": self.masks, "skip": self.skip}

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The images and objects of an annotation file.

        Raises:
            DataError: As `coco`.
        """
        found = read_annotations(path, _folder(path), learned["class_names"], masks=self.masks, skip=self.skip)
        _say(found)
        samples = Objects(found.images, self.masks)
        return Dataset(train=samples, targets="boxes", task="detection", class_names=found.class_names)

    def read(self, path: Path) -> Rows:
        """One image, uint8 ``[3, H, W]``.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return Rows([_pixels(read_photo(path))])

    def fields(self) -> list[dict[str, Any]]:
        """One column: the image, a path, the bytes of a file, or an image of Pillow."""
        return [image_field()]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Rows:
        """The images of rows, as `read` gives those of files.

        Raises:
            DataError: For a row without one, and for one that cannot be read.
        """
        return Rows(_pixels(_photo(record, where, row)) for row, record in enumerate(records, first))


class SizedPhotoReader:
    """Reads an image file, turned upright and resized (bilinear).

    Args:
        image_size: Height and width.
        skip: Whether objects without a mask or a box in their image are left out.
    """

    endings: tuple[str, ...] = ENDINGS
    dataset_endings: tuple[str, ...] = (".json",)

    def __init__(self, image_size: tuple[int, int] | list[int], skip: bool = False) -> None:
        height, width = image_size
        self.size, self.skip = (int(height), int(width)), skip

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        return {"image_size": list(self.size), "skip": self.skip}

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The images of an annotation file, with the class of each pixel.

        Raises:
            DataError: As `coco_masks`.
        """
        names = learned["class_names"]
        found = read_annotations(path, _folder(path), names[1:], masks=True, skip=self.skip)
        _say(found)
        return Dataset(train=Classes(found.images, self.size), targets="mask", class_names=names)

    def read(self, path: Path) -> Tensor:
        """One image, float32 ``[1, 3, H, W]`` from 0 to 1.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return self._of(read_photo(path)).unsqueeze(0)

    def fields(self) -> list[dict[str, Any]]:
        """One column: the image, a path, the bytes of a file, or an image of Pillow."""
        return [image_field(self.size)]

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The images of rows, as `read` gives those of files.

        Raises:
            DataError: For a row without one, and for one that cannot be read.
        """
        return torch.stack([self._of(_photo(record, where, row)) for row, record in enumerate(records, first)])

    def _of(self, image: Image.Image) -> Tensor:
        return to_pixels(image, self.size, 3).to(torch.float32).div_(255)


def _photo(record: Mapping[str, Any], where: str, row: int) -> Image.Image:
    given, name = image_in(record, where, row)
    return read_photo(given, name=name)
