"""wf: a plugin-based component registry for PyTorch training.

`import wf` imports neither torch nor any plugin; the names that need torch load it on first use.
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
from wf.engine.cadence import Epochs, Every, Progress, Steps
from wf.engine.events import Hook
from wf.engine.loop import Loop
from wf.hookspecs import hookimpl

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name in ("build", "create", "load_model", "open_run", "run"):
        try:
            return getattr(importlib.import_module("wf_run.api"), name)
        except ModuleNotFoundError as error:
            if error.name != "wf_run":
                raise
            text = f"wf.{name} is in the distribution wf-run, which is not installed: pip install wf-run"
            raise ImportError(text) from None
    raise AttributeError(f"module 'wf' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
