"""The description of a run's data, to read them the same way later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wf.errors import DataError, lacking
from wf_huggingface.columns import Columns, choose
from wf_huggingface.reader import FileReader
from wf_huggingface.targets import Task

_TASKS: dict[str, Task] = {"class_index": "classification", "real": "regression"}


@dataclass(frozen=True)
class Before:
    """The description of a run's data."""

    reader: FileReader
    task: Task
    class_names: Sequence[str]

    @classmethod
    def of(cls, learned: Mapping[str, Any] | None) -> Before | None:
        """From the run value; None for a new run."""
        if learned is None or not learned.get("reader"):
            return None
        task = _TASKS.get(learned["targets"], learned["targets"])
        return cls(FileReader(**learned["reader"]), task, list(learned["class_names"]))

    def columns(self, features: Mapping[str, Any], target: str | Sequence[str] | None, path: Path) -> Columns:
        """The columns as they were, whatever others there are now.

        Raises:
            DataError: When one of the inputs is gone or holds something else.
        """
        for name in self.reader.inputs:
            if name not in features:
                raise DataError(f"'{path}': {lacking('column', name, features)}")
        columns = choose(features, self.reader.inputs, target, path)
        if columns.kind != self.reader.kind:
            raise DataError(
                f"'{path}': column '{columns.inputs[0]}' holds {columns.kind}, the run was trained on "
                f"{self.reader.kind}"
            )
        return columns
