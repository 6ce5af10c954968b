"""The catalogue: its index, options and refused members; and every member trains."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses as library  # type: ignore[import-untyped]  # it ships no types
from torch import nn

import wf
from wf.declarations.component import REQUIRED
from wf.declarations.values import VALUES
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf.registry import Registry
from wf_metric_learning.index import index
from wf_metric_learning.losses import MEMBERS, REFUSED, build, described
from wf_metric_learning.plugin import wf_components

CATALOGUE: Any = wf_components()[0]
REGISTRY = Registry.discover()
NEEDED: dict[str, dict[str, Any]] = {"RankedListLoss": {"margin": 0.4, "Tn": 1.0}}
SAMPLE = ("ArcFaceLoss", "ContrastiveLoss", "MarginLoss", "P2SGradLoss", "TripletMarginLoss")


def test_index_is_up_to_date() -> None:
    kept = files("wf_metric_learning").joinpath("index.txt").read_text(encoding="utf-8")
    assert kept == index(), "regenerate it: python -m wf_metric_learning.index"


def test_the_whole_library_is_listed() -> None:
    theirs = {name for name, kind in vars(library).items() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
    assert theirs == set(CATALOGUE.names())
    assert set(CATALOGUE.refused()) == set(REFUSED)


def test_listing_imports_neither_torch_nor_the_library() -> None:
    code = """
import sys
from wf_metric_learning.plugin import wf_components
names = wf_components()[0].names()
print(len(names), [name for name in sys.modules if name.startswith(("torch", "numpy", "pytorch"))])
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


@pytest.mark.parametrize("name", MEMBERS)
def test_every_number_that_the_library_takes_is_an_option(name: str) -> None:
    objects = {"kwargs", "args", "self", "loss", "mat_based_loss", "embedding_regularizer", "embedding_reg_weight"}
    objects |= {"weight_regularizer", "weight_reg_weight", "weight_init_func", "reducer", "distance", "delta"}
    objects |= {"collect_stats", "num_classes", "embedding_size", "descriptors_dim", "reg_weight"}
    theirs = MEMBERS[name]._theirs()
    if name == "ProxyNCALoss":
        assert "softmax_scale" in theirs
    assert set(theirs) - objects == set(MEMBERS[name].types)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be used: it "):
        REGISTRY.find("loss", f"metric-learning/{name}")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.catalogue) for name in MEMBERS]
)
def test_trains(name: str) -> None:
    settings: dict[str, Any] = {
        "dataset": "digits",
        "model": {"use": "mlp", "num_outputs": 8},
        "loss": {"use": f"metric-learning/{name}", **NEEDED.get(name, {})},
        "optimizer": {"use": "adam", "lr": 0.001},
        "metric": ["precision-at-1"],
        "eval_splits": ["train"],
        "save": False,
        "quiet": True,
    }
    before = wf.run(steps=2, **settings).metrics
    after = wf.run(steps=60, **settings).metrics
    assert after["train/loss"] < before["train/loss"]


def test_the_weights_of_the_classes_are_trained() -> None:
    done = wf.build(dataset="digits", loss="metric-learning/ArcFaceLoss", steps=2, save=False, quiet=True)
    loss: Any = done._parts.bare_loss
    before = loss.W.detach().clone()
    assert before.shape == (64, 10)
    done.fit()
    assert not torch.equal(before, loss.W)


def test_losses_equal_the_librarys() -> None:
    draw = torch.Generator().manual_seed(0)
    embeddings, classes = torch.randn(12, 5, generator=draw), torch.arange(12) % 3
    ours = build("TripletMarginLoss", margin=0.2, swap=False, smooth_loss=False, triplets_per_anchor="all")
    assert torch.equal(ours(embeddings, classes), library.TripletMarginLoss(margin=0.2)(embeddings, classes))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("TripletMarginLoss", {"margn": 1.0}, "did you mean 'margin'"),
        ("PNPLoss", {"variant": "X"}, "variant"),
        ("RankedListLoss", {}, "needs option 'margin'"),
        ("TripletMargnLoss", {}, "did you mean 'metric-learning/TripletMarginLoss'"),
    ],
)
def test_invalid_names_and_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wf.build(dataset="digits", loss={"use": f"metric-learning/{name}", **options}, save=False, quiet=True)


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_metrics_of_labels_do_not_fit_embeddings(metric: str) -> None:
    with pytest.raises(UsageError, match=r"which task 'embedding' does not provide(?s:.*)precision-at-1"):
        wf.build(dataset="digits", loss="metric-learning/SupConLoss", metric=[metric], save=False, quiet=True)


def test_predictions_are_the_embeddings() -> None:
    done = wf.run(dataset="digits", loss="metric-learning/SupConLoss", steps=2, save=False, quiet=True)
    predictions = done.predict("test")
    assert predictions.shape[1] == 64
    assert done.labels(predictions) is None
