"""The declaration."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from wf.declarations.component import Component
from wf_tracking.plugin import wf_components

COMPONENTS = [component for component in wf_components() if isinstance(component, Component)]


def test_declaring_imports_nothing_heavy() -> None:
    code = (
        "import sys, wf_tracking.plugin as plugin; plugin.wf_components();"
        "heavy = {'torch', 'rich', 'matplotlib', 'numpy', 'tensorboard'} & set(sys.modules); sys.exit(str(heavy or ''))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_target_exists_and_says_its_options(component: Component) -> None:
    module, _, attribute = component.target_name.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    assert component.summary
    options = [name for name in target.__init__.__annotations__ if name != "return"]
    assert all(f"        {name}: " in target.__doc__ for name in options)
