"""Averaged weights: equal to torch's, evaluated and kept, and without influence on the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, records, weights
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

import wf
from wf.errors import UsageError

NET: dict[str, Any] = {"model": {"use": "cnn", "channels": [4]}, "batch_size": 300, "quiet": True}


class Beside(wf.Hook):
    """Averages with torch's class, and keeps the training weights."""

    def __init__(self, each: int = 1, **options: Any) -> None:
        self.each, self.options = each, options
        self.trained: dict[str, Tensor] = {}
        self.average: Any = None

    def on_run_start(self, run: wf.Loop) -> None:
        self.model: nn.Module = run.parts["model"]  # type: ignore[assignment]  # it is one
        self.average = AveragedModel(self.model, use_buffers=False, **self.options)

    def on_step_end(self, run: wf.Loop) -> None:
        if run.progress.step % self.each == 0:
            self.average.update_parameters(self.model)
        self.trained = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_ema_equals_torchs_average(tmp_path: Path) -> None:
    beside = Beside(multi_avg_fn=get_ema_multi_avg_fn(0.9))
    exp = wf.run(hook=[{"use": "ema", "decay": 0.9}, beside], epochs=3, run_dir=tmp_path / "run", **NET)
    assert same(parameters(exp.model), parameters(beside.average.module))
    plain = wf.run(epochs=3, save=False, **NET)
    assert same(plain.model.state_dict(), beside.trained), "the average changed the training"
    assert not same(parameters(exp.model), beside.trained)
    assert same(parameters(wf.load_model(tmp_path / "run").model), parameters(exp.model))
    again = exp.evaluate("validation")
    assert again["loss"] == exp.metrics["validation/loss"] != plain.metrics["validation/loss"]


def test_running_means_are_averaged_and_batch_counts_are_not() -> None:
    plain, averaged = (
        wf.run(hook=hooks, steps=3, save=False, **NET).model.state_dict()
        for hooks in ([], [{"use": "ema", "decay": 0.9}])
    )
    means = [name for name in plain if "running" in name]
    counts = [name for name in plain if "num_batches" in name]
    assert means
    assert counts
    assert not any(torch.equal(plain[name], averaged[name]) for name in means)
    assert all(torch.equal(plain[name], averaged[name]) for name in counts)


def test_swa_equals_torchs_average() -> None:
    steps = wf.build(save=False, **NET).data.num_batches
    beside = Beside(each=steps, multi_avg_fn=get_swa_multi_avg_fn())
    exp = wf.run(hook=[{"use": "swa", "start": 0}, beside], epochs=3, save=False, **NET)
    assert same(parameters(exp.model), parameters(beside.average.module))
    late = wf.run(hook=[{"use": "swa", "start": 2}], epochs=3, save=False, **NET)
    assert same(late.model.state_dict(), beside.trained), "the mean of one epoch is its weights"
    early = wf.run(hook=[{"use": "swa", "start": 9}], epochs=3, save=False, **NET)
    assert same(early.model.state_dict(), beside.trained), (
        "before the average starts, the training weights are evaluated"
    )


def test_warmup_forgets_the_first_weights() -> None:
    slow, warm = (
        wf.run(hook=[{"use": "ema", "decay": 0.9999, "warmup": warmup}], epochs=5, save=False, **NET)
        for warmup in (False, True)
    )
    assert warm.metrics["validation/loss"] < slow.metrics["validation/loss"]


@pytest.mark.parametrize("hook", ["ema", "swa"])
def test_a_resumed_run_is_the_same_and_keeps_the_best_average(wf: Any, tmp_path: Path, hook: str) -> None:
    options = ["--hook", f"+{hook}", *(["--hook.swa.start", 1] if hook == "swa" else ["--hook.ema.decay", 0.9])]
    plan = ["run", "--dataset", "iris", "--keep", "best", "--lr", 0.05, "--quiet", *options]
    assert wf(*plan, "--epochs", 6, "--checkpoint-every", "1epochs", "--name", "whole").code == 0
    assert wf(*plan, "--epochs", 3, "--name", "half").code == 0
    resumed = wf("resume", "half", "--epochs", 6, "--quiet")
    assert resumed.code == 0, resumed.stderr
    one, other = (weights(tmp_path / "runs" / name) for name in ("whole", "half"))
    assert same(one, other)
    whole, half = (manifest(tmp_path / "runs" / name)["metrics"] for name in ("whole", "half"))
    assert whole == half
    losses = [one["loss"] for one in records(tmp_path / "runs" / "whole", "eval", "validation")]
    judged = wf("evaluate", "whole", "--split", "validation", "--json").json()
    assert judged["metrics"]["validation/loss"] == min(losses)


def test_two_averages_are_refused() -> None:
    with pytest.raises(UsageError, match="hook 'ema' and hook 'swa' both determine the weights for evaluation"):
        wf.run(hook=["ema", {"use": "swa", "start": 1}], steps=1, save=False, **NET)


@pytest.mark.parametrize(
    ("hook", "words"),
    [({"use": "ema", "decay": 1}, "less than 1"), ({"use": "swa", "start": -1}, "at least 0")],
)
def test_values_out_of_range(hook: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wf.run(hook=[hook], steps=1, save=False, **NET)
