"""Time series in a table, cut into windows and the values that follow each of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from wf import FromRun
from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_datasets.tables.dates import Feature
from wf_datasets.tables.series_reader import Gaps, Part, SeriesReader
from wf_datasets.tables.table import Decimal
from wf_datasets.tables.text.plain_rows import Array

_TOLD = logging.getLogger("wf")


def series(
    path: Path,
    target: str | list[str],
    time: str,
    id: str | None = None,
    window: int = 24,
    horizon: int = 1,
    stride: int = 1,
    ignore: str | tuple[str, ...] = (),
    time_features: tuple[Feature, ...] = (),
    gaps: Gaps = "error",
    season: int = 1,
    validation: float = 0.15,
    test: float = 0.15,
    date_format: str = "auto",
    delimiter: str = "auto",
    decimal: Decimal = "auto",
    learned: Annotated[Mapping[str, Any] | None, FromRun("learned")] = None,
) -> Dataset:
    """Time series in a UTF-8 text file, one row per time step; its first line names the columns.

    A sample is a window of consecutive rows of one series, and its targets are the target columns in the rows that
    follow. Inputs are the targets themselves, all other columns that are not ignored, which must hold numbers, and the
    features of the time. Rows may be in any order. The splits are in order of time: the last part is the test split,
    the part before it validation, and no window's targets reach into the next split.

    Args:
        path: The file.
        target: The column to forecast, or several.
        time: The column of the time: dates, or numbers.
        id: The column that names the series, if the file has several.
        window: The number of rows in a sample.
        horizon: The number of rows to forecast after them.
        stride: The number of rows from one window to the next, counted from the first row of a series, across its
            gaps.
        ignore: Columns to leave out.
        time_features: Features from the time besides its order, as ``date_features`` of ``csv`` do: ``cyclic``,
            ``parts``, ``age``.
        gaps: The treatment of missing time steps and values: ``error`` refuses them, ``split`` leaves out every window
            that contains one, ``fill`` repeats the last value, ``ignore`` uses consecutive rows whatever their times
            (missing values are treated as by ``split``).
        season: The number of rows in a season: the metric ``mase`` compares with the value this many rows before.
        validation: The share of the time that is the validation split.
        test: The share of the time that is the test split.
        date_format: The format of times, see ``csv``.
        delimiter: The character between fields, see ``csv``.
        decimal: The decimal separator, see ``csv``.
        learned: For a resumed run: its description of the file, by which the file is read.

    Returns:
        Inputs float32 ``[N, window, F]``, targets ``real [N, horizon * K]``: all targets one step ahead, then two
        steps ahead, and so on.

    Raises:
        DataError: For a missing or invalid file, a duplicate time, a gap, or too short series.
        UsageError: For options out of range.
    """
    _check_options(window, horizon, stride, season, validation, test)
    names, left_out = ((value,) if isinstance(value, str) else tuple(value) for value in (target, ignore))
    known = learned["reader"] if learned is not None else None
    if known:
        reader = SeriesReader(**known)
        parts = reader.series(path)
    else:
        reader, parts = SeriesReader.learn(
            path,
            targets=names,
            time=time,
            id=id,
            ignore=left_out,
            window=window,
            time_features=time_features,
            gaps=gaps,
            date_format=date_format,
            delimiter=delimiter,
            decimal=decimal,
        )
        reader.cuts = _cuts(parts, validation, test)
        reader.names = [part.name for part in parts]
        reader.firsts = [] if reader.unit == "rows" else [int(part.steps[0]) for part in parts]
    reader.horizon, reader.stride = horizon, stride
    samples, windows = _samples(parts, reader, len(names), window, horizon)
    found = {split: pair for split, pair in samples.items() if len(pair[0])}
    if "train" not in found and not (known and found):  # a validation set may lie in later times altogether
        raise DataError(_none_left(path, parts, reader, window, horizon))
    if not known:
        reader.naive_errors = [errors * horizon for errors in _naive_errors(parts, reader, len(names), season)]
    sizes = ", ".join(f"{split} {len(pair[0]):,} windows" for split, pair in found.items())
    _TOLD.info("%s: %d series, %s; %s", path, len(parts), reader.words_of_step(), sizes)
    made = {split: TensorSamples(*map(torch.from_numpy, pair)) for split, pair in found.items()}
    return Dataset(
        train=made.get("train") or next(iter(made.values())),
        validation=made.get("validation"),
        test=made.get("test"),
        targets="real",
        target_names=names if horizon == 1 else [f"{name}+{step + 1}" for step in range(horizon) for name in names],
        facts={
            "columns": reader.feature_names,
            "series": [part.name for part in parts],
            "naive_errors": reader.naive_errors,
            "windows": windows,
            "horizon": horizon,
        },
        reader=reader,
    )


def _check_options(window: int, horizon: int, stride: int, season: int, validation: float, test: float) -> None:
    for name, value in (("window", window), ("horizon", horizon), ("stride", stride), ("season", season)):
        if value < 1:
            raise UsageError(f"series: {name} is {value}; it must be at least 1")
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise UsageError(
            f"series: validation is {validation} and test {test}; they are shares of the time; validation must be "
            "more than 0, and some must be left for training"
        )


def _cuts(parts: Sequence[Part], validation: float, test: float) -> list[int]:
    """The first time steps of validation and test."""
    times = np.unique(np.concatenate([part.steps for part in parts]))
    places = [round(len(times) * share) for share in (1 - validation - test, 1 - test)]
    beyond = int(times[-1]) + 1
    return [int(times[place]) if place < len(times) else beyond for place in places]


def _samples(
    parts: Sequence[Part], reader: SeriesReader, num_targets: int, window: int, horizon: int
) -> tuple[dict[str, tuple[Array, Array]], dict[str, list[int]]]:
    """Inputs and targets of each split, and the number of samples of each series in it, in the order of the series."""
    found: dict[str, list[tuple[Array, Array]]] = {"train": [], "validation": [], "test": []}
    width = len(reader.feature_names)
    for part in parts:
        starts = reader.starts(part, window, horizon, num_targets)
        first, last = part.steps[starts + window], part.steps[starts + window + horizon - 1]
        validation, test = reader.cuts
        chosen = {
            "train": last < validation,
            "validation": (first >= validation) & (last < test),
            "test": first >= test,
        }
        for split, own in chosen.items():
            found[split].append(part.windows(starts[own], window, horizon, num_targets))
    shapes = (0, window, width), (0, horizon, num_targets)
    made: dict[str, tuple[Array, Array]] = {}
    for split, pairs in found.items():
        inputs, targets = (
            np.concatenate([np.zeros(shape, np.float32), *own])
            for shape, own in zip(shapes, zip(*pairs, strict=True), strict=True)
        )
        made[split] = inputs, targets.reshape(len(targets), horizon * num_targets)
    return made, {split: [len(inputs) for inputs, _ in pairs] for split, pairs in found.items()}


def _naive_errors(parts: Sequence[Part], reader: SeriesReader, num_targets: int, season: int) -> list[list[float]]:
    """The mean error, before validation, of forecasting each target by its value a season before; 0 for unknown.

    Each series has its own.
    """
    return [_naive_error(part, reader.cuts[0], num_targets, season) for part in parts]


def _naive_error(part: Part, end: int, num_targets: int, season: int) -> list[float]:
    own = part.values[part.steps < end, :num_targets]
    chunks = part.chunk[: len(own)]
    if len(own) <= season:
        return [0.0] * num_targets
    errors = np.abs(own[season:] - own[:-season])[chunks[season:] == chunks[:-season]]
    errors = errors[np.isfinite(errors).all(1)]
    return [float(value) for value in errors.mean(0)] if len(errors) else [0.0] * num_targets


def _none_left(path: Path, parts: Sequence[Part], reader: SeriesReader, window: int, horizon: int) -> str:
    longest = max(parts, key=lambda part: part.longest)
    what = f"series '{longest.name}', the longest of {len(parts)}," if len(parts) > 1 else "the series"
    return (
        f"{path}: no window of {window} rows with a horizon of {horizon} fits before the validation split, which "
        f"begins at {reader.said(reader.cuts[0])}\n  {what} has {longest.longest:,} rows without a gap\n"
        "  use a smaller --dataset.window or --dataset.horizon, or smaller shares for validation and test"
    )
