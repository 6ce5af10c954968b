"""The failure policy for saving: the run ends, or continues and reports it."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wf.errors import DataError, SaveError
from wf.terminal import plural

if TYPE_CHECKING:
    from wf.engine.loop import Loop
    from wf_run.directory.rundir import RunDirectory


class SaveFailures:
    """Decides whether a run continues if a checkpoint or a record cannot be written, and lists the failures.

    Args:
        policy: ``stop`` or ``continue``, the general key ``on_checkpoint_error``.
    """

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._directory: RunDirectory | None = None
        self.failed: list[dict[str, Any]] = []
        """A record of each failure after which the run continued, as in ``manifest.json``."""

    def begin(self, directory: RunDirectory | None) -> None:
        """Start or resume a run: earlier failures stay recorded."""
        self._directory = directory
        self.failed = directory.manifest.get("failed_saves", []) if directory else []

    def __call__(self, run: Loop, error: SaveError) -> bool:
        """Whether the run continues; if so the failure is recorded and reported."""
        if self._policy != "continue":
            return False
        self.failed.append({"step": run.progress.step, "error": str(error)})
        num_failed = len(self.failed)
        run.notes["not saved"] = f"{plural(num_failed, 'failure')}; the last one: {error}"
        logging.getLogger("wf").warning(
            '%s\n  the run continues (on_checkpoint_error = "continue"), and tries again when the next save is due',
            error,
        )
        if self._directory is not None:
            with suppress(DataError):  # the same disk may be full; the end of the run writes them again
                self._directory.update_manifest(failed_saves=self.failed)
        return True
