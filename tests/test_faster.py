"""Options that make a run faster, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, weights

BY_HAND = Path(__file__).parents[1] / "examples" / "by_hand.py"


def test_accumulated_batches_make_the_updates_of_large_ones(wf: Any, tmp_path: Path) -> None:
    plan = ("--dataset", "iris", "--epochs", 3, "--optimizer", "sgd", "--quiet")
    assert wf("run", *plan, "--batch-size", 7, "--accumulate", 4, "--name", "parts").code == 0
    assert wf("run", *plan, "--batch-size", 28, "--name", "whole").code == 0
    parts, whole = (weights(tmp_path / "runs" / name) for name in ("parts", "whole"))
    assert manifest(tmp_path / "runs/parts")["steps"] == manifest(tmp_path / "runs/whole")["steps"] == 3 * 4
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert manifest(tmp_path / "runs/parts")["run_file"]["accumulate"] == 4


def test_accumulating_full_batches_is_refused(wf: Any) -> None:
    refused = wf("run", "--batch-size", "full", "--accumulate", 2)
    assert refused.code == 2
    assert "accumulate is 2 and batch_size is full" in refused.stderr


def test_a_trainer_without_accumulation_is_refused(wf: Any) -> None:
    refused = wf("run", "--trainer", f"{BY_HAND}:HandGradient", "--dataset", "diabetes", "--accumulate", 2)
    assert refused.code == 2
    assert "cannot add up the gradients of several batches: it takes no 'accumulate'" in refused.stderr
    assert "--trainer supervised" in refused.stderr


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_bf16_is_close_to_float32(wf: Any, tmp_path: Path, precision: str) -> None:
    """Figures of a small run agree to the bits that bf16 has, 8."""
    plan = ("--dataset", "iris", "--epochs", 4, "--quiet", "--json")
    low = wf("run", *plan, "--precision", precision, "--name", precision)
    full = wf("run", *plan, "--name", "fp32")
    assert low.code == full.code == 0, low.stderr
    figures = low.json()["metrics"]
    assert figures["test/loss"] == pytest.approx(full.json()["metrics"]["test/loss"], rel=2**-7)
    assert figures["test/loss"] != full.json()["metrics"]["test/loss"]
    assert manifest(tmp_path / "runs" / precision)["run_file"]["precision"] == precision
    again = wf("evaluate", precision, "--json")
    assert again.json()["metrics"]["test/loss"] == figures["test/loss"], "it is evaluated in the precision of training"
    assert all(tensor.dtype == torch.float32 for tensor in weights(tmp_path / "runs" / precision).values())
    assert wf("predict", precision, "test").code == 0


def test_tf32_is_refused_on_the_cpu(wf: Any, tmp_path: Path) -> None:
    refused = wf("run", "--precision", "tf32", "--device", "cpu")
    assert refused.code == 2
    assert "device cpu has no tf32" in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_fp16_is_refused_for_a_trainer_without_loss_scaling(wf: Any) -> None:
    refused = wf("run", "--trainer", f"{BY_HAND}:HandGradient", "--dataset", "diabetes", "--precision", "fp16")
    assert refused.code == 2
    assert "cannot scale the loss, as fp16 needs it: it takes no 'scaler'" in refused.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "trainer 'graphed' captures CUDA graphs, but the device is cpu\n  train with --trainer supervised"),
        (("--accumulate", 2), "trainer 'graphed' cannot add up the gradients of several batches"),
        (("--precision", "fp16"), "trainer 'graphed' cannot scale the loss"),
        (("--optimizer", "torch/lbfgs"), "lbfgs"),
    ],
)
def test_combinations_that_cannot_be_captured_are_refused(
    wf: Any, tmp_path: Path, options: tuple[Any, ...], words: str
) -> None:
    refused = wf("run", "--trainer", "graphed", "--device", "cpu", *options)
    assert refused.code == 2, refused.stderr
    assert words in refused.stderr
    assert not (tmp_path / "runs").exists()
