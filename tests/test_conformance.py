"""Every built-in component and the example's pass the checks of the conformance kit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builtin_options import FILES, OPTIONS, TEXTS
from workspace import EXAMPLE, ROOT

from wf.discovery.entry import Entry
from wf.registry import Registry
from wf_kit import check_plugin
from wf_kit.checks import CHECKS
from wf_kit.selecting import select

MEMBERS = {"model/torchvision/squeezenet1_1": {"image_size": 32}}
"""Of catalogues: one that is small."""
OFFLINE = {"hook/wandb": {"mode": "offline"}, "hook/mlflow": {"tracking_uri": "mlruns"}}
THREE_CHANNELS = {"transform/normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}
SMALL_GPT: dict[str, Any] = {"model": {"use": "gpt", "layers": 1, "width": 8}, "loss": "token-ce"}
LANGUAGE = {"dataset": {"use": "text", "path": str(ROOT / "CONTRIBUTING.md"), "block": 100}, **SMALL_GPT}
"""A run that takes a tokenizer."""
RUNS: dict[str, dict[str, Any]] = {
    "model/linear-regression": {"dataset": "line"},
    "dataset/opticks": SMALL_GPT,
    "loss/nt-xent": {"model": "mlp"},
    "trainer/contrastive": {
        "dataset": {"use": "torchvision/fake", "size": 24, "image_size": 8},
        "model": {"use": "cnn", "channels": [4]},
        "loss": "nt-xent",
        "task": "embedding",
    },
    "strategy/fsdp": {"checkpointer": "directory"},
    "validation/sets": {"dataset": "iris"},
    "sampler/balanced": {"dataset": "iris"},
    "sampler/weighted": {"dataset": "iris"},
    "sampler/length-grouped": {
        "dataset": {"use": "texts", "path": str(TEXTS / "reviews.csv")},
        "model": "text-encoder",
    },
    "tokenizer/words": LANGUAGE,
    "tokenizer/bytes": LANGUAGE,
    "tokenizer/characters": LANGUAGE,
}

REGISTRY = Registry.discover(only_builtin=True)
ENTRIES = [
    entry
    for plugin in REGISTRY.plugins
    for entry in select(REGISTRY, [plugin.name], MEMBERS)
    if entry.component.name != "graphed"  # it needs CUDA, and the kit tries components on the CPU
]

for entry in ENTRIES:
    if entry.component.kind == "plot":
        RUNS[f"plot/{entry.component.name}"] = {"hook": ["plots"]}

NOT_APPLICABLE = {
    "run": "no run is made of its kind",
    "dataset-splits": "it has no splits of its own",
    "transform-resumes": "it has no state_dict",
    "loss-ignore-index": "it has no option 'ignore_index'",
    "loss-reduction": "it has no option 'reduction'",
    "loss-weight": "a loss of embeddings compares samples with each other",
    "metric-direction": "it declares no direction",
    "link-applies": "it converts nothing",
    "task-trains": "it needs a loss for embeddings; name one: "
    '[tool.wf.check.run."task/embedding"] loss = "NAME"',  # none is built in
}
"""Checks that have nothing to look at in some components, and what they say."""


def name_of(entry: Entry) -> str:
    return f"{entry.component.kind}/{entry.component.name}"


def of_one_worker(entry: Entry) -> Any:
    """All cases of a plugin run in one worker, which measures its declaration in new processes only once."""
    return pytest.param(entry, id=name_of(entry), marks=pytest.mark.xdist_group(f"conformance-{entry.provider}"))


@pytest.mark.parametrize("entry", [of_one_worker(entry) for entry in ENTRIES])
def test_conformance(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a folder without settings
    monkeypatch.setattr("wf_datasets.images.cifar.NUM_IMAGES", 20)
    name = name_of(entry)
    options = {**OPTIONS, **THREE_CHANNELS, **MEMBERS, **OFFLINE}.get(name, {})
    if entry.component.kind == "dataset" and entry.component.name in FILES:
        options = FILES[entry.component.name](tmp_path)
    registry = Registry.discover(only_builtin=True)  # kinds that plugins add are forgotten after each test
    results = check_plugin(
        f"{name}@{entry.provider}", registry=registry, options={name: options}, run={name: RUNS.get(name, {})}
    )
    wrong = [f"{result.check}: {result.message}" for result in results if result.status == "failed"]
    assert not wrong
    skipped = {result.check: result.message for result in results if result.status == "skipped"}
    if name.startswith("model/") and "model-traits" in skipped:  # any number is a valid logit
        del skipped["model-traits"]
    if name == "loss/sum":  # it returns named terms, and its parts are checked separately
        skipped = {check: why for check, why in skipped.items() if not check.startswith("loss-")}
    assert skipped.items() <= NOT_APPLICABLE.items()


def test_every_check_covers_some_component() -> None:
    kinds = {entry.component.kind for entry in ENTRIES}
    assert not [check.id for check in CHECKS.values() if not any(map(check.covers, kinds))]


def test_example_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / EXAMPLE)  # its pyproject.toml has the options of its trainer
    monkeypatch.syspath_prepend(ROOT / EXAMPLE / "src")
    registry = Registry.discover(["wf_example.plugin"])
    results = check_plugin("wf_example.plugin", registry=registry)
    assert {result.component for result in results} == {"loss/log-cosh", "trainer/hand-gradient", "dataset/points"}
    assert not [f"{result.check}: {result.message}" for result in results if result.status == "failed"]
