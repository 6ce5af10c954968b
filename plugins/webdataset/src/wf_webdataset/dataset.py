"""The datasets `webdataset` and `webdataset-masks`: images with classes or masks in tar files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

from torch import Tensor

from wf import FromRun
from wf_base import Dataset
from wf_datasets.images.image_folder import checked_form
from wf_datasets.images.image_reader import Fit, Form, ImageReader, read_image
from wf_datasets.images.mask_folder import UNLABELLED, Classes, MaskReader, classes_of, raw_mask
from wf_storage.remote import TRIES
from wf_webdataset.index import Wanted
from wf_webdataset.reading import Reading, endings_of
from wf_webdataset.targets import Targets


def webdataset(
    path: str,
    validation: str | None = None,
    test: str | None = None,
    inputs: str = "jpg;jpeg;png;bmp;gif;tif;tiff;webp",
    target: str = "cls",
    key: str = "label",
    class_names: list[str] | None = None,
    image_size: Annotated[int | tuple[int, int] | None, FromRun("image_size")] = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    resize_size: Annotated[int | None, FromRun("resize_size")] = None,
    reduce: bool = False,
    shuffle_buffer: int = 1000,
    lanes: int = 8,
    cache: Path | None = None,
    tries: int = TRIES,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Images and their classes in tar files in the WebDataset format, on this machine, in S3, or at other URLs.

    The members of a sample share a name, differ in their extension and follow each other: ``a/0001.jpg``,
    ``a/0001.cls``. Before step 1 each shard is read once to build its index: the offset of each image, and its target.
    During training the processes of ``--workers`` read the images of their batches; each image is read once an epoch.

    The order of an epoch is a function of the seed and the epoch: shards are shuffled, their samples divided into
    `lanes` of equal length, and shuffled within a buffer. It is the same for any number of workers and processes.

    Args:
        path: The shards: ``train-{000..099}.tar``, ``s3://bucket/train-{000..099}.tar``, or a pattern with ``*``. URLs
            are read by fsspec, which needs a package for each storage, such as s3fs.
        validation: The shards for validation. By default a part of the train samples.
        test: The shards for testing. By default a part of the train samples.
        inputs: Extensions of image members, separated by semicolons; each sample must have exactly one of them.
        target: Extension of the target member. Its text is a class name or a class number; in a ``json`` member it is
            the value of `key`. If there are numbers with a fraction, the task is a regression.
        key: The key of the target in a ``json`` member.
        class_names: The names of the classes, for targets that are numbers from 0 on. By default the classes are the
            distinct targets of the train shards.
        image_size: The size of every image, in pixels: one side of a square, or height and width. By default the size
            that the model asks for (models with pretrained weights do), or 64.
        channels: 3 for colour, 1 for grey.
        fit: How images of other sizes are fitted: ``crop`` resizes them to cover the size and takes the centre;
            ``pad`` keeps the whole image and pads it with black; ``squash`` changes the aspect ratio.
        resize_size: For ``crop``: the length of the shorter side in pixels before the centre is cut out. By default the
            length that the model asks for, or the smallest that covers the size.
        reduce: Decode JPEGs at a half, a quarter or an eighth of their size if that is at least twice the requested
            size: several times faster for photos, with slightly different pixels.
        shuffle_buffer: Number of consecutive samples of a lane that are shuffled together.
        lanes: Number of parts of the epoch that are read side by side. Processes read different shards if their number
            divides it.
        cache: A folder for copies of the shards and their indexes. Each shard is copied as a whole when it is first
            needed, once for all processes of a machine. It needs as much space as the shards, and can be deleted at
            any time. By default nothing is copied, and each batch reads the byte ranges that it needs.
        tries: Number of attempts to read when the network fails, with pauses of 1, 2, 4, ... seconds between them.
            After the last one the run ends with an error, and `wf resume` continues it.
        learned: The values that the run derived from its data at its start; they determine the classes.

    Returns:
        Inputs float32 ``[C, H, W]`` from 0 to 1; targets ``class_index``, or ``real``.

    Raises:
        DataError: If a shard is missing, damaged or cannot be read, a sample lacks a member, or a target is invalid.
        UsageError: If an option is out of range.
    """
    form = checked_form("webdataset", image_size, channels, fit, resize_size, reduce)
    reading = Reading(name="webdataset", shuffle_buffer=shuffle_buffer, lanes=lanes, cache=cache, tries=tries)
    wanted = Wanted(inputs=endings_of(inputs), target=target.lstrip(".").lower(), key=key)
    indexes = reading.indexes(wanted, path, validation, test)
    targets = Targets.of(indexes, class_names, learned)
    decode = partial(image_in, form=form)
    splits = {split: reading.samples(own, decode, targets.tensors[split]) for split, own in indexes.items()}
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=targets.kind,
        class_names=targets.class_names,
        target_tensor=targets.tensors["train"] if targets.class_names else None,
        reader=ImageReader(*form),
    )


def webdataset_masks(
    path: str,
    validation: str | None = None,
    test: str | None = None,
    inputs: str = "jpg;jpeg;png;bmp;gif;tif;tiff;webp",
    target: str = "seg.png",
    class_names: list[str] | None = None,
    values: list[int] | None = None,
    ignore: int | None = UNLABELLED,
    image_size: Annotated[int | tuple[int, int] | None, FromRun("image_size")] = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "crop",
    resize_size: Annotated[int | None, FromRun("resize_size")] = None,
    reduce: bool = False,
    shuffle_buffer: int = 1000,
    lanes: int = 8,
    cache: Path | None = None,
    tries: int = TRIES,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Images and their masks in tar files in the WebDataset format: a semantic segmentation.

    The shards are read as by `webdataset`, and the masks as by `mask-folder`: ``0001.jpg`` is followed by
    ``0001.seg.png``, a grey image or one with a palette, whose pixels have the value of their class.

    Args:
        path: The shards for training, as for `webdataset`.
        validation: The shards for validation. By default a part of the train samples.
        test: The shards for testing. By default a part of the train samples.
        inputs: Extensions of image members, separated by semicolons; each sample must have exactly one of them.
        target: Extension of the mask member.
        class_names: The names of the classes. By default they are the values.
        values: The value of each class in the masks. By default 0, 1, ... if `class_names` are given, else the values
            that occur in the masks of the train shards, which are all read for it.
        ignore: The value of pixels that do not count in loss and metrics; ``null`` if all count.
        image_size: As for `webdataset`.
        channels: As for `webdataset`.
        fit: As for `webdataset`; pixels of the border of ``pad`` do not count.
        resize_size: As for `webdataset`.
        reduce: As for `webdataset`.
        shuffle_buffer: As for `webdataset`.
        lanes: As for `webdataset`.
        cache: As for `webdataset`.
        tries: As for `webdataset`.
        learned: The values that the run derived from its data at its start; they determine the classes.

    Returns:
        Inputs float32 ``[C, H, W]`` from 0 to 1; targets ``mask``.

    Raises:
        DataError: If a shard is missing, damaged or cannot be read, a sample lacks a member, or a mask is invalid.
        UsageError: If an option is out of range.
    """
    form = checked_form("webdataset-masks", image_size, channels, fit, resize_size, reduce)
    reading = Reading(name="webdataset-masks", shuffle_buffer=shuffle_buffer, lanes=lanes, cache=cache, tries=tries)
    wanted = Wanted(inputs=endings_of(inputs), target=target.lstrip(".").lower(), key=None, is_large=True)
    indexes = reading.indexes(wanted, path, validation, test)
    if learned is not None:
        class_names = list(learned["class_names"])
        values = list((learned.get("reader") or {}).get("values") or range(len(class_names)))
    decode = partial(image_in, form=form)
    every = reading.samples(indexes["train"], decode, _unread).members(1)
    classes = classes_of(class_names, values, ignore, (raw_mask(BytesIO(one), where) for one, where in every), path)
    mask = partial(mask_in, form=form, classes=classes)
    splits = {split: reading.samples(own, decode, mask) for split, own in indexes.items()}
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets="mask",
        class_names=class_names if class_names is not None else [str(value) for value in classes.values],
        reader=MaskReader(*form, values=classes.values, ignore=ignore),
    )


def image_in(content: bytes, where: str, form: Form) -> Tensor:
    """An image member, float32 ``[C, H, W]`` from 0 to 1."""
    return read_image(BytesIO(content), form, where)


def mask_in(content: bytes, where: str, form: Form, classes: Classes) -> Tensor:
    """A mask member, int64 ``[H, W]``."""
    return classes.read(BytesIO(content), form, where)


def _unread(content: bytes, where: str) -> Tensor:
    raise AssertionError(where)
