"""The traits of built-in losses, metrics, models and transforms agree with trying the components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builtin_options import OPTIONS

import wf as api
from wf.errors import UsageError, WfError
from wf.registry import Registry
from wf_fitting.checking import fitting, mismatches, pair_verdict, part_of
from wf_fitting.parts import Facts

TARGETS = ("class_index", "real", "binary", "multilabel", "one_hot", "mask")
"""The forms of targets of the tasks that come with wf."""

PARTS = """
import functools

import torch
from torch import nn

from wf import Component, hookimpl
from wf_base import Dataset, TensorSamples, stream
from wf.traits import DatasetTraits, ModelTraits

N, C = 60, 4
SHAPES = {"vector": (1,), "sequence": (6, 3), "image": (3, 32, 32)}


def data(targets, shape, columns, seed: int):
    generator = stream(seed, "dataset")
    inputs = torch.randn(N, *shape, generator=generator)
    classes = torch.arange(N) % (2 if targets == "binary" else C)
    tensor = {
        "real": lambda: torch.randn(N, columns, generator=generator),
        "class_index": lambda: classes,
        "binary": lambda: classes.float(),
        "multilabel": lambda: (torch.rand(N, C, generator=generator) > 0.5).float(),
        "one_hot": lambda: nn.functional.one_hot(classes, C).float(),
        "mask": lambda: torch.randint(C, (N, *shape[1:]), generator=generator),
    }[targets]()
    names = () if targets in ("real", "binary") else [str(number) for number in range(C)]
    return Dataset(train=TensorSamples(inputs, tensor), targets=targets, class_names=names)


def pixels(num_channels: int, num_outputs: int):
    return nn.Conv2d(num_channels, num_outputs, 1)


def dataset(name, targets, inputs, *args):
    traits = DatasetTraits(targets=targets, inputs=inputs)
    return Component("dataset", name, functools.partial(data, targets, *args), traits=traits)


@hookimpl
def wf_components():
    made = [Component("model", "pixels", pixels, traits=ModelTraits(inputs="image"))]
    for targets in ("real", "class_index", "binary", "multilabel", "one_hot"):
        made.append(dataset(targets.replace("_", "-"), targets, "vector", (5,), 2))
    made.append(dataset("mask", "mask", "image", (1, 4, 4), 0))
    made += [dataset(f"{kind}s", "real", kind, shape, 1) for kind, shape in SHAPES.items()]
    return made
"""

RUN_ALL_THE_SAME = {
    ("real", "bce-logits"): "numbers of any size taken for chances",
    ("real", "ce"): "two numbers taken for the chances of two classes",
    ("real", "focal"): "numbers of any size taken for chances",
    ("multilabel", "ce"): "labels that may all be set taken for the chances of classes of which there is one",
    ("one_hot", "focal"): "classes of which there is one taken for labels that may all be set",
}
"""The losses that give a number with targets that they are not made for: why it means nothing."""


PART_OF_SUM = {"real": "mse", "binary": "bce-logits", "multilabel": "bce-logits"}
"""A loss that loss ``sum`` can take, by the targets; for all others ``ce``."""


def with_options(kind: str, name: str, targets: str = "real") -> dict[str, Any]:
    """The table of a component, with its required options."""
    needed = {
        "loss/sum": {"parts": [PART_OF_SUM.get(targets, "ce")]},
        "metric/mase": {"naive_errors": [1.0]},
        "transform/normalize": {"mean": [0.5] * 3, "std": [0.5] * 3},
        "transform/pad": {"size": 40},
    }
    return {"use": name, **{**OPTIONS, **needed}.get(f"{kind}/{name}", {})}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    file = tmp_path_factory.mktemp("fits") / "parts.py"
    file.write_text(PARTS)
    return Registry.discover([str(file)], only_builtin=True)


def works(registry: Registry, **settings: Any) -> bool:
    """Whether two steps and an evaluation can be made, or are refused because something does not fit."""
    run = {"batch_size": 16, "hook": [], "save": False, "registry": registry, **settings}
    try:
        api.build(**run).dry_run()
    except UsageError as error:
        if "not fit" not in str(error):
            raise
        return False
    return True


def works_unchecked(registry: Registry, **settings: Any) -> bool:
    """Like `works`, for a component with hidden traits, which may fail with any error."""
    run = {"batch_size": 16, "hook": [], "save": False, "registry": registry, **settings}
    try:
        api.build(**run).dry_run()
    except (WfError, RuntimeError, IndexError, ValueError):
        return False
    return True


def verdicts_on(registry: Registry, kind: str, dataset: str) -> dict[str, bool | None]:
    """The verdict of ``wf list KIND --fits DATASET`` on each built-in component."""
    found = fitting(registry, kind, registry.find("dataset", dataset))
    return {entry.component.name: verdict.fits for entry, verdict in found if entry.plugin.distribution}  # type: ignore[union-attr]  # all are of plugins


@pytest.mark.parametrize("targets", TARGETS)
def test_traits_of_losses_agree_with_trying_them(registry: Registry, targets: str) -> None:
    dataset, model = targets.replace("_", "-"), "pixels" if targets == "mask" else "linear"
    verdicts = verdicts_on(registry, "loss", dataset)
    assert any(verdicts.values())
    tables = {name: with_options("loss", name, targets) for name in verdicts}
    real = {name: works(registry, dataset=dataset, model=model, loss=table) for name, table in tables.items()}
    assert verdicts == real
    for name in (name for name, fits in verdicts.items() if not fits):
        hidden = registry.find("loss", name).component.target
        runs = works_unchecked(registry, dataset=dataset, model=model, loss=hidden, metric=[])
        assert runs == ((targets, name) in RUN_ALL_THE_SAME), f"{name} with {targets} targets"


@pytest.mark.parametrize("targets", TARGETS)
def test_traits_of_metrics_agree_with_trying_them(registry: Registry, targets: str) -> None:
    dataset, model = targets.replace("_", "-"), "pixels" if targets == "mask" else "linear"
    verdicts = verdicts_on(registry, "metric", dataset)
    tables = {name: with_options("metric", name) for name in verdicts}
    real = {name: works(registry, dataset=dataset, model=model, metric=[table]) for name, table in tables.items()}
    assert verdicts == real


@pytest.mark.parametrize("samples", ["vector", "sequence", "image"])
def test_traits_of_models_agree_with_trying_them(registry: Registry, samples: str) -> None:
    verdicts = verdicts_on(registry, "model", f"{samples}s")
    unknown = [name for name, fits in verdicts.items() if fits is None]
    assert unknown == (["linear-regression"] if samples == "sequence" else []), "[T] would do for it, [T, F] would not"
    real = {name: works(registry, dataset=f"{samples}s", model=name) for name in verdicts}
    assert {**verdicts, **dict.fromkeys(unknown, False)} == real
    for name in (name for name, fits in verdicts.items() if not fits):
        hidden = registry.find("model", name).component.target
        assert not works_unchecked(registry, dataset=f"{samples}s", model=hidden), name


@pytest.mark.parametrize("samples", ["vector", "sequence", "image"])
def test_traits_of_transforms_agree_with_trying_them(registry: Registry, samples: str) -> None:
    verdicts = verdicts_on(registry, "transform", f"{samples}s")
    tables = {name: with_options("transform", name) for name in verdicts}
    real = {name: works(registry, dataset=f"{samples}s", transform=[table]) for name, table in tables.items()}
    assert verdicts == real
    for name in (name for name, fits in verdicts.items() if not fits):
        hidden = {**tables[name], "use": registry.find("transform", name).component.target}
        assert not works_unchecked(registry, dataset=f"{samples}s", transform=[hidden]), name


def test_list_fits_agrees_with_the_traits(wf: Any, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    for targets in TARGETS:
        dataset = targets.replace("_", "-")
        listed = wf("list", "losses", "--fits", f"dataset/{dataset}", "--json", "-p", "parts.py").json()
        assert {one["name"] for one in listed if "/" not in one["name"]} == {
            name for name, fits in verdicts_on(registry, "loss", dataset).items() if fits
        }


@pytest.mark.parametrize("loss", ["mse", "ce", "focal"])
def test_a_dry_run_agrees_with_list_fits(wf: Any, loss: str) -> None:
    """`works` does the same as ``wf run --dry-run``."""
    for dataset in ("diabetes", "iris"):
        fits = {one["name"] for one in wf("list", "losses", "--fits", dataset, "--json").json()}
        done = wf("run", "--dataset", dataset, "--loss", loss, "--dry-run")
        assert done.code == (0 if loss in fits else 2), done.stderr


def test_suggested_alternatives_fit_the_dataset() -> None:
    """For every refused pair of a dataset and a model or a loss, each suggested alternative fits the dataset."""
    registry, seen = Registry.discover(only_builtin=True), 0
    for dataset in registry.entries("dataset"):
        for kind in ("model", "loss"):
            for entry in registry.entries(kind):
                parts = [part_of(dataset), part_of(entry)]
                for mismatch in mismatches(parts, Facts(), registry):
                    for other, names in mismatch.fitting.items():
                        for name in names if other != "dataset" else ():
                            if not name.endswith("..."):
                                seen += 1
                                fits = pair_verdict(registry.find(other, name), dataset, registry).fits
                                assert fits is not False, (dataset.component.name, entry.component.name, other, name)
    assert seen
