"""Runs over files: they train, and resume with the same bits."""

from __future__ import annotations

import json
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
    """42 train images in batches of 6 are 7 steps: killed in the second epoch, two steps after a checkpoint."""
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


def write_table(folder: Path, rows: int = 160) -> None:
    generator = np.random.default_rng(0)
    for split, num in (("train", rows), ("validation", 32), ("test", 32)):
        a, b = generator.normal(size=(2, num)).astype(np.float32)
        frame = pd.DataFrame({"a": a, "b": b, "label": np.where(a * b > 0, "yes", "no")})
        frame.to_json(folder / f"{split}.jsonl", orient="records", lines=True)


def same_runs(runs: Path, one: str, other: str, step: int) -> None:
    for file in ("metrics.jsonl", f"checkpoints/step-{step:08}/tensors.safetensors"):
        assert (runs / one / file).read_bytes() == (runs / other / file).read_bytes(), file


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_killed_in_the_middle_of_an_epoch_and_resumed(wf: Any, tmp_path: Path, shuffle: bool) -> None:
    """10 steps an epoch, in buffers of 24: the run is killed in the second epoch, two steps after a checkpoint."""
    (tmp_path / "kill.py").write_text(HOOK)
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data")
    plan = ("--dataset", "huggingface", "--dataset.path", "data", "--dataset.streaming", "true")
    train = (
        "--dataset.shuffle_buffer",
        24,
        "--model",
        "mlp",
        "--model.dropout",
        0.2,
        "--batch-size",
        16,
        "--epochs",
        3,
    )
    often = ("--checkpoint-every", "3steps", "--log-every", 1, "--hook", "+kill.py:Kill", "--quiet")
    line = ("run", *plan, *train, *often, *(() if shuffle else ("--no-shuffle",)))
    settings: dict[str, Any] = {"env": env(tmp_path), "timeout": 150}
    assert wf(*line, "--name", "killed", **settings).code == -signal.SIGKILL
    straight = wf(*line, "--name", "straight", **settings)
    assert straight.code == 0, straight.stderr
    resumed = wf("resume", "killed", "--quiet", **settings)
    assert resumed.code == 0, resumed.stderr
    same_runs(tmp_path / "runs", "killed", "straight", 30)


@pytest.mark.parametrize("order", [("--no-shuffle",), ("--dataset.shuffle_buffer", 160)])
def test_a_stream_trains_as_the_same_file_does_in_the_same_order(wf: Any, tmp_path: Path, order: Any) -> None:
    """Without shuffling, and with a buffer that holds the whole split."""
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data")
    line = ("run", "--dataset", "huggingface", "--dataset.path", "data", "--model", "mlp", "--batch-size", 16, *order)
    for name, streaming in (("stream", "true"), ("file", "false")):
        more = ("--epochs", 2, "--quiet", "--name", name, "--dataset.streaming", streaming)
        done = wf(*line, *more, env=env(tmp_path))
        assert done.code == 0, done.stderr
    same_runs(tmp_path / "runs", "stream", "file", 20)


def test_a_stream_without_splits_is_divided(wf: Any, tmp_path: Path) -> None:
    write_table(tmp_path, 1000)
    line = ("run", "--dataset", "huggingface", "--dataset.path", "train.jsonl", "--dataset.streaming", "true")
    line += ("--quiet", "--json")
    done = wf(*line, "--split", "60/20/20", "--epochs", 1, env=env(tmp_path))
    assert done.code == 0, done.stderr
    samples = json.loads((Path(tmp_path, done.json()["run_dir"]) / "manifest.json").read_text())["samples"]
    assert sum(samples.values()) == 1000
    assert samples == pytest.approx({"train": 600, "validation": 200, "test": 200}, abs=45)
    for more, message in (
        (("--folds", 3), "folds"),
        (("--workers", 2), "2 workers"),
        (("--loss", "weighted-ce"), "counted"),
    ):
        refused = wf(*line, *more, env=env(tmp_path))
        assert refused.code == 2
        assert message in refused.stderr


def test_text(wf: Any, tmp_path: Path) -> None:
    texts = [f"it was a {word} day, number {number}" for number in range(30) for word in ("good", "bad")]
    pd.DataFrame({"text": texts, "label": ["good" in text for text in texts]}).to_parquet(tmp_path / "days.parquet")
    plan = ("--dataset", "days.parquet", "--model", "lstm", "--epochs", 20, "--lr", 0.01, "--quiet", "--json")
    done = wf("run", *plan, env=env(tmp_path))
    assert done.code == 0, done.stderr
    assert done.json()["metrics"]["test/accuracy"] == 1
    refused = wf("run", "--dataset", "days.parquet", env=env(tmp_path))
    assert refused.code == 2
    fitting = refused.stderr.partition("models that fit: ")[2].partition("\n")[0].split(", ")
    assert {"lstm", "rnn", "text-encoder"} <= set(fitting)


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (("--dataset.path", "nobody/nothing"), 4, "looked in:"),
        (("--dataset.path", "gone.parquet"), 4, "no file or folder 'gone.parquet'"),
        (("--dataset.path", "x", "--dataset.streaming", "true"), 4, "looked in:"),
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
