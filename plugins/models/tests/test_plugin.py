"""The declarations: importing them is light, and every target exists."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from wf import Component
from wf.declarations.values import VALUES
from wf_models import plugin

COMPONENTS = plugin.wf_components()


def test_plugin_imports_no_torch() -> None:
    code = "import sys, wf_models.plugin as p; p.wf_components(); print([m for m in sys.modules if 'torch' in m])"
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: str(component.target))
def test_every_option_is_annotated_and_documented(component: Component) -> None:
    assert isinstance(component.target, str)
    module, _, attribute = component.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    documented = target.__doc__.partition("Args:")[2]
    for name, parameter in inspect.signature(target).parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"    {name}: " in documented
        assert parameter.default is not inspect.Parameter.empty or name in VALUES
