"""The default path has the bits of a hand-written PyTorch loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR, ReduceLROnPlateau

import wf
from wf_base import stream

SEED, BATCH, EPOCHS = 7, 50, 3

OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[[Any], Optimizer]]] = {
    "sgd": ({"use": "sgd", "lr": 0.05}, lambda params: SGD(params, lr=0.05)),
    "nesterov": (
        {"use": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        lambda params: SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    ),
    "adam": ({"use": "adam"}, lambda params: Adam(params, lr=1e-3)),
    "adamw": ({"use": "adamw"}, lambda params: AdamW(params, lr=1e-3, weight_decay=1e-2)),
    "rmsprop": ({"use": "rmsprop", "lr": 1e-3}, lambda params: RMSprop(params, lr=1e-3)),
}
STEPS = 26 * EPOCHS
SCHEDULERS: dict[str, tuple[dict[str, Any], Callable[[Optimizer], Any]]] = {
    "cosine": ({"use": "cosine"}, lambda optimizer: CosineAnnealingLR(optimizer, STEPS)),
    "onecycle": ({"use": "onecycle"}, lambda optimizer: OneCycleLR(optimizer, 0.05, STEPS, cycle_momentum=False)),
    "multistep": ({"use": "multistep", "milestones": [1, 2]}, lambda optimizer: MultiStepLR(optimizer, [1, 2])),
    "plateau": (
        {"use": "plateau", "patience": 0, "threshold": 0.5},
        lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
    ),
}


def network(dropout: float) -> nn.Sequential:
    """The hand-written model mlp with 32 hidden units."""
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), *drop, nn.Linear(32, 10))


def run(**settings: Any) -> Any:
    """A run of wf on digits."""
    plain = {"dataset": "digits", "batch_size": BATCH, "epochs": EPOCHS, "seed": SEED, "log_every": 1, "hook": []}
    model = {"use": "mlp", "hidden": [32], "dropout": settings.pop("dropout", 0.0)}
    return wf.run(save=False, quiet=True, **{**plain, "model": model, **settings})


def hand_written(
    exp: Any,
    make_optimizer: Callable[[Any], Optimizer],
    make_scheduler: Callable[[Optimizer], Any] | None = None,
    dropout: float = 0.0,
) -> tuple[nn.Module, list[float]]:
    """A tutorial loop over the samples of `exp`; returns the weights and the loss of each batch."""
    train, validation = exp.data.samples("train"), exp.data.samples("validation")
    torch.manual_seed(SEED)
    model, loss_fn = network(dropout), nn.CrossEntropyLoss()
    optimizer = make_optimizer(model.parameters())
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    losses = []
    for epoch in range(EPOCHS):
        order = torch.arange(len(train))
        if exp.plan["shuffle"]:
            order = torch.randperm(len(train), generator=stream(SEED, "order", epoch))
        model.train()
        for batch in order.split(BATCH):
            loss = loss_fn(model(train.inputs[batch]), train.targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if isinstance(scheduler, CosineAnnealingLR | OneCycleLR):
                scheduler.step()
        if isinstance(scheduler, ReduceLROnPlateau):
            model.eval()
            with torch.inference_mode():
                scheduler.step(loss_fn(model(validation.inputs), validation.targets).item())
        elif isinstance(scheduler, MultiStepLR):
            scheduler.step()
    return model, losses


def assert_equal(exp: Any, model: nn.Module, losses: list[float]) -> None:
    assert [record["loss"] for record in exp.history if record["event"] == "train"] == losses
    for (name, ours), theirs in zip(exp.model.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_the_bits_of_the_hand_written_loop(optimizer: str, shuffle: bool) -> None:
    table, make = OPTIMIZERS[optimizer]
    exp = run(optimizer=table, shuffle=shuffle)
    assert_equal(exp, *hand_written(exp, make))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_has_the_bits_of_the_hand_written_loop(scheduler: str) -> None:
    table, make = SCHEDULERS[scheduler]
    exp = run(optimizer=OPTIMIZERS["sgd"][0], scheduler=table)
    assert exp.loop.progress.step == STEPS
    assert_equal(exp, *hand_written(exp, OPTIMIZERS["sgd"][1], make))


@pytest.mark.parametrize("shuffle", [False, True])
def test_dropout_has_the_bits_of_the_hand_written_loop(shuffle: bool) -> None:
    """Dropout draws from torch's global generator, which continues after the model was made."""
    exp = run(optimizer=OPTIMIZERS["adam"][0], dropout=0.3, shuffle=shuffle)
    assert_equal(exp, *hand_written(exp, OPTIMIZERS["adam"][1], dropout=0.3))


def test_evaluation_and_hooks_do_not_change_the_bits() -> None:
    plain = run(dropout=0.3, eval_splits=[])
    hooks = ["learning-rate-log", "divergence-guard", "fit-verdict", {"use": "early-stopping", "patience": 100}]
    observed = run(dropout=0.3, eval_splits=["train", "validation", "test"], eval_every="3steps", hook=hooks)
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, observed.model.state_dict()[name])


def test_figures_are_over_the_whole_split() -> None:
    """The last short batch is weighted by its samples; `average batch` is the mean of the batches."""
    exp = run(metric=["accuracy"])
    test = exp.data.samples("test")
    with torch.inference_mode():
        outputs = exp.model.eval()(test.inputs)
    assert exp.metrics["test/accuracy"] == pytest.approx((outputs.argmax(1) == test.targets).double().mean().item())
    whole = nn.functional.cross_entropy(outputs, test.targets).item()
    assert exp.metrics["test/loss"] == pytest.approx(whole, rel=1e-6)
    batches = zip(outputs.split(BATCH), test.targets.split(BATCH), strict=True)
    each = [nn.functional.cross_entropy(x, y).item() for x, y in batches]
    batch_mean = run(metric=["accuracy"], evaluator={"use": "default", "average": "batch"}).metrics["test/loss"]
    assert batch_mean == pytest.approx(sum(each) / len(each), rel=1e-6)
    assert batch_mean != pytest.approx(whole, rel=1e-6)


def test_dry_run_writes_nothing(wf: Any, tmp_path: Any) -> None:
    before = sorted(tmp_path.rglob("*"))
    hooks = ("--hook", "+plots", "--hook", "+early-stopping", "--hook", "+tensorboard", "--scheduler", "cosine")
    done = wf("run", *hooks, "--dry-run", "--json")
    assert done.code == 0, done.stderr
    assert done.json()["status"] == "dry-run"
    assert done.json()["metrics"].keys() >= {"validation/loss", "validation/accuracy"}
    assert sorted(tmp_path.rglob("*")) == before
