"""The example of an autoencoder: it learns without labels, its codes separate digits, and it resumes to the bit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, records
from torch.nn.functional import mse_loss
from workspace import ROOT

import wf as api


@pytest.fixture(autouse=True)
def example(tmp_path: Path) -> None:
    for ending in ("py", "toml"):
        shutil.copy(ROOT / f"examples/autoencoder.{ending}", tmp_path)


def test_reconstructions_resemble_the_input(wf: Any, tmp_path: Path) -> None:
    done = wf("run", "autoencoder.toml", "--name", "codes", "--quiet")
    assert done.code == 0, done.stderr
    judged = records(tmp_path / "runs/codes", "eval")
    assert judged[-1]["loss"] < judged[0]["loss"] / 1.5
    metrics = manifest(tmp_path / "runs/codes")["metrics"]
    assert metrics["test/knn"] > 0.7, "codes of a class are not close to each other"
    run = api.build(tmp_path / "autoencoder.toml", run_dir=tmp_path / "runs/codes", quiet=True).restore()
    images = run.data.samples("test").inputs
    with torch.inference_mode():
        again = run.model.decoder(run.model(images))  # type: ignore[operator]  # a user-defined module
    assert again.shape == images.flatten(1).shape
    assert metrics["test/loss"] == pytest.approx(float(mse_loss(again, images.flatten(1))), rel=1e-5)
    constant = float((images.flatten(1) - images.flatten(1).mean(0)).square().mean())
    assert metrics["test/loss"] < constant / 1.5, "not better than the mean image"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_evaluations_divide_batches_as_training_does(accumulate: int, tmp_path: Path) -> None:
    """The trainer's loss needs no outputs, but metrics do; without metrics none are computed."""
    settings: dict[str, Any] = {"epochs": 1, "save": False, "quiet": True, "accumulate": accumulate}
    plain = api.run(tmp_path / "autoencoder.toml", **settings, metric=[])
    judged = api.run(tmp_path / "autoencoder.toml", **settings)
    assert judged.metrics["test/loss"] == plain.metrics["test/loss"]
    assert "test/knn" in judged.metrics


@pytest.mark.exhaustive
def test_a_killed_run_ends_with_the_same_bits(wf: Any) -> None:
    assert wf("prove-resume", "autoencoder.toml", "--epochs", 2, "--kill-at", 50, forks=True).code == 0
