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
        """Write the script of a run, once its beginning is that of the run; returns what is in it, in words.

        Args:
            experiment: The run, built anew.
            manifest: How it went.
            file: Where.
            name: The run's name.
            keep_best: Whether the weights of the best epoch are wanted.
            weights: The file that the script will write.

        Raises:
            UsageError: When the run cannot be written, or the script would not be equal to it.
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
        """Train by the script, and compare."""
        check_end(file, weights)
