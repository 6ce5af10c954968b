"""wf: a plugin-based component registry for PyTorch training.

`import wf` imports neither torch nor any plugin. The names of the loop, and those that need torch, are imported on
first use, so that listing plugins costs only their declarations.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wf.declarations.commands import Command
from wf.declarations.component import Catalogue, Component, FromRun, Nested, Param
from wf.declarations.conditions import Condition
from wf.declarations.kinds import Kind
from wf.declarations.readers import FileReader
from wf.declarations.rule import Rule, Verdict
from wf.declarations.task import Link, Task
from wf.declarations.values import RunValue
from wf.hookspecs import hookimpl

if TYPE_CHECKING:
    from wf.engine.cadence import Epochs, Every, Progress, Steps
    from wf.engine.events import Hook
    from wf.engine.loop import Loop
    from wf_run.api import build, create, load_model, open_run, run

__version__ = "0.1.0"

__all__ = [
    "Catalogue",
    "Command",
    "Component",
    "Condition",
    "Epochs",
    "Every",
    "FileReader",
    "FromRun",
    "Hook",
    "Kind",
    "Link",
    "Loop",
    "Nested",
    "Param",
    "Progress",
    "Rule",
    "RunValue",
    "Steps",
    "Task",
    "Verdict",
    "__version__",
    "build",
    "create",
    "hookimpl",
    "load_model",
    "open_run",
    "run",
]


_MODULES = {
    **dict.fromkeys(("Epochs", "Every", "Progress", "Steps"), "wf.engine.cadence"),
    "Hook": "wf.engine.events",
    "Loop": "wf.engine.loop",
    **dict.fromkeys(("build", "create", "load_model", "open_run", "run"), "wf_run.api"),
}
"""The names that are imported on first use, with their modules."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'wf' has no attribute '{name}'")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "wf_run":
            raise
        text = f"wf.{name} is in the distribution wf-run, which is not installed: pip install wf-run"
        raise ImportError(text) from None


def __dir__() -> list[str]:
    return __all__
