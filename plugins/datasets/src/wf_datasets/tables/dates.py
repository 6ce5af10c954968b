"""Columns of dates: their formats, and the numbers that a model gets for them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal, get_args

import numpy as np

from wf.errors import DataError, UsageError, unknown
from wf_datasets.tables.cells import number
from wf_datasets.tables.table import Column, Table
from wf_datasets.tables.text.plain_rows import Array

Feature = Literal["parts", "age", "cyclic"]
_ORDERS = {"ymd": "year, month, day", "dmy": "day, month, year", "mdy": "month, day, year"}
"""The orders of dates that need no format, with ``-``, ``/`` or ``.`` between the parts."""
_TIME = r"(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6})[0-9]*)?)?)?(?: ?(Z|[+-][0-9]{2}:?[0-9]{2}))?\Z"
_YEAR_FIRST = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})" + _TIME)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86400.0


@dataclass(frozen=True)
class Dates:
    """How a column of dates is read.

    Dates with a time zone are converted to UTC; others are unchanged.
    """

    format: str
    """``ymd``, ``dmy`` or ``mdy``, or a format of Python's `strptime`."""
    features: tuple[Feature, ...]
    first: float
    """The first date in training, from which ages are counted, in seconds since 1970."""
    has_time: bool
    """Whether any date in training has a time of day."""

    def names(self, column: str) -> list[str]:
        """The names of the numbers."""
        found: list[str] = []
        if "parts" in self.features:
            found += ["year", "month", "day", "weekday", *(("hour", "minute") if self.has_time else ())]
        if "age" in self.features:
            found.append("age")
        if "cyclic" in self.features:
            cycles = ("year", "week", "day") if self.has_time else ("year", "week")
            found += [f"{wave}_of_{cycle}" for cycle in cycles for wave in ("sin", "cos")]
        return [f"{column}.{name}" for name in found]

    def numbers(self, seconds: Array) -> Array:
        """The numbers of dates, float64 ``[N, F]``, nan for a missing date.

        Args:
            seconds: Seconds since 1970, float64 ``[N]``.
        """
        missing = np.isnan(seconds)
        filled = np.where(missing, 0.0, seconds)
        days = np.floor(filled / _DAY).astype(np.int64)
        dates = days.astype("datetime64[D]")
        years, months = dates.astype("datetime64[Y]"), dates.astype("datetime64[M]")
        of_day, weekday = filled - days * _DAY, (days + 3) % 7  # 1970 began on a Thursday
        found: list[Array] = []
        if "parts" in self.features:
            found += [years.astype(np.int64) + 1970, (months - years).astype(np.int64) + 1]
            found += [(dates - months).astype(np.int64) + 1, weekday]
            found += [of_day // 3600, of_day % 3600 // 60] if self.has_time else []
        if "age" in self.features:
            found.append((filled - self.first) / _DAY)
        if "cyclic" in self.features:
            length = ((years + 1).astype("datetime64[D]") - years.astype("datetime64[D]")).astype(np.int64)
            turns = [((dates - years).astype(np.int64) + of_day / _DAY) / length, (weekday + of_day / _DAY) / 7]
            for turn in [*turns, *([of_day / _DAY] if self.has_time else [])]:
                found += [np.sin(2 * math.pi * turn), np.cos(2 * math.pi * turn)]
        numbers: Array = np.stack([np.asarray(one, dtype=np.float64) for one in found], axis=1)
        numbers[missing] = np.nan
        return numbers

    def description(self) -> dict[str, Any]:
        """The arguments for an equal object, as JSON values."""
        features: list[str] = list(self.features)
        return {"format": self.format, "features": features, "first": self.first, "has_time": self.has_time}

    @classmethod
    def of(cls, said: dict[str, Any]) -> Dates:
        """The object from its `description`."""
        return cls(said["format"], tuple(said["features"]), float(said["first"]), bool(said["has_time"]))


def learned(table: Table, name: str, format: str, features: Sequence[Feature]) -> Dates:
    """Learn how the dates of a column are read.

    Args:
        table: The table with the column as text.
        name: The column's name.
        format: As in `Dates`, or ``auto``.
        features: The requested features.

    Raises:
        UsageError: For unknown features.
        DataError: For a cell that is not a date, or ambiguous dates.
    """
    for one in features:
        if one not in get_args(Feature):
            raise UsageError(unknown("feature of dates", str(one), get_args(Feature)))
    if not features:
        raise UsageError("csv: date_features is empty; leave it out, or ignore the column")
    check_format(format)
    column = table.columns[name]
    format = _format(table, column) if format == "auto" else format
    seconds = seconds_of(table, name, format)
    there = seconds[~np.isnan(seconds)]
    if not len(there):
        raise DataError(f"{table.path}: column '{name}' has no date\n  leave it out: --dataset.ignore '[\"{name}\"]'")
    return Dates(format, tuple(features), float(there.min()), bool((there % _DAY != 0).any()))


def check_format(format: str) -> None:
    """Refuse an invalid format.

    Raises:
        UsageError: Naming the valid formats.
    """
    if format != "auto" and format not in _ORDERS and "%" not in format:
        raise UsageError(
            f"csv: date_format is '{format}'; it must be auto, {', '.join(_ORDERS)}, or a format of strptime, such as "
            "'%d %b %Y'"
        )


def seconds_of(table: Table, name: str, format: str) -> Array:
    """The dates of a column of text, as seconds since 1970, float64 ``[N]``; nan for a missing date.

    Raises:
        DataError: For a cell that is not a date, with its position.
    """
    column = table.columns[name]
    assert column.codes is not None
    values = np.full(len(column.texts), np.nan)
    for code in column.used():
        text = column.texts[code]
        if _is_missing(text):
            continue
        value = parsed(text, format)
        if value is None:
            row = int(np.argmax(column.codes == code))
            raise DataError(f"{table.place(row, name)}: '{text}' is no date\n  {_said(format)}")
        values[code] = value
    return values[column.codes]


def parsed(text: str, format: str) -> float | None:
    """A date as seconds since 1970; None if it is not a date."""
    try:
        if format not in _ORDERS:
            found = datetime.strptime(text, format)
            return _seconds(found if found.tzinfo else found.replace(tzinfo=UTC))
        match = (_YEAR_FIRST if format == "ymd" else _YEAR_LAST).match(text)
        if match is None:
            return None
        one, _, two, three, hour, minute, second, fraction, zone = match.groups()
        year, month, day = {"ymd": (one, two, three), "dmy": (three, two, one), "mdy": (three, one, two)}[format]
        time = timedelta(hours=int(hour or 0), minutes=int(minute or 0), seconds=int(second or 0))
        if time >= timedelta(days=1) or int(minute or 0) > 59 or int(second or 0) > 59:
            return None
        micro = timedelta(microseconds=int((fraction or "0").ljust(6, "0")))
        return _seconds(datetime(int(year), int(month), int(day), tzinfo=_zone(zone)) + time + micro)
    except (ValueError, OverflowError):
        return None


def is_date(text: str) -> bool:
    """Whether a cell is a date in one of the usual orders."""
    return any(parsed(text, order) is not None for order in _ORDERS)


def _format(table: Table, column: Column) -> str:
    """The order in which the dates of a column are written."""
    texts = [text for text in column.present() if not _is_missing(text)]
    fit = [order for order in _ORDERS if all(parsed(text, order) is not None for text in texts)]
    if fit == ["dmy", "mdy"] and all("." in text for text in texts):  # mm.dd.yyyy is not in use
        fit = ["dmy"]
    if len(fit) > 1 and texts:
        raise DataError(
            f"{table.path}, column '{column.name}': '{texts[0]}' may begin with the day or the month, and so may all "
            "others\n"
            "  set the order: --dataset.date_format dmy, or mdy"
        )
    if fit or not texts:
        return next(iter(fit), "ymd")
    right = {order: sum(parsed(text, order) is not None for text in texts) for order in _ORDERS}
    likely = max(right, key=lambda order: right[order])
    if not right[likely]:
        seconds_of(table, column.name, "ymd")  # raises, naming the first one
    seconds_of(table, column.name, likely)
    raise AssertionError


def _said(format: str) -> str:
    words = f"{_ORDERS[format]}, as in {_EXAMPLES[format]}" if format in _ORDERS else f"'{format}'"
    return f"dates of this column are read as {words}; in training --dataset.date_format sets another format"


_EXAMPLES = {"ymd": "2024-12-31 or 2024-12-31 18:30", "dmy": "31.12.2024", "mdy": "12/31/2024"}


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _seconds(date: datetime) -> float:
    return (date - _EPOCH).total_seconds()


def _is_missing(text: str) -> bool:
    value = number(text)
    return value is not None and math.isnan(value)
