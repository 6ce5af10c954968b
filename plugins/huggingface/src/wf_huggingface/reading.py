"""From a path or a name to the splits."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets

from wf.errors import DataError, UsageError, unknown

READERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}
"""The readers of files, by ending."""
NAMES = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
"""Names of splits."""

_log = logging.getLogger(__name__)


def read(
    path: Path, config: str | None, revision: str | None, cache_dir: Path | None, *, streaming: bool = False
) -> dict[str, Any]:
    """The splits of a path or dataset name, each a `datasets.Dataset` or, as a stream, an `IterableDataset`.

    Raises:
        DataError: If it is missing or cannot be read.
    """
    place = path.expanduser()
    options: dict[str, Any] = {"name": config, "cache_dir": None if cache_dir is None else str(cache_dir.expanduser())}
    if streaming:
        options["streaming"] = True
    with _quiet():
        if place.is_file():
            return _read_file(place, options)
        if place.is_dir():
            return _read_folder(place, options)
        return _read_hub(path, {**options, "revision": revision})


def splits_of(tables: Mapping[str, Any], path: Path, named: Mapping[str, str | None]) -> dict[str, Any]:
    """The tables for training, validation and testing.

    Args:
        tables: The tables by their own names.
        path: Their origin, for messages.
        named: The user's names of train, validation and test.

    Raises:
        UsageError: If a split is missing.
    """
    found: dict[str, str] = {}
    for split, name in named.items():
        usual = [name] if name is not None else [one for one in NAMES[split] if one in tables]
        for one in usual[:1]:
            if one not in tables:
                raise UsageError(unknown("split", one, tables, of=f"'{path}'"))
            found[split] = one
    if "train" not in found:
        if len(tables) > 1:
            raise UsageError(
                f"'{path}' has no split 'train'\n  available: {', '.join(tables)}\n  choose one: --dataset.train"
            )
        found["train"] = next(iter(tables))
    twice = [name for name in set(found.values()) if list(found.values()).count(name) > 1]
    if twice:
        raise UsageError(f"split '{twice[0]}' of '{path}' is used twice: train, validation and test must differ")
    over = [name for name in tables if name not in found.values()]
    if over:
        _log.warning("%s: passed over: %s", path, ", ".join(over))
    return {split: tables[name] for split, name in found.items()}


def _read_file(place: Path, options: dict[str, Any]) -> dict[str, Any]:
    reader = READERS.get(place.suffix.lower())
    if reader is None:
        raise DataError(f"'{place}' is not a file that can be read\n  known endings: {', '.join(READERS)}")
    more = {"sep": "\t"} if place.suffix.lower() == ".tsv" else {}
    return _load(str(place), reader, data_files={"train": str(place)}, **options, **more)


def _read_folder(place: Path, options: dict[str, Any]) -> dict[str, Any]:
    if (place / "dataset_dict.json").exists() or (place / "state.json").exists():
        try:
            saved = datasets.load_from_disk(str(place))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"'{place}' cannot be read: {_first_line(error)}") from error
        tables = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        streaming = options.get("streaming", False)
        return {name: table.to_iterable_dataset() for name, table in tables.items()} if streaming else tables
    return _load(str(place), str(place), **options)


def _read_hub(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    name = path.as_posix()
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.suffix.lower() in READERS:
        raise DataError(f"no file or folder '{path}'\n  set it with --dataset.path")
    print(f"dataset '{name}' is not a file or folder: searching the Hugging Face hub", file=sys.stderr)
    try:
        return _load(name, name, **options)
    except DataError as error:
        cache = options["cache_dir"] or datasets.config.HF_DATASETS_CACHE
        raise DataError(
            f"dataset '{name}' was not found: {str(error).partition(': ')[2]}\n  looked in:\n"
            f"    {path.absolute()}, a file or folder\n    {cache}, the library's earlier downloads\n"
            "    the Hugging Face hub\n  what to do:\n"
            "    check the name and the network (unset HF_HUB_OFFLINE); a private one needs a login\n"
            "    where there is a network: datasets.load_dataset(...).save_to_disk(DIR), and here --dataset.path DIR"
        ) from error


def _load(what: str, reader: str, **options: Any) -> dict[str, Any]:
    with readable(what):
        loaded = datasets.load_dataset(reader, **{name: one for name, one in options.items() if one is not None})
    if not options.get("streaming", False):
        return dict(loaded)
    # by row group: otherwise Arrow prefetches a whole parquet file into memory, even if reading has stopped
    return {name: table.reshard() for name, table in loaded.items()}


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Convert the library's errors to messages.

    Raises:
        DataError: Instead of the library's error.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:  # ConnectionError is one
        raise DataError(f"'{what}' cannot be read: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of the original cause, which the library wraps in a less informative error."""
    while isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, and without a line for each of the hub's retries."""
    loggers = [logging.getLogger("huggingface_hub"), logging.getLogger("datasets")]
    levels = [logger.level for logger in loggers]
    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not shown:
            datasets.enable_progress_bars()
