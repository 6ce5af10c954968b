"""The device of a run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import wf
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
    with wf.run(dataset="iris", epochs=1, name="far", quiet=True, device="cpu", seed=0) as run:
        expected = run.evaluate("test")
    file = tmp_path / "runs/far/run.toml"
    text = file.read_text(encoding="utf-8")
    assert 'device = "cpu"' in text
    file.write_text(text.replace('device = "cpu"', 'device = "cuda:77"'), encoding="utf-8")
    with reopen("runs/far") as again:
        assert again.evaluate("test") == pytest.approx(expected, rel=1e-4)
    assert "device 'cuda:77' of the run is not there: " in caplog.text
    caplog.clear()
    opened = wf.load_model("runs/far").eval()
    assert "device 'cuda:77' of the run is not there: " in caplog.text
    assert opened.model is not None
    with pytest.raises(UsageError, match="device 'cuda:77' is not there"):
        reopen("runs/far", None)
