"""The dataset `webdataset-arrays`: arrays in tar files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from wf import FromRun
from wf.errors import DataError
from wf_base import Dataset
from wf_datasets.array_reader import ArrayReader
from wf_storage.remote import TRIES
from wf_webdataset.index import Wanted, array_in
from wf_webdataset.reading import Reading, endings_of
from wf_webdataset.targets import Targets

KEY = "x"
"""The array of inputs in an ``.npz`` file for predictions."""


def webdataset_arrays(
    path: str,
    validation: str | None = None,
    test: str | None = None,
    inputs: str = "npy",
    target: str = "cls",
    key: str = "label",
    class_names: list[str] | None = None,
    shuffle_buffer: int = 1000,
    lanes: int = 8,
    cache: Path | None = None,
    tries: int = TRIES,
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Arrays of numbers and their targets in tar files in the WebDataset format: signals, spectra, features.

    The shards are read as by `webdataset`, and the arrays as by `npz`: all have one shape, and uint8 ``[C, H, W]`` and
    ``[H, W]`` are images. Nothing is unpickled.

    Args:
        path: The shards for training, as for `webdataset`.
        validation: The shards for validation. By default a part of the train samples.
        test: The shards for testing. By default a part of the train samples.
        inputs: Extensions of the members with an array in NumPy's format, separated by semicolons; each sample must
            have exactly one of them.
        target: Extension of the target member. Its text is a class name or a class number; in a ``json`` member it is
            the value of `key`. Numbers with a fraction are a regression, and so are lists of numbers, also in an
            ``npy`` member such as ``target.npy``.
        key: The key of the target in a ``json`` member.
        class_names: The names of the classes, for targets that are numbers from 0 on. By default the classes are the
            distinct targets of the train shards.
        shuffle_buffer: As for `webdataset`.
        lanes: As for `webdataset`.
        cache: As for `webdataset`.
        tries: As for `webdataset`.
        learned: The values that the run derived from its data at its start; they determine classes and shape.

    Returns:
        Inputs as `npz` gives them; targets ``class_index``, or ``real [N, K]``.

    Raises:
        DataError: If a shard is missing, damaged or cannot be read, a sample lacks a member, or an array is invalid.
        UsageError: If an option is out of range.
    """
    reading = Reading(name="webdataset-arrays", shuffle_buffer=shuffle_buffer, lanes=lanes, cache=cache, tries=tries)
    wanted = Wanted(inputs=endings_of(inputs), target=target.lstrip(".").lower(), key=key)
    indexes = reading.indexes(wanted, path, validation, test)
    targets = Targets.of(indexes, class_names, learned)
    known = (learned.get("reader") or None) if learned is not None else None
    if known:
        reader = ArrayReader(**known)
    else:
        content, where = next(reading.samples(indexes["train"], array_in, targets.tensors["train"]).members())
        reader = ArrayReader.of(where, KEY, array_in(content, where)[None])
    decode = partial(numbers_in, reader=reader)
    splits = {split: reading.samples(own, decode, targets.tensors[split]) for split, own in indexes.items()}
    return Dataset(
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        targets=targets.kind,
        class_names=targets.class_names,
        target_tensor=targets.tensors["train"] if targets.class_names else None,
        reader=reader,
    )


def numbers_in(content: bytes, where: str, reader: ArrayReader) -> Tensor:
    """The array of a member.

    Raises:
        DataError: If it has another shape than the first, or numbers that are not finite.
    """
    found = array_in(content, where)
    if found.shape != reader.shape:
        raise DataError(
            f"{where} has an array of shape {list(found.shape)}, but the first sample has {list(reader.shape)}\n"
            "  pad or cut the arrays to one shape"
        )
    return reader.encode(where, "array", found[None])[0]
