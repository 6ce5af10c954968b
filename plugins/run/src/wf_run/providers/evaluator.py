"""The evaluator."""

from __future__ import annotations

from wf.protocols import Evaluator
from wf_run.run_build import RunBuild


def evaluator(run: RunBuild) -> Evaluator | None:
    """The evaluator; None if there is nothing to evaluate."""
    return run.make("evaluator") if "evaluator" in run.plan else None
