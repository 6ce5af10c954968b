"""Writes the script of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wf.errors import UsageError
from wf_export.script.checking import check_beginning, check_end
from wf_export.script.program import Program


class Script:
    """A training program in plain PyTorch."""

    def write(self, experiment: Any, manifest: Any, file: Path, name: str, *, keep_best: bool, weights: str) -> str:
        """Write the script of a run, after checking its data and initial weights; returns a description of it.

        Args:
            experiment: The run, built anew.
            manifest: Its manifest.
            file: The path.
            name: The run's name.
            keep_best: Whether to keep the weights of the best epoch.
            weights: The file that the script will write.

        Raises:
            UsageError: If the run cannot be written, or the script would not be equal to it.
        """
        if manifest.get("status") not in ("done", "interrupted", "killed", "running"):
            raise UsageError(
                f"run {name} ended as '{manifest.get('status')}': there is nothing that a script could repeat"
            )
        program = Program(experiment, manifest, f"The run {name}", keep_best, weights)
        text = program.text()
        check_beginning(text, experiment)
        file.write_text(text, encoding="utf-8")
        return f"{len(text.splitlines())} lines"

    def check(self, file: Path, weights: Any) -> None:
        """Train with the script, and compare."""
        check_end(file, weights)
