"""The dataset `webdataset`: images and classes in tar files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError, unknown
from wf_base import Dataset
from wf_datasets.images.image_folder import DEFAULT_SIDE, MAX_SIDE
from wf_datasets.images.image_reader import Fit, Form, ImageReader
from wf_storage.remote import TRIES
from wf_webdataset.index import ShardIndex, Wanted, index_of
from wf_webdataset.names import shards_of
from wf_webdataset.samples import Shards

AT_ONCE = 16
"""The number of shards at URLs that are read at once for their index."""


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
    form = _form(image_size, channels, fit, resize_size, reduce)
    for name, number in (("shuffle_buffer", shuffle_buffer), ("lanes", lanes), ("tries", tries)):
        if number < 1:
            raise UsageError(f"webdataset: {name} is {number}; it must be at least 1")
    endings = tuple(ending.strip().lstrip(".").lower() for ending in inputs.split(";") if ending.strip())
    wanted = Wanted(inputs=endings, target=target.lstrip(".").lower(), key=key)
    patterns = {"train": path, "validation": validation, "test": test}
    indexes = {
        split: _indexes(pattern, wanted, cache, tries) for split, pattern in patterns.items() if pattern is not None
    }
    _check_apart(indexes)
    names = (list(learned["class_names"]) or None) if learned is not None else class_names
    targets = _Targets.of(indexes, names, is_real=None if learned is None else not learned["class_names"])
    splits = {
        split: Shards(own, targets.tensors[split], form, buffer=shuffle_buffer, lanes=lanes, cache=cache, tries=tries)
        for split, own in indexes.items()
    }
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=targets.kind,
        class_names=targets.class_names,
        target_tensor=targets.tensors["train"] if targets.class_names else None,
        reader=ImageReader(*form),
    )


def _form(
    image_size: int | tuple[int, int] | None, channels: int, fit: Fit, resize_size: int | None, reduce: bool
) -> Form:
    wanted = DEFAULT_SIDE if image_size is None else image_size
    size = (wanted, wanted) if isinstance(wanted, int) else (wanted[0], wanted[1])
    if not 1 <= min(size) <= max(size) <= MAX_SIDE:
        raise UsageError(f"webdataset: image_size is {image_size}; it must be from 1 to {MAX_SIDE:,}")
    if fit != "crop":
        resize_size = None  # the model's value applies only to centre crops
    if resize_size is not None and not max(size) <= resize_size <= MAX_SIDE:
        raise UsageError(f"webdataset: resize_size is {resize_size}; it must be from {max(size)} to {MAX_SIDE:,}")
    return Form(size, channels, fit, resize_size, reduce)


def _indexes(pattern: str, wanted: Wanted, cache: Path | None, tries: int) -> list[ShardIndex]:
    urls = shards_of(pattern)
    if not any("://" in url for url in urls):
        return [index_of(url, wanted, cache, tries) for url in urls]
    shards = "1 shard" if len(urls) == 1 else f"{len(urls):,} shards"
    print(f"dataset '{pattern}': reading {shards} to build the index", file=sys.stderr)
    with ThreadPoolExecutor(min(AT_ONCE, len(urls))) as pool:
        found = [pool.submit(index_of, url, wanted, cache, tries) for url in urls]
        try:
            return [one.result() for one in found]
        except BaseException:
            for one in found:
                one.cancel()
            raise


def _check_apart(indexes: Mapping[str, Sequence[ShardIndex]]) -> None:
    seen: dict[str, str] = {}
    for split, own in indexes.items():
        for index in own:
            other = seen.setdefault(index.url, split)
            if other != split:
                raise UsageError(f"shard '{index.url}' is in both {other} and {split}\n  give it to one split")


class _Targets:
    """The targets of each split."""

    def __init__(self, kind: str, tensors: Mapping[str, Tensor], class_names: Sequence[str] = ()) -> None:
        self.kind, self.tensors, self.class_names = kind, tensors, class_names

    @classmethod
    def of(
        cls, indexes: Mapping[str, Sequence[ShardIndex]], names: Sequence[str] | None, *, is_real: bool | None
    ) -> _Targets:
        """The targets of the shards.

        Args:
            indexes: The shards of each split.
            names: The class names, if known.
            is_real: Whether the task is a regression; None to infer it from the train split.
        """
        values = {split: [target for one in own for target in one.targets] for split, own in indexes.items()}
        if is_real is None:
            is_real = names is None and any(isinstance(value, float) for value in values["train"])
        if is_real:
            return cls("real", {split: _real(indexes[split], own) for split, own in values.items()})
        if names is None:
            distinct = set(values["train"])
            numbers = all(isinstance(value, (int, float)) for value in distinct)
            names = [str(one) for one in (sorted(distinct) if numbers else sorted(distinct, key=str))]
            if len(names) < 2:
                raise DataError(f"'{indexes['train'][0].url}' has only one class: '{names[0]}'")
            texts = True
        else:  # the targets are class names or class numbers
            texts = any(str(value) in names for value in values["train"])
        return cls(
            "class_index",
            {split: _classes(indexes[split], own, names, texts=texts) for split, own in values.items()},
            list(names),
        )


def _real(indexes: Sequence[ShardIndex], values: Sequence[Any]) -> Tensor:
    for row, value in enumerate(values):
        if isinstance(value, str):
            raise DataError(f"{_place(indexes, row)}: the target is '{value}', but other targets are numbers")
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def _classes(indexes: Sequence[ShardIndex], values: Sequence[Any], names: Sequence[str], *, texts: bool) -> Tensor:
    """The class indices of targets, which are class names (`texts`) or class numbers."""
    index = {name: number for number, name in enumerate(names)} if texts else {}
    found = []
    for row, value in enumerate(values):
        number = index.get(str(value)) if texts else value
        if not isinstance(number, int) or not 0 <= number < len(names):
            hint = "the classes come from the train shards, or from --dataset.class_names"
            raise DataError(f"{_place(indexes, row)}: {unknown('class', str(value), names, hint)}")
        found.append(number)
    return torch.tensor(found, dtype=torch.int64)


def _place(indexes: Sequence[ShardIndex], row: int) -> str:
    for index in indexes:
        if row < len(index.keys):
            return f"'{index.url}', sample '{index.keys[row]}'"
        row -= len(index.keys)
    raise AssertionError(row)
