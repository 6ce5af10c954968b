"""Contrastive training: views, resuming to the bit, a linear probe that improves, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, weights

import wf
from wf.errors import UsageError

CROP = {"use": "crop", "padding": 1}
PLAN: dict[str, Any] = {
    "task": "embedding",
    "dataset": "digits",
    "model": {"use": "cnn", "channels": [4]},
    "loss": "nt-xent",
    "batch_size": 200,
    "quiet": True,
}
RUN_FILE = """\
task = "embedding"
dataset = "digits"
batch_size = 128
[model]
use = "cnn"
channels = [16, 32]
[loss]
use = "nt-xent"
temperature = 0.2
[[metric]]
use = "knn"
[trainer]
use = "contrastive"
views = [{ use = "crop", padding = 1 }]
"""


def test_views_differ_and_are_reproducible() -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Loss(torch.nn.Module):
        def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            seen.append((predictions, targets))
            return predictions.square().mean()

    options = {"use": "contrastive", "views": [CROP], "num_views": 3}
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64, bias=False))
    torch.nn.init.eye_(model[1].weight)  # type: ignore[arg-type]  # it is one
    plan = {**PLAN, "model": model, "loss": Loss(), "optimizer": {"use": "sgd", "lr": 1e-9}, "trainer": options}
    exp = wf.build(**plan, save=False)
    batches = [next(iter(exp.data.epoch(0))) for _ in range(2)]
    trainer: Any = exp.loop.trainer
    del seen[:]
    for batch in batches:
        trainer.compute_loss(batch)
    (first, numbers), (second, _) = seen
    assert torch.equal(first, second), "a view is a function of the sample"
    assert numbers.tolist() == list(range(200)) * 3
    views = first.reshape(3, 200, 64)
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[1], views[2])
    trainer._epoch = 1
    trainer.compute_loss(batches[0])
    assert not torch.equal(seen[2][0], first)
    exp.close()


def test_a_resumed_run_is_the_same_and_a_linear_probe_gains(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "views.toml").write_text(RUN_FILE)
    assert wf("run", "views.toml", "--epochs", 6, "--quiet", "--name", "whole").code == 0
    assert wf("run", "views.toml", "--epochs", 2, "--quiet", "--name", "half").code == 0
    resumed = wf("resume", "half", "--epochs", 6, "--quiet")
    assert resumed.code == 0, resumed.stderr
    one, other = (weights(tmp_path / "runs" / name) for name in ("whole", "half"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert manifest(tmp_path / "runs" / "whole")["metrics"]["validation/knn"] > 0.6
    probe = ("run", "--dataset", "digits", "--model", "cnn", "--model.channels", "[16,32]", "--quiet")
    probe = (*probe, "--trainer.freeze", "backbone", "--epochs", 6, "--lr", 0.02)
    assert wf(*probe, "--init-from", "whole", "--name", "probe").code == 0
    assert wf(*probe, "--name", "drawn").code == 0
    figures = [manifest(tmp_path / "runs" / name)["metrics"]["test/accuracy"] for name in ("probe", "drawn")]
    assert figures[0] > figures[1] + 0.15


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": [CROP], "num_views": 1}, "must be at least 2"),
        ({"views": [{"use": "scale", "factor": 2.0}]}, "none of its views is random"),
        ({"views": [CROP, "mixup"]}, "changes targets"),
        ({}, "needs option 'views'"),
    ],
)
def test_invalid_views_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wf.run(**PLAN, trainer={"use": "contrastive", **options}, steps=1, save=False)
    if not options:
        with pytest.raises(UsageError, match="cannot add up the gradients"):
            wf.run(**PLAN, trainer={"use": "contrastive", "views": [CROP]}, accumulate=2, steps=1, save=False)
