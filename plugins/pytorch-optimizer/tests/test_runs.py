"""Whole runs with every optimizer: trained, evaluated, stopped in the middle of an epoch, resumed, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wf
from wf import Hook, Loop
from wf.errors import UsageError
from wf.registry import Registry
from wf_pytorch_optimizer.plugin import wf_components

CATALOGUE = wf_components()[0]
WORKING = [name for name in CATALOGUE.names() if name not in CATALOGUE.refused()]
REGISTRY = Registry.discover()

SAMPLE = ("a2grad", "adahessian", "alig", "lomo", "lookahead", "muon", "ranger21", "schedulefreesgd", "splus", "wsam")
"""At least one of each step protocol, of each source, and of what is special about a whole run."""


class Matrices(nn.Module):
    """Two layers without biases."""

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(num_features, 16, bias=False), nn.Linear(16, num_outputs, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(inputs.flatten(1)).relu())
        return out


class Pair(nn.Module):
    """A linear map, as the product of two LoRA factors."""

    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.lora_a = nn.Parameter(torch.randn(8, num_features) / 8)
        self.lora_b = nn.Parameter(torch.zeros(num_outputs, 8))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1) @ self.lora_a.T @ self.lora_b.T


MODELS: dict[str, Any] = {"lorarite": Pair, "spectralsphere": Matrices}
"""The models of those that cannot train the usual one."""


WITHOUT_RATE = ("a2grad", "alig")
"""Those that find their step sizes themselves."""


class StopAt(Hook):
    """Ends the run like a signal: with a checkpoint and without a final evaluation."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(self, run: Loop) -> None:
        if run.progress.step == self.step:
            run.final_splits = ()
            run.stop("it was asked to")


def fit(name: str, folder: Path, *, stop: int | None = None, resume: bool = False, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "dataset": "digits",
        "model": MODELS.get(name, {"use": "mlp", "hidden": [16], "dropout": 0.2}),
        "optimizer": {"use": f"pytorch-optimizer/{name}"},
        "hook": ["learning-rate-log", StopAt(stop)],
        **({} if name in WITHOUT_RATE else {"scheduler": "cosine"}),
        "batch_size": 400,
        "epochs": 3,
        "log_every": 1,
    }
    run = wf.build(settings | changes, run_dir=folder, quiet=True, registry=REGISTRY)
    return run.fit(resume=resume)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.catalogue) for name in WORKING]
)
def test_a_stopped_and_resumed_run_has_the_same_bits(name: str, tmp_path: Path) -> None:
    straight = fit(name, tmp_path / "straight")
    fit(name, tmp_path / "halted", stop=5)
    resumed = fit(name, tmp_path / "halted", resume=True)
    records = [(tmp_path / folder / "metrics.jsonl").read_text() for folder in ("straight", "halted")]
    assert records[0] == records[1]
    assert sum(record["event"] == "train" for record in straight.history) == 12
    for key, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def test_the_sample_covers_every_group() -> None:
    traits = {CATALOGUE.member(name).traits for name in WORKING}
    assert {CATALOGUE.member(name).traits for name in SAMPLE} >= traits - {
        CATALOGUE.member(name).traits
        for name in ("adammini", "sam")  # in test_training.py
    }


@pytest.mark.parametrize("name", WITHOUT_RATE)
def test_schedulers_are_refused_without_a_learning_rate(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"'pytorch-optimizer/{name}' has no learning rate that scheduler 'cosine'"):
        fit(name, tmp_path, scheduler="cosine")


def test_a_run_with_a_length_dependent_optimizer_is_not_extended(tmp_path: Path) -> None:
    fit("ranger21", tmp_path / "run")
    with pytest.raises(UsageError, match="follow the run's length, 12 steps, and cannot be stretched to 16"):
        fit("ranger21", tmp_path / "run", resume=True, epochs=4)


def test_a_wrapper_around_another_member_trains(tmp_path: Path) -> None:
    base = {"use": "pytorch-optimizer/lion", "lr": 0.01}
    run = fit("sam", tmp_path / "run", optimizer={"use": "pytorch-optimizer/sam", "base": base}, epochs=15)
    assert run.plan["optimizer"]["base"]["use"] == "pytorch-optimizer/lion"
    assert run.metrics["test/loss"] < 0.5 * run.history[0]["loss"]
