"""The device of a run."""

from __future__ import annotations

import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch

import wf as wf_package
from wf.errors import UsageError
from wf_run.api import reopen
from wf_run.parts import device


class Chosen(nullcontext[None]):
    """Takes the place of `torch.accelerator.device_index` on a machine without accelerators."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index


@pytest.mark.parametrize(("name", "index"), [("cuda:1", 1), ("cuda", None), ("cpu", None), ("cpu:0", None)])
def test_a_device_with_a_number_is_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str, index: int | None
) -> None:
    """Otherwise a graph of cuda:1 would be captured on cuda:0, and an evaluation would change the draws of training."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_index", Chosen)
    assert getattr(device.current(torch.device(name)), "index", None) == index


def test_a_machine_without_accelerators_has_no_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    assert isinstance(device.current(torch.device("cpu", 0)), nullcontext)


def test_a_finished_run_is_used_on_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model from a machine with a GPU is evaluated on one without; to train it there needs the device by name."""
    monkeypatch.chdir(tmp_path)
    with wf_package.run(dataset="iris", epochs=1, name="far", quiet=True, device="cpu", seed=0) as run:
        expected = run.evaluate("test")
    file = tmp_path / "runs/far/run.toml"
    text = file.read_text(encoding="utf-8")
    assert 'device = "cpu"' in text
    file.write_text(text.replace('device = "cpu"', 'device = "cuda:77"'), encoding="utf-8")
    with reopen("runs/far") as again:
        assert again.evaluate("test") == pytest.approx(expected, rel=1e-4)
    assert "device 'cuda:77' of the run is not there: " in caplog.text
    caplog.clear()
    opened = wf_package.load_model("runs/far").eval()
    assert "device 'cuda:77' of the run is not there: " in caplog.text
    assert opened.model is not None
    with pytest.raises(UsageError, match="device 'cuda:77' is not there"):
        reopen("runs/far", None)


@pytest.fixture
def far(wf: Any, finished: Path) -> Path:
    """A run that was trained on a device of another machine."""
    file = finished / "run.toml"
    text = file.read_text(encoding="utf-8")
    for before, now in (('device = "auto"', 'device = "cuda:77"'), ('serve_from = "auto"', 'serve_from = "device"')):
        assert before in text
        text = text.replace(before, now)
    file.write_text(text, encoding="utf-8")
    return finished


USES = (("evaluate", "done"), ("predict", "done", "test"), ("predict", "done", "one.npz"), ("export", "done", "x.pt2"))


@pytest.mark.parametrize("line", [*USES, ("plot", "done", "--plot", "confusion", "--terminal")])
def test_a_finished_run_is_used_on_a_device_by_name(wf: Any, far: Path, folder: Path, line: tuple[str, ...]) -> None:
    np.savez(folder / "one.npz", x=np.zeros((1, 8, 8), dtype=np.float32))
    named = wf(*line, "--device", "cpu")
    assert (named.code, named.stderr) == (0, ""), "it is used as asked, and nothing is compared with made-up samples"
    default = wf(*line)
    assert default.code == 0
    assert default.stderr == "wf: warning: device 'cuda:77' of the run is not there: cpu is used\n"
    assert default.stdout == named.stdout


@pytest.mark.parametrize("line", [*USES, ("plot", "done"), ("serve", "done", "--port", "0")])
def test_a_device_that_is_not_there_is_refused_as_by_a_run(
    wf: Any, finished: Path, folder: Path, line: tuple[str, ...]
) -> None:
    if line[0] == "serve":
        pytest.importorskip("wf_serve")
    np.savez(folder / "one.npz", x=np.zeros((1, 8, 8), dtype=np.float32))
    for name in ("cuda:77", "gpu"):
        trained = wf("run", "--device", name)
        found = wf(*line, "--device", name)
        assert (found.code, found.stderr) == (trained.code, trained.stderr)
        assert found.code == 2
    assert not (folder / "x.pt2").exists()


def test_a_bundle_and_python_take_a_device(wf: Any, far: Path) -> None:
    given = torch.zeros(2, 1, 8, 8)
    own = wf_package.load_model(far, device="cpu")
    assert torch.equal(own(given), wf_package.load_model(far / "bundle", device="cpu")(given))
    for place in (far, far / "bundle"):
        with pytest.raises(UsageError, match="device 'cuda:78' is not there"):
            wf_package.load_model(place, device="cuda:78")
    with pytest.raises(UsageError, match="device 'cuda:78' is not there"):
        reopen(far, device="cuda:78")


def test_what_draws_no_model_takes_no_device(wf: Any, finished: Path, folder: Path) -> None:
    assert "leave out --device" in wf("export", "done", "--to", "script", "--device", "cpu").stderr


def test_a_run_of_captured_graphs_is_used_without_cuda(wf: Any, folder: Path) -> None:
    """Evaluating, predicting, drawing and exporting capture nothing; only training needs the device."""
    assert wf("run", "--epochs", 1, "--quiet", "--name", "g").code == 0
    np.savez(folder / "one.npz", x=np.zeros((1, 8, 8), dtype=np.float32))
    lines = [("evaluate", "g"), ("predict", "g", "test"), ("predict", "g", "one.npz"), ("export", "g", "x.pt2")]
    lines.append(("plot", "g", "--plot", "confusion", "--terminal"))
    expected = [wf(*line).stdout for line in lines]
    file = folder / "runs/g/run.toml"
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    document["trainer"] = {"use": "graphed"}
    file.write_text(tomli_w.dumps(document), encoding="utf-8")
    for line, before in zip(lines, expected, strict=True):
        found = wf(*line)
        assert (found.code, found.stdout, found.stderr) == (0, before, "")
    refused = wf("replay", "g")
    assert refused.code == 2
    assert "trainer 'graphed' captures CUDA graphs, but the device is cpu" in refused.stderr
