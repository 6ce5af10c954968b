"""Each built-in component runs together with others; tests/test_conformance.py checks each one by itself."""

from __future__ import annotations

import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
from builtin_options import FILES, OPTIONS, TEXTS
from workspace import ROOT

import wf
from wf import traits
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.registry import Registry
from wf_base.reading import DatasetReader, LabelledReader, PartReader, RecordReader

REGISTRY = Registry.discover()
ENTRIES = list(REGISTRY.entries())

TEXT = {"use": "text", "path": str(ROOT / "plugins/text/src/wf_text/opticks.md"), "block": 16}
"""A short one."""
BY_TARGETS: dict[str, Any] = {
    "real": {"use": "random", "task": "regression", "num_samples": 60},
    "class_index": "iris",
    "binary": "breast-cancer-binary",
    "multilabel": {"use": "random", "task": "multilabel", "num_samples": 60},
    "one_hot": "iris",
    "mask": {"use": "shapes", "num_samples": 40, "image_size": 8},
    "next_token": TEXT,
    "token_class": {"use": "tagged", "path": str(TEXTS / "names.conll")},
    "masked_token": {**TEXT, "use": "masked-text", "block": 8},
}
SMALL = {"layers": 1, "heads": 2, "width": 8}
MODELS: dict[str, dict[str, Any]] = {
    "mask": {"use": "unet", "channels": [4]},
    "tokens": {"use": "rnn", "hidden_size": 4},
    "boxes": {"use": "torchvision/ssdlite320_mobilenet_v3_large", "image_size": 32},
    "next_token": {"use": "gpt", **SMALL},
    "token_class": {"use": "token-encoder", **SMALL},
    "masked_token": {"use": "masked-encoder", **SMALL},
    "texts": {"use": "text-encoder", **SMALL},
}
"""For targets, inputs or datasets that the usual one does not fit."""
BY_INPUTS: dict[str, Any] = {
    "any": "iris",
    "numbers": "iris",
    "vector": "iris",
    "image": {"use": "random", "input_shape": [1, 8, 8], "num_samples": 60},
    "sequence": {"use": "random", "input_shape": [6, 3], "num_samples": 60},
    "tokens": TEXT,
}


OF_TEXTS: dict[str, tuple[Any, Any]] = {
    "text-encoder": ({"use": "texts", "path": str(TEXTS / "reviews.csv")}, MODELS["texts"]),
    "token-encoder": (BY_TARGETS["token_class"], MODELS["token_class"]),
}
"""The dataset of a model that reads padded texts, and its options there."""


def name_of(entry: Entry) -> str:
    return f"{entry.component.kind}-{entry.component.name}"


ELSEWHERE = ("ddp", "fsdp", "graphed", "contrastive")


def of_kind(*kinds: str) -> list[Any]:
    """The entries of some kinds, without those that need torchrun, CUDA or images, which have their own tests."""
    found = [entry for entry in ENTRIES if entry.component.kind in kinds and entry.component.name not in ELSEWHERE]
    return [pytest.param(entry, id=name_of(entry)) for entry in found]


def test_every_kind_has_a_component() -> None:
    assert {entry.component.kind for entry in ENTRIES} >= set(KINDS)


def run(tmp_path: Path, **settings: Any) -> Any:
    """A short run; its figures are finite, and its run file repeats it."""
    plain: dict[str, Any] = {"epochs": 2, "batch_size": 16, "model": {"use": "mlp", "hidden": [8]}}
    exp = wf.run(run_dir=tmp_path / "run", quiet=True, **{**plain, **settings})
    assert exp.loop.progress.epoch == 2
    losses = [record["loss"] for record in exp.history if "loss" in record]  # detectors have no loss in evaluations
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    text = (tmp_path / "run" / "run.toml").read_text()
    assert wf.build(tmp_path / "run" / "run.toml", save=False).run_file() == text, "run.toml does not repeat the run"
    return exp


def model_for(*kinds: str | None) -> dict[str, Any]:
    """The setting of a model that fits targets or inputs of these forms."""
    return next(({"model": MODELS[kind]} for kind in kinds if kind in MODELS), {})


def table(entry: Entry) -> dict[str, Any]:
    component = entry.component
    return {"use": component.name, **OPTIONS.get(f"{component.kind}/{component.name}", {})}


def on_each_target(kind: str) -> list[Any]:
    """The entries of a kind with each form of targets; `make test` uses the first form of each entry.

    tests/test_conformance.py tries all forms without a run.
    """
    found = []
    for entry in (param.values[0] for param in of_kind(kind)):
        for number, targets in enumerate(entry.component.traits.targets or ("real",)):
            marks = [pytest.mark.exhaustive] if number else []
            found.append(pytest.param(entry, targets, id=f"{name_of(entry)}-{targets}", marks=marks))
    return found


@pytest.mark.parametrize(("entry", "targets"), on_each_target("loss"))
def test_loss(entry: Entry, targets: str, tmp_path: Path) -> None:
    few = {"optimizer": {"use": "adam", "lr": 0.01}} if entry.component.name == "token-ce" else {}  # a few short texts
    exp = run(tmp_path, dataset=BY_TARGETS[targets], loss=table(entry), **model_for(targets), **few)
    train = [record["epoch_loss"] for record in exp.history if "epoch_loss" in record]
    assert train[-1] < train[0]


@pytest.mark.parametrize(("entry", "targets"), on_each_target("metric"))
def test_metric(entry: Entry, targets: str, tmp_path: Path) -> None:
    dataset = {"use": "coco", **FILES["coco"](tmp_path)} if targets == "boxes" else BY_TARGETS[targets]
    exp = run(tmp_path, dataset=dataset, metric=[table(entry)], **model_for(targets))
    assert any(name.startswith(f"test/{entry.component.name}") for name in exp.metrics)


@pytest.mark.parametrize("entry", of_kind("model"))
def test_model(entry: Entry, tmp_path: Path) -> None:
    assert isinstance(entry.component.traits, traits.ModelTraits)
    one_feature = entry.component.name == "linear-regression"
    dataset = "line" if one_feature else BY_INPUTS[entry.component.traits.inputs]
    if entry.component.traits.per == "pixel":
        dataset = BY_TARGETS["mask"]
    model = table(entry)
    if entry.component.name in OF_TEXTS:
        dataset, model = OF_TEXTS[entry.component.name]
    run(tmp_path, dataset=dataset, model=model)


def test_model_of_torchvision(tmp_path: Path) -> None:
    dataset = {"use": "random", "input_shape": [3, 32, 32], "num_samples": 20}
    run(tmp_path, dataset=dataset, model={"use": "torchvision/squeezenet1_1"})


@pytest.mark.parametrize("entry", of_kind("optimizer"))
def test_optimizer(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset="iris", optimizer=table(entry))


@pytest.mark.parametrize("entry", of_kind("scheduler"))
def test_scheduler(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset="iris", scheduler=table(entry), optimizer={"use": "sgd", "lr": 0.1})


@pytest.mark.parametrize("entry", of_kind("transform"))
def test_transform(entry: Entry, tmp_path: Path) -> None:
    found = entry.component.traits
    assert isinstance(found, traits.TransformTraits)
    inputs = BY_INPUTS[found.inputs.replace("any", "image").replace("numbers", "image")]
    dataset = inputs if found.of == "inputs" else BY_TARGETS[found.targets[0]]
    if "mask" in found.targets:
        run(tmp_path, dataset=BY_TARGETS["mask"], transform=[table(entry)], **model_for("mask"))
        return
    run(tmp_path, dataset=dataset, transform=[table(entry)])


@pytest.mark.parametrize("entry", of_kind("hook"))
def test_hook(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset="iris", hook=[table(entry)])


@pytest.mark.parametrize("entry", of_kind("trainer", "evaluator", "checkpointer", "strategy"))
def test_trainer_evaluator_checkpointer_and_strategy(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset="iris", **{entry.component.kind: table(entry)})


@pytest.mark.parametrize("entry", of_kind("tokenizer"))
def test_tokenizer(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset={**TEXT, "block": 8}, tokenizer=table(entry), **model_for("next_token"))


@pytest.mark.parametrize("entry", of_kind("dataset"))
def test_dataset(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = entry.component.name
    monkeypatch.setattr("wf_datasets.images.cifar.NUM_IMAGES", 20)
    options = FILES[name](tmp_path) if name in FILES else {}
    found = entry.component.traits
    assert isinstance(found, traits.DatasetTraits)
    run(tmp_path, dataset={"use": name, **options}, **model_for(name, found.targets, found.inputs))


READERS = sorted({reader for entry in ENTRIES if (reader := getattr(entry.component.traits, "reader", None))})


def test_optional_methods_of_readers_have_the_expected_signature() -> None:
    optional = {
        "from_records": RecordReader,
        "parts": PartReader,
        "labelled": LabelledReader,
        "dataset": DatasetReader,
    }
    seen = set()
    for reader in READERS:
        module, _, name = reader.partition(":")
        made = getattr(importlib.import_module(module), name)
        for method, protocol in optional.items():
            if hasattr(made, method):
                seen.add(method)
                asked = inspect.signature(getattr(protocol, method)).parameters
                assert list(inspect.signature(getattr(made, method)).parameters) == list(asked), reader
    assert seen == optional.keys()
