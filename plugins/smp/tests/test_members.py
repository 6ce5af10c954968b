"""The catalogue: its index, options and refused members; and every member trains."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
import torch
from segmentation_models_pytorch import losses as library  # type: ignore[import-untyped]  # it ships no types
from torch import nn

import wf
from wf.declarations.component import REQUIRED
from wf.declarations.values import VALUES
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf.registry import Registry
from wf.traits import LossTraits
from wf_base import Dataset
from wf_base.data import TensorSamples
from wf_smp.index import index
from wf_smp.losses import MEMBERS, REFUSED, described
from wf_smp.plugin import wf_components

CATALOGUE = wf_components()[0]
REGISTRY = Registry.discover()
NEEDED: dict[str, dict[str, Any]] = {}
SAMPLE = ("DiceLoss", "FocalLoss")


def pairs() -> list[Any]:
    """Every member with each form of targets that it takes; members outside the sample only in `make catalogue`."""
    found = []
    for name in MEMBERS:
        traits = CATALOGUE.member(name).traits
        assert isinstance(traits, LossTraits)
        marks = () if name in SAMPLE else pytest.mark.catalogue
        found += [pytest.param(name, targets, marks=marks) for targets in traits.targets]
    return found


def dataset_of(targets: str) -> Dataset:
    """Images of noise, and targets that can be learned from them."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 3, 6, 6, generator=draw)
    means = inputs.mean((2, 3))
    wanted = {
        "mask": inputs.argmax(1),
        "class_index": means.argmax(1),
        "binary": (means[:, 0] > 0).float(),
        "multilabel": (means > 0).float(),
        "one_hot": nn.functional.one_hot(means.argmax(1), 3).float(),
        "real": means,
    }[targets]
    names = () if targets in ("real", "binary") else ("a", "b", "c")
    return Dataset(train=TensorSamples(inputs, wanted), targets=targets, class_names=names)


def test_index_is_up_to_date() -> None:
    kept = files("wf_smp").joinpath("index.txt").read_text(encoding="utf-8")
    assert kept == index(), "regenerate it: python -m wf_smp.index"


def test_the_whole_library_is_listed() -> None:
    theirs = {name for name, kind in vars(library).items() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
    assert theirs == set(CATALOGUE.names())
    assert {name: member.kind.__name__ for name, member in MEMBERS.items()} == {name: name for name in MEMBERS}
    assert set(CATALOGUE.refused()) == set(REFUSED)


def test_listing_imports_neither_torch_nor_the_library() -> None:
    code = """
import sys
from wf_smp.plugin import wf_components
names = wf_components()[0].names()
print(len(names), [name for name in sys.modules if name.startswith(("torch", "numpy", "segmentation_models_pytorch"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(CATALOGUE.names())} []\n"


@pytest.mark.parametrize("name", MEMBERS)
def test_every_option_is_documented_and_its_default_is_a_value_of_its_type(name: str) -> None:
    for option in from_signature(described(name)):
        assert option.help, option.name
        if option.default is not REQUIRED:
            assert convert(option, option.default, name) == option.default
        else:
            assert option.name in VALUES or option.name in NEEDED[name]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used: it "):
        REGISTRY.find("loss", f"smp/{name}")


@pytest.mark.parametrize(("name", "targets"), pairs())
def test_trains(name: str, targets: str) -> None:
    model: Any = nn.Conv2d(3, 3, 1) if targets == "mask" else "linear"
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "dataset": dataset_of(targets),
        "loss": {"use": f"smp/{name}", **NEEDED.get(name, {})},
        "optimizer": {"use": "adam", "lr": 0.02},
        "metric": [],
        "eval_splits": ["train"],
        "save": False,
        "quiet": True,
    }
    before = wf.run(model=model, steps=2, **options).metrics["train/loss"]
    torch.manual_seed(0)
    model = nn.Conv2d(3, 3, 1) if targets == "mask" else "linear"
    assert wf.run(model=model, steps=30, **options).metrics["train/loss"] < before
