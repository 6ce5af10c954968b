"""The place from which samples are served: choice, message, option, equal bits, and cost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import checkpoints, manifest, weights

from wf_base import Dataset, TensorSamples
from wf_base.data import split_dataset
from wf_data.serving import RunData

DRAWING = """
import random, numpy, torch
from wf_base import Dataset

class Samples:
    def __len__(self):
        return 40

    def __getitem__(self, index):
        noise = torch.rand(3) + random.random() + float(numpy.random.rand())
        return torch.full((3,), index / 40) + noise, torch.tensor([index / 40])

def drawing():
    return Dataset(train=Samples(), targets="real")
"""
PLAN = ("--dataset", "drawing.py:drawing", "--model", "mlp", "--model.dropout", 0.3, "--batch-size", 4, "--epochs", 3)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_serve_from_is_logged_and_recorded(wf: Any, tmp_path: Path) -> None:
    plan = ("--dataset", "iris", "--model", "mlp", "--model.dropout", 0.2, "--epochs", 2)
    ways = {"auto": (), "memory": (), "loader": (), "workers": ("--workers", 2)}
    loader = "150 samples loaded by torch's DataLoader,"
    words = {"loader": f"{loader} no workers", "workers": f"{loader} 2 workers"}
    for way, options in ways.items():
        place = "loader" if way == "workers" else way
        done = wf("run", *plan, "--serve-from", place, *options, "--name", way)
        assert done.code == 0, done.stderr
        assert f"wf: data: {words.get(way, '150 samples in memory, served as slices')}" in done.stderr
        served = "memory" if place == "auto" else place
        run = tmp_path / "runs" / way
        assert manifest(run)["served_from"] == dict.fromkeys(("train", "validation", "test"), served)
        assert f'serve_from = "{place}"' in (run / "run.toml").read_text()
        assert same(weights(run), weights(tmp_path / "runs" / "auto"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without an accelerator")
def test_impossible_serve_from_is_refused(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "drawing.py").write_text(DRAWING)
    for options, message in (
        (("--dataset", "iris", "--serve-from", "device"), "device cpu has no separate memory"),
        ((*PLAN, "--serve-from", "memory"), "is not in memory (train, validation, test)"),
        (("--dataset", "iris", "--serve-from", "lodaer"), "did you mean 'loader'?"),
    ):
        done = wf("run", *options, "--name", "none")
        assert done.code == 2
        assert message in done.stderr
        assert not (tmp_path / "runs" / "none").exists()


def test_random_samples_give_the_same_run_for_any_number_of_workers(wf: Any, tmp_path: Path) -> None:
    """Without and with workers, and stopped within an epoch and resumed with another number of workers."""
    (tmp_path / "drawing.py").write_text(DRAWING)
    for workers in (0, 2):
        done = wf("run", *PLAN, "--workers", workers, "--name", f"w{workers}", "--quiet")
        assert done.code == 0, done.stderr
    stopped = wf("run", *PLAN[:-2], "--steps", 10, "--workers", 2, "--name", "parts", "--quiet")
    assert stopped.code == 0, stopped.stderr
    assert checkpoints(tmp_path / "runs" / "parts")[-1].name == "step-00000010"
    resumed = wf("resume", "parts", "--epochs", 3, "--workers", 0, "--serve-from", "loader", "--quiet")
    assert resumed.code == 0, resumed.stderr
    straight = weights(tmp_path / "runs" / "w0")
    assert same(weights(tmp_path / "runs" / "w2"), straight)
    assert same(weights(tmp_path / "runs" / "parts"), straight)


def images(num: int, shape: tuple[int, ...] = (1, 28, 28)) -> Dataset:
    inputs = torch.zeros(num, *shape, dtype=torch.uint8)
    targets = torch.arange(num) % 10
    return Dataset(
        train=TensorSamples(inputs, targets), targets="class_index", class_names=[str(digit) for digit in range(10)]
    )


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_in_memory_costs_few_python_calls(shuffle: bool) -> None:
    """Python calls are a measure without noise of the cost of a step besides torch."""
    dataset = images(6400)
    data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=64, shuffle=shuffle)
    num_calls = 0

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal num_calls
        num_calls += event == "call"

    batches = data.epoch(0)
    next(batches)
    sys.setprofile(profile)
    try:
        num_batches = sum(1 for _ in batches)
    finally:
        sys.setprofile(None)
    assert num_batches == 99
    assert num_calls <= 5 * num_batches + 5, num_calls  # one call is the line above


MEMORY = """
import json, resource, torch
from test_data_path import images
from wf_base.data import split_dataset
from wf_data.serving import RunData

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

dataset = images(100_000)
dataset.train.inputs.fill_(1)  # 75 MB that are really there
for num in (10, 1000):  # libraries that are loaded on first use
    small = images(num)
    list(RunData(small, split_dataset(small, "100/0/0", 0, shuffle=False), batch_size=10).epoch(0))
before = peak()
data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=64)
for batch in data.epoch(0):
    pass
for batch in data.batches("train"):
    pass
print(json.dumps(peak() - before))
"""


@pytest.mark.exhaustive  # a process that imports torch
def test_images_in_memory_are_not_copied() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) < 20, "images take 75 MB as bytes and 300 MB as floats"
