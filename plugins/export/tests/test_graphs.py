"""``wf export --to pt2``, ``safetensors`` and ``state-dict``; ONNX is tested in tests/ecosystem."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wf as wf_package
from wf_run.api import load_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def iris(folder: Path) -> Path:
    wf_package.run(dataset="iris", model="linear", epochs=1, name="iris", quiet=True)
    return folder


def test_a_graph_takes_raw_inputs(wf: Any, iris: Path) -> None:
    result = wf("export", "iris", "--to", "pt2")
    assert result.code == 0, result.stderr
    for words in ("standardize: in the graph", "on 21 samples of the test split", "sepal length (cm), sepal width"):
        assert words in result.stdout
    extra = {"wf.outputs": "", "wf.inputs": ""}
    module = torch.export.load(iris / "iris.pt2", extra_files=extra).module()
    raw = torch.tensor([[5.1, 3.5, 1.4, 0.2]]).repeat(5, 1)
    for num in (1, 5):
        assert torch.allclose(module(raw[:num]), load_model("iris")(raw[:num]))
    assert json.loads(extra["wf.outputs"])["class_names"] == ["setosa", "versicolor", "virginica"]
    assert json.loads(extra["wf.inputs"])[0]["columns"][3] == "petal width (cm)"


OWN = """
import numpy
from wf import Component, hookimpl
from wf_export.traits import ExporterTraits

class Npz:
    in_graph = False

    def write(self, source, file):
        with file.open("wb") as stream:
            numpy.savez(stream, **{name: value.numpy() for name, value in source.network.model.state_dict().items()})
        return "arrays"

    def outputs(self, source, file):
        return None

    def use(self, source, file):
        return ["import numpy"]

@hookimpl
def wf_components():
    names = (("npz", (".npz",)), ("other-weights", (".pt",)))
    return [Component("exporter", name, Npz, "for NumPy", traits=ExporterTraits(endings=ends)) for name, ends in names]
"""


def test_a_third_party_plugin_adds_a_format(wf: Any, iris: Path) -> None:
    (iris / "own.py").write_text(OWN)
    assert wf("export", "iris", "w.npz", "-p", "own.py").stdout.startswith("w.npz: arrays\n")
    assert wf("export", "iris", "--to", "npz", "-p", "own.py").code == 0
    weights = np.load(iris / "iris.npz")
    assert np.array_equal(weights[weights.files[0]], next(load_model("iris").model.parameters()).detach().numpy())
    refused = wf("export", "iris", "--to", "npz")
    assert refused.code == 2
    assert "unknown format 'npz'" in refused.stderr
    refused = wf("export", "iris", "w.pt", "-p", "own.py")
    assert refused.code == 2
    assert "several formats have this ending: " in refused.stderr
    assert wf("export", "iris", "w.pt", "--to", "other-weights", "-p", "own.py").code == 0
    assert wf("export", "iris", "w.onnx", "--to", "pt2").code == 2


def test_the_printed_usage_example_runs(wf: Any, iris: Path) -> None:
    found = wf("export", "iris", "x.pt2", "--json").json()
    assert found["inputs"][0]["shape"] == [4]
    assert found["difference"]["largest"] < 1e-5
    names: dict[str, Any] = {"inputs": torch.zeros(2, 4)}
    exec("\n".join(found["use"]), names)
    assert names["outputs"].shape == (2, 3)


def test_an_export_without_data_gives_targets_in_their_units(wf: Any, folder: Path) -> None:
    (folder / "t.csv").write_text("a,b,y\n" + "".join(f"{n},{n % 7},{100 * n + 5}\n" for n in range(40)))
    table = {"use": "csv", "path": "t.csv", "target": "y"}
    steps = ["standardize", "standardize-targets"]
    wf_package.run(dataset=table, model="linear", transform=steps, epochs=1, name="r", quiet=True)
    (folder / "t.csv").unlink()
    result = wf("export", "r", "r.pt2")
    assert result.code == 0
    assert "on 4 samples that are made up" in result.stdout
    assert "compared on made-up samples, because the data are missing" in result.stderr
    raw = torch.tensor([[3.0, 4.0], [30.0, 1.0]])
    assert torch.allclose(torch.export.load(folder / "r.pt2").module()(raw), load_model("r")(raw))


@pytest.mark.exhaustive
def test_inputs_of_several_tensors(wf: Any, folder: Path) -> None:
    rows = "".join(f"{n},{'red' if n % 2 else 'blue'},{'x' if n % 3 else 'y'}\n" for n in range(40))
    (folder / "t.csv").write_text(f"a,c,y\n{rows}")
    table = {"use": "csv", "path": "t.csv", "target": "y", "embed": ["c"]}
    wf_package.run(dataset=table, model="tabular", epochs=1, name="r", quiet=True)
    assert wf("export", "r", "r.pt2").code == 0
    raw = {"numbers": torch.tensor([[3.0], [4.0], [5.0]]), "categories": torch.tensor([[0], [1], [2]])}
    assert torch.allclose(torch.export.load(folder / "r.pt2").module()(raw), load_model("r")(raw))


def test_texts_of_any_length(wf: Any, folder: Path) -> None:
    texts = ("a good film,praise", "what a bad and very dull film,blame", "a book,praise", "a poor book,blame")
    (folder / "t.csv").write_text("text,label\n" + "\n".join(texts * 5) + "\n")
    data = {"use": "texts", "path": "t.csv"}
    model = {"use": "text-encoder", "layers": 1, "width": 8}
    wf_package.run(dataset=data, model=model, epochs=1, name="r", quiet=True)
    result = wf("export", "r", "r.pt2", "--json")
    assert result.code == 0, result.stderr
    assert result.json()["difference"]["of"] == "of the test split"
    for length in (3, 12):
        tokens = torch.randint(0, 5, (2, length))
        given = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        names: dict[str, Any] = dict(given)
        exec("\n".join(result.json()["use"]), names)
        assert torch.allclose(names["outputs"], load_model("r")(given), atol=1e-5)


def test_options_of_a_format(wf: Any, iris: Path) -> None:
    result = wf("export", "iris", "--to", "pt2", "--exporter.batch_size", 8, "--exporter.precision", "bfloat16")
    assert result.code == 0, result.stderr
    assert "inputs float32 [8, 4]: sepal" in result.stdout
    assert "on 16 samples of the test split" in result.stdout
    module = torch.export.load(iris / "iris.pt2").module()
    raw = torch.tensor([[5.1, 3.5, 1.4, 0.2]]).repeat(8, 1)
    expected = load_model("iris")(raw)
    assert module(raw).dtype == torch.float32
    assert 0 < float((module(raw) - expected).detach().abs().max()) < 0.1
    for options, words in (
        (("--exporter.batch_sise", 8), "unknown option 'batch_sise' of exporter 'pt2'"),
        (("--exporter.batch_size", 0), "batch_size is 0; it must be at least 1"),
        (("--exporter.precision", "int8"), "unknown precision 'int8' of exporter 'pt2'"),
        (("--model.width", 8), "unknown option '--model.width'"),
    ):
        refused = wf("export", "iris", "other.pt2", *options)
        assert refused.code == 2
        assert words in refused.stderr
    assert not (iris / "other.pt2").exists()
    assert "--exporter.batch_size  int or null" in wf("show", "exporter", "pt2").stdout


def test_options_of_a_format_are_completed(wf: Any, iris: Path) -> None:
    for line in ("wf export iris --to pt2 --exporter.b", "wf export iris x.pt2 --exporter.b"):
        complete = {"_WF_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        assert wf(env=complete).stdout.splitlines() == ["plain,--exporter.batch_size"]


def test_exported_weights_carry_metadata(wf: Any, iris: Path) -> None:
    from safetensors import safe_open

    assert wf("export", "iris", "--to", "safetensors").code == 0
    assert wf("export", "iris", "w.bin", "--to", "state-dict").code == 0
    with safe_open(str(iris / "iris.safetensors"), "pt") as file:
        said = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    assert json.loads(said["wf.outputs"])["class_names"] == ["setosa", "versicolor", "virginica"]
    assert json.loads(said["wf.preprocessing"])[0]["use"] == "standardize"
    assert all(torch.equal(tensor, weights[name]) for name, tensor in torch.load(iris / "w.bin").items())


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is not None, reason="the libraries are here")
def test_missing_libraries_of_onnx_are_named(wf: Any, iris: Path) -> None:
    result = wf("export", "iris", "--to", "onnx")
    assert (result.code, result.stdout) == (2, "")
    assert "--to onnx needs onnx, onnxscript, onnxruntime, which are not installed" in result.stderr
    assert "--to pt2" in result.stderr
    assert not (iris / "iris.onnx").exists()


def test_models_that_torch_cannot_trace_are_refused_with_the_reason(wf: Any, folder: Path) -> None:
    (folder / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, num_features: int, num_outputs: int) -> None:\n"
        "        super().__init__()\n        self.one = nn.Linear(num_features, num_outputs)\n\n"
        "    def forward(self, x):\n        return self.one(x) if float(x.sum()) > 0 else self.one(-x)\n"
    )
    assert wf("run", "--dataset", "iris", "--model", "net.py:Net", "--epochs", 1, "--name", "own", "--quiet").code == 0
    before = sorted(path.name for path in folder.iterdir())
    result = wf("export", "own", "--to", "pt2")
    assert (result.code, result.stdout) == (2, "")
    assert "torch cannot write this model as pt2" in result.stderr
    assert "--to safetensors" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == before
