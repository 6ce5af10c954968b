"""Logs a run to Weights & Biases."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from wf import Loop
from wf.errors import DataError
from wf.protocols import Strategy
from wf_storage import files
from wf_storage.logger import Logger, flat_options
from wf_storage.records import Record

FILE = "wandb.json"
"""The file of the run directory that holds the W&B run's id."""
_ARTIFACT_NAME = "run"


class Wandb(Logger):
    """Logs options, figures and files of a run to Weights & Biases.

    W&B's own step is the number of the record in ``metrics.jsonl``; the charts are drawn over ``step``, the number of
    updates. ``run.toml``, plots and bundle become an artifact when the run has ended. Files are stored under
    ``<run directory>/wandb``. A resumed run continues the W&B run; offline it writes all records again to a new folder
    and removes the older one. Without a run directory nothing is logged.

    Args:
        run_dir: The run directory, or None.
        strategy: Only the first process logs.
        run_file: The resolved run file.
        project: The W&B project.
        mode: ``online`` sends the run to the server, ``offline`` keeps it for ``wandb sync``; None for the variable
            WANDB_MODE, or online.
    """

    def __init__(
        self,
        run_dir: Path | None,
        strategy: Strategy,
        run_file: Mapping[str, Any],
        project: str = "wf",
        mode: Literal["online", "offline"] | None = None,
    ) -> None:
        super().__init__(run_dir, strategy)
        self.run_file, self.project, self.mode = run_file, project, mode
        self._run: Any = None
        self._older: list[Path] = []
        """The offline folders of earlier processes, which may still be ending when this one begins."""

    def begin(self, run: Loop, records: Sequence[Record]) -> int:
        """Start the W&B run, or continue the resumed run's."""
        if self._run is not None:  # the run went back, but W&B cannot: the new records are appended
            return len(records)
        import wandb

        assert self.run_dir is not None
        number, self._older = self._id(self.run_dir), sorted((self.run_dir / "wandb").glob("offline-run-*"))
        self._run = wandb.init(
            project=self.project,
            id=number,
            name=self.run_dir.name,
            dir=str(self.run_dir),
            mode=self.mode,
            resume="allow",
            config=flat_options(self.run_file),
            settings=wandb.Settings(
                console="off", silent=True, disable_code=True, disable_git=True, x_service_wait=120
            ),
        )
        self._run.define_metric("*", step_metric="step")
        return 0 if self._run.offline else int(self._run.step)

    def log(self, record: Record) -> None:
        """Log a record: its numbers, and lists unchanged."""
        position = {"step": record.step, "epoch": record.epoch}
        self._run.log({**position, **record.numbers, **record.lists})

    def end(self, run: Loop, error: BaseException | None) -> None:
        """Log the files and messages of a completed run, and finish the W&B run."""
        if self._run is None:
            return
        if error is None:
            import wandb

            artifact = wandb.Artifact(f"{_ARTIFACT_NAME}-{self._run.id}", type=_ARTIFACT_NAME)
            for file in self.artifacts():
                assert self.run_dir is not None
                artifact.add_file(str(file), name=file.relative_to(self.run_dir).as_posix())
            self._run.log_artifact(artifact)
            self._run.summary.update({f"wf.{name}": text for name, text in run.notes.items()})
        offline = self._run.offline
        self._run.finish(exit_code=0 if error is None else 1)
        self._run = None
        for folder in self._older if offline else []:  # their contents are in the new one
            files.remove_tree(folder)

    def _id(self, run_dir: Path) -> str:
        """The id of the W&B run, drawn once for a run directory."""
        file = run_dir / FILE
        if not file.exists():
            files.write_atomically(file, json.dumps({"id": uuid.uuid4().hex[:12]}) + "\n")
        try:
            return str(json.loads(files.read(file, 1 << 16))["id"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} has no valid id of a W&B run: {error}") from error
