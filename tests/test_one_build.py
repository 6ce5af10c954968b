"""The cost of a build: each name and provider is looked up once, and each rule checks a component once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

import wf
from wf import Component, Rule, Verdict
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf_building.resolver import Provider
from wf_fitting import parts
from wf_fitting.parts import Facts, Part
from wf_run.graph import find

BUILDS: list[dict[str, Any]] = [
    {},
    {"dataset": "shapes"},
    {"dataset": "diabetes", "scheduler": "plateau", "keep": "best"},
    {"dataset": "digits", "transform": ["flip", "standardize"], "scheduler": "cosine"},
    {"dataset": "digits", "transform": ["mixup"]},
    {"dataset": (torch.rand(60, 4), torch.arange(60) % 3), "model": "mlp"},
    {"dataset": "breast-cancer-binary", "loss": "bce-logits"},
]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """How often each rule is asked about each component."""
    counts: Counter[tuple[str, str]] = Counter()
    guarded = parts._guarded

    def counting(entry: Any) -> Any:
        judge = guarded(entry)

        def counted_judge(part: Part, known: Facts) -> Verdict:
            counts[entry.component.name, part.name] += 1
            return judge(part, known)

        return counted_judge

    monkeypatch.setattr(parts, "_guarded", counting)
    return counts


@pytest.mark.parametrize("settings", BUILDS)
def test_each_name_is_looked_up_once_and_each_rule_asked_once(
    settings: dict[str, Any], judged: Counter[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: Counter[tuple[str, str]] = Counter()
    look_up = Registry._find

    def counted(self: Registry, kind: str, name: str) -> Any:
        looked_up[kind, name] += 1
        return look_up(self, kind, name)

    provided: Counter[str] = Counter()

    def provider(of: Any, name: str) -> Provider | None:
        found = find(of, name)
        provided[name] += found is not None
        return found

    monkeypatch.setattr(Registry, "_find", counted)
    monkeypatch.setattr("wf_run.assembly.find", provider)
    with wf.build(registry=Registry.discover(), save=False, quiet=True, epochs=1, **settings):
        pass
    assert len(provided) > 25
    assert max(provided.values()) == 1
    assert len(looked_up) > 15
    assert set(looked_up.values()) == {1}
    assert len(judged) >= 6
    assert set(judged.values()) == {1}


def few(part: Part, known: Facts) -> Verdict:
    """A third-party rule that does not declare its needs."""
    return Verdict(not known.num_classes or known.num_classes < 5, ("too many classes",))


def test_a_rule_without_declared_needs_is_asked_again_with_the_facts(judged: Counter[tuple[str, str]]) -> None:
    rule = Rule(name="few", kind="model", against=("dataset",), target=few)
    component = Component("rule", "few", few, traits=rule)
    stranger = Plugin(name="s", distribution="s", version="1", module="m", status="ok", components=(component,))
    registry = Registry([*Registry.discover().plugins, stranger])
    with pytest.raises(UsageError, match="model 'mlp' does not fit dataset 'digits'\n  too many classes"):
        wf.build(registry=registry, save=False, quiet=True, dataset="digits")
    assert judged["few", "mlp"] == 2
    with wf.build(registry=registry, save=False, quiet=True, dataset="diabetes"):
        pass
