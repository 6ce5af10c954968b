"""Using a finished run: ``wf evaluate``, ``predict``, ``export`` and ``plot``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wf_datasets.bundled import PROPERTIES
from wf_run.api import load_model


@pytest.mark.parametrize("place", ["done", "runs/done", "latest", "runs/latest", "runs/done/"])
def test_run_by_name_path_or_latest(wf: Any, finished: Path, place: str) -> None:
    record = wf("evaluate", place, "--json").json()
    assert list(record) == ["run_dir", "checkpoint", "metrics"]
    assert set(record["metrics"]) == {"test/loss", "test/accuracy"}


def test_evaluate_gives_the_figures_of_the_run(wf: Any, finished: Path) -> None:
    metrics = json.loads((finished / "manifest.json").read_text())["metrics"]
    for split in ("train", "validation", "test"):
        found = wf("evaluate", "done", "--split", split, "--json").json()["metrics"]
        assert found == {name: value for name, value in metrics.items() if name.startswith(f"{split}/")}
    result = wf("evaluate", "done", "--split", "validation")
    assert result.stderr == ""
    assert result.stdout.splitlines()[1].split() == ["validation", *(f"{found:.4f}" for found in _validation(metrics))]


def _validation(metrics: dict[str, float]) -> list[float]:
    return [metrics["validation/loss"], metrics["validation/accuracy"]]


def test_checkpoint_by_name(wf: Any, folder: Path) -> None:
    line = ("--epochs", 3, "--checkpoint-every", "1epochs", "--keep", "best", "--lr", "0.01")
    assert wf("run", *line, "--quiet", "--name", "x").code == 0
    found = {
        name: wf("evaluate", "x", "--split", "validation", "--checkpoint", name, "--json").json()["metrics"]
        for name in ("best", "latest", "step-00000120")
    }
    assert found["latest"] == found["step-00000120"]
    assert found["best"]["validation/loss"] <= found["latest"]["validation/loss"]


def test_predict_a_split_a_file_and_a_sample(wf: Any, finished: Path, folder: Path) -> None:
    labels = wf("predict", "done", "test").stdout.split()
    assert len(labels) == 268
    assert set(labels) <= {str(digit) for digit in range(10)}
    records = wf("predict", "done", "test", "--json").json()
    assert [record["label"] for record in records] == labels
    assert all(len(record["output"]) == 10 for record in records)

    np.save(folder / "some.npy", np.zeros((3, 1, 8, 8), dtype=np.float32))
    np.savez(folder / "one.npz", x=np.zeros((1, 8, 8), dtype=np.float32))
    some, one = wf("predict", "done", "some.npy").stdout.split(), wf("predict", "done", "one.npz").stdout.split()
    assert some == one * 3


def test_predict_numbers_of_a_regression(wf: Any, folder: Path) -> None:
    wf("run", "--dataset", "house.csv", "--dataset.target", "price", "--epochs", 1, "--quiet", "--name", "house")
    (folder / "new.csv").write_text("size,rooms\n1,2\n3,4\n")
    lines = wf("predict", "house", "new.csv").stdout.splitlines()
    records = wf("predict", "house", "new.csv", "--json").json()
    assert [float(line) for line in lines] == pytest.approx([record["output"][0] for record in records], rel=1e-3)
    assert [set(record) & {"label", "probabilities"} for record in records] == [set(), set()]


def _predicted(wf: Any, *line: object) -> tuple[list[str], list[Any], torch.Tensor]:
    """The printed predictions of a short run for its test split, and the labels and outputs of the JSON."""
    done = wf("run", *line, "--epochs", 1, "--quiet", "--name", "x")
    assert done.code == 0, done.stderr
    records = wf("predict", "x", "test", "--json").json()
    labels, outputs = zip(*((record["label"], record["output"]) for record in records), strict=True)
    return wf("predict", "x", "test").stdout.splitlines(), list(labels), torch.tensor(outputs)


def test_predict_lists_all_positive_labels(wf: Any) -> None:
    lines, labels, outputs = _predicted(wf, "--dataset", "digits-multilabel")
    names = list(PROPERTIES)
    assert labels == [[name for name, logit in zip(names, row, strict=True) if logit > 0] for row in outputs.tolist()]
    assert lines == [", ".join(label) or "-" for label in labels]
    assert "-" in lines


def test_predict_a_class_for_each_pixel(wf: Any) -> None:
    small = ("--dataset.image_size", 16, "--dataset.num_samples", 40, "--model.channels", "[4, 8]")
    lines, labels, outputs = _predicted(wf, "--dataset", "shapes", *small)
    names = ["background", "square", "ring", "cross"]
    assert labels == [[[names[index] for index in row] for row in mask] for mask in outputs.argmax(1).tolist()]
    for line, mask in zip(lines, labels, strict=True):
        shares = {part.rpartition(" ")[0]: part.rpartition(" ")[2] for part in line.split(", ")}
        pixels = [name for row in mask for name in row]
        assert shares == {name: f"{pixels.count(name) / 256:.1%}" for name in names if name in pixels}
        assert list(shares) == sorted(shares, key=pixels.count, reverse=True)


def test_predict_one_of_two_classes(wf: Any) -> None:
    lines, labels, outputs = _predicted(wf, "--dataset", "breast-cancer-binary")
    assert lines == labels
    assert set(lines) == {"malignant", "benign"}
    assert [name == "malignant" for name in lines] == (outputs.flatten() > 0).tolist()


def test_export_writes_a_state_dict_that_torch_and_safetensors_read(wf: Any, finished: Path, folder: Path) -> None:
    result = wf("export", "done", "out/weights.safetensors")
    assert (result.code, result.stdout.splitlines()[0]) == (0, "out/weights.safetensors: 301,066 numbers")
    assert wf("export", "done", "weights.pt").code == 0

    from safetensors.torch import load_file

    state, tensors = torch.load(folder / "weights.pt", weights_only=True), load_file(folder / "out/weights.safetensors")
    assert set(state) == set(tensors)
    assert all(torch.equal(state[name], tensors[name]) for name in state)
    assert sum(tensor.numel() for tensor in state.values()) == 301_066


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_plot(wf: Any, finished: Path, folder: Path, ending: str) -> None:
    files = wf("plot", "done", "--format", ending).stdout.splitlines()
    assert f"runs/done/plots/loss.{ending}" in files
    assert all((folder / file).stat().st_size > 1000 for file in files)


def test_the_plugin_copied_with_a_run_is_used(wf: Any, folder: Path) -> None:
    (folder / "good.py").write_text(
        "from torch.nn import CrossEntropyLoss\nfrom wf import Component, hookimpl\n"
        "def make() -> CrossEntropyLoss:\n    return CrossEntropyLoss()\n"
        "@hookimpl\ndef wf_components():\n    return [Component('loss', 'good', make)]\n"
    )
    line = ("run", "-p", "good.py", "--loss", "good", "--epochs", 1, "--quiet", "--name", "x")
    assert wf(*line).code == 0, wf(*line).stderr
    assert wf("evaluate", "x").code == 0
    (folder / "good.py").unlink()  # the copy in the run directory is used
    assert wf("evaluate", "x").code == 0


# Plugins of a run

THEIRS = """
from torch import nn
from wf import Component, Hook, hookimpl


class Loss(nn.Module):
    def __init__(self, theirs: float = 1000.0) -> None:
        super().__init__()
        self.theirs = theirs

    def forward(self, predictions, targets):
        return self.theirs * (predictions - targets).abs().mean()


class Linear(nn.Module):
    def __init__(self) -> None:
        raise AssertionError("this is another one")


@hookimpl
def wf_components():
    return [
        Component("loss", "l1", Loss), Component("model", "linear", Linear), Component("hook", "progress", Hook),
        Component("optimizer", "adam", Linear), Component("metric", "accuracy", Linear, aliases=("mae",)),
    ]
"""


@pytest.fixture
def shadowing_plugin(folder: Path) -> tuple[str, str]:
    """A plugin whose components have names of wf's."""
    (folder / "theirs.py").write_text(THEIRS)
    return ("-p", "theirs.py")


REGRESSION = ("--dataset", "diabetes", "--model", "linear", "--quiet", "--epochs", 1, "--name", "x")


def test_a_run_keeps_its_plugins_despite_other_providers(wf: Any, folder: Path, shadowing_plugin: Any) -> None:
    assert wf("run", *REGRESSION, "--loss", "l1", "--metric", "mae").code == 0
    assert 'use = "l1"' in (folder / "runs/x/run.toml").read_text()
    before = wf("evaluate", "x", "--json").json()
    assert wf("evaluate", "x", *shadowing_plugin, "--json").json() == before
    (folder / "pyproject.toml").write_text('[tool.wf.pin.loss]\nl1 = "theirs"\n')
    assert wf("evaluate", "x", *shadowing_plugin, "--json").json() == before
    resumed = wf("resume", "x", *shadowing_plugin, "--epochs", 2, "--quiet")
    assert (resumed.code, resumed.stderr) == (0, "")
    assert 'use = "l1@wf-losses"' in (folder / "runs/x/run.toml").read_text()
    (folder / "pyproject.toml").unlink()
    whole = wf("run", *REGRESSION[:-3], 2, "--name", "y", "--loss", "l1", "--metric", "mae")
    assert whole.code == 0
    assert wf("evaluate", "x", "--json").json()["metrics"] == wf("evaluate", "y", "--json").json()["metrics"]
    for line in (("predict", "x", "test"), ("export", "x", "w.pt")):
        assert wf(*line, *shadowing_plugin).code == 0


def test_a_run_with_a_third_party_plugin_keeps_it(wf: Any, folder: Path, shadowing_plugin: Any) -> None:
    line = ("--dataset", "iris", "--dry-run", "--quiet")
    assert wf("run", *line, *shadowing_plugin).code == 0, "its components have the names of defaults"
    named = wf("run", *line, *shadowing_plugin, "--model", "linear")
    assert (named.code, "model 'linear' comes from 2 plugins" in named.stderr) == (2, True)

    options = ("--dataset", "diabetes", "--model", "mlp", "--loss", "l1", "--loss.theirs", 3)
    result = wf("run", *options, *shadowing_plugin, "-p", "no:wf-losses", "--quiet", "--epochs", 1, "--name", "x")
    assert result.code == 0, result.stderr
    assert 'use = "l1"' in (folder / "runs/x/run.toml").read_text()
    (folder / "pyproject.toml").write_text('[tool.wf.pin.loss]\nl1 = "wf-losses"\n')
    before = json.loads((folder / "runs/x/manifest.json").read_text())["metrics"]["test/loss"]
    assert wf("evaluate", "x", "--json").json()["metrics"]["test/loss"] == before


def test_a_nested_component_keeps_its_plugin(wf: Any, folder: Path) -> None:
    nest = (
        "from wf import Component, Nested, hookimpl\nfrom typing import Annotated, Any\n"
        "def outer(inner: Annotated[Any, Nested('loss')]): return inner\n"
        "@hookimpl\ndef wf_components(): return [Component('loss', 'outer', outer, call='factory')]\n"
    )
    (folder / "nest.py").write_text(nest)
    (folder / "theirs.py").write_text(THEIRS)
    run = wf("run", *REGRESSION, "-p", "nest.py", "--loss", "outer", "--loss.inner", "l1")
    assert run.code == 0, run.stderr
    before = wf("evaluate", "x", "--json").json()
    assert wf("evaluate", "x", "--json", "-p", "theirs.py").json() == before


def test_a_missing_plugin_of_a_run_is_named(wf: Any, folder: Path, shadowing_plugin: Any) -> None:
    assert wf("run", *REGRESSION, "--loss", "l1").code == 0
    manifest = folder / "runs/x/manifest.json"
    made = json.loads(manifest.read_text())
    (loss,) = [part for part in made["components"] if part["kind"] == "loss"]
    assert (loss["plugin"], loss["distribution"]) == ("wf-losses", "wf-losses")
    loss |= {"plugin": "gone-losses", "distribution": "gone-losses", "version": "1.5"}
    manifest.write_text(json.dumps(made))
    assert wf("export", "x", "w.pt", *shadowing_plugin).code == 0  # an export needs only the model
    for line in (("evaluate", "x"), ("resume", "x", "--epochs", 2), ("predict", "x", "test")):
        result = wf(*line, *shadowing_plugin)
        assert (result.code, result.stdout) == (3, ""), result.stderr
        assert "loss 'l1' of this run came from gone-losses 1.5, which is not installed" in result.stderr
        assert "install gone-losses 1.5 from its original source" in result.stderr


def test_moved_and_changed_data(wf: Any, folder: Path) -> None:
    line = ("--dataset", "house.csv", "--dataset.target", "price", "--epochs", 1, "--quiet", "--name", "house")
    assert wf("run", *line).code == 0
    before = wf("evaluate", "house", "--json").json()["metrics"]
    (folder / "new.csv").write_text((folder / "house.csv").read_text())
    predicted = wf("predict", "house", "new.csv").stdout
    (folder / "house.csv").unlink()
    gone = wf("evaluate", "house")
    assert (gone.code, gone.stdout) == (4, "")
    assert "--dataset.path" in gone.stderr
    assert wf("evaluate", "house", "--dataset.path", "new.csv", "--json").json()["metrics"] == before
    assert wf("predict", "house", "new.csv").stdout == predicted
    assert wf("plot", "house").stdout.splitlines()[0] == "runs/house/plots/loss.svg"
    exported = wf("export", "house", "house.safetensors")
    assert "standardize" in exported.stderr
    assert "mean" in exported.stderr
    from safetensors import safe_open

    with safe_open(str(folder / "house.safetensors"), "pt") as file:
        assert "standardize" in file.metadata()["wf.preprocessing"]
    (folder / "new.csv").write_text((folder / "new.csv").read_text().rsplit("\n", 2)[0])
    other = wf("evaluate", "house", "--dataset.path", "new.csv")
    assert other.code == 2
    assert "is not evaluated: the data have changed since it began" in other.stderr


def test_a_curve_is_drawn_without_the_data(wf: Any, folder: Path) -> None:
    (folder / "line.csv").write_text("x,y\n" + "".join(f"{one},{2 * one + 0.5}\n" for one in range(20)))
    assert (
        wf("run", "--dataset", "line.csv", "--dataset.target", "y", "--epochs", 1, "--quiet", "--name", "l").code == 0
    )
    assert "runs/l/plots/predictions.svg" in wf("plot", "l").stdout
    (folder / "line.csv").unlink()
    drawn = wf("plot", "l")
    assert drawn.code == 0
    assert "predictions" not in drawn.stdout
    assert "not drawn: fitted-line, residuals, worst: no file" in drawn.stderr


# Results that programs read

NOISY = """
import atexit, os, sys
from torch import nn
from wf import Component, hookimpl

def noise(where):
    print("noise", where)
    os.write(1, b"noise of the descriptor\\n")
    os.system("echo noise of a child")
    print("noise", file=sys.__stdout__)

noise("of the module")
atexit.register(noise, "at the end")

class Net(nn.Module):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        noise("of the constructor")
        self.layer = nn.Linear(num_features, num_outputs)

    def forward(self, inputs):
        noise("of forward")
        return self.layer(inputs.flatten(1))

@hookimpl
def wf_components():
    return [Component("model", "noisy", Net)]
"""


def test_output_of_a_plugin_does_not_mix_with_results(wf: Any, wf_process: Any, folder: Path) -> None:
    (folder / "noisy.py").write_text(NOISY)
    train = ("run", "-p", "noisy.py", "--model", "noisy", "--dataset", "iris", "--quiet")
    assert wf(*train, "--epochs", 1, "--name", "x", "--json").json()["status"] == "done"
    assert wf("resume", "x", "--epochs", 2, "--quiet", "--json").json()["epochs"] == 2
    assert wf("evaluate", "x", "--json").json()["checkpoint"] == "latest"
    table = wf("predict", "x", "test")
    assert set(table.stdout.split()) <= {"setosa", "versicolor", "virginica"}, table.stdout
    assert "noise of a child" in table.stderr
    assert tomllib.loads(wf(*train, "--print-config").stdout)["model"] == {"use": "noisy"}
    assert wf("show", "-p", "noisy.py", "noisy", "--json").json()["name"] == "noisy"
    listed = wf_process("list-plugins", "-p", "noisy.py", "--json")
    assert "noisy" in {plugin["name"] for plugin in listed.json()}
    assert "noise at the end" in listed.stderr


CHECKPOINTS = {"kept": (), "best": ("--checkpoint", "best"), "latest": ("--checkpoint", "latest")}


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_a_failed_export_leaves_nothing(wf: Any, finished: Path, folder: Path, name: str) -> None:
    out = folder / "out"
    (out / name).mkdir(parents=True)
    (out / "file").write_text("")
    (out / f"y-{name}").symlink_to("elsewhere.bin")
    for place in (f"out/{name}", f"out/file/{name}"):
        result = wf("export", "done", place)
        assert result.code == 4
        assert result.stderr.startswith(f"wf: cannot write {place}: ")
    assert wf("export", "done", f"out/y-{name}").code == 0
    assert {path.name for path in out.iterdir()} == {name, "file", f"y-{name}", "elsewhere.bin"}
    assert (out / f"y-{name}").is_symlink()


def test_the_kept_checkpoint_is_the_default(wf: Any, folder: Path) -> None:
    line = ("--dataset", "iris", "--model", "linear", "--lr", "0.05", "--epochs", 3, "--keep", "best")
    own = wf("run", *line, "--monitor", "validation/loss:max", "--quiet", "--name", "x", "--json").json()["metrics"]
    found = wf("evaluate", "x", "--json").json()
    assert found["checkpoint"] == "best"
    assert found["metrics"] == {name: value for name, value in own.items() if name.startswith("test/")}
    latest = wf("evaluate", "x", "--checkpoint", "latest", "--json").json()
    assert latest["checkpoint"] == "latest"
    assert latest["metrics"] != found["metrics"]

    outputs = {name: wf("predict", "x", "test", "--json", *which).stdout for name, which in CHECKPOINTS.items()}
    assert outputs["kept"] == outputs["best"] != outputs["latest"]
    for name, which in CHECKPOINTS.items():
        assert wf("export", "x", f"{name}.pt", *which).code == 0
    kept, best, last = (torch.load(folder / f"{name}.pt") for name in CHECKPOINTS)
    model = load_model(folder / "runs/x")
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, kept[name])
        assert torch.equal(weights, best[name])
        assert not torch.equal(weights, last[name])


def test_a_run_that_found_no_best_weights_keeps_the_latest(wf: Any, folder: Path) -> None:
    assert wf("run", "--dataset", "iris", "--epochs", 0, "--keep", "best", "--quiet", "--name", "x").code == 0
    assert wf("evaluate", "x", "--json").json()["checkpoint"] == "latest"
