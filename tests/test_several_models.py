"""The examples of several models: a generative adversarial network, and actor and critic in an environment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, records
from workspace import ROOT

import wf as api

EXAMPLES = ("gan", "actor_critic")


@pytest.fixture(autouse=True)
def examples(tmp_path: Path) -> None:
    for name in EXAMPLES:
        for ending in ("py", "toml"):
            shutil.copy(ROOT / f"examples/{name}.{ending}", tmp_path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_have_under_60_lines(name: str) -> None:
    assert (ROOT / f"examples/{name}.py").read_text().count("\n") < 60


def test_the_generator_learns_the_distribution_of_the_data(wf: Any, tmp_path: Path) -> None:
    done = wf("run", "gan.toml", "--name", "gan", "--quiet")
    assert done.code == 0, done.stderr
    made = [one["distance"] for one in records(tmp_path / "runs/gan", "train") if "distance" in one]
    assert made[0] > 3
    assert sum(made[-9:]) / 9 < 0.7
    default = wf("evaluate", "gan")
    assert (default.code, default.stderr) == (2, "wf: the run has no test split\n  name another: --split train\n")
    for more in ((), ("--json",)):
        nothing = wf("evaluate", "gan", "--split", "train", *more)
        assert (nothing.code, nothing.stdout) == (2, "")
        assert "there is nothing to evaluate: the run has no metric, and no loss" in nothing.stderr
    trusted = [one["sha256"] for one in manifest(tmp_path / "runs/gan")["code"]]
    model = api.load_model(tmp_path / "runs/gan", trust=trusted)
    generator = model.model["generator"]  # type: ignore[index]  # several models by name
    with torch.inference_mode():
        points = generator(torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)))
    assert float((points.mean(0) - 3).abs().max()) < 0.7


def test_the_actor_learns_to_balance(wf: Any, tmp_path: Path) -> None:
    done = wf("run", "actor_critic.toml", "--name", "rods", "--quiet")
    assert done.code == 0, done.stderr
    fallen = [one["fallen"] for one in records(tmp_path / "runs/rods", "train") if "fallen" in one]
    assert fallen[0] > 0.03
    assert sum(fallen[-5:]) / 5 < 0.005
    assert manifest(tmp_path / "runs/rods")["samples"] == {}


@pytest.mark.parametrize(
    ("name", "kill", "part"), [("gan", 17, "optimizer/generator"), ("actor_critic", 33, "trainer")]
)
def test_a_killed_run_ends_with_the_same_bits(wf: Any, name: str, kill: int, part: str) -> None:
    proof = wf("prove-resume", f"{name}.toml", "--epochs", 2, "--kill-at", kill, "--json", forks=True)
    assert proof.code == 0, proof.stdout + proof.stderr
    assert part in [one["name"] for one in json.loads(proof.stdout)["parts"] if one["values"]]
