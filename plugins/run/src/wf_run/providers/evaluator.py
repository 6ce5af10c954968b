"""The evaluator."""

from __future__ import annotations

from wf.protocols import Evaluator
from wf_data.serving import RunData
from wf_run.parts.data.own_samples import OwnSamples
from wf_run.parts.data.validation import VALIDATION, WithSets, name_in
from wf_run.run_build import RunBuild


def evaluator(run: RunBuild, served: RunData | OwnSamples) -> Evaluator | None:
    """The evaluator, which includes the further validation sets; None if there is nothing to evaluate."""
    made: Evaluator | None = run.make("evaluator") if "evaluator" in run.plan else None
    if made is None or not served.sets:
        return made
    return WithSets(made, list(map(name_in, served.sets)), has_split=VALIDATION in served.splits)
