"""A watched run: its state, curves and last records."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wf.engine.figures import LOSS
from wf.terminal import visible
from wf_cli.output import number
from wf_storage import files
from wf_watch.chart import chart
from wf_watch.reading import NAMED, Listed, read_run
from wf_watch.rows import time_of

MAX_POINTS = 2000
"""The maximum number of points of a curve."""
_POSITION = ("event", "split", "epoch", "step")
_NUM_RECORDS = 200


class View:
    """A run that may still be running.

    Args:
        run_dir: Its directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.run: Listed = read_run(run_dir, run_dir.parent)
        self.curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
        """The points of each figure by split."""
        self.records: deque[dict[str, Any]] = deque(maxlen=_NUM_RECORDS)
        self._at = 0

    @property
    def trains(self) -> bool:
        """Whether a process is training it."""
        return self.run.status == "running"

    def look(self) -> list[dict[str, Any]]:
        """Read and return new records."""
        new = list(self._new_records())
        for record in new:
            self.records.append(record)
            self._add(record)
        self.run = read_run(self.run_dir, self.run_dir.parent)
        return new

    def _new_records(self) -> Iterator[dict[str, Any]]:
        try:
            descriptor = files.open_plain(self.run_dir / "metrics.jsonl", os.O_RDONLY)
        except OSError:
            return
        with open(descriptor, "rb") as stream:
            if stream.seek(0, os.SEEK_END) < self._at:  # truncated: the run went back to a checkpoint
                self._at, self.curves = 0, {}
                self.records.clear()
            stream.seek(self._at)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                yield record

    def _add(self, record: Mapping[str, Any]) -> None:
        split = str(record.get("split"))
        for name, value in record.items():
            if name in _POSITION or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if split == "train" and record.get("event") == "train":
                if name == LOSS:  # the loss of the last batch only
                    continue
                name = LOSS if name in ("running_loss", "epoch_loss") else name
            points = self.curves.setdefault(name, {}).setdefault(split, [])
            if points and points[-1][0] >= record["step"]:  # the first counts; the last may be of the best weights
                continue
            points.append((record["step"], float(value)))
            if len(points) > MAX_POINTS:
                del points[1:-1:2]

    def position(self) -> str:
        """``running, epoch 3 of 10, step 300 of 1,000, 2 min left``."""
        run = self.run
        parts = [run.status]
        epochs = run.settings.get("epochs")
        if self.records and self.trains:
            epoch = self.records[-1].get("epoch", 0) + 1
            parts.append(f"epoch {epoch} of {epochs}" if isinstance(epochs, int) else f"epoch {epoch}")
        if run.steps is not None:
            parts.append(f"step {run.steps:,}" + (f" of {run.total_steps:,}" if run.total_steps else ""))
        if run.left_sec is not None:
            parts.append(f"{time_of(run.left_sec)} left")
        if run.status not in ("running", "done") and run.reason:
            parts.append(run.reason.splitlines()[0])
        return visible(", ".join(parts), line=True)

    def screen(self, width: int, height: int, machine: list[str]) -> RenderableType:
        """The whole view, for a terminal of a given size.

        Args:
            width: Its columns.
            height: Its lines.
            machine: Lines on the load.
        """
        run = self.run
        names = [visible(getattr(run, kind) or "-", line=True) for kind in NAMED]
        head = Text.assemble((visible(str(self.run_dir), line=True), "bold"), f"  {', '.join(names)}")
        parts: list[RenderableType] = [_cut(head, width), _cut(Text(self.position()), width)]
        if run.shared is not None:
            done = round(run.shared * width)
            parts.append(Text.assemble(("━" * done, "green"), ("━" * (width - done), "dim")))
        names = [name for name in self.curves if name != "lr"]
        names = sorted(names, key=lambda name: name != LOSS)[:2]
        beside = width >= 100 and len(names) == 2
        used = len(parts) + len(machine) + 4
        room = max(height - used, 5)
        each = max(min(room if beside or len(names) < 2 else room // 2, 16), 4)
        wide = (width - 2) // 2 if beside else width
        charts: list[RenderableType] = [
            chart(visible(name, line=True), self.curves[name], wide, each) for name in names
        ]
        if beside:
            both = Table.grid(padding=(0, 2, 0, 0))
            both.add_row(*charts)
            charts = [both]
        parts += charts
        taken = used + (each if beside else each * max(len(charts), 1))
        parts += [_cut(Text(line, "dim"), width) for line in machine]
        last = list(self.records)[-max(height - taken + 2, 1) :]
        parts += [_cut(Text(line_of(record)), width) for record in last]
        return Group(*parts)


def line_of(record: Mapping[str, Any]) -> str:
    """A record as a line: ``epoch 3  step 120  validation  loss 0.398  accuracy 0.871``."""
    place = [f"epoch {record.get('epoch', 0) + 1}", f"step {record['step']}", str(record.get("split"))]
    numbers = [
        f"{name} {number(value)}"
        for name, value in record.items()
        if name not in _POSITION and (value is None or isinstance(value, (int, float)))
    ]
    return visible("  ".join([*place, *numbers]), line=True)


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text
