"""The dataset `webdataset`: images and classes in tar files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from wf import FromRun
from wf.errors import DataError, UsageError, unknown
from wf_base import Dataset
from wf_datasets.images.image_folder import DEFAULT_SIDE, MAX_SIDE
from wf_datasets.images.image_reader import Fit, Form, ImageReader
from wf_datasets.remote import TRIES
from wf_webdataset.index import ShardIndex, Wanted, index_of
from wf_webdataset.names import shards_of
from wf_webdataset.samples import Shards


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
    """Images and their classes in tar files, as WebDataset has them: on this machine, in S3, or at other URLs.

    The members of a sample have one name and several endings, and follow each other: ``a/0001.jpg``, ``a/0001.cls``.
    Before step 1 each shard is read once for its index: where each image stands, and its target. Afterwards images are
    read when they are needed, by the processes of ``--workers``, each by one of them.

    The order of an epoch is a function of the seed and the epoch: shards are shuffled, their samples divided into
    `lanes` of equal length, and shuffled within a buffer. It is the same for any number of workers and processes.

    Args:
        path: The shards: ``train-{000..099}.tar``, ``s3://bucket/train-{000..099}.tar``, or with ``*``. With a URL the
            library fsspec reads them, with the package that it needs for it, such as s3fs.
        validation: The shards for validation. By default they are a part of the others.
        test: The shards for testing. By default they are a part of the others.
        inputs: The endings of the member with the image, divided by semicolons; a sample has one of them.
        target: The ending of the member with the target. Its text is a class, or the number of one; of a ``json`` it is
            the value of `key`. Numbers with a fraction are a regression.
        key: The key of the target in a member ``json``.
        class_names: The names of classes that are given by their numbers from 0 on. By default the classes are the
            different targets of the train shards.
        image_size: The size of every image, in pixels: one side of a square, or height and width. When not given it is
            what the model wants, as those with pretrained weights do, or 64.
        channels: 3 for colour, 1 for grey.
        fit: How images of other shapes get that size: ``crop`` resizes them until they cover it and cuts out the
            middle; ``pad`` keeps all of the image, with black beside it; ``squash`` changes the shape.
        resize_size: For ``crop``: the shorter side, in pixels, before the middle is cut out. When not given it is what
            the model wants, or the smallest that covers the size.
        reduce: Let JPEGs be decoded at a half, a quarter or an eighth of their size where that is at least twice the
            size that is wanted: several times faster for photos, and slightly different pixels.
        shuffle_buffer: So many samples of a lane that follow each other are shuffled among themselves.
        lanes: So many parts of the epoch are read side by side. Processes whose number divides it read different
            shards.
        cache: A folder for copies: each shard is copied there as a whole when it is needed first, once for all
            processes of a machine, and so is its index. It takes as much space as the shards, and may be deleted at any
            time. By default each batch reads the stretches of the shards that it needs.
        tries: So often a read is tried where the network fails, with pauses of 1, 2, 4 seconds and so on between them.
            After that the run ends with an error, and `wf resume` goes on.
        learned: What the run learned from its data when it began; then the classes are those.

    Returns:
        Inputs float32 ``[C, H, W]`` from 0 to 1; targets ``class_index``, or ``real``.

    Raises:
        DataError: For a shard that is missing, damaged or cannot be read, a sample without a member, a target that does
            not fit.
        UsageError: For an option out of range.
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
        resize_size = None  # the model's, which is for the middle of an image
    if resize_size is not None and not max(size) <= resize_size <= MAX_SIDE:
        raise UsageError(f"webdataset: resize_size is {resize_size}; it must be from {max(size)} to {MAX_SIDE:,}")
    return Form(size, channels, fit, resize_size, reduce)


def _indexes(pattern: str, wanted: Wanted, cache: Path | None, tries: int) -> list[ShardIndex]:
    urls = shards_of(pattern)
    if any("://" in url for url in urls):
        print(f"dataset '{pattern}': reading {len(urls)} shards for their index", file=sys.stderr)
    return [index_of(url, wanted, cache, tries) for url in urls]


def _check_apart(indexes: Mapping[str, Sequence[ShardIndex]]) -> None:
    seen: dict[str, str] = {}
    for split, own in indexes.items():
        for index in own:
            other = seen.setdefault(index.url, split)
            if other != split:
                raise UsageError(f"shard '{index.url}' is for both {other} and {split}: name it once")


class _Targets:
    """The targets of each split."""

    def __init__(self, kind: str, tensors: Mapping[str, Tensor], class_names: Sequence[str] = ()) -> None:
        self.kind, self.tensors, self.class_names = kind, tensors, class_names

    @classmethod
    def of(
        cls, indexes: Mapping[str, Sequence[ShardIndex]], names: Sequence[str] | None, *, is_real: bool | None
    ) -> _Targets:
        """From the shards.

        Args:
            indexes: The shards of each split.
            names: The classes, where they are known.
            is_real: Whether it is a regression; None to see it by the train split.
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
                raise DataError(f"'{indexes['train'][0].url}' has one class only: '{names[0]}'")
            texts = True
        else:  # names of classes, or their numbers
            texts = any(str(value) in names for value in values["train"])
        return cls(
            "class_index",
            {split: _classes(indexes[split], own, names, texts=texts) for split, own in values.items()},
            list(names),
        )


def _real(indexes: Sequence[ShardIndex], values: Sequence[Any]) -> Tensor:
    for row, value in enumerate(values):
        if isinstance(value, str):
            raise DataError(f"{_place(indexes, row)}: the target is '{value}', and the others are numbers")
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def _classes(indexes: Sequence[ShardIndex], values: Sequence[Any], names: Sequence[str], *, texts: bool) -> Tensor:
    """Class indices of targets, which are names of classes or their numbers."""
    index = {name: number for number, name in enumerate(names)} if texts else {}
    found = []
    for row, value in enumerate(values):
        number = index.get(str(value)) if texts else value
        if not isinstance(number, int) or not 0 <= number < len(names):
            hint = "the classes are those of the train shards, or of --dataset.class_names"
            raise DataError(f"{_place(indexes, row)}: {unknown('class', str(value), names, hint)}")
        found.append(number)
    return torch.tensor(found, dtype=torch.int64)


def _place(indexes: Sequence[ShardIndex], row: int) -> str:
    for index in indexes:
        if row < len(index.keys):
            return f"'{index.url}', sample '{index.keys[row]}'"
        row -= len(index.keys)
    raise AssertionError(row)
