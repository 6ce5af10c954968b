"""What is done with a run: ``wf resume``, ``evaluate``, ``predict``, ``export`` and ``plot``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def test_resume_gives_the_bits_of_a_run_without_a_break(wf: Any, finished: Path, folder: Path) -> None:
    record = wf("resume", "done", "--epochs", 3, "--json", "--quiet").json()
    assert list(record) == ["run_dir", "status", "epochs", "steps", "metrics"]
    assert (record["run_dir"], record["epochs"], record["steps"]) == ("runs/done", 3, 120)
    whole = wf("run", "--epochs", 3, "--name", "whole", "--json", "--quiet").json()
    assert whole["metrics"] == record["metrics"]
    tensors = "checkpoints/step-00000120/tensors.safetensors"
    assert (finished / tensors).read_bytes() == (folder / "runs/whole" / tensors).read_bytes()


def test_resume_shows_progress_on_standard_error(wf: Any, finished: Path) -> None:
    result = wf("resume", finished, "--epochs", 2)
    assert result.code == 0
    assert "epoch 2/2" in result.stderr
    assert "epoch 1/2" not in result.stderr
    assert result.stdout.splitlines()[0].split() == ["loss", "accuracy"]


@pytest.mark.parametrize("place", ["done", "runs/done", "latest", "runs/latest", "runs/done/"])
def test_run_by_name_path_or_latest(wf: Any, finished: Path, place: str) -> None:
    record = wf("evaluate", place, "--json").json()
    assert list(record) == ["run_dir", "checkpoint", "metrics"]
    assert set(record["metrics"]) == {"test/loss", "test/accuracy"}


def test_evaluate_gives_the_figures_of_the_run(wf: Any, finished: Path) -> None:
    metrics = json.loads((finished / "manifest.json").read_text())["metrics"]
    for split in ("train", "validation", "test"):
        found = wf("evaluate", "done", "--split", split, "--json").json()["metrics"]
        assert found == {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}
    result = wf("evaluate", "done", "--split", "validation")
    assert result.stderr == ""
    assert result.stdout.splitlines()[1].split() == ["validation", *(f"{found:.4f}" for found in _validation(metrics))]


def _validation(metrics: dict[str, float]) -> list[float]:
    return [metrics["validation/loss"], metrics["validation/accuracy"]]


def test_checkpoint_by_name(wf: Any, folder: Path) -> None:
    line = ("--epochs", 3, "--checkpoint-every", "1epochs", "--keep", "best", "--lr", "0.01")
    assert wf("run", *line, "--quiet", "--name", "x").code == 0
    found = {
        name: wf("evaluate", "x", "--split", "validation", "--checkpoint", name, "--json").json()["metrics"]
        for name in ("best", "latest", "step-00000120")
    }
    assert found["latest"] == found["step-00000120"]
    assert found["best"]["validation/loss"] <= found["latest"]["validation/loss"]


def test_predict_a_split_a_file_and_a_sample(wf: Any, finished: Path, folder: Path) -> None:
    labels = wf("predict", "done", "test").stdout.split()
    assert len(labels) == 268
    assert set(labels) <= {str(digit) for digit in range(10)}
    records = wf("predict", "done", "test", "--json").json()
    assert [record["label"] for record in records] == labels
    assert all(len(record["output"]) == 10 for record in records)

    np.save(folder / "some.npy", np.zeros((3, 1, 8, 8), dtype=np.float32))
    np.savez(folder / "one.npz", x=np.zeros((1, 8, 8), dtype=np.float32))
    some, one = wf("predict", "done", "some.npy").stdout.split(), wf("predict", "done", "one.npz").stdout.split()
    assert some == one * 3


def test_predict_numbers_of_a_regression(wf: Any, folder: Path) -> None:
    wf("run", "--dataset", "house.csv", "--dataset.target", "price", "--epochs", 1, "--quiet", "--name", "house")
    (folder / "new.csv").write_text("size,rooms\n1,2\n3,4\n")
    lines = wf("predict", "house", "new.csv").stdout.splitlines()
    records = wf("predict", "house", "new.csv", "--json").json()
    assert [float(line) for line in lines] == pytest.approx([record["output"][0] for record in records], rel=1e-3)
    assert [record["label"] for record in records] == [None, None]


def test_export_writes_a_state_dict_that_torch_and_safetensors_read(wf: Any, finished: Path, folder: Path) -> None:
    result = wf("export", "done", "out/weights.safetensors")
    assert (result.code, result.stdout) == (0, "out/weights.safetensors: 301,066 numbers\n")
    assert wf("export", "done", "weights.pt").code == 0

    from safetensors.torch import load_file

    state, tensors = torch.load(folder / "weights.pt", weights_only=True), load_file(folder / "out/weights.safetensors")
    assert set(state) == set(tensors)
    assert all(torch.equal(state[name], tensors[name]) for name in state)
    assert sum(tensor.numel() for tensor in state.values()) == 301_066


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_plot(wf: Any, finished: Path, folder: Path, ending: str) -> None:
    files = wf("plot", "done", "--format", ending).stdout.splitlines()
    assert f"runs/done/plots/loss.{ending}" in files
    assert all((folder / file).stat().st_size > 1000 for file in files)


def test_plugin_of_a_run_is_found_again(wf: Any, folder: Path) -> None:
    (folder / "good.py").write_text(
        "from torch.nn import CrossEntropyLoss\nfrom wf import Component, hookimpl\n"
        "def make() -> CrossEntropyLoss:\n    return CrossEntropyLoss()\n"
        "@hookimpl\ndef wf_components():\n    return [Component('loss', 'good', make)]\n"
    )
    line = ("run", "-p", "good.py", "--loss", "good", "--epochs", 1, "--quiet", "--name", "x")
    assert wf(*line).code == 0, wf(*line).stderr
    assert wf("evaluate", "x").code == 0
    (folder / "good.py").unlink()  # the copy in the run directory is used
    assert wf("evaluate", "x").code == 0
