import inspect
import subprocess
import sys
import typing

import docstring_parser
import pytest

from wf.declarations.component import Component
from wf.declarations.values import VALUES
from wf_datasets.plugin import wf_components

COMPONENTS = wf_components()


def load(component: Component) -> typing.Any:
    module, _, attribute = str(component.target).partition(":")
    return getattr(__import__(module, fromlist=[attribute]), attribute)


def test_plugin_module_is_light() -> None:
    code = (
        "import sys, wf_datasets.plugin as p; p.wf_components(); "
        "heavy = {'torch', 'sklearn', 'torchvision', 'numpy', 'PIL'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_unique() -> None:
    names = [(component.kind, name) for component in COMPONENTS for name in (component.name, *component.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: f"{component.kind}-{component.name}")
def test_declaration(component: Component) -> None:
    target = load(component)
    assert component.summary
    assert component.traits is not None or component.kind == "sampler"  # the kind has none
    signature = inspect.signature(target)
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(function)
    documented = {param.arg_name for param in docstring_parser.parse(inspect.getdoc(target) or "").params}
    assert documented >= {name for name in signature.parameters if name not in VALUES}
    assert set(signature.parameters) <= set(hints)


def test_only_train_only_transforms_draw_random_numbers() -> None:
    transforms = [component for component in COMPONENTS if component.kind == "transform"]
    assert {component.traits.train_only for component in transforms} == {True, False}  # type: ignore[union-attr]
    for component in transforms:
        target: typing.Any = load(component)
        draws = hasattr(target, "num_draws") or getattr(target, "joint", False) == "batch"
        assert draws == component.traits.train_only  # type: ignore[union-attr]
