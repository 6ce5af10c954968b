"""Image files in a folder per class."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError, unknown
from wf_base import Dataset
from wf_base.data import as_float
from wf_base.reading import broken_link
from wf_datasets.images.cache import PixelCache
from wf_datasets.images.image_reader import ENDINGS, Fit, Form, ImageReader, read_image, read_pixels
from wf_datasets.paths import existing_folder

_log = logging.getLogger(__name__)
MAX_SIDE = 16_384
"""The maximum side of images in pixels: one sample then takes 3 GB."""
DEFAULT_SIDE = 64
"""The default side of images."""
_LEFT_BEHIND = ("__MACOSX", "Thumbs.db", "desktop.ini")
_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class ImageFiles(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images that are read when they are requested."""

    draws: ClassVar[bool] = False

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    form: Form
    cache: PixelCache | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The image float32 ``[C, H, W]`` from 0 to 1, and its class.

        Raises:
            DataError: When the file is damaged.
        """
        if self.cache is None:
            return read_image(self.files[index], self.form), self.labels[index]
        pixels = self.cache.get(index, lambda: read_pixels(self.files[index], self.form))
        return as_float(pixels), self.labels[index]

    def identity(self) -> list[tuple[str, int, int]]:
        """Name, size and class of each file, which identify these images wherever their folder is."""
        folder = os.path.commonpath([file.parent for file in self.files])
        return [
            (os.path.relpath(file, folder), file.stat().st_size, label)
            for file, label in zip(self.files, self.labels, strict=True)
        ]

    def cached(self, folder: Path) -> ImageFiles:
        """The same images, each decoded once and then read from a file in a folder."""
        key = [[str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in self.files]
        (height, width), channels, *_ = self.form
        cache = PixelCache(folder, [key, self.form], len(self.files), (channels, height, width))
        return replace(self, cache=cache)


def image_folder(
    path: Path,
    image_size: Annotated[int | tuple[int, int] | None, FromRun("image_size")] = None,
    channels: Literal[1, 3] = 3,
    extensions: tuple[str, ...] = ENDINGS,
    fit: Fit = "crop",
    resize_size: Annotated[int | None, FromRun("resize_size")] = None,
    reduce: bool = False,
    cache: Path | None = None,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Image files in one folder per class, read when they are needed; each folder's name is its class.

    The class folders are in `path`, or in its folders ``train``, ``test`` and ``val`` or ``validation``, which are
    then the splits: without ``test`` there is no test split. Hidden files and folders are ignored. Of an animated image
    or a file with several pages the first is read.

    Args:
        path: The folder.
        image_size: The size of every image, in pixels: one side of a square, or height and width. By default the size
            that the model requires, as models with pretrained weights do, or 64.
        channels: 3 for colour, 1 for grey.
        extensions: The endings of image files, in upper or lower case; other files are skipped.
        fit: How images of other shapes get that size: ``crop`` resizes them to cover it and crops the centre; ``pad``
            keeps the whole image and adds black borders; ``squash`` changes the aspect ratio.
        resize_size: For ``crop``: the shorter side before the centre crop, in pixels. By default the value that the
            model requires, or the smallest that covers the size.
        reduce: Whether to decode JPEGs at a half, a quarter or an eighth of their size if that is at least twice the
            target size: several times faster for photos, with slightly different pixels.
        cache: A folder for decoded images, so that each file is decoded once: later epochs and runs read its pixels
            from there, with the same bits. It takes one byte per pixel and channel, and may be deleted at any time. A
            changed file is decoded again. Images of more than 8 bits are not cached.
        learned: For a resumed run: its description of the folder, which determines the classes.

    Returns:
        Inputs float32 ``[C, H, W]`` from 0 to 1, targets ``class_index``.

    Raises:
        DataError: If there is no folder, no class, or no image in a class, or if an image is damaged.
        UsageError: For a size below 1 or above `MAX_SIDE`.
    """
    folder = existing_folder(path)
    form = checked_form("image-folder", image_size, channels, fit, resize_size, reduce)
    endings = tuple(ending.lower() if ending.startswith(".") else f".{ending.lower()}" for ending in extensions)
    folders = split_folders(folder)
    names = [entry.name for entry in _subfolders(folders["train"])]
    if learned is not None:
        names = list(learned["class_names"])
    _check_names(folders["train"], names, endings)
    splits = {split: _read_split(place, names, form, endings) for split, place in folders.items()}
    if cache is not None:
        splits = {split: files.cached(cache) for split, files in splits.items()}
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets="class_index",
        class_names=names,
        target_tensor=torch.tensor(splits["train"].labels, dtype=torch.int64),
        reader=ImageReader(*form),
    )


def checked_form(
    name: str, image_size: int | tuple[int, int] | None, channels: int, fit: Fit, resize_size: int | None, reduce: bool
) -> Form:
    """The form of the images of a dataset with these options.

    Raises:
        UsageError: For a size below 1 or above `MAX_SIDE`.
    """
    wanted = DEFAULT_SIDE if image_size is None else image_size
    size = (wanted, wanted) if isinstance(wanted, int) else (wanted[0], wanted[1])
    if min(size) < 1:
        raise UsageError(f"{name}: image_size is {image_size}; it must be at least 1")
    if max(size) > MAX_SIDE:
        raise UsageError(f"{name}: image_size is {image_size}; it must be at most {MAX_SIDE:,} pixels a side")
    if resize_size is not None and fit != "crop":
        resize_size = None  # the model's value is for a centre crop
    if resize_size is not None and not max(size) <= resize_size <= MAX_SIDE:
        raise UsageError(
            f"{name}: resize_size is {resize_size}; it must be at least {max(size)}, the image_size, and at most "
            f"{MAX_SIDE:,}"
        )
    return Form(size, channels, fit, resize_size, reduce)


def _subfolders(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
    return sorted(entries, key=lambda entry: entry.name)


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, except hidden ones and system files.

    Raises:
        DataError: For a link to nothing, which may be an image that is missing.
    """
    found = []
    for file in folder.rglob("*"):
        parts = file.relative_to(folder).parts
        if any(part.startswith(".") or part in _LEFT_BEHIND for part in parts):
            continue
        if file.is_file():
            found.append(file)
        elif (link := broken_link(file)) is not None:
            raise DataError(f"{link}\n  remove it")
    return found


def split_folders(folder: Path, inner: str | None = None) -> dict[str, Path]:
    """The folder of each split: only train, or also the folders beside a folder ``train`` with subfolders.

    Args:
        folder: The folder.
        inner: A subfolder of each split's folder; None if they have any names.

    Raises:
        DataError: If a split has two folders.
    """
    entries = {entry.name: entry for entry in _subfolders(folder)}
    if "train" not in entries or not _subfolders(entries["train"]) or (inner is not None and inner in entries):
        return {"train": folder}
    if "val" in entries and "validation" in entries:
        raise DataError(f"'{folder}' has both a folder 'val' and a folder 'validation'; keep one")
    others = [name for name in entries if name not in _SPLITS]
    if others:
        _log.warning("%s: skipped beside 'train': %s", folder, ", ".join(others))
    return {_SPLITS[name]: entry for name, entry in entries.items() if name in _SPLITS}


def _check_names(folder: Path, names: Sequence[str], endings: Sequence[str]) -> None:
    if sorted(name.lower() for name in names) == ["images", "masks"]:
        raise DataError(
            f"'{folder}' has images and masks: --dataset mask-folder reads them, for a segmentation\n"
            "  if these are classes, rename a folder"
        )
    if len(names) > 1:
        return
    if names:
        raise DataError(f"'{folder}' has only one class: '{names[0]}'; put each class into a separate folder")
    loose = sum(1 for entry in folder.iterdir() if entry.suffix.lower() in endings and entry.name[0] != ".")
    found = f"{loose} images but no folders" if loose else "no folders"
    raise DataError(f"'{folder}' has {found}; put the images of each class into a folder named after it")


def _read_split(folder: Path, names: Sequence[str], form: Form, endings: tuple[str, ...]) -> ImageFiles:
    found: list[tuple[Path, int]] = []
    others: Counter[str] = Counter()
    for entry in _subfolders(folder):
        if entry.name not in names:
            hint = "the train split determines the classes"
            raise DataError(f"'{folder}': {unknown('class', entry.name, names, hint)}")
        there = files_below(entry)
        files = sorted(file for file in there if file.suffix.lower() in endings)
        others.update(file.suffix.lower() for file in there if file.suffix.lower() not in endings)
        if not files:
            raise DataError(f"no image in '{entry}'; looked for {', '.join(endings)}")
        found.extend((file, names.index(entry.name)) for file in files)
    if not found:
        raise DataError(f"'{folder}' has no class folders; put the images of each class into a folder named after it")
    if others:
        kinds = ", ".join(sorted(ending or "without an ending" for ending in others))
        what = "1 file that is not an image" if others.total() == 1 else f"{others.total():,} files that are not images"
        _log.warning("%s: skipped %s (%s)", folder, what, kinds)
    if missing := [name for number, name in enumerate(names) if number not in {label for _, label in found}]:
        _log.warning("%s: it has no image of %s", folder, ", ".join(f"'{name}'" for name in missing))
    return ImageFiles(tuple(file for file, _ in found), tuple(label for _, label in found), form)
