from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from docstring_parser import parse
from torch import Tensor

from wf import Component
from wf.declarations.values import VALUES
from wf.traits import MetricTraits
from wf_base import Metric
from wf_metrics.plugin import wf_components

COMPONENTS = [component for component in wf_components() if isinstance(component, Component)]
every_component = pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)


def load(component: Component) -> type[Metric]:
    module, _, name = component.target_name.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # checked by use


def build(component: Component) -> Metric:
    target = load(component)
    if component.name == "mase":
        return target(naive_errors=[1.5, 0.5])
    return target(3) if "num_classes" in inspect.signature(target).parameters else target()


def split(traits: MetricTraits, targets: str, num: int = 40) -> tuple[Tensor, Tensor]:
    """Predictions and targets in the form in which wf serves them."""
    generator = torch.Generator().manual_seed(10)
    if targets == "real":
        values = torch.randn(num, 2, generator=generator)
        return values + torch.randn(num, 2, generator=generator), values
    if targets == "multilabel":
        truth = (torch.rand(num, 3, generator=generator) > 0.5).float()
        probs = torch.rand(num, 3, generator=generator)
        return (probs if traits.predictions == "probs" else (probs > 0.5).long()), truth
    if targets == "class_index" and traits.predictions == "raw":
        return torch.randn(num, 4, generator=generator), torch.randint(3, (num,), generator=generator)
    classes, shape = 2 if targets == "binary" else 3, (num, 4, 4) if targets == "mask" else (num,)
    truth = torch.randint(classes, shape, generator=generator)
    if traits.predictions == "probs":
        return torch.rand(num, classes, generator=generator).softmax(1), truth
    return torch.randint(classes, shape, generator=generator), truth


CASES = [
    (component, targets)
    for component in COMPONENTS
    if isinstance(component.traits, MetricTraits)
    for targets in component.traits.targets
]
every_case = pytest.mark.parametrize(("component", "targets"), CASES, ids=lambda case: getattr(case, "name", case))


class ThreeProcesses:
    """A strategy as the first process sees it: sums and gathers over metrics that took in parts of a split."""

    def __init__(self, others: Sequence[Metric]) -> None:
        self.others = others
        self.names = iter(list(others[0]._lists))  # gather is called once per name, in order

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        everybody = zip(tensors, *(other._sums.values() for other in self.others), strict=True)
        return [torch.stack(values).sum(0) for values in everybody]

    def gather(self, tensor: Tensor) -> Tensor:
        name = next(self.names)
        return torch.cat([tensor, *(other.values(name) for other in self.others)])


def test_declaring_imports_no_torch() -> None:
    code = "import sys, wf_metrics.plugin as p; p.wf_components(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_and_aliases_are_unique() -> None:
    names = [name for component in COMPONENTS for name in (component.name, *component.aliases)]
    assert len(names) == len(set(names))
    assert {"accuracy", "acc", "f1", "precision", "recall", "auroc", "auc", "roc-auc", "confusion-matrix"} <= set(names)


@every_component
def test_every_option_is_annotated_and_documented(component: Component) -> None:
    target = load(component)
    options = {} if "__init__" not in _defined_names(target) else inspect.signature(target).parameters
    documented = {entry.arg_name for entry in parse(inspect.getdoc(target) or "").params}
    assert set(options) == documented
    for name, option in options.items():
        assert option.annotation is not option.empty
        assert option.default is not option.empty or name in VALUES


@every_case
def test_metrics_accept_the_targets_of_their_traits(component: Component, targets: str) -> None:
    assert isinstance(component.traits, MetricTraits)
    metric = build(component)
    metric.update(*split(component.traits, targets))
    figure = metric.compute()
    assert isinstance(figure, Tensor)
    assert figure.isfinite().all()
    assert (figure.ndim == 0) == (component.traits.larger_is_better is not None)


@every_case
def test_synced_processes_give_the_figure_of_one(component: Component, targets: str) -> None:
    assert isinstance(component.traits, MetricTraits)
    predictions, truth = split(component.traits, targets)
    whole = build(component)
    whole.update(predictions, truth)
    parts = [build(component) for _ in range(3)]
    for metric, scores, kind in zip(parts, predictions.split(17), truth.split(17), strict=True):
        metric.update(scores, kind)
    parts[0].sync(ThreeProcesses(parts[1:]))  # type: ignore[arg-type]  # as much of a strategy as a metric needs
    torch.testing.assert_close(parts[0].compute(), whole.compute(), rtol=1e-12, atol=0)


@every_case
def test_reset_clears_the_state(component: Component, targets: str) -> None:
    assert isinstance(component.traits, MetricTraits)
    predictions, truth = split(component.traits, targets)
    metric = build(component)
    metric.update(predictions.flip(0), truth)
    metric.reset()
    metric.update(predictions, truth)
    fresh = build(component)
    fresh.update(predictions, truth)
    assert torch.equal(torch.as_tensor(metric.compute()), torch.as_tensor(fresh.compute()))


@every_case
def test_update_reads_nothing_from_the_device(component: Component, targets: str) -> None:
    assert isinstance(component.traits, MetricTraits)
    predictions, truth = split(component.traits, targets)
    metric = build(component)
    metric.update(predictions.to("meta"), truth.to("meta"))  # tensors on the meta device have no values to read
    metric.compute()


@every_case
def test_works_in_inference_mode(component: Component, targets: str) -> None:
    assert isinstance(component.traits, MetricTraits)
    metric = build(component)
    with torch.inference_mode():
        predictions, truth = split(component.traits, targets)
        metric.update(predictions, truth)
        metric.update(predictions, truth)
    assert torch.as_tensor(metric.compute()).isfinite().all()


def _defined_names(target: type[Metric]) -> set[str]:
    return {name for base in target.__mro__[: target.__mro__.index(Metric)] for name in vars(base)}
