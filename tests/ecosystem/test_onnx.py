"""``wf export --to onnx``: onnxruntime computes the outputs of the model from the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import wf as wf_package
from wf_run.api import load_model

RUNS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "iris": ({"dataset": "iris", "model": "linear"}, (4,)),
    "images": ({"dataset": "digits", "model": "lenet", "transform": ["standardize"]}, (1, 8, 8)),
}


@pytest.mark.parametrize("name", RUNS)
def test_an_onnx_file_gives_the_outputs_of_the_model(
    wf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings, shape = RUNS[name]
    wf_package.run(epochs=1, batch_size=256, name=name, quiet=True, **settings)
    result = wf("export", name, "--to", "onnx", "--json")
    assert result.code == 0, result.stderr
    said = result.json()
    assert said["difference"]["largest"] < 1e-4
    raw = torch.randn(7, *shape, generator=torch.Generator().manual_seed(1))
    names: dict[str, Any] = {"inputs": raw.numpy()}
    exec("\n".join(said["use"]), names)
    expected = load_model(name)(raw).detach().numpy()
    assert np.allclose(names["outputs"], expected, atol=1e-4)
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    assert np.allclose(session.run(None, {"inputs": raw[:1].numpy()})[0], expected[:1], atol=1e-4)
    metadata = {one.key: one.value for one in onnx.load(f"{name}.onnx").metadata_props}
    assert len(json.loads(metadata["wf.outputs"])["class_names"]) == expected.shape[1]


def test_options_and_texts_of_any_length(wf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ("a good film,praise", "what a bad and very dull film,blame", "a book,praise", "a poor book,blame")
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(texts * 5) + "\n")
    data = {"use": "texts", "path": "t.csv"}
    wf_package.run(dataset=data, model={"use": "text-encoder", "layers": 1, "width": 8}, epochs=1, name="r", quiet=True)
    result = wf("export", "r", "r.onnx", "--exporter.opset", 18, "--exporter.precision", "float16")
    assert result.code == 0, result.stderr
    assert not result.stderr
    assert {one.domain: one.version for one in onnx.load("r.onnx").opset_import}[""] == 18
    session = onnxruntime.InferenceSession("r.onnx")
    for length in (3, 12):
        tokens = torch.randint(0, 5, (2, length))
        given = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        found = session.run(None, {name: leaf.numpy() for name, leaf in given.items()})[0]
        assert np.allclose(found, load_model("r")(given).detach().numpy(), atol=0.02)
    refused = wf("export", "r", "old.onnx", "--exporter.opset", 3)
    assert refused.code == 2
    assert refused.stderr.startswith("wf: torch cannot write this model with opset 3, but with ")
