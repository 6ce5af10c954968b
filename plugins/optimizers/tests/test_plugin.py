"""The declarations: importing them is light, and every target exists."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import typing

import pytest
from torch.optim.lr_scheduler import LRScheduler

from wf import Component, Nested
from wf.declarations.values import VALUES
from wf_optimizers import plugin
from wf_optimizers.warmup import LinearWarmup

CHOSEN_BY_THE_USER = {"step_size", "milestones", "num_steps"}


def test_plugin_imports_no_torch() -> None:
    code = "import wf_optimizers.plugin as p; p.wf_components(); print([m for m in sys.modules if 'torch' in m])"
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("component", plugin.wf_components(), ids=lambda component: component.name)
def test_every_option_is_annotated_and_documented(component: Component) -> None:
    assert isinstance(component.target, str)
    module, _, attribute = component.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    documented = target.__doc__.partition("Args:")[2]
    for name, parameter in inspect.signature(target).parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"    {name}: " in documented
        assert parameter.default is not inspect.Parameter.empty or name in {*VALUES, *CHOSEN_BY_THE_USER}


def test_then_is_a_nested_scheduler() -> None:
    hints = typing.get_type_hints(LinearWarmup.__init__, include_extras=True)
    assert hints["then"] == typing.Annotated[LRScheduler | None, Nested("scheduler")]
