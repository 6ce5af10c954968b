from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
import torch
from docstring_parser import parse

from wf import Component
from wf.declarations.values import VALUES
from wf.traits import LossTraits
from wf_losses.plugin import wf_components

COMPONENTS = [component for component in wf_components() if isinstance(component, Component)]


def load(component: Component) -> type[torch.nn.Module]:
    module, _, name = component.target_name.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # checked by use


def test_declaring_imports_no_torch() -> None:
    code = "import sys, wf_losses.plugin as p; p.wf_components(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_and_aliases_are_unique() -> None:
    names = [name for component in COMPONENTS for name in (component.name, *component.aliases)]
    assert len(names) == len(set(names))
    assert {"l1", "mae", "mse", "l2", "nll", "ce", "cross-entropy", "weighted-ce", "focal", "bce"} <= set(names)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_option_is_annotated_and_documented(component: Component) -> None:
    target = load(component)
    options = inspect.signature(target).parameters
    documented = {entry.arg_name for entry in parse(inspect.getdoc(target) or "").params}
    assert set(options) == documented
    for name, option in options.items():
        assert option.annotation is not option.empty
        assert option.default is not option.empty or name in VALUES


EXAMPLES = {
    "real": torch.tensor([[0.1, -0.3], [0.7, 2.0]]),
    "class_index": torch.tensor([0, 1, 1, 0]),
    "binary": torch.tensor([0.0, 1.0]),
    "multilabel": torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
    "one_hot": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    "mask": torch.tensor([[[0, 1]], [[1, 1]]]),
}
CASES = [(component, targets) for component in COMPONENTS for targets in component.traits.targets]  # type: ignore[union-attr]


@pytest.mark.parametrize(("component", "kind"), CASES, ids=lambda case: getattr(case, "name", case))
def test_losses_accept_the_targets_of_their_traits(component: Component, kind: str) -> None:
    traits, targets = component.traits, EXAMPLES[kind]
    assert isinstance(traits, LossTraits)
    given = {"class_counts": [3, 1]} if component.name == "weighted-ce" else {}
    loss = load(component)(**given)
    shape = {"class_index": (4, 2), "mask": (2, 2, 1, 2)}.get(kind, tuple(targets.shape))
    scores = torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape).requires_grad_()
    forms = {"log_probs": lambda: scores.log_softmax(1), "probs": scores.sigmoid}
    value = loss(forms.get(traits.predictions, lambda: scores)(), targets)
    assert value.ndim == 0
    (gradient,) = torch.autograd.grad(value, scores)
    assert gradient.isfinite().all()
    assert gradient.any()
    assert traits.weighted == hasattr(loss, "total_weight")
    if traits.weighted:
        assert loss.total_weight(targets).ndim == 0  # type: ignore[operator]  # nn.Module hides methods
