"""Targets that are scaled for the loss alone: figures and predictions are in their own units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import wf
from wf.errors import UsageError
from wf_base import Dataset, TensorSamples
from wf_datasets.transforms.standardize import StandardizeTargets
from wf_run.api import open_run, reopen
from wf_tasks.regression import Regression

INPUTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.stack([5000 + 300 * INPUTS[:, 0] + 20 * INPUTS[:, 1], 0.01 * INPUTS[:, 2]], dim=1)


def run(tmp_path: Path, **options: Any) -> Any:
    given: dict[str, Any] = {"model": "linear", "epochs": 4, "optimizer": {"use": "sgd", "lr": 0.1}, "batch_size": 8}
    np.savez(tmp_path / "d.npz", x=INPUTS.numpy(), y=TARGETS.numpy())
    dataset = {"use": "npz", "path": str(tmp_path / "d.npz")}
    return wf.run(**{"dataset": dataset, "shuffle": False, "transform": ["standardize-targets"], **given, **options})


def test_scaled_targets_equal_the_hand_written_script(tmp_path: Path) -> None:
    ran = run(tmp_path, run_dir=tmp_path / "run", quiet=True)
    train, test = TARGETS[:28], TARGETS[34:]
    std, mean = torch.std_mean(train.double(), 0, correction=0, keepdim=True)
    std, mean = std.float(), mean.float()
    torch.manual_seed(42)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        for x, y in zip(INPUTS[:28].split(8), train.split(8), strict=True):
            loss = nn.functional.mse_loss(model(x), (y - mean) / std)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    predicted = (model(INPUTS[34:]) * std + mean).detach()
    assert torch.equal(ran.predict("test"), predicted)
    assert ran.metrics["test/mae"] == (predicted.double() - test.double()).abs().mean().item()
    assert ran.metrics["test/loss"] < 0.5 < ran.metrics["test/mae"], "the loss is computed on scaled targets"
    trained = open_run(tmp_path / "run")
    assert torch.equal(trained.predict(INPUTS[34:]), predicted)
    assert torch.equal(wf.load_model(tmp_path / "run")(INPUTS[34:]), predicted)
    assert trained.preprocessing()[0]["fitted"] == {"mean": mean.tolist(), "std": std.tolist()}


def test_a_reopened_run_evaluates_with_the_fitted_scaling(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = run(tmp_path, run_dir=tmp_path / "run", quiet=True, hook=["fit-verdict"])
    assert "large" not in capfd.readouterr().err, "no warning about large targets, because they are scaled"
    with reopen(tmp_path / "run") as again:
        assert again.evaluate("test")["mae"] == ran.metrics["test/mae"]


def test_large_targets_suggest_standardize_targets() -> None:
    (said,) = Regression("real").warnings(TARGETS)
    assert "--transform +standardize-targets" in said


def test_a_user_defined_target_transform(tmp_path: Path) -> None:
    class Thousands:
        of = "targets"

        def __call__(self, targets: torch.Tensor) -> torch.Tensor:
            return targets / 1000

        def inverse(self, outputs: torch.Tensor) -> torch.Tensor:
            return outputs * 1000

    ran = run(tmp_path, transform=[Thousands()], save=False, quiet=True)
    assert ran.predict("test")[:, 0].mean() > 2000
    assert ran.metrics["test/loss"] < 5


def test_constant_targets_and_targets_with_a_large_offset() -> None:
    scale = StandardizeTargets()
    scale.fit(torch.tensor([[3.0, 1e6], [3.0, 1e6 + 1]]))
    assert scale(torch.tensor([[3.0, 1e6 + 1]])).tolist() == [[0, 1]]
    assert scale.inverse(torch.tensor([[0.0, 1.0]])).tolist() == [[3, 1e6 + 1]]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("iris", "takes real targets but would get class_index"),
        (Dataset(train=TensorSamples(INPUTS, TARGETS)), "targets"),
        (Dataset(train=list(zip(INPUTS, TARGETS, strict=True)), targets="real"), "in one tensor in memory"),
    ],
)
def test_targets_that_cannot_be_scaled(dataset: Any, message: str) -> None:
    options: dict[str, Any] = {} if dataset == "iris" or dataset.targets else {"loss": "mse"}
    with pytest.raises(UsageError, match=message):
        wf.run(dataset=dataset, model="linear", transform=["standardize-targets"], save=False, quiet=True, **options)
