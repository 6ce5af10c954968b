"""The hook ``stats``: norms of gradients and the size of activations."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import records, weights
from torch import nn

import wf as package
from wf.errors import UsageError

KILL = """
import os, signal

class Kill:
    def on_step_end(self, run) -> None:
        if run.progress.step == 13 and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""
LINE = ("run", "--dataset", "iris", "--epochs", 4, "--log-every", 1, "--checkpoint-every", "5steps", "--quiet")


class Keep:
    """Keeps the gradients and outputs of a layer."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer, self.norm, self.outputs = layer, 0.0, torch.zeros(1)
        layer.register_forward_hook(lambda _, inputs, outputs: self._take(outputs))

    def _take(self, outputs: torch.Tensor) -> None:
        if self.layer.training:
            self.outputs = outputs.detach().clone()

    def on_gradients_ready(self, run: Any) -> None:
        gradients = [one.grad.flatten() for one in self.layer.parameters() if one.grad is not None]
        self.norm = float(torch.cat(gradients).norm())


def test_norms_equal_the_computed_ones() -> None:
    first = nn.Linear(4, 8)
    model, keep = nn.Sequential(first, nn.ReLU(), nn.Linear(8, 3)), Keep(first)
    hooks = [{"use": "stats", "every": 1}, keep]
    run = package.run(dataset="iris", model=model, hook=hooks, steps=1, log_every=1, save=False, quiet=True)
    figures = run.loop.recorded
    assert figures["train/gradient_norm/0"] == pytest.approx(keep.norm)
    assert figures["train/activation_rms/0"] == pytest.approx(float(keep.outputs.square().mean().sqrt()))
    assert figures["train/gradient_norm/all"] > figures["train/gradient_norm/2"] > 0
    assert "train/gradient_norm/1" not in figures


def test_stats_of_chosen_steps_and_modules_do_not_change_the_bits(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(KILL)
    stats = ("--hook", "+stats", "--hook.stats.every", 7, "--hook.stats.modules", '["*2"]')
    done = wf(*LINE, *stats, "--hook", "+kill.py:Kill", "--name", "killed")
    assert done.code == -signal.SIGKILL, done.stderr
    assert wf("resume", "runs/killed").code == 0
    done = wf(*LINE, *stats, "--name", "straight", "--monitor", "train/gradient_norm/all:min")
    assert done.code == 0, done.stderr
    assert wf(*LINE, "--name", "without").code == 0
    runs = [tmp_path / "runs" / name for name in ("killed", "straight", "without")]
    assert records(runs[0]) == records(runs[1])
    ours, theirs = weights(runs[0]), weights(runs[2])
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    lines = records(runs[1], "train")
    values = [line["gradient_norm/all"] for line in lines]
    assert [values.index(value) + 1 for value in dict.fromkeys(values)] == [1, 8, 15]
    names = {name for name in lines[0] if name.startswith("activation_rms/")}
    assert names
    assert all(name.endswith("2") for name in names)


def test_a_pattern_for_no_module_is_refused(wf: Any) -> None:
    done = wf("run", "--dataset", "iris", "--hook", "+stats", "--hook.stats.modules", '["head*"]', "--dry-run")
    assert done.code == UsageError.exit_code
    assert "no module is called 'head*'\n  modules: " in done.stderr
