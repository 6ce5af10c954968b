"""Long runs: time limits, fewer checkpoints, deterministic kernels, and messages about memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import wf as package
from wf.errors import UsageError
from wf_run.parts.determinism import WORKSPACE, deterministic
from wf_run.parts.memory import remedies
from wf_run.time_limit import EXIT_CODE, TimeLimitReached, seconds_of

FEW = ("--dataset", "iris", "--model.hidden", "[4]", "--quiet")

SLOW = """\
import time

from wf import Hook


class Slow(Hook):
    def on_step_end(self, run):
        time.sleep(0.05)
"""


def manifest(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "manifest.json").read_text())
    return found


# A time limit


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90min", 5400), ("1d12h", 129600), ("0.5 s", 0.5), ("1h 30m", 5400)]
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["8", "h", "8x", "", "0s", "-1h", "8h and more", "8h,"])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="max_time must be a time, such as 8h"):
        seconds_of(text)


def test_a_run_stopped_by_max_time_resumes_to_the_same_bits(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    line = ("run", *FEW, "--steps", 40, "--eval-every", "20steps", "--hook", "slow.py:Slow")
    assert wf(*line, "--name", "whole").code == 0
    done = wf(*line, "--name", "parts", "--max-time", "0.8s")
    assert done.code == EXIT_CODE == 6
    found = manifest(tmp_path / "runs" / "parts")
    assert found["status"] == "interrupted"
    assert f"stopped after step {found['steps']}: max_time 0.8s is over" in done.stderr
    assert f"resume from step {found['steps']}: wf resume runs/parts" in done.stderr
    assert 0 < found["steps"] < 40
    while (done := wf("resume", "parts", "--max-time", "1.5s", "--quiet")).code == EXIT_CODE:
        before, found = found["steps"], manifest(tmp_path / "runs" / "parts")
        assert found["steps"] > before, done.stderr
    assert done.code == 0, done.stderr
    whole, parts = (manifest(tmp_path / "runs" / name) for name in ("whole", "parts"))
    assert parts["status"] == "done"
    assert parts["metrics"] == whole["metrics"]


def test_max_time_that_is_over_before_the_first_step_says_so(wf: Any, tmp_path: Path) -> None:
    words = "max_time 0.0001s was over before the first step of this process; set a longer --max-time"
    for line in (("run", "--dataset", "iris", "--name", "x", "--max-time", "0.0001s"), ("resume", "x")):
        done = wf(*line, "--quiet")
        assert done.code == EXIT_CODE
        assert f"stopped after step 0: {words}\n  resume from step 0: wf resume runs/x" in done.stderr
    assert manifest(tmp_path / "runs" / "x")["reason"] == f"stopped after step 0: {words}"


def test_a_run_within_max_time_ends_normally(tmp_path: Path) -> None:
    run = package.run(dataset="iris", steps=3, run_dir=tmp_path / "run", max_time="1h", quiet=True)
    assert "test/accuracy" in run.metrics
    assert manifest(tmp_path / "run")["status"] == "done"


def test_max_time_raises_time_limit_reached_in_python(tmp_path: Path) -> None:
    class Wait(package.Hook):
        def on_step_end(self, run: Any) -> None:
            torch.manual_seed(0)
            while run.stop_reason is None and not run._stop_requested:
                pass

    with pytest.raises(TimeLimitReached, match=r"stopped after step \d+: max_time 0\.05s is over") as caught:
        package.run(dataset="iris", steps=9, run_dir=tmp_path / "run", max_time="0.05s", hook=[Wait()], quiet=True)
    assert caught.value.exit_code == EXIT_CODE


def test_an_invalid_max_time_is_refused_with_its_line(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('epochs = 1\nmax_time = "8"\n')
    done = wf("run", "run.toml", *FEW, "--dry-run")
    assert done.code == 2
    assert "wf: run.toml:2: max_time must be a time, such as 8h, 90min, 1d12h or 30s, not '8'" in done.stderr


# Checkpoints


def test_keep_checkpoints(wf: Any, tmp_path: Path) -> None:
    line = ("run", *FEW, "--steps", 12, "--checkpoint-every", "2steps")
    assert wf(*line, "--name", "four", "--keep-checkpoints", 4, "--checkpointer.keep_last", 1).code == 0
    kept = sorted(path.name for path in (tmp_path / "runs" / "four" / "checkpoints").glob("step-*"))
    assert kept == ["step-00000006", "step-00000008", "step-00000010", "step-00000012"]
    assert "keep_checkpoints = 4" in (tmp_path / "runs" / "four" / "run.toml").read_text()
    refused = wf(*line, "--keep-checkpoints", 0)
    assert (refused.code, "keep_checkpoints is 0; at least 1" in refused.stderr) == (2, True)
    dry = wf("run", *FEW, "--keep-checkpoints", 3, "--max-time", "1h", "--deterministic", "--dry-run")
    assert (dry.code, "nothing in this run takes it" in dry.stderr) == (0, False)
    plain = wf("run", *FEW, "--print-config").stdout
    assert not [word for word in ("keep_checkpoints", "max_time", "deterministic") if word in plain]


# Deterministic kernels


def test_deterministic_algorithms_are_on_during_the_run_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    seen = []

    class Look(package.Hook):
        def on_step_end(self, run: Any) -> None:
            seen.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic))

    settings = {"dataset": "iris", "steps": 2, "hook": [Look()], "quiet": True}
    package.run(**settings, run_dir=tmp_path / "a", deterministic=True)
    assert manifest(tmp_path / "a")["determinism"]["deterministic_algorithms"] is True
    package.run(**settings, run_dir=tmp_path / "b")
    assert manifest(tmp_path / "b")["determinism"]["deterministic_algorithms"] is False
    assert seen == [(True, True)] * 2 + [(False, False)] * 2
    assert os.environ[WORKSPACE] == ":4096:8"


def test_a_users_deterministic_setting_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with deterministic(on=True):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_operation_without_a_deterministic_form_is_refused(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_features: int, num_outputs: int):\n"
        "        super().__init__(num_features, num_outputs)\n\n"
        "    def forward(self, inputs):\n"
        "        inputs = inputs.clone().put_(torch.tensor([0]), torch.tensor([1.0]))\n"
        "        return super().forward(inputs)\n"
    )
    line = ("run", "--dataset", "iris", "--model", "net.py:Net", "--steps", 2, "--quiet")
    assert wf(*line).code == 0
    done = wf(*line, "--deterministic")
    assert done.code != 0
    assert "put_ does not have a deterministic implementation" in done.stderr
    assert "replace it, or omit --deterministic" in done.stderr


# Memory


def raise_(error: BaseException) -> None:
    raise error


PLAN = {"batch_size": 64, "accumulate": 2, "precision": "fp32"}
LOOP = SimpleNamespace(progress=SimpleNamespace(step=11), trainer=SimpleNamespace(train_step=raise_), evaluator=None)
CUDA_TEXT = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.80 GiB"


def words(error: BaseException, device: str = "cpu", options: tuple[str, ...] = (), **plan: Any) -> str:
    with pytest.raises(type(error)):
        LOOP.trainer.train_step(error)
    return remedies(error, {**PLAN, **plan}, LOOP, torch.device(device), options)  # type: ignore[arg-type]  # what it reads


def test_out_of_memory_on_a_device_lists_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**28, 139 * 2**30))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 130 * 2**30)
    found = words(torch.OutOfMemoryError(CUDA_TEXT), "cuda:0", ("width", "gradient_checkpointing")).splitlines()
    assert found[0] == "out of memory in step 12: batch_size 64, accumulate 2, precision fp32"
    assert found[1] == (
        "  2.5 GiB were asked for; cuda:0 has 139 GiB, of which 256 MiB are free; "
        "the run's tensors took at most 130 GiB"
    )
    assert found[2] == "  the same update in smaller parts: --batch-size 32 --accumulate 4"
    assert "--precision bf16" in found[3]
    assert "--model.gradient_checkpointing" in found[4]


def test_remedies_follow_the_settings() -> None:
    assert "nearly the same update in smaller parts: --batch-size 3 --accumulate 2" in words(
        MemoryError(), batch_size=7, accumulate=1
    )
    assert "--batch-size 32" in words(MemoryError(), batch_size="full", accumulate=1)
    assert "--batch-size" not in words(MemoryError(), batch_size=1)
    assert "--precision" not in words(MemoryError())
    assert "--precision" not in words(MemoryError(), "cuda:0", precision="bf16")
    assert "torch.utils.checkpoint" in words(MemoryError())


@pytest.mark.parametrize(
    ("raised", "figure"),
    [
        ("torch.empty(2**45)", "131,072 GiB were asked for"),
        (f"raise_(torch.OutOfMemoryError({CUDA_TEXT!r}))", "2.5 GiB were asked for"),
        ("raise_(MemoryError())", "the same update"),
    ],
)
def test_out_of_memory_is_reported_with_its_place(wf: Any, tmp_path: Path, raised: str, figure: str) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def raise_(error):\n    raise error\n\n\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_features: int, num_outputs: int, training_step: int = 0):\n"
        "        super().__init__(num_features, num_outputs)\n"
        "        self.count, self.last = 0, training_step\n\n"
        "    def forward(self, inputs):\n"
        "        self.count += self.training\n"
        "        if self.count == 4 and self.training == bool(self.last):\n"
        f"            {raised}\n"
        "        return super().forward(inputs)\n"
    )
    line = ("run", "--dataset", "iris", "--model", "net.py:Net", "--epochs", 2, "--quiet", "--name")
    done = wf(*line, "a", "--model.training_step", 1)
    assert done.code == 1
    assert "out of memory in step 4: batch_size 32, accumulate 1, precision fp32" in done.stderr
    assert figure in done.stderr
    assert "--batch-size 16 --accumulate 2" in done.stderr
    assert manifest(tmp_path / "runs" / "a")["reason"].startswith("out of memory: ")
    done = wf(*line, "b")
    assert "out of memory in the evaluation after step 4" in done.stderr
    assert "--evaluator.batch_size N" in done.stderr
