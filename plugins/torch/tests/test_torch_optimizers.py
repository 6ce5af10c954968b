"""Optimizers and schedules equal torch's, with torch's defaults, and continue exactly after a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import weights
from torch import nn
from torch.optim import lr_scheduler

import wf
from wf.errors import UsageError
from wf_run.parts.optimizers import param_groups
from wf_state import codec
from wf_torch import optimizers, schedulers
from wf_torch.muon import MuonAndAdamW

X = torch.linspace(-1, 1, 30).reshape(10, 3)


def network(*, deep: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    middle: list[nn.Module] = [nn.Conv1d(1, 1, 1), nn.Flatten(0, 1)] if deep else []
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *middle, nn.Linear(4, 2))


def evaluate(model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
    def closure() -> Any:
        optimizer.zero_grad()
        loss = model(X.unsqueeze(1) if len(list(model)) > 3 else X).square().sum()  # type: ignore[call-overload]  # Sequential
        loss.backward()
        return loss

    return closure


def train(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int) -> None:
    for _ in range(num_steps):
        closure = evaluate(model, optimizer)
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


def make(name: str, model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    params = list(model.parameters())
    taken = {"param_groups": param_groups(model, params)} if name == "muon" else {"params": params}
    defaults = {row.name: row.default for row in optimizers.MEMBERS[name].parameters() if row.default is not row.empty}
    return optimizers.build(name, **{**taken, **defaults, **options})


@pytest.mark.parametrize("name", [name for name in optimizers.MEMBERS if name != "muon"])
def test_members_are_torchs_classes_with_torchs_defaults(name: str) -> None:
    model, by_hand = network(deep=False), network(deep=False)
    optimizer = make(name, model)
    expected = optimizers.MEMBERS[name].kind(by_hand.parameters())
    assert type(optimizer) is type(expected)
    assert optimizer.defaults == expected.defaults
    train(model, optimizer, 3)
    train(by_hand, expected, 3)
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", optimizers.MEMBERS)
def test_state_survives_a_checkpoint(name: str) -> None:
    straight, stopped, resumed = network(), network(), network()
    train(straight, make(name, straight), 5)
    optimizer = make(name, stopped)
    train(stopped, optimizer, 3)
    state = codec.decode(*codec.encode({"model": stopped.state_dict(), "optimizer": optimizer.state_dict()}))
    again = make(name, resumed)
    resumed.load_state_dict(state["model"])
    again.load_state_dict(state["optimizer"])
    train(resumed, again, 2)
    for one, other in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(one, other)


def test_muon_trains_hidden_matrices_and_adamw_the_others() -> None:
    model, by_hand = network(), network()
    optimizer = make("muon", model, lr=0.02, adamw_lr=0.005)
    assert isinstance(optimizer, MuonAndAdamW)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [[names[id(one)] for one in group["params"]] for group in optimizer.param_groups]
    assert groups == [["0.weight"], ["2.weight", "0.bias", "2.bias", "4.weight", "4.bias"]]
    muon = torch.optim.Muon([by_hand.get_parameter("0.weight")], lr=0.02)
    rest = [parameter for name, parameter in by_hand.named_parameters() if name != "0.weight"]
    adamw = torch.optim.AdamW(rest, lr=0.005, weight_decay=0.1)
    for _ in range(4):
        evaluate(by_hand, adamw)()
        muon.step()
        adamw.step()
        muon.zero_grad()
    train(model, optimizer, 4)
    for one, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_schedule_moves_both_learning_rates_of_muon() -> None:
    model = network()
    optimizer = make("muon", model, lr=0.02, adamw_lr=0.005)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.0
    train(model, optimizer, 1)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))
    optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = 0.02, 0.005
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.0025]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adam", {"lr": -1.0}, "'torch/adam': Invalid learning rate: -1.0"),
        ("adam", {"fused": True, "foreach": True}, "'torch/adam': .*fused.*foreach"),
        ("sgd", {"nesterov": True}, "'torch/sgd': Nesterov momentum requires a momentum"),
        ("sgd", {"params": []}, "no trainable parameters"),
    ],
)
def test_invalid_optimizer_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(name, network(), **options)


def test_muon_is_refused_without_hidden_matrices() -> None:
    with pytest.raises(UsageError, match=r"'torch/muon': the model has no hidden weight matrices.*torch/adamw"):
        make("muon", nn.Sequential(nn.Conv1d(1, 1, 1), nn.Linear(4, 2)))


LINEAR = {"use": "torch/LinearLR", "total_iters": 3}


def rates(scheduler: dict[str, Any], epochs: int = 8) -> list[float]:
    """The learning rate of each epoch of a run with one batch an epoch."""
    seen: list[float] = []

    class Watch(wf.Hook):
        def on_step_end(self, run: wf.Loop) -> None:
            seen.append(run.trainer.optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]  # the supervised one

    settings: dict[str, Any] = {"dataset": "iris", "batch_size": "full", "optimizer": {"use": "torch/sgd", "lr": 1.0}}
    wf.run(save=False, quiet=True, epochs=epochs, scheduler=scheduler, hook=[Watch()], **settings)
    return seen


def by_hand(make: Any, epochs: int = 8) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, seen = make(optimizer), []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_a_schedule_over_the_whole_run_knows_its_length() -> None:
    cosine = rates({"use": "torch/CosineAnnealingLR"})
    assert cosine == by_hand(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8))
    power = rates({"use": "torch/PolynomialLR", "power": 2})
    assert power == by_hand(lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 8, power=2))
    cycle = rates({"use": "torch/OneCycleLR", "max_lr": 1.0})
    assert cycle[:-1] == by_hand(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=8))[1:], (
        "the rate after the step of the schedule"
    )


def test_nested_schedules_equal_torchs() -> None:
    then = {"use": "torch/CosineAnnealingLR", "T_max": 5}
    sequential = rates({"use": "torch/SequentialLR", "schedulers": [LINEAR, then], "milestones": [3]})
    assert sequential == by_hand(
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, total_iters=3), lr_scheduler.CosineAnnealingLR(optimizer, 5)],
            [3],
        )
    )
    chained = rates({"use": "torch/ChainedScheduler", "schedulers": [LINEAR, {"use": "step", "step_size": 2}]})
    assert chained == by_hand(
        lambda optimizer: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(optimizer, total_iters=3), lr_scheduler.StepLR(optimizer, 2)]
        )
    )


@pytest.mark.parametrize(
    "options",
    [
        {"use": "torch/SequentialLR", "schedulers": [LINEAR, {"use": "step", "step_size": 2}], "milestones": [3]},
        {"use": "torch/ChainedScheduler", "schedulers": [LINEAR, {"use": "torch/ExponentialLR", "gamma": 0.9}]},
        {"use": "torch/CyclicLR", "base_lr": 0.001, "max_lr": 0.02, "step_size_up": 3},
        {"use": "torch/MultiStepLR", "milestones": [1, 5]},
        {"use": "torch/ReduceLROnPlateau", "patience": 1},
    ],
    ids=lambda options: options["use"],
)
def test_a_resumed_schedule_equals_an_uninterrupted_one(wf: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    """A resumed run has the weights of an uninterrupted one."""
    text = "\n".join(f"{name} = {_toml(value)}" for name, value in options.items())
    (tmp_path / "run.toml").write_text(f"dataset = 'iris'\noptimizer = 'torch/sgd'\n[scheduler]\n{text}\n")
    for name, epochs in (("straight", 8), ("resumed", 4)):
        done = wf("run", "run.toml", "--quiet", "--epochs", epochs, "--name", name)
        assert done.code == 0, done.stderr
    done = wf("resume", "resumed", "--epochs", 8, "--quiet")
    assert done.code == 0, done.stderr
    resumed, straight = (weights(tmp_path / "runs" / name) for name in ("resumed", "straight"))
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "PolynomialLR"])
def test_a_schedule_over_the_whole_run_cannot_be_extended(wf: Any, name: str) -> None:
    plan = ("--dataset", "iris", "--scheduler", f"torch/{name}", "--quiet", "--name", "run")
    assert wf("run", *plan, "--epochs", 2).code == 0
    longer = wf("resume", "run", "--epochs", 3)
    assert longer.code == 2
    assert f"scheduler 'torch/{name}'" in longer.stderr


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "SequentialLR",
            {"schedulers": [LINEAR, "cosine"], "milestones": [3]},
            "CosineAnnealingLR changes with each step",
        ),
        ("ChainedScheduler", {"schedulers": ["plateau"]}, "Plateau changes with each evaluation"),
        ("SequentialLR", {"schedulers": [LINEAR], "milestones": [3]}, r"milestones is \[3\]; 1 schedules need 0"),
        ("SequentialLR", {"schedulers": [LINEAR] * 3, "milestones": [3, 2]}, "3 schedules need 2, ascending"),
        ("ChainedScheduler", {"schedulers": []}, "at least one scheduler"),
        ("OneCycleLR", {"max_lr": 0.1, "pct_start": 0.125}, r"pct_start is 0\.125; its share"),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 0}, "'step_size_up' wants int, not 0"),
        ("StepLR", {"step_size": 0}, "'step_size' wants int, not 0"),
        ("ReduceLROnPlateau", {"mode": "maxx"}, "did you mean 'max'"),
        ("LinearLR", {"start_factor": 0.0}, "'torch/LinearLR': Starting multiplicative factor"),
    ],
)
def test_invalid_schedule_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rates({"use": f"torch/{name}", **options})


def test_a_plateau_follows_the_direction_of_the_figure() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    options: dict[str, Any] = {"optimizer": optimizer, "directions": {"accuracy": True, "mae": False}}
    for monitor, mode in (("validation/loss", "min"), ("validation/mae", "min"), ("validation/accuracy", "max")):
        plateau: Any = schedulers.build("ReduceLROnPlateau", monitor=monitor, mode="auto", **options)
        assert (plateau.mode, plateau.monitor) == (mode, monitor)
    with pytest.raises(UsageError, match="not known whether a larger 'validation/odd' is better"):
        schedulers.build("ReduceLROnPlateau", monitor="validation/odd", mode="auto", **options)
    said: Any = schedulers.build("ReduceLROnPlateau", monitor="validation/a/odd:max", mode="auto", **options)
    assert (said.mode, said.monitor) == ("max", "validation/a/odd")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + "}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else repr(value)
