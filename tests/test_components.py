"""Every registered component keeps the contract of its kind, and each one takes part in a run."""

from __future__ import annotations

import inspect
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

import wf
from wf import traits
from wf.component import KINDS, REQUIRED
from wf.parameters import RUN_VALUES, convert, parameters
from wf.registry import Entry, Registry

REGISTRY = Registry.discover()
ENTRIES = list(REGISTRY.entries())
SAMPLED = [
    REGISTRY.find(catalogue.kind, f"{catalogue.prefix}/{name}")
    for catalogue, _ in REGISTRY.catalogues()
    for name in (catalogue.names()[0], catalogue.names()[-1])
]
TRAITS: dict[str, type] = {
    "loss": traits.LossTraits,
    "model": traits.ModelTraits,
    "dataset": traits.DatasetTraits,
    "transform": traits.TransformTraits,
    "metric": traits.MetricTraits,
    "optimizer": traits.OptimizerTraits,
    "scheduler": traits.SchedulerTraits,
    "trainer": traits.TrainerTraits,
}

NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("transform", "normalize"): {"mean": [0.5], "std": [0.5]},
    ("transform", "pad"): {"size": 10},
    ("scheduler", "step"): {"step_size": 1},
    ("scheduler", "multistep"): {"milestones": [1]},
    ("scheduler", "linear-warmup"): {"num_steps": 3},
}
"""The options that a component needs from the user."""

BY_TARGETS: dict[str, Any] = {
    "real": {"use": "random", "task": "regression", "num_samples": 60},
    "class_index": "iris",
    "binary": "breast-cancer",
    "multilabel": {"use": "random", "task": "multilabel", "num_samples": 60},
    "one_hot": "iris",
    "mask": "iris",
}
BY_INPUTS: dict[str, Any] = {
    "any": "iris",
    "vector": "iris",
    "image": {"use": "random", "input_shape": [1, 8, 8], "num_samples": 60},
    "sequence": {"use": "random", "input_shape": [6, 3], "num_samples": 60},
}


def name_of(entry: Entry) -> str:
    return f"{entry.component.kind}-{entry.component.name}"


def of_kind(*kinds: str) -> list[Any]:
    """The entries of some kinds, without what needs torchrun: tests/test_ddp.py has that."""
    found = [entry for entry in ENTRIES if entry.component.kind in kinds and entry.component.name != "ddp"]
    return [pytest.param(entry, id=name_of(entry)) for entry in found]


@pytest.mark.parametrize("entry", [*ENTRIES, *SAMPLED], ids=name_of)
def test_declaration(entry: Entry) -> None:
    component, target = entry.component, entry.load()
    assert 0 < len(component.summary) < 100
    assert "\n" not in component.summary
    assert inspect.getdoc(target), "no docstring"
    wanted = TRAITS.get(component.kind)
    assert component.traits is None if wanted is None else isinstance(component.traits, wanted)
    for param in parameters(component, entry.load):
        assert param.help, f"the docstring does not say what option '{param.name}' is"
        if param.source is not None:
            assert param.source in RUN_VALUES
            continue
        assert not isinstance(param.type, str), f"the annotation of '{param.name}' cannot be read: {param.type}"
        assert param.type not in (Any, inspect.Parameter.empty), f"'{param.name}' has no annotation"
        if param.kind is not None:
            assert param.kind in KINDS
            continue
        TypeAdapter(param.type)
        if param.default is not REQUIRED:
            assert convert(param, param.default, name_of(entry)) == param.default


def test_every_kind_is_there() -> None:
    assert {entry.component.kind for entry in ENTRIES} == set(KINDS)


def run(tmp_path: Path, **settings: Any) -> Any:
    """A short run; its figures are finite, and its run file says it again."""
    plain: dict[str, Any] = {"epochs": 2, "batch_size": 16, "model": {"use": "mlp", "hidden": [8]}}
    exp = wf.run(run_dir=tmp_path / "run", quiet=True, **{**plain, **settings})
    assert exp.loop.progress.epoch == 2
    losses = [record["loss"] for record in exp.history]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    text = (tmp_path / "run" / "run.toml").read_text()
    assert wf.build(tmp_path / "run" / "run.toml", save=False).run_file() == text, "run.toml does not repeat the run"
    return exp


def table(entry: Entry) -> dict[str, Any]:
    component = entry.component
    return {"use": component.name, **NEEDED.get((component.kind, component.name), {})}


@pytest.mark.parametrize("entry", of_kind("loss"))
def test_loss(entry: Entry, tmp_path: Path) -> None:
    assert isinstance(entry.component.traits, traits.LossTraits)
    for number, targets in enumerate(entry.component.traits.targets):
        exp = run(tmp_path / str(number), dataset=BY_TARGETS[targets], loss=table(entry))
        train = [record["epoch_loss"] for record in exp.history if "epoch_loss" in record]
        assert train[-1] < train[0]


@pytest.mark.parametrize("entry", of_kind("metric"))
def test_metric(entry: Entry, tmp_path: Path) -> None:
    assert isinstance(entry.component.traits, traits.MetricTraits)
    for number, targets in enumerate(entry.component.traits.targets or ("real",)):
        exp = run(tmp_path / str(number), dataset=BY_TARGETS[targets], metric=[table(entry)])
        assert any(name.startswith(f"test/{entry.component.name}") for name in exp.metrics)


@pytest.mark.parametrize("entry", of_kind("model"))
def test_model(entry: Entry, tmp_path: Path) -> None:
    assert isinstance(entry.component.traits, traits.ModelTraits)
    one_feature = entry.component.name == "linear-regression"
    dataset = "line" if one_feature else BY_INPUTS[entry.component.traits.inputs]
    run(tmp_path, dataset=dataset, model=table(entry))


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
    assert isinstance(entry.component.traits, traits.TransformTraits)
    run(tmp_path, dataset=BY_INPUTS[entry.component.traits.inputs.replace("any", "image")], transform=[table(entry)])


@pytest.mark.parametrize("entry", of_kind("hook"))
def test_hook(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset="iris", hook=[table(entry)])


@pytest.mark.parametrize("entry", of_kind("trainer", "evaluator", "checkpointer", "strategy"))
def test_other_kinds(entry: Entry, tmp_path: Path) -> None:
    run(tmp_path, dataset="iris", **{entry.component.kind: table(entry)})


def _csv(folder: Path) -> dict[str, Any]:
    rows = [f"{x / 10},{x % 7},{x / 5 + 1}" for x in range(40)]
    (folder / "data.csv").write_text("\n".join(["a,b,y", *rows]))
    return {"path": str(folder / "data.csv"), "target": "y"}


def _npz(folder: Path) -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(folder / "data.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    return {"path": str(folder / "data.npz")}


def _images(folder: Path) -> dict[str, Any]:
    for label, level in (("dark", 20), ("light", 200)):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), (level, level, number)).save(folder / "images" / label / f"{number}.png")
    return {"path": str(folder / "images")}


def _idx(folder: Path) -> dict[str, Any]:
    for prefix, num in (("train", 40), ("t10k", 20)):
        labels = torch.arange(num) % 10
        images = (labels * 25).reshape(-1, 1).expand(num, 784)
        for suffix, sizes, data in (("images-idx3", (num, 28, 28), images), ("labels-idx1", (num,), labels)):
            head = bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)
            (folder / f"{prefix}-{suffix}-ubyte").write_bytes(head + bytes(data.flatten().tolist()))
    return {"root": str(folder), "download": False}


def _cifar(folder: Path) -> dict[str, Any]:
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = b"".join(bytes((label, *[label * 25] * 3072)) for label in (*range(10), *range(10)))
        (folder / f"{name}.bin").write_bytes(records)
    return {"root": str(folder), "download": False}


FILES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "csv": _csv,
    "npz": _npz,
    "image-folder": _images,
    "mnist": _idx,
    "fashion-mnist": _idx,
    "cifar10": _cifar,
}
"""Make the files of a dataset that reads some, and give the options that name them."""


@pytest.mark.parametrize("entry", of_kind("dataset"))
def test_dataset(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = entry.component.name
    monkeypatch.setattr("wf_datasets.cifar.NUM_IMAGES", 20)
    options = FILES[name](tmp_path) if name in FILES else {}
    exp = run(tmp_path, dataset={"use": name, **options})
    assert isinstance(entry.component.traits, traits.DatasetTraits)
    assert entry.component.traits.targets in (None, exp.data.targets)
    batch = next(iter(exp.data.batches("train")))
    assert batch.inputs.dtype == torch.float32
    kinds = {"class_index": torch.int64, "mask": torch.int64}
    assert batch.targets.dtype == kinds.get(exp.data.targets, torch.float32)
    assert bool(exp.data.class_names) == (exp.data.targets != "real")
