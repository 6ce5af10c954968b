"""User code in Python: live objects, functions, lambdas, partials and loaders, with a run directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR
from torch.utils.data import DataLoader, Dataset

import wf
from wf.errors import UsageError


class Points(Dataset[tuple[Tensor, int]]):
    """Three numbers, and whether their sum is large."""

    classes = ("small", "large")

    def __init__(self, num: int = 64) -> None:
        draw = torch.Generator().manual_seed(0)
        self.inputs = torch.rand(num, 3, generator=draw)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], int(self.inputs[index].sum() > 1.5)


class Ragged(Points):
    """The same in lists of different lengths."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        inputs, target = super().__getitem__(index)
        return inputs[: 1 + index % 3], target


class Ended(wf.Hook):
    epochs = 0

    def on_epoch_end(self, run: wf.Loop) -> None:
        self.epochs += 1


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def padded(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    inputs = torch.zeros(len(samples), 3)
    for row, (values, _) in zip(inputs, samples, strict=True):
        row[: len(values)] = values
    return inputs, torch.tensor([target for _, target in samples])


def train(folder: Path, **parts: Any) -> Any:
    given = {"model": net(), "dataset": Points(), "epochs": 2, "quiet": True, **parts}
    run = wf.run(**given, run_dir=folder / "run")
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    assert (manifest["status"], manifest["repeatable"]) == ("done", False)
    return run


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.1)


def step_lr(optimizer: torch.optim.Optimizer) -> LRScheduler:
    return StepLR(optimizer, 1)


def loss(predictions: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(predictions, targets)


@pytest.mark.parametrize(
    "parts",
    [
        {"optimizer": lambda params: torch.optim.SGD(params, lr=0.1)},
        {"optimizer": lambda params: sgd(params), "scheduler": lambda optimizer: StepLR(optimizer, 1)},
        {"optimizer": partial(torch.optim.SGD, lr=0.1), "scheduler": partial(StepLR, step_size=1)},
        {"optimizer": sgd, "scheduler": step_lr},
        {"optimizer": torch.optim.AdamW, "scheduler": {"use": CosineAnnealingLR, "T_max": 5}},
        {"optimizer": {"use": lambda params, rate=0.1: torch.optim.SGD(params, lr=rate), "rate": 0.2}},
        {"model": lambda num_features, num_outputs: nn.Linear(num_features, num_outputs)},
        {"model": partial(nn.Linear, 3, 2), "dataset": lambda: Points()},
        {"loss": nn.CrossEntropyLoss(), "hook": Ended()},
        {"loss": lambda predictions, targets: loss(predictions, targets), "hook": [lambda: Ended()]},
        {"loss": nn.functional.cross_entropy, "hook": [Ended, "early-stopping"]},
        {"dataset": DataLoader(Points(), batch_size=16, shuffle=True)},
        {"dataset": {"train": DataLoader(Points(), 16, shuffle=True), "validation": Points(20)}},
        {"dataset": (Points().inputs.numpy(), Points().inputs.sum(1).numpy())},
    ],
    ids=lambda parts: "-".join(parts),
)
def test_live_objects_and_factories_are_accepted(tmp_path: Path, parts: dict[str, Any]) -> None:
    if "dataset" in parts and isinstance(parts["dataset"], tuple):
        parts = {**parts, "model": nn.Linear(3, 1)}
    run = train(tmp_path, **parts)
    assert run.loop.progress.epoch == 2
    assert "validation/loss" in run.metrics


def test_every_form_of_an_optimizer_gives_the_same_bits(tmp_path: Path) -> None:
    model = net()
    ways = {
        "lambda": {"optimizer": lambda params: torch.optim.SGD(params, lr=0.1)},
        "partial": {"optimizer": partial(torch.optim.SGD, lr=0.1)},
        "table": {"optimizer": {"use": "sgd", "lr": 0.1}},
        "live": {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1), "model": model},
    }
    found = {name: train(tmp_path / name, **parts).metrics["validation/loss"] for name, parts in ways.items()}
    assert len(set(found.values())) == 1, found


def test_collate(tmp_path: Path) -> None:
    run = train(tmp_path, dataset=Ragged(), collate=padded, loss=nn.CrossEntropyLoss(), batch_size=16)
    loader = DataLoader(Ragged(), batch_size=16, collate_fn=padded, shuffle=True)
    again = train(tmp_path / "again", dataset=loader, loss=nn.CrossEntropyLoss())
    assert run.metrics == again.metrics
    splits = {"train": Ragged(), "validation": Ragged(20)}
    parts = train(tmp_path / "splits", dataset=splits, collate=padded, loss=nn.CrossEntropyLoss())
    assert parts.data.num_samples("validation") == 20


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"dataset": "iris"}, "collate needs a live dataset"),
        ({"dataset": {"use": "iris"}}, "collate needs a live dataset"),
        ({}, "collate needs a live dataset"),
        ({"dataset": DataLoader(Ragged(), 16, collate_fn=padded)}, "collate and a DataLoader with its own collate_fn"),
    ],
)
def test_collate_is_refused_where_it_cannot_apply(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wf.build(**parts, model=net(), collate=lambda samples: padded(samples), save=False)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"optimizer": lambda p: sgd(p)}, "a parameter named like a run value, such as params or optimizer, is"),
        ({"transform": [lambda x: x]}, "to make the transform, a callable on a batch of inputs"),
    ],
)
def test_functions_with_unknown_parameters_are_refused(parts: dict[str, Callable[..., Any]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wf.build(model=net(), dataset=Points(), save=False, **parts)


def test_keep_best_without_evaluations_is_refused() -> None:
    with pytest.raises(UsageError, match="no split is evaluated while it trains") as caught:
        wf.build(dataset="iris", eval_splits=[], keep="best", save=False, quiet=True)
    assert "'validation/loss' cannot decide which weights are best" in str(caught.value)
