"""The hook ``profile``: a trace, and a list of the most expensive operations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runs import manifest, weights

SLOW = """
import torch
from torch import nn


def net(num_features: int, num_outputs: int) -> nn.Module:
    model = nn.Sequential()
    model.add_module("narrow", nn.Linear(num_features, 2))
    model.add_module("wide", nn.Linear(2, 200_000))
    model.add_module("last", nn.Linear(200_000, num_outputs))
    return model
"""
LINE = (
    "run",
    "--dataset",
    "iris",
    "--optimizer",
    "sgd",
    "--steps",
    8,
    "--eval-every",
    "8steps",
    "--model",
    "net.py:net",
)
PROFILE = ("--hook", "+profile", "--hook.profile.after", 2, "--hook.profile.num_steps", 3)


def test_a_trace_and_the_most_expensive_operations(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SLOW)
    done = wf(*LINE, *PROFILE, "--name", "profiled")
    assert done.code == 0, done.stderr
    run = tmp_path / "runs" / "profiled"
    first, *lines = (run / "profile" / "table.txt").read_text().splitlines()
    assert first.startswith("3 steps, ")
    assert len(lines) == 5
    names = [line.partition(":")[0] for line in lines]
    assert {"linear layer of wide", "update by SGD"} & {*names}
    assert any(name.endswith((" backward of wide", " backward of last")) for name in names)
    shares = [int(line.rpartition(": ")[2].partition(" %")[0]) for line in lines]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] >= 10
    assert sum(shares) <= 105
    events = json.loads((run / "profile" / "trace.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "wf module wide" for event in events if event.get("cat") == "user_annotation") == 3
    assert manifest(run)["notes"]["profile"] == "; ".join(lines)
    assert wf(*LINE, "--name", "without", "--quiet").code == 0
    ours, theirs = weights(run), weights(tmp_path / "runs" / "without")
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_a_run_too_short_to_profile_says_so(wf: Any, tmp_path: Path) -> None:
    line = ("run", "--dataset", "iris", "--steps", 3, "--quiet", "--hook", "+profile", "--hook.profile.after")
    for after in (2, 20):
        done = wf(*line, after, "--name", f"after-{after}")
        assert done.code == 0, done.stderr
        assert "nothing: the run ended before step" in done.stdout
    done = wf(*line, -1)
    assert (done.code, "at least 0 and 1" in done.stderr) == (2, True)
