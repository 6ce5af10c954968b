"""``wf export --to script``: plain programs that train the weights of the run, bit for bit."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from runs import EXAMPLES

import wf as wf_package
from wf_export.script.checking import different
from wf_run.api import load_model

MLP = {"use": "mlp", "hidden": [16]}
TABLE = {"use": "csv", "path": "t.csv"}
SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 64, "model": "linear"}
FILES = {"line": {}, "points": {}, "lenet": {"epochs": 1}}
NAMES = {"line": "r0_line.toml", "points": "r1_autograd.toml", "lenet": "r4_lenet.toml"}
RUNS: dict[str, dict[str, Any]] = {
    "dropout": {
        "dataset": "digits",
        "model": {**MLP, "dropout": 0.3},
        "loss": {"use": "focal", "alpha": [1.0] * 9 + [3.0]},
    },
    "schedule": {
        "dataset": "digits",
        "model": {"use": "cnn", "channels": [8, 8]},
        "loss": "weighted-ce",
        "optimizer": "adamw",
        "scheduler": "onecycle",
        "hook": ["gradient-clip", "early-stopping"],
    },
    "categories": {"dataset": {**TABLE, "target": "y", "categorical": "c"}, "model": MLP},
    "regression": {
        "dataset": {**TABLE, "target": "b", "ignore": ["c", "y"]},
        "scheduler": "cosine",
        "transform": ["standardize", "standardize-targets"],
    },
    "link": {"dataset": "iris", "loss": "nll", "scheduler": {"use": "step", "step_size": 1}},
    "plateau": {"dataset": "iris", "loss": "mse", "scheduler": {"use": "plateau", "patience": 0}},
    "binary": {"dataset": "breast-cancer-binary", "shuffle": False, "drop_last": True, "keep": "best"},
    "augmented": {"dataset": "digits", "model": MLP, "transform": ["flip", "crop"]},
    "recurrent": {"dataset": "digits", "model": {"use": "lstm", "hidden_size": 8}, "optimizer": "rmsprop"},
    "catalogue": {"dataset": "wine", "optimizer": "torch/nadam"},
    "unfinished": {"dataset": "diabetes", "epochs": None, "steps": 7},
}
SAMPLE = ("line", "dropout", "schedule", "categories", "binary")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    (tmp_path / "points.csv").write_text((EXAMPLES / "points.csv").read_text())
    with (tmp_path / "t.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["a", "b", "c", "y"])
        for _ in range(90):
            color, number = draw.choice(["red", "green", "blue"]), round(draw.uniform(0, 10), 3)
            rows.writerow([number, round(draw.random(), 4), color, color if number < 7 else "none"])
    return tmp_path


def trained_by(script: Path, weights: Path) -> dict[str, torch.Tensor]:
    """The weights that a script saves, run in this process."""
    module = ModuleType("script")
    threads, argv = torch.get_num_threads(), sys.argv
    sys.argv = [str(script), str(weights)]
    try:
        exec(compile(script.read_text(), str(script), "exec"), module.__dict__)
        with redirect_stdout(StringIO()):
            module.main()
    finally:
        sys.argv = argv
        torch.set_num_threads(threads)
    found: dict[str, torch.Tensor] = torch.load(weights)
    return found


@pytest.mark.parametrize(
    "name",
    [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.exhaustive) for name in (*FILES, *RUNS)],
)
def test_the_script_trains_the_weights_of_the_run(wf: Any, folder: Path, name: str) -> None:
    if name in FILES:
        wf_package.run(EXAMPLES / NAMES[name], name=name, quiet=True, **FILES[name])
    else:
        wf_package.run(name=name, quiet=True, **{**SMALL, **RUNS[name]})
    result = wf("export", name, "--to", "script")
    assert result.code == 0, result.stderr
    imported = [line.split()[1] for line in (folder / f"{name}.py").read_text().splitlines() if _imports(line)]
    assert imported
    assert not [one for one in imported if one.startswith("wf")]
    assert different(trained_by(folder / f"{name}.py", folder / "w.pt"), load_model(name).model.state_dict()) is None


def _imports(line: str) -> bool:
    return line.strip().startswith(("import ", "from "))


def test_script_runs_alone(wf: Any, folder: Path) -> None:
    """In a new process without wf, with the figures of the run."""
    line = ("run", "--dataset", "iris", "--model", "linear", "--epochs", 3, "--lr", 0.05, "--name", "iris", "--json")
    figures = wf(*line, "--quiet").json()["metrics"]
    written = wf("export", "iris", "train.py", "--check", "--json").json()
    assert written == {"file": "train.py", "format": "script", "weights": "train.pt", "checked": True}
    (folder / "sitecustomize.py").write_text(
        "import sys\nfor name in ('wf', 'wf_base', 'wf_export'):\n    sys.modules[name] = None\n"
    )
    env = {"PYTHONPATH": str(folder), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "train.py"], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = ("test", "loss", f"{figures['test/loss']:.4f}", "accuracy", f"{figures['test/accuracy']:.4f}")
    assert done.stdout.splitlines()[-1].split() == [*expected]
    assert different(torch.load(folder / "train.pt"), load_model("iris").model.state_dict()) is None


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_fashion_mnist(wf: Any, folder: Path) -> None:
    line = ("run", EXAMPLES / "r3_fashion_mnist.toml", "--steps", 30, "--epochs", "@null", "--name", "r3", "--quiet")
    done = wf(*line, "--dataset.download", "false")
    if done.code == 4 and not os.environ.get("WF_REQUIRE_FASHION_MNIST"):
        pytest.skip(done.stderr.strip().splitlines()[0])
    assert done.code == 0, done.stderr
    result = wf("export", "r3", "--to", "script")
    assert result.code == 0, result.stderr
    assert different(trained_by(folder / "r3.py", folder / "w.pt"), load_model("r3").model.state_dict()) is None


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "keys": (
        {"dataset": "iris", "accumulate": 2, "precision": "bf16", "hook": ["ema"]},
        ("accumulate = 2", "precision = 'bf16'", "hook 'ema': it may change the training"),
    ),
    "dataset": (
        {"dataset": {"use": "shapes", "image_size": 16, "num_samples": 40}, "model": {"use": "unet", "channels": [4]}},
        ("dataset 'shapes': it is built on Dataset of wf_base",),
    ),
    "loss": ({"dataset": "iris", "loss": {"use": "sum", "parts": ["ce", "focal"]}}, ("loss 'sum': it is built on",)),
    "monitor": (
        {"dataset": "iris", "keep": "best", "monitor": "validation/accuracy"},
        ("keep = best depends on validation/accuracy, but a script supports only validation/loss",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_runs_that_no_script_can_repeat_are_refused(wf: Any, folder: Path, name: str) -> None:
    settings, reasons = REFUSED[name]
    wf_package.run(name=name, quiet=True, **{"model": "linear", "epochs": 1, **settings})
    before = sorted(path.name for path in folder.iterdir())
    result = wf("export", name, "--to", "script")
    assert (result.code, result.stdout) == (2, "")
    for reason in reasons:
        assert reason in result.stderr
    assert "--to state-dict" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_script_that_would_drop_other_rows_is_refused(wf: Any, folder: Path) -> None:
    rows = (folder / "t.csv").read_text().splitlines()
    (folder / "t.csv").write_text("\n".join([*rows[:4], "1,,red,red", *rows[4:]]) + "\n")
    table = {**TABLE, "target": "b", "ignore": ["c", "y"], "missing": "drop"}
    wf_package.run(dataset=table, model="linear", epochs=1, name="x", quiet=True)
    result = wf("export", "x", "--to", "script")
    assert result.code == 2
    assert "no script is written, because it would not repeat the run" in result.stderr
    assert not (folder / "x.py").exists()


def test_user_code_is_copied_into_the_script(wf: Any, folder: Path) -> None:
    (folder / "net.py").write_text(
        "import torch\nfrom torch import nn\n\nWIDTH = 5\n\n\n"
        "class Net(nn.Module):\n    def __init__(self, num_features: int, num_outputs: int) -> None:\n"
        "        super().__init__()\n        self.one = nn.Linear(num_features, WIDTH)\n"
        "        self.two = nn.Linear(WIDTH, num_outputs)\n\n"
        "    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        return self.two(self.one(x).relu())\n"
    )
    assert wf("run", "--dataset", "iris", "--model", "net.py:Net", "--epochs", 1, "--name", "own", "--quiet").code == 0
    result = wf("export", "own", "--to", "script")
    assert result.code == 0, result.stderr
    assert "WIDTH = 5\n\n\nclass Net(nn.Module):" in (folder / "own.py").read_text()


def test_ambiguous_or_contradicting_formats_are_refused(wf: Any, folder: Path) -> None:
    wf_package.run(dataset="iris", model="linear", epochs=1, name="x", quiet=True)
    for given, why in (
        ((), "choose a format: --to onnx|pt2|safetensors|script|state-dict"),
        (("x.doc",), "the ending must name the format"),
        (("x.pt2", "--to", "onnx"), "has the ending of format pt2, but --to is onnx"),
        (("x.pt2", "--check"), "--check is for a format that trains, such as script"),
        (("x.py", "--checkpoint", "step-00000002"), "a script ends with the last weights"),
    ):
        result = wf("export", "x", *given)
        assert (result.code, result.stdout) == (2, "")
        assert why in result.stderr
