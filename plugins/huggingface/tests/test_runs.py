"""Runs over files: what they train, and that they go on with the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from wf.registry import Registry
from wf_kit import check_plugin

HOOK = """
import os, signal

class Kill:
    def on_step_end(self, run):
        if run.progress.step == 11 and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for label, level in (("dark", 20), ("light", 60)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(30):
            pixels = (generator.integers(0, 100, (9, 9, 3)) + level).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
    return tmp_path / "photos"


def env(tmp_path: Path) -> dict[str, str | None]:
    return {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle_of_an_epoch_and_resumed(wf: Any, tmp_path: Path, photos: Path, workers: int) -> None:
    """42 train images in batches of 6 are 7 steps: it dies in the second epoch, two steps after a checkpoint."""
    (tmp_path / "kill.py").write_text(HOOK)
    plan = ("--dataset", "huggingface", "--dataset.path", photos.name, "--model", "cnn", "--model.channels", "[4]")
    train = ("--transform", "flip", "--transform", "crop", "--batch-size", 6, "--epochs", 3, "--workers", workers)
    often = ("--checkpoint-every", "3steps", "--log-every", 1, "--hook", "+kill.py:Kill", "--quiet")
    settings: dict[str, Any] = {"env": env(tmp_path), "timeout": 150}
    killed = wf("run", *plan, *train, *often, "--name", "killed", **settings)
    assert killed.code == -signal.SIGKILL, killed.stderr
    straight = wf("run", *plan, *train, *often, "--name", "straight", **settings)
    assert straight.code == 0, straight.stderr
    resumed = wf("resume", "killed", "--quiet", **settings)
    assert resumed.code == 0, resumed.stderr
    for file in ("metrics.jsonl", "checkpoints/step-00000021/tensors.safetensors"):
        one, other = (tmp_path / "runs" / name / file for name in ("killed", "straight"))
        assert one.read_bytes() == other.read_bytes(), file


def test_text(wf: Any, tmp_path: Path) -> None:
    texts = [f"it was a {word} day, number {number}" for number in range(30) for word in ("good", "bad")]
    pd.DataFrame({"text": texts, "label": ["good" in text for text in texts]}).to_parquet(tmp_path / "days.parquet")
    plan = ("--dataset", "days.parquet", "--model", "lstm", "--epochs", 20, "--lr", 0.01, "--quiet", "--json")
    done = wf("run", *plan, env=env(tmp_path))
    assert done.code == 0, done.stderr
    assert done.json()["metrics"]["test/accuracy"] == 1
    refused = wf("run", "--dataset", "days.parquet", env=env(tmp_path))
    assert refused.code == 2
    assert "models that fit: lstm, rnn" in refused.stderr


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (("--dataset.path", "nobody/nothing"), 4, "looked in:"),
        (("--dataset.path", "gone.parquet"), 4, "no file or folder 'gone.parquet'"),
        (("--dataset.path", "x", "--dataset.streaming", "true"), 2, "cannot stream"),
        (("--dataset.task", "clasification"), 2, "classification"),
        ((), 2, "path"),
    ],
)
def test_exit_codes(wf: Any, tmp_path: Path, line: tuple[Any, ...], code: int, message: str) -> None:
    done = wf("run", "--dataset", "huggingface", *line, env=env(tmp_path))
    assert done.code == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_conformance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    x = np.random.default_rng(0).normal(size=(40, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "label": np.where(x[:, 0] > 0, "yes", "no")})
    frame.to_parquet(tmp_path / "data.parquet")
    name = "dataset/huggingface"
    options = {name: {"path": str(tmp_path / "data.parquet")}}
    results = check_plugin(f"{name}@wf-huggingface", registry=Registry.discover(), options=options, run={})
    assert results
    assert not [f"{result.check}: {result.message}" for result in results if result.status == "failed"]


def test_declaring_imports_nothing_heavy() -> None:
    code = (
        "import sys, wf_huggingface.plugin as p; p.wf_components(); "
        "heavy = {'torch', 'datasets', 'numpy', 'PIL'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
