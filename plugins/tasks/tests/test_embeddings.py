"""Losses of embeddings: the model's outputs are embeddings of any size, without labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wf
from wf.declarations.component import Component
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import LossTraits, ModelTraits
from wf_fitting.links import Fit, resolve
from wf_fitting.tasks import tasks_of
from wf_run.parts.links import check_outputs
from wf_tasks.embedding import EMBEDDING_SIZE, Embedding
from wf_training.strategies import LocalStrategy

TRAITS = LossTraits(predictions="embeddings", targets=("class_index",))


def spread(embeddings: Tensor, classes: Tensor) -> Tensor:
    """Pull embeddings of a class together and push different classes apart."""
    same = classes.unsqueeze(1) == classes
    distances = (embeddings.unsqueeze(1) - embeddings).square().sum(2)
    return torch.where(same, distances, (4 - distances).relu()).mean()


class Centers(nn.Module):
    """Pull each embedding to the trained center of its class."""

    def __init__(self, num_classes: int, num_outputs: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(num_classes, num_outputs))

    def forward(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        return (embeddings - self.centers[classes]).square().mean()


def registry() -> Registry:
    components = (
        Component("loss", "spread", spread, "near and far", traits=TRAITS),
        Component("loss", "centers", Centers, "near", traits=TRAITS),
    )
    own = Plugin(name="o", distribution="o", version="1", module="m", status="ok", components=components)
    return Registry([*Registry.discover().plugins, own])


def settings(**more: Any) -> dict[str, Any]:
    return {"dataset": "digits", "loss": "spread", "registry": registry(), "save": False, "quiet": True, **more}


def test_raw_outputs_are_embeddings() -> None:
    links = tasks_of(registry()).links
    assert resolve("class_index", 3, ModelTraits(), TRAITS, links=links) == Fit(targets="class_index")
    assert isinstance(resolve("class_index", 3, ModelTraits(predictions="log_probs"), TRAITS, links=links), list)


def test_there_is_no_metric_by_default() -> None:
    tasks = tasks_of(registry())
    assert tasks.default_metrics(tasks.of("class_index", TRAITS), "class_index") == ()
    assert tasks.default_metrics(tasks.of("class_index"), "class_index") == ("accuracy",)
    assert wf.build(**settings()).plan["metric"] == []


def test_the_embedding_size_is_an_option_of_the_model() -> None:
    assert wf.build(**settings()).predict("test").shape[1] == EMBEDDING_SIZE
    experiment = wf.build(**settings(model={"use": "mlp", "num_outputs": 7}, loss="centers"))
    assert experiment.predict("test").shape[1] == 7
    assert experiment.labels(experiment.predict("test")) is None


def test_embeddings_are_trained() -> None:
    options = settings(model={"use": "mlp", "num_outputs": 7}, eval_splits=["train"])
    assert wf.run(**options, steps=60).metrics["train/loss"] < wf.run(**options, steps=2).metrics["train/loss"]


def test_a_metric_of_labels_does_not_fit() -> None:
    with pytest.raises(UsageError, match="the metric takes labels, which task 'embedding' does not provide") as caught:
        wf.build(**settings(metric=["accuracy"]))
    assert "mae" not in str(caught.value)  # it would not fit the dataset


def test_weights_of_a_loss_are_not_shared_between_processes() -> None:
    two: Any = LocalStrategy(torch.device("cpu"))
    two.world_size = 2
    with pytest.raises(UsageError, match="its own parameters, which several processes would not share"):
        wf.build(**settings(loss="centers", strategy=two))
    wf.build(**settings(strategy=two))


def test_embeddings_must_be_one_row_per_sample() -> None:
    names = {"model": "m", "dataset": "d"}
    assert check_outputs(nn.Linear(4, 9), torch.zeros(2, 4), Embedding("class_index"), [EMBEDDING_SIZE], names) == 9
    with pytest.raises(UsageError, match="the loss expects embeddings, one row per sample"):
        check_outputs(nn.Unflatten(1, (2, 2)), torch.zeros(2, 4), Embedding("class_index"), [EMBEDDING_SIZE], names)
