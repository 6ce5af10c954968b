"""Logs a run to MLflow."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wf import Loop
from wf.errors import DataError
from wf.protocols import Strategy
from wf_storage import files
from wf_storage.logger import Logger, flat_options
from wf_storage.records import Record

FILE = "mlflow.json"
"""The file of the run directory that holds the MLflow run's id."""
_MAX_BATCH = 100
"""The maximum number of parameters and tags per request to a server; the limit for metrics is higher."""
_MAX_VALUE = 6000
"""The maximum length of a parameter's value."""


class MLflow(Logger):
    """Logs options, figures and files of a run to MLflow.

    Figures become metrics, the run file becomes parameters, and final messages become tags; ``run.toml``, plots and
    bundle become artifacts, and the last lists, such as a confusion matrix, ``figures/NAME.json``. A resumed run
    continues its MLflow run; points that MLflow already has, with the same step and value, are not logged again.
    Without a run directory nothing is logged.

    Args:
        run_dir: The run directory, or None.
        strategy: Only the first process logs.
        run_file: The resolved run file.
        tracking_uri: The place where MLflow keeps runs: a folder or the address of a server; None for the variable
            MLFLOW_TRACKING_URI, or the folder ``mlruns``.
        experiment: The MLflow experiment, which is created if it is missing.
    """

    def __init__(
        self,
        run_dir: Path | None,
        strategy: Strategy,
        run_file: Mapping[str, Any],
        tracking_uri: str | None = None,
        experiment: str = "wf",
    ) -> None:
        super().__init__(run_dir, strategy)
        self.run_file, self.tracking_uri, self.experiment = run_file, tracking_uri, experiment
        self._client: Any = None
        self._run_id = ""
        self._known: Counter[tuple[str, int, str]] = Counter()
        """The points in MLflow that the resumed run has not repeated yet: name, step and value."""
        self._lists: dict[str, list[Any]] = {}

    def begin(self, run: Loop, records: Sequence[Record]) -> int:
        """Create the MLflow run, or open the resumed run's."""
        assert self.run_dir is not None
        if (self.run_dir / FILE).exists():
            self._reopen(self.run_dir / FILE)
        else:
            self._create(self.run_dir)
        return 0  # `log` skips the points that MLflow has

    def log(self, record: Record) -> None:
        """Log the numbers of a record."""
        from mlflow.entities import Metric

        now, metrics = int(time.time() * 1000), []
        for name, value in record.numbers.items():
            point = _allowed(name), record.step, repr(value)
            if self._known[point] > 0:
                self._known[point] -= 1
            else:
                metrics.append(Metric(_allowed(name), value, now, record.step))
        if metrics:
            self._client.log_batch(self._run_id, metrics=metrics)
        self._lists |= record.lists

    def end(self, run: Loop, error: BaseException | None) -> None:
        """Log the files and messages of a completed run, and the run's outcome."""
        if self._client is None:
            return
        if error is None:
            for name, text in run.notes.items():
                self._client.set_tag(self._run_id, f"wf.{_allowed(name)}", text)
            for name, values in self._lists.items():
                self._client.log_dict(self._run_id, {"values": values}, f"figures/{_allowed(name)}.json")
            for file in self.artifacts():
                assert self.run_dir is not None
                folder = file.parent.relative_to(self.run_dir).as_posix()
                self._client.log_artifact(self._run_id, str(file), None if folder == "." else folder)
        stopped = isinstance(error, KeyboardInterrupt) or (run.stop_reason is not None and run.ended is None)
        self._client.set_terminated(self._run_id, "KILLED" if stopped else "FINISHED" if error is None else "FAILED")

    def _create(self, run_dir: Path) -> None:
        from mlflow.entities import Param

        place = _place(self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns")
        self._client = client = _client(place)
        found = client.get_experiment_by_name(self.experiment)
        experiment = client.create_experiment(self.experiment) if found is None else found.experiment_id
        tags = {"wf.run_dir": str(run_dir.absolute())}
        self._run_id = client.create_run(experiment, tags=tags, run_name=run_dir.name).info.run_id
        files.write_atomically(run_dir / FILE, json.dumps({"tracking_uri": place, "run_id": self._run_id}) + "\n")
        params = [Param(_allowed(name), str(value)[:_MAX_VALUE]) for name, value in flat_options(self.run_file).items()]
        for some in _some(params):
            client.log_batch(self._run_id, params=some)

    def _reopen(self, file: Path) -> None:
        try:
            said = json.loads(files.read(file, 1 << 16))
            place, self._run_id = str(said["tracking_uri"]), str(said["run_id"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} has no valid id of an MLflow run: {error}") from error
        self._client = client = _client(place)
        client.update_run(self._run_id, status="RUNNING")
        self._known = Counter(
            (name, point.step, repr(float(point.value)))
            for name in client.get_run(self._run_id).data.metrics
            for point in client.get_metric_history(self._run_id, name)
        )


def _place(uri: str) -> str:
    """The address of a server unchanged, a folder as an absolute path."""
    return uri if ":" in uri else f"file://{Path(uri).absolute()}"


def _client(place: str) -> Any:
    """MLflow's client, imported when it is used."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if place.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # otherwise MLflow 3 refuses folders
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=place)


def _allowed(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)


def _some(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _MAX_BATCH):
        yield items[start : start + _MAX_BATCH]
