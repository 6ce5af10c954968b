"""Tables to time series, for both training and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wf.errors import DataError, UsageError, lacking, unknown
from wf_base import Dataset, TensorSamples
from wf_datasets.tables.cells import number, number_with_comma
from wf_datasets.tables.dates import Dates, Feature, learned, seconds_of
from wf_datasets.tables.records import table_of
from wf_datasets.tables.table import Column, Decimal, Mode, NotNumbersError, Table
from wf_datasets.tables.table_reader import not_numbers
from wf_datasets.tables.text.plain_rows import Array
from wf_datasets.tables.text.table_file import TableFile

Gaps = Literal["error", "split", "fill", "ignore"]
_OF_TEXT = "if it names the series: --dataset.id {name}\n  or leave it out: --dataset.ignore {name}"
_MONTH = 27.5 * 86400
"""In seconds: longer steps are whole months."""


@dataclass(frozen=True)
class Part:
    """One series, in the order of its time."""

    name: str
    steps: Array
    """The time of each row in steps, int64 ``[N]``."""
    values: Array
    """The inputs, the targets first, float64 ``[N, F]``; nan for a missing value."""
    chunk: Array
    """The number of each row's gapless segment, int64 ``[N]``."""

    @property
    def longest(self) -> int:
        """The maximum number of consecutive rows without a gap."""
        return int(np.bincount(self.chunk).max())

    def starts(self, window: int, horizon: int, num_targets: int) -> Array:
        """The starts of windows without gaps and missing values, int64."""
        num = len(self.values) - window - horizon + 1
        if num < 1:
            return np.zeros(0, dtype=np.int64)
        starts = np.arange(num)
        whole = self.chunk[starts] == self.chunk[starts + window + horizon - 1]
        holes = ~np.isfinite(self.values)
        seen, wanted = _sums(holes), _sums(holes[:, :num_targets])
        whole &= seen[starts + window] == seen[starts]
        whole &= wanted[starts + window + horizon] == wanted[starts + window]
        found: Array = starts[whole]
        return found

    def windows(self, starts: Array, window: int, horizon: int, num_targets: int) -> tuple[Array, Array]:
        """The inputs ``[N, window, F]`` and the targets ``[N, horizon, K]`` of windows that begin there, float32."""
        begin = starts[:, None]
        inputs = self.values[begin + np.arange(window)]
        targets = self.values[begin + window + np.arange(horizon), :num_targets]
        return inputs.astype(np.float32), targets.astype(np.float32)


def _sums(holes: Array) -> Array:
    """The number of rows with a missing value before each row."""
    sums: Array = np.concatenate(([0], np.cumsum(np.any(holes, axis=1))))
    return sums


class SeriesReader:
    """Reads the last window of each series in a table, to forecast the following values.

    Args:
        columns: The columns of the inputs, the targets first.
        time: The column of the time.
        id: The column that names the series; None for one series.
        window: The number of rows in a sample.
        gaps: See `wf_datasets.tables.series.series`.
        dates: The reader of times, see `wf_datasets.tables.dates.Dates`; None for numbers.
        has_features: Whether features of the time are inputs.
        unit: ``months``, ``seconds``, or ``rows`` if times are ignored.
        step: The time from one step to the next, in that unit; for numeric times, in their own unit.
        origin: The time from which steps are counted.
        delimiter: As for `wf_datasets.tables.text.table_file.TableFile`.
        decimal: The decimal separator, if a file does not determine it.
        cuts: The first time steps of validation and test.
        naive_errors: One per target for each series, see `wf_datasets.tables.series.series`.
        names: The series of these, in their order.
        horizon: The number of rows to forecast; 0 if it is unknown, as of runs of an older wf.
        stride: The number of rows from one window to the next.
        firsts: The first time step of each series of `names`, from which its windows are counted; empty if times are
            ignored, and for runs of an older wf.
    """

    endings: tuple[str, ...] = (".csv", ".tsv")
    dataset_endings: tuple[str, ...] = (".csv", ".tsv")

    def __init__(
        self,
        columns: Sequence[str],
        time: str,
        id: str | None,
        window: int,
        gaps: Gaps,
        dates: Mapping[str, Any] | None,
        has_features: bool,
        unit: str = "seconds",
        step: float = 1.0,
        origin: float = 0.0,
        delimiter: str = "auto",
        decimal: Literal[".", ","] = ".",
        cuts: Sequence[int] = (),
        naive_errors: Sequence[Sequence[float]] = (),
        names: Sequence[str] = (),
        horizon: int = 0,
        stride: int = 1,
        firsts: Sequence[int] = (),
    ) -> None:
        self.columns, self.time, self.id, self.window, self.gaps = tuple(columns), time, id, window, gaps
        self.dates = None if dates is None else Dates.of(dict(dates))
        self.has_features = has_features
        self.unit, self.step, self.origin = unit, step, origin
        self.delimiter = delimiter
        self.decimal: Literal[".", ","] = decimal
        self.cuts, self.naive_errors, self.names = list(cuts), list(naive_errors), list(names)
        self.horizon, self.stride, self.firsts = horizon, stride, list(firsts)

    @classmethod
    def learn(
        cls,
        path: Path,
        *,
        targets: Sequence[str],
        time: str,
        id: str | None,
        ignore: Sequence[str],
        window: int,
        time_features: Sequence[Feature],
        gaps: Gaps,
        date_format: str,
        delimiter: str,
        decimal: Decimal,
    ) -> tuple[SeriesReader, list[Part]]:
        """A reader of a file's series, and the series.

        Raises:
            DataError: For a file without these columns, or whose times are not evenly spaced.
            UsageError: For columns that are named twice.
        """
        named = [*targets, time, *(() if id is None else (id,))]
        if not targets or len(set(named)) < len(named):
            raise UsageError(f"series: target {list(targets)}, time '{time}' and id {id!r} must be different columns")
        file = TableFile(path, delimiter, named)
        given = {"target": targets, "time": (time,), "id": named[len(targets) + 1 :], "ignore": ignore}
        for option, own in given.items():
            for name in own:
                if name not in file.header:
                    raise DataError(f"{file.path}: {unknown('column', name, file.header, f'--dataset.{option}')}")
        others = [name for name in file.header if name not in {*named, *ignore}]
        columns = [*targets, *others]
        (times,) = file.first(time)
        point = file.decimal(columns) if decimal == "auto" else decimal
        as_number = number if point == "." else number_with_comma
        is_number = all(as_number(cell) is not None for cell in times)
        if is_number and time_features:
            raise UsageError(f"series: time '{time}' holds numbers, which have no time features\n  leave them out")
        made = cls(columns, time, id, window, gaps, None, bool(time_features), delimiter=delimiter, decimal=point)
        table = made._table(file, as_dates=not is_number, advice=_OF_TEXT)
        if not is_number:
            made.dates = learned(table, time, date_format, time_features or ("age",))
        made._learn_steps(table)
        return made, made._parts(table)

    @property
    def feature_names(self) -> list[str]:
        """One per number in a row."""
        more = self.dates.names(self.time) if self.dates is not None and self.has_features else []
        return [*self.columns, *more]

    def description(self) -> dict[str, Any]:
        """The arguments for an equal reader, as JSON values."""
        return {
            "columns": list(self.columns),
            "time": self.time,
            "id": self.id,
            "window": self.window,
            "gaps": self.gaps,
            "dates": None if self.dates is None else self.dates.description(),
            "has_features": self.has_features,
            "unit": self.unit,
            "step": self.step,
            "origin": self.origin,
            "delimiter": self.delimiter,
            "decimal": self.decimal,
            "cuts": self.cuts,
            "naive_errors": self.naive_errors,
            "names": self.names,
            "horizon": self.horizon,
            "stride": self.stride,
            "firsts": self.firsts,
        }

    def read(self, path: Path) -> Tensor:
        """The last window of each series, float32 ``[S, window, F]``, in the order of their first rows.

        Raises:
            DataError: For a file that is missing or invalid, or a series whose end is shorter than a window.
        """
        return self._windows(self.series(path), str(path))

    def dataset(self, path: Path, learned: Mapping[str, Any]) -> Dataset:
        """All windows of the series in a file, each with the values that follow it.

        With a stride, the windows of a known series are those that the run would have cut from a longer file.

        Raises:
            DataError: As `series`, and for series that are all too short.
            UsageError: If the horizon is unknown.
        """
        if not self.horizon:
            raise UsageError(
                "the run of an older wf did not keep its horizon\n"
                "  evaluate with its dataset: wf evaluate RUN --dataset.path PATH"
            )
        sizes = self.window, self.horizon, len(learned["target_names"]) // self.horizon
        parts = self.series(path)
        known = {name: place for place, name in enumerate(self.names)}
        parts.sort(key=lambda part: known.get(part.name, len(known)))
        pairs = [part.windows(self.starts(part, *sizes), *sizes) for part in parts]
        inputs, targets = (np.concatenate(own) for own in zip(*pairs, strict=True))
        if not len(inputs):
            raise DataError(
                f"{path}: no series has {self.window + self.horizon} rows without a gap: a window and a horizon of "
                f"{self.horizon}"
            )
        return Dataset(
            train=TensorSamples(torch.from_numpy(inputs), torch.from_numpy(targets).flatten(1)),
            targets="real",
            target_names=learned["target_names"],
            facts=self._facts(parts, [len(own) for own, _ in pairs]),
        )

    def starts(self, part: Part, window: int, horizon: int, num_targets: int) -> Array:
        """The starts of the windows of a series, int64: without gaps, every `stride` rows from its first time step."""
        found = part.starts(window, horizon, num_targets)
        if not self.firsts or self.stride == 1:
            return found[:: self.stride]
        known = dict(zip(self.names, self.firsts, strict=True))
        chosen: Array = found[(part.steps[found] - known.get(part.name, int(part.steps[0]))) % self.stride == 0]
        return chosen

    def _facts(self, parts: Sequence[Part], nums: Sequence[int]) -> dict[str, Any]:
        """The facts about the windows of a file: those of unknown series have no naive error."""
        if self.id is None:
            return {"windows": {"data": list(nums)}}
        own = {part.name: num for part, num in zip(parts, nums, strict=True)}
        names = list(dict.fromkeys([*self.names, *own]))
        unknown_errors = [[0.0] * len(self.naive_errors[0])] * (len(names) - len(self.names))
        return {
            "series": names,
            "naive_errors": [*self.naive_errors, *unknown_errors],
            "windows": {"data": [own.get(name, 0) for name in names]},
        }

    def fields(self) -> list[dict[str, Any]]:
        """The columns of a row, which is one window: each a list with a value for each time."""
        found: list[dict[str, Any]] = []
        for name, mode in self._modes(as_dates=self.dates is not None).items():
            if name == self.id:
                found.append({"name": name, "type": "text"})
            else:
                found.append({"name": name, "type": "list", "of": mode, "min_length": self.window})
            if name == self.time and (self.dates is None or self.unit != "rows"):
                times = self.origin + self.step * np.arange(self.window)
                found[-1]["example"] = (
                    times.tolist() if self.dates is None else [self.said(step) for step in range(self.window)]
                )
        return found

    def from_records(self, records: Sequence[Mapping[str, Any]], where: str = "rows", first: int = 1) -> Tensor:
        """The last window of each row, whose columns are lists: ``{"time": [...], "load": [...]}``.

        Raises:
            DataError: For a row whose columns are not lists of one length, or that does not end with a window.
        """
        modes, found = self._modes(as_dates=self.dates is not None), []
        if self.id is not None:
            del modes[self.id]
        for row, record in enumerate(records, first):
            place = f"{where}, series {row}"
            for name in modes:
                if name not in record:
                    raise DataError(f"{place}: {lacking('column', name, record)}")
            own = {name: record[name] for name in modes}
            wrong = next((name for name, cells in own.items() if not isinstance(cells, (list, tuple))), None)
            if wrong is not None or len({len(cells) for cells in own.values()}) > 1:
                raise DataError(
                    f"{place}: a row is a series, and its columns are lists of one length"
                    + (f"; '{wrong}' is {type(own[wrong]).__name__}" if wrong is not None else "")
                    + f'\n  {{"{self.time}": [...], "{self.columns[0]}": [...]}} with at least {self.window} times'
                )
            rows = [dict(zip(own, cells, strict=True)) for cells in zip(*own.values(), strict=True)]
            if not rows:
                raise DataError(f"{place}: the series is empty")
            given = record.get(self.id) if self.id is not None else None
            if self.id is not None:
                rows = [{**row, self.id: str(given)} for row in rows]
            everything = modes if self.id is None else {**modes, self.id: "text"}
            table = table_of(rows, everything, place, decimal=self.decimal)
            found.append(self._windows(self._parts(table), place))
        return torch.cat(found)

    def _windows(self, parts: Sequence[Part], where: str) -> Tensor:
        """The last window of each series, float32 ``[S, window, F]``."""
        found = []
        for part in parts:
            own = part.values[-self.window :]
            whole = len(own) == self.window and part.chunk[-1] == part.chunk[-self.window]
            if not whole or not np.isfinite(own).all():
                what = "the series" if self.id is None else f"series '{part.name}'"
                raise DataError(
                    f"{where}: {what} does not end with {self.window} rows without a gap and with all values, which a "
                    "forecast needs"
                )
            found.append(own.astype(np.float32))
        return torch.from_numpy(np.stack(found))

    def series(self, path: Path) -> list[Part]:
        """The series of a file.

        Raises:
            DataError: For a duplicate time in a series, or a gap, if gaps are refused.
        """
        file = TableFile(path, self.delimiter, [*self.columns, self.time, *(() if self.id is None else (self.id,))])
        for name in (*self.columns, self.time, *(() if self.id is None else (self.id,))):
            if name not in file.header:
                raise DataError(f"{file.path}: {lacking('column', name, file.header)}")
        return self._parts(self._table(file, as_dates=self.dates is not None))

    def _parts(self, table: Table) -> list[Part]:
        times = self._times(table)
        values = self._values(table, times)
        names, which = self._series(table)
        steps = self._steps(table, times)
        parts = []
        for number_of, name in enumerate(names):
            rows = np.flatnonzero(which == number_of)
            rows = rows[np.argsort(times[rows], kind="stable")]
            parts.append(self._part(table, name, rows, steps[rows], times[rows], values[rows]))
        return parts

    def words_of_step(self) -> str:
        """The time from one row to the next, in words."""
        if self.unit == "rows":
            return "consecutive rows"
        if self.unit == "months":
            return f"a row every {'month' if self.step == 1 else f'{self.step:g} months'}"
        if self.dates is None:
            return f"a row every {self.step:g}"
        return f"a row every {timedelta(seconds=self.step)}".removesuffix(", 0:00:00")

    def said(self, step: int) -> str:
        """A readable time step."""
        if self.dates is None or self.unit == "rows":
            return f"{'row' if self.unit == 'rows' else self.time} {self.origin + step * self.step:g}"
        if self.unit == "months":
            months = round(self.origin + step * self.step)
            return f"{months // 12:04d}-{months % 12 + 1:02d}"
        date = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self.origin + step * self.step)
        return f"{date:%Y-%m-%d %H:%M:%S}".removesuffix(" 00:00:00")

    def _table(self, file: TableFile, *, as_dates: bool, advice: str = "") -> Table:
        modes = self._modes(as_dates=as_dates)
        try:
            return file.read(modes, file.decimal(self.columns, self.decimal))
        except NotNumbersError as error:
            raise DataError(not_numbers(file, error.found, training=False, advice=advice)) from error

    def _modes(self, *, as_dates: bool) -> dict[str, Mode]:
        """The type that each column is read as."""
        modes: dict[str, Mode] = dict.fromkeys(self.columns, "number")
        modes[self.time] = "text" if as_dates else "number"
        if self.id is not None:
            modes[self.id] = "text"
        return modes

    def _times(self, table: Table) -> Array:
        """The time of each row, in seconds since 1970 or as a number."""
        column = table.columns[self.time]
        found = column.numbers if self.dates is None else seconds_of(table, self.time, self.dates.format)
        assert found is not None
        missing = np.flatnonzero(np.isnan(found))
        if len(missing):
            raise DataError(f"{table.place(int(missing[0]), self.time)}: the time is missing ({len(missing)} in all)")
        return found

    def _values(self, table: Table, times: Array) -> Array:
        columns = [table.columns[name].numbers for name in self.columns]
        found = np.stack([one for one in columns if one is not None], axis=1)
        if self.dates is not None and self.has_features:
            found = np.concatenate([found, self.dates.numbers(times)], axis=1)
        return found

    def _series(self, table: Table) -> tuple[list[str], Array]:
        """The names of the series, in the order of their first rows, and the series of each row."""
        if self.id is None:
            return [""], np.zeros(len(table.lines), dtype=np.int64)
        column: Column = table.columns[self.id]
        rows = np.flatnonzero(column.missing)
        if len(rows):
            raise DataError(f"{table.place(int(rows[0]), self.id)}: the name of the series is missing")
        assert column.codes is not None
        return list(column.texts), column.codes

    def _learn_steps(self, table: Table) -> None:
        """Learn the length of a time step: the most common difference of neighbouring times."""
        times, (names, which) = self._times(table), self._series(table)
        if self.gaps == "ignore":
            self.unit, self.step, self.origin = "rows", 1.0, 0.0
            return
        self.unit = "seconds"
        if self.dates is not None and 2 * np.count_nonzero((gaps := _differences(times, which)) > _MONTH) > len(gaps):
            self.unit = "months"
        own = self._in_units(times)
        found, counts = np.unique(_differences(own, which), return_counts=True)
        there = found > 0
        if not there.any():
            what = "no series has" if len(names) > 1 else "the file has not"
            raise DataError(
                f"{table.path}: {what} two different times, so the time from one row to the next is unknown"
            )
        self.step = float(found[there][counts[there].argmax()])
        self.origin = float(own.min())

    def _in_units(self, times: Array) -> Array:
        if self.unit != "months":
            return times
        months: Array = np.floor(times / 86400).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return (months + 1970 * 12).astype(np.float64)

    def _steps(self, table: Table, times: Array) -> Array:
        """The time of each row in steps."""
        if self.unit == "rows":
            return np.argsort(np.argsort(times, kind="stable"), kind="stable")
        exact = (self._in_units(times) - self.origin) / self.step
        steps: Array = np.round(exact).astype(np.int64)
        off = np.flatnonzero(np.abs(exact - steps) > 1e-6)
        if len(off):
            raise DataError(
                f"{table.place(int(off[0]), self.time)}: {len(off):,} times do not fit a row every "
                f"{self.words_of_step().removeprefix('a row every ')}\n"
                "  ignore the times and use consecutive rows: --dataset.gaps ignore"
            )
        return steps

    def _part(self, table: Table, name: str, rows: Array, steps: Array, times: Array, values: Array) -> Part:
        what = "" if self.id is None else f" of series '{name}'"
        again = np.flatnonzero(np.diff(times if self.unit == "rows" else steps) == 0)
        if len(again):
            one, other = sorted(int(table.lines[rows[place]]) for place in (again[0], again[0] + 1))
            raise DataError(
                f"{table.path}, line {other}, column '{self.time}': the time{what} is there already, in line {one} "
                f"({len(again):,} such in all)"
                + ("\n  is there a column that names the series? --dataset.id" if self.id is None else "")
            )
        if self.unit == "rows":
            return Part(name, steps, values, np.zeros(len(steps), dtype=np.int64))
        jumps = np.flatnonzero(np.diff(steps) > 1)
        if self.gaps == "error":
            self._refuse(table, what, rows, steps, values, jumps)
        if self.gaps == "fill":
            return self._filled(name, steps, values)
        chunk: Array = np.concatenate(([0], np.cumsum(np.diff(steps) > 1)))
        return Part(name, steps, values, chunk)

    def _refuse(self, table: Table, what: str, rows: Array, steps: Array, values: Array, jumps: Array) -> None:
        way = "leave out windows that contain it: --dataset.gaps split; or repeat the last value: --dataset.gaps fill"
        if len(jumps):
            place = int(jumps[0])
            lacks = int((np.diff(steps) - 1).sum())
            where, first = table.place(int(rows[place + 1]), self.time), self.said(int(steps[place]) + 1)
            raise DataError(
                f"{where}: a gap{what}: {first} is missing ({lacks:,} such steps in all, with "
                f"{self.words_of_step()})\n  {way}"
            )
        missing = np.argwhere(np.isnan(values))
        if len(missing):
            row, column = missing[0]
            where = table.place(int(rows[row]), self.feature_names[int(column)])
            raise DataError(f"{where}: the value is missing ({len(missing):,}{what or ' in all'})\n  {way}")

    def _filled(self, name: str, steps: Array, values: Array) -> Part:
        """The series with every step; missing ones repeat the last value."""
        every = np.arange(steps[0], steps[-1] + 1)
        place = np.searchsorted(steps, every, side="right") - 1
        found = values[place]
        for column in range(len(self.columns)):
            known = np.where(np.isnan(found[:, column]), 0, np.arange(len(found)))
            found[:, column] = found[np.maximum.accumulate(known), column]
        if self.dates is not None and self.has_features:
            found[:, len(self.columns) :] = self.dates.numbers(self._seconds(every))
        return Part(name, every, found, np.zeros(len(every), dtype=np.int64))

    def _seconds(self, steps: Array) -> Array:
        """Time steps as seconds since 1970."""
        own = self.origin + steps * self.step
        if self.unit != "months":
            return own
        months = (np.round(own).astype(np.int64) - 1970 * 12).astype("datetime64[M]")
        seconds: Array = months.astype("datetime64[s]").astype(np.int64).astype(np.float64)
        return seconds


def _differences(times: Array, which: Array) -> Array:
    """From each time to the next one of its series."""
    order = np.lexsort((times, which))
    differences, same = np.diff(times[order]), np.diff(which[order]) == 0
    found: Array = differences[same]
    return found
