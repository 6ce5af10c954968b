"""The component of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import HookTraits


@hookimpl
def wf_components() -> list[Component]:
    """The logger of this package."""
    return [
        Component(
            "hook",
            "mlflow",
            "wf_mlflow.logger:MLflow",
            "logs options, figures, plots and model to MLflow",
            traits=HookTraits(watches=True, order=900),
        ),
    ]
