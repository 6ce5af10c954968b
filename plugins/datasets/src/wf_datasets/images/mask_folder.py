"""Images with a mask each: the class of each pixel."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_datasets.images.image_folder import checked_form, files_below, split_folders
from wf_datasets.images.image_reader import ENDINGS, Fit, Form, ImageReader, fitted, read_image
from wf_datasets.paths import existing_folder

Array = np.ndarray[Any, np.dtype[Any]]
_TOLD = logging.getLogger("wf")
IGNORED = -100
"""The target of pixels that do not count, the default of losses and metrics."""
UNLABELLED = 255
"""The usual value of pixels without a class."""
MASK_ENDINGS = (".png", ".bmp", ".gif", ".tif", ".tiff")
"""The endings of mask files; JPEG changes the values of pixels."""


@dataclass(frozen=True)
class Classes:
    """The classes of the pixels of masks.

    Args:
        values: The value of each class in the mask files.
        ignore: The value of pixels that do not count; None if all count.
    """

    values: tuple[int, ...]
    ignore: int | None = UNLABELLED

    def read(self, file: Path | BinaryIO, form: Form, name: str = "") -> Tensor:
        """The classes of the pixels, int64 ``[H, W]``, turned and resized as an image is, but without new values.

        Args:
            file: A mask file, possibly open.
            form: The form of the images.
            name: Its name in messages, if it is not a path.

        Raises:
            DataError: If the file is missing or damaged, has several numbers per pixel, or an unknown value.
        """
        from PIL import Image

        name = name or str(file)
        found = raw_mask(file, name)
        classes = np.full(found.shape, -1, dtype=np.int32)
        for number, value in enumerate(self.values):
            classes[found == value] = number
        if self.ignore is not None:
            classes[(found == self.ignore) & (classes < 0)] = IGNORED
        if (classes == -1).any():
            strange = int(found[classes == -1][0])
            known = ", ".join(map(str, self.values))
            raise DataError(
                f"mask '{name}' has pixels of value {strange}, which is no class: the classes have {known}\n"
                f"  to leave them out: --dataset.ignore {strange}"
            )
        whole = Image.fromarray(classes)
        sized = fitted(whole, form.size, form.fit, form.resize_size, nearest=True, border=IGNORED)
        return torch.from_numpy(np.array(sized)).to(torch.int64)


def raw_mask(file: Path | BinaryIO, name: str) -> Array:
    """The values of the pixels of a mask file, upright, ``[H, W]``; of a palette the indices.

    Raises:
        DataError: If the file is missing or damaged, or has several numbers per pixel.
    """
    from PIL import Image, ImageOps

    try:
        with nullcontext(file) if isinstance(file, Image.Image) else Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            found = np.array(image)
    except Exception as error:  # a damaged file can raise anything
        reason = str(error).partition(" <_io.")[0] or type(error).__name__
        raise DataError(f"mask '{name}' cannot be read: {reason}\n  repair, replace or delete it") from error
    if found.ndim != 2 or found.dtype.kind not in "uib":
        raise DataError(
            f"mask '{name}' has the mode {image.mode}; a mask has one whole number per pixel, the value of its class\n"
            "  convert it to a grey image or one with a palette"
        )
    return found.astype(np.int64)


@dataclass(frozen=True)
class MaskFiles(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images and masks that are read when they are requested."""

    draws: ClassVar[bool] = False

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    form: Form
    classes: Classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image float32 ``[C, H, W]`` from 0 to 1, and the class of each pixel, int64 ``[H, W]``.

        Raises:
            DataError: If a file is damaged, or the sizes of image and mask differ.
        """
        image, mask = self.images[index], self.masks[index]
        check_sizes(image, mask)
        return read_image(image, self.form), self.classes.read(mask, self.form)

    def identity(self) -> list[tuple[str, int, int]]:
        """Name and sizes of each pair of files, which identify them wherever their folder is."""
        folder = os.path.commonpath([file.parent for file in self.images])
        return [
            (os.path.relpath(image, folder), image.stat().st_size, mask.stat().st_size)
            for image, mask in zip(self.images, self.masks, strict=True)
        ]


def check_sizes(image: Path | BinaryIO, mask: Path | BinaryIO, name: str = "") -> None:
    """Refuse a mask of another size than its image; damaged files are reported when they are read.

    Raises:
        DataError: If the sizes differ.
    """
    from PIL import Image

    sizes = []
    for file in (image, mask):
        try:
            with Image.open(file) as opened:
                sizes.append(opened.size[::-1] if opened.getexif().get(0x0112, 1) >= 5 else opened.size)
        except Exception:
            return
        finally:
            if not isinstance(file, Path):
                file.seek(0)
    if sizes[0] != sizes[1]:
        (width, height), (mask_width, mask_height) = sizes
        raise DataError(
            f"image '{name or image}' has {width}x{height} pixels, but its mask '{name or mask}' has "
            f"{mask_width}x{mask_height}\n  each pixel of the image needs a class"
        )


def mask_folder(
    path: Path,
    image_size: Annotated[int | tuple[int, int] | None, FromRun("image_size")] = None,
    channels: Literal[1, 3] = 3,
    class_names: list[str] | None = None,
    values: list[int] | None = None,
    ignore: int | None = UNLABELLED,
    images: str = "images",
    masks: str = "masks",
    fit: Fit = "crop",
    resize_size: Annotated[int | None, FromRun("resize_size")] = None,
    reduce: bool = False,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Images with a mask each, in two folders: a semantic segmentation.

    The folders ``images`` and ``masks`` are in `path`, or in its folders ``train``, ``test`` and ``val`` or
    ``validation``, which are then the splits. A mask has the name of its image (``images/a/1.jpg``,
    ``masks/a/1.png``) and its size; it is a grey image or one with a palette, and the value of a pixel stands for its
    class. Image and mask are resized together.

    Args:
        path: The folder.
        image_size: The size of every image, in pixels: one side of a square, or height and width. By default the size
            that the model requires, or 64.
        channels: 3 for colour images, 1 for grey ones.
        class_names: The names of the classes. By default they are the values.
        values: The value of each class in the masks. By default 0, 1, ... if `class_names` are given, else the values
            that occur in the masks of the train split, which are all read for it.
        ignore: The value of pixels that do not count in loss and metrics; ``null`` if all count. It is no class unless
            it is among `values`.
        images: The name of the folder of images.
        masks: The name of the folder of masks.
        fit: As for `image-folder`; pixels of the border of ``pad`` do not count.
        resize_size: As for `image-folder`.
        reduce: As for `image-folder`.
        learned: For a resumed run: its description of the folder, which determines the classes.

    Returns:
        Inputs float32 ``[C, H, W]`` from 0 to 1, targets ``mask``: -100 for pixels that do not count.

    Raises:
        DataError: If a folder, an image or a mask is missing, or one is damaged.
        UsageError: For an option out of range.
    """
    folder = existing_folder(path)
    form = checked_form("mask-folder", image_size, channels, fit, resize_size, reduce)
    pairs = {split: _pairs(place, images, masks) for split, place in split_folders(folder, images).items()}
    if learned is not None:
        class_names = list(learned["class_names"])
        values = list((learned.get("reader") or {}).get("values") or range(len(class_names)))
    classes = classes_of(
        class_names, values, ignore, (raw_mask(file, str(file)) for _, file in pairs["train"]), str(folder)
    )
    names = class_names if class_names is not None else [str(value) for value in classes.values]
    splits = {split: _files(own, form, classes) for split, own in pairs.items()}
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets="mask",
        class_names=names,
        reader=MaskReader(*form, values=classes.values, ignore=ignore, images=images, masks=masks),
    )


def classes_of(
    names: Sequence[str] | None, values: Sequence[int] | None, ignore: int | None, masks: Iterable[Array], where: str
) -> Classes:
    """The classes from the options, else from the values in the masks.

    Raises:
        DataError: If the masks have only one class.
        UsageError: For options that contradict each other.
    """
    if names is not None and values is not None and len(names) != len(values):
        raise UsageError(f"{len(names)} class_names, but {len(values)} values: each class has a value in the masks")
    if values is not None and len(set(values)) < len(values):
        raise UsageError(f"values is {list(values)}; each class has its own value in the masks")
    if values is None and names is not None:
        values = range(len(names))
    if values is None:
        found = sorted({int(value) for mask in masks for value in np.unique(mask)})
        values = [value for value in found if value != ignore]
        if len(values) < 2:
            more = f" besides {ignore}, which is ignored" if ignore in found else ""
            raise DataError(
                f"'{where}': the masks have only one class: {', '.join(map(str, values)) or 'none'}{more}\n"
                f"  if {ignore} is a class: --dataset.values '{found}'"
            )
        _TOLD.info("%s: the classes are the values in the masks: %s", where, ", ".join(map(str, values)))
    return Classes(tuple(values), None if ignore in values else ignore)


def _pairs(folder: Path, images: str, masks: str) -> list[tuple[Path, Path]]:
    """Each image with its mask.

    Raises:
        DataError: If there is none, or one has no mask.
    """
    for name in (images, masks):
        if not (folder / name).is_dir():
            option = "images" if name == images else "masks"
            raise DataError(f"'{folder}' has no folder '{name}'\n  name it: --dataset.{option}")
    stems = {
        str(file.relative_to(folder / masks).with_suffix("")): file
        for file in files_below(folder / masks)
        if file.suffix.lower() in MASK_ENDINGS
    }
    there = sorted(file for file in files_below(folder / images) if file.suffix.lower() in ENDINGS)
    if not there:
        raise DataError(f"no image in '{folder / images}'; looked for {', '.join(ENDINGS)}")
    found = []
    for file in there:
        mask = stems.get(str(file.relative_to(folder / images).with_suffix("")))
        if mask is None:
            raise DataError(
                f"image '{file}' has no mask '{folder / masks / file.relative_to(folder / images).with_suffix('.png')}'"
                f"\n  a mask has the name of its image and one of the endings {', '.join(MASK_ENDINGS)}"
            )
        found.append((file, mask))
    if len(found) < len(stems):
        _TOLD.warning("%s: %d masks have no image", folder, len(stems) - len({mask for _, mask in found}))
    return found


def _files(pairs: Sequence[tuple[Path, Path]], form: Form, classes: Classes) -> MaskFiles:
    return MaskFiles(tuple(image for image, _ in pairs), tuple(mask for _, mask in pairs), form, classes)


class MaskReader(ImageReader):
    """Reads image files, and folders of images with masks.

    Args:
        image_size: Height and width.
        channels: 1 or 3.
        fit: As for `ImageReader`.
        resize_size: As for `ImageReader`.
        reduce: As for `ImageReader`.
        values: The value of each class in mask files; empty for 0, 1, ....
        ignore: The value of pixels that do not count; None if all count.
        images: The name of the folder of images.
        masks: The name of the folder of masks.
    """

    dataset_endings: tuple[str, ...] = ("/",)

    def __init__(
        self,
        image_size: Sequence[int],
        channels: int,
        fit: Fit = "squash",
        resize_size: int | None = None,
        reduce: bool = False,
        values: Sequence[int] = (),
        ignore: int | None = UNLABELLED,
        images: str = "images",
        masks: str = "masks",
    ) -> None:
        super().__init__(image_size, channels, fit, resize_size, reduce)
        self.values, self.ignore, self.images, self.masks = tuple(values), ignore, images, masks

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        own = {"values": list(self.values), "ignore": self.ignore, "images": self.images, "masks": self.masks}
        return {**super().description(), **own}

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """The images of a folder with their masks.

        Raises:
            DataError: As dataset `mask-folder`.
        """
        names = list(learned["class_names"])
        classes = classes_of(names, self.values or None, self.ignore, [], str(path))
        samples = _files(_pairs(path, self.images, self.masks), self.form, classes)
        return Dataset(train=samples, targets="mask", class_names=names)
