"""A stopped and resumed run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from runs import checkpoints, manifest, records, weights

from wf.registry import Registry

STOP_AFTER = '''
import os, signal
from wf import Hook

class StopAfter(Hook):
    """Sends this process a signal, once at each of its steps."""

    def on_step_end(self, run) -> None:
        if run.progress.step in STEPS and not os.path.exists(f"stopped-{run.progress.step}"):
            open(f"stopped-{run.progress.step}", "w").close()
            os.kill(os.getpid(), signal.NAME)
'''

RUNS: dict[str, tuple[Any, ...]] = {
    "no shuffling": ("--batch-size", 100, "--epochs", 4, "--no-shuffle"),
    "dropout": ("--batch-size", 100, "--epochs", 4, "--model.dropout", 0.3, "--optimizer", "adamw"),
    "augmentation": (
        *("--batch-size", 200, "--epochs", 3, "--model", "cnn", "--model.channels", "[4]", "--model.dropout", 0.2),
        *("--transform", "standardize", "--transform", "flip", "--transform", "crop", "--optimizer", "rmsprop"),
    ),
    "accumulation": (
        *("--batch-size", 25, "--accumulate", 4, "--epochs", 4, "--model.dropout", 0.3, "--loss", "weighted-ce"),
        *("--hook", "+gradient-clip", "--optimizer", "adam", "--optimizer.fused", "true"),
    ),
    "fp16": (
        *("--batch-size", 50, "--accumulate", 2, "--precision", "fp16", "--epochs", 4, "--model.dropout", 0.3),
        *("--scheduler", "onecycle", "--loss.reduction", "sum", "--model.hidden", "[16]"),
    ),
    "onecycle": ("--batch-size", 100, "--epochs", 4, "--optimizer", "sgd", "--scheduler", "onecycle"),
    "multistep": (
        *("--batch-size", 100, "--epochs", 4, "--scheduler", "multistep", "--scheduler.milestones", "[1, 3]"),
        *("--optimizer", "sgd", "--optimizer.momentum", 0.9),
    ),
    "warmup": (
        *("--batch-size", 100, "--epochs", 4, "--scheduler", "linear-warmup", "--scheduler.num_steps", 20),
        *("--scheduler.then", "cosine"),
    ),
    "plateau": (
        *("--batch-size", 100, "--epochs", 4, "--scheduler", "plateau", "--scheduler.patience", 0),
        *("--scheduler.threshold", 0.5, "--eval-every", "5steps"),
    ),
    "early stopping": (
        *("--batch-size", 100, "--epochs", 50, "--lr", 3e-2, "--hook", "+early-stopping"),
        *("--hook.early-stopping.patience", 3, "--hook.early-stopping.min_delta", 0.05),
    ),
    "segmentation": (
        *("--dataset", "shapes", "--dataset.num_samples", 74, "--dataset.image_size", 8, "--batch-size", 4),
        *("--epochs", 3, "--model.channels", "[4, 8]", "--trainer.channels_last", "true"),
    ),
    "multilabel": ("--dataset", "digits-multilabel", "--batch-size", 100, "--epochs", 3),
    "text": ("--dataset", "authors", "--batch-size", 114, "--epochs", 3, "--model.hidden_size", 16),
    "best weights": ("--batch-size", 100, "--epochs", 4, "--lr", 5e-2, "--keep", "best"),
    **{
        f"{name} optimizer": (
            *("-p", Path(__file__).with_name("step_protocols.py"), "--batch-size", 100, "--epochs", 4),
            *("--model.dropout", 0.3, "--optimizer", name),
        )
        for name in ("closure", "two-step", "create-graph", "modes", "of-model", "of-groups")
    },
    "frozen backbone": (
        *("--model", "cnn", "--model.channels", "[4]", "--model.dropout", 0.2, "--trainer.freeze", "backbone"),
        *("--batch-size", 100, "--epochs", 4),
    ),
}


RUNS["hooks"] = (
    *("--batch-size", 100, "--epochs", 4, "--lr", 5e-2, "--hook", "+early-stopping", "--hook", "+gradient-clip"),
    *(
        "--hook",
        "+stats",
        "--hook.stats.every",
        3,
        "--hook",
        "+plots",
        "--plot",
        "confusion",
        "--hook",
        "+tensorboard",
        "--keep",
        "best",
        "--monitor",
        "validation/accuracy",
    ),
)

RUNS["every plot"] = ("--batch-size", 100, "--epochs", 4, "--hook", "+plots")

DATASET = """
import torch
from wf_base import Dataset


class Noisy(torch.utils.data.Dataset):
    def __init__(self, num_samples):
        self.num_samples = num_samples
        self.generator = torch.Generator().manual_seed(3)

    def __len__(self):
        return self.num_samples

    def __getitem__(self, index):
        value = index / self.num_samples
        return torch.tensor([value]) + 0.1 * torch.rand(1, generator=self.generator), value

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


def noisy(num_samples: int = 100) -> Dataset:
    return Dataset(train=Noisy(num_samples), targets="real")
"""


def stop_after(folder: Path, *steps: int, name: str = "SIGTERM") -> tuple[str, ...]:
    """Options for a signal after each of these steps; each signal is sent only once in that folder."""
    (folder / "stop_after.py").write_text(STOP_AFTER.replace("STEPS", str(steps)).replace("NAME", name))
    return "--hook", "+stop_after.py:StopAfter"


def assert_same(run: Path, expected: Path) -> None:
    assert (run / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    ours, theirs = weights(run), weights(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    last, other = checkpoints(run)[-1], checkpoints(expected)[-1]
    assert last.name == other.name
    assert (last / "tensors.safetensors").read_bytes() == (other / "tensors.safetensors").read_bytes()
    for key in ("status", "reason", "epochs", "steps", "metrics"):
        assert manifest(run)[key] == manifest(expected)[key]


SAMPLE = ("dropout", "augmentation", "accumulation", "fp16", "warmup", "plateau", "early stopping", "hooks")
SAMPLE += ("of-model optimizer",)


@pytest.mark.parametrize(
    "case", [case if case in SAMPLE else pytest.param(case, marks=pytest.mark.exhaustive) for case in RUNS]
)
def test_a_stopped_and_resumed_run_has_the_same_bits(wf: Any, tmp_path: Path, case: str) -> None:
    """Stopped in the middle of an epoch, and again at the end of one."""
    steps_per_epoch = 7 if case == "augmentation" else 13
    stops = steps_per_epoch + 4, 2 * steps_per_epoch
    common = ("--log-every", 5, *RUNS[case], *stop_after(tmp_path, *stops), "--quiet")
    run = tmp_path / "runs" / "halted"
    for step, line in zip(stops, (("run", *common, "--name", "halted"), ("resume", "halted", "--quiet")), strict=True):
        stopped = wf(*line)
        assert stopped.code == 143, stopped.stderr
        assert manifest(run)["status"] == "interrupted"
        assert checkpoints(run)[-1].name == f"step-{step:08d}"
    straight = wf("run", *common, "--name", "straight")
    assert straight.code == 0, straight.stderr
    resumed = wf("resume", "halted", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert resumed.stdout.replace("halted", "straight") == straight.stdout
    assert_same(run, tmp_path / "runs" / "straight")


def test_sigint_saves_a_checkpoint_without_evaluating(wf: Any, tmp_path: Path) -> None:
    stopped = wf("run", *stop_after(tmp_path, 20, name="SIGINT"), "--name", "halted", "--quiet")
    assert (stopped.code, stopped.stdout) == (130, "")
    assert "SIGINT" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert checkpoints(tmp_path / "runs" / "halted")[-1].name == "step-00000020"
    last = records(tmp_path / "runs" / "halted")[-1]
    assert last["event"] == "train", "a stopped run went on to evaluate"
    assert wf("resume", "halted", "--quiet").code == 0


def test_a_killed_and_resumed_run_has_the_same_bits(wf: Any, tmp_path: Path) -> None:
    """After kill -9 the run resumes from its last checkpoint, within an epoch."""
    hook = stop_after(tmp_path, 30, name="SIGKILL")
    plan = ("--batch-size", 100, "--epochs", 4, "--model.dropout", 0.3, "--checkpoint-every", "4steps", "--quiet")
    assert wf("run", *plan, *hook, "--name", "killed").code == -signal.SIGKILL
    run = tmp_path / "runs" / "killed"
    assert manifest(run)["status"] == "running"
    newest = checkpoints(run)[-1].name
    assert newest in ("step-00000024", "step-00000028"), "more than the checkpoint being written was lost"
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"event": "train", "cut off')
    assert wf("run", *plan, *hook, "--name", "straight").code == 0
    assert wf("resume", "killed", "--quiet").code == 0
    assert_same(run, tmp_path / "runs" / "straight")


PICTURES = """
import torch
from wf_base import Dataset


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 96

    def __getitem__(self, index):
        return torch.rand(1, 8, 8), index % 3


def pictures() -> Dataset:
    return Dataset(train=Pictures(), targets="class_index", class_names=("a", "b", "c"))
"""
"""Samples that are read one by one, each with draws of its own."""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_and_resumed_run_with_mixed_samples_has_the_same_bits(wf: Any, tmp_path: Path, workers: int) -> None:
    (tmp_path / "pictures.py").write_text(PICTURES)
    plan: tuple[Any, ...] = ("--dataset", "pictures.py:pictures", "--batch-size", 5, "--accumulate", 2, "--epochs", 2)
    plan += ("--transform", "mixup", "--transform", "cutmix", "--transform", "flip", "--workers", workers)
    plan += ("--checkpoint-every", "2steps", "--quiet", *stop_after(tmp_path, 5, name="SIGKILL"))
    assert wf("run", *plan, "--name", "killed").code == -signal.SIGKILL
    assert checkpoints(tmp_path / "runs" / "killed")[-1].name in ("step-00000002", "step-00000004")
    assert wf("run", *plan, "--name", "straight").code == 0
    assert manifest(tmp_path / "runs" / "straight")["steps"] == 14, "step 5 has to be within an epoch"
    assert wf("resume", "killed", "--quiet").code == 0
    assert_same(tmp_path / "runs" / "killed", tmp_path / "runs" / "straight")


IN_THE_END = """
import os, signal


class InTheEnd:
    def on_evaluation_end(self, run, split, metrics):
        if run.finished and split == "train" and not os.path.exists("sent"):
            open("sent", "w").close()
            os.kill(os.getpid(), signal.NAME)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_run_ended_by_early_stopping_is_not_trained_further(wf: Any, tmp_path: Path, name: str) -> None:
    """Killed in its final evaluation, its checkpoint knows that it ended; --epochs trains it further."""
    (tmp_path / "end.py").write_text(IN_THE_END.replace("NAME", name))
    plan = ("--dataset", "iris", "--epochs", 40, "--lr", 0.05, "--model.dropout", 0.2, "--hook", "+early-stopping")
    plan += ("--hook.early-stopping.patience", 2, "--hook", "+end.py:InTheEnd", "--quiet")
    assert wf("run", *plan, "--name", "halted").code in (-signal.SIGKILL, 143)
    assert wf("run", *plan, "--name", "straight").code == 0
    run, straight = tmp_path / "runs" / "halted", tmp_path / "runs" / "straight"
    resumed = wf("resume", "halted", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert_same(run, straight)
    assert "has not improved" in manifest(run)["reason"]
    step = manifest(run)["steps"]
    longer = wf("resume", "halted", "--epochs", 40)
    assert longer.code == 0, longer.stderr
    assert f"it continues training from step {step}" in longer.stderr
    assert manifest(run)["steps"] > step
    assert manifest(run)["trains_on_from"] == step


def test_a_run_killed_before_its_first_checkpoint_starts_over(wf: Any, tmp_path: Path) -> None:
    """Without a checkpoint it starts over, and drops the records of the repeated steps."""
    hook = stop_after(tmp_path, 3, name="SIGKILL")
    plan = ("--batch-size", 100, "--epochs", 2, "--model.dropout", 0.3, "--log-every", 1, "--quiet")
    assert wf("run", *plan, *hook, "--name", "killed").code == -signal.SIGKILL
    assert records(tmp_path / "runs" / "killed")
    assert wf("run", *plan, *hook, "--name", "straight").code == 0
    resumed = wf("resume", "killed", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert "ended before its first one; it starts over" in resumed.stderr
    assert_same(tmp_path / "runs" / "killed", tmp_path / "runs" / "straight")


def test_a_run_failed_before_its_first_checkpoint_starts_over(wf: Any, tmp_path: Path) -> None:
    """Under the current conditions, and with its initial weights."""
    (tmp_path / "net.py").write_text(FAILING_NET)
    plan = ("--dataset", "iris", "--epochs", 2, "--quiet")
    assert wf("run", *plan, "--model", "net.py:Net", "--name", "first").code == 0
    run = ("run", *plan, "--model", "net.py:Net", "--init-from", "first")
    (tmp_path / "fail").touch()
    assert wf(*run, "--name", "failed").code == 1
    (tmp_path / "fail").unlink()
    (tmp_path / "net.py").write_text(FAILING_NET + "# mended")
    resumed = wf("resume", "failed", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert "it starts over under the current conditions" in resumed.stderr
    assert wf(*run, "--name", "straight").code == 0
    assert_same(tmp_path / "runs" / "failed", tmp_path / "runs" / "straight")
    assert manifest(tmp_path / "runs" / "failed")["init_from"] == manifest(tmp_path / "runs" / "straight")["init_from"]


FAILING_NET = """
import os
from torch import nn


class Net(nn.Linear):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__(num_features, num_outputs)

    def forward(self, inputs):
        if self.training and os.path.exists("fail"):
            raise RuntimeError("not now")
        return super().forward(inputs)
"""


def test_resume_if_there_repeats_the_same_command(wf: Any, tmp_path: Path) -> None:
    hook = stop_after(tmp_path, 20, name="SIGKILL")
    plan = ("--batch-size", 100, "--epochs", 3, "--model.dropout", 0.3, "--checkpoint-every", "4steps", "--quiet")
    command = ("run", *plan, *hook, "--name", "job", "--resume-if-there")
    assert wf(*command).code == -signal.SIGKILL
    refused = wf("run", *plan, *hook, "--name", "job")
    assert (refused.code, "exists already" in refused.stderr) == (2, True)
    other = wf(*("run", "--batch-size", 50, *plan[2:]), *hook, "--name", "job", "--resume-if-there")
    assert other.code == 2
    assert "run-file: was batch_size 100, is 50" in other.stderr
    assert wf(*command).code == 0
    assert wf("run", *plan, *hook, "--name", "straight").code == 0
    assert_same(tmp_path / "runs" / "job", tmp_path / "runs" / "straight")
    files = {path: path.read_bytes() for path in (tmp_path / "runs" / "job").rglob("*") if path.is_file()}
    done = wf(*command, "--json")
    assert (done.code, done.json()["status"]) == (0, "done")
    assert "is already complete: 3 epochs done" in done.stderr
    assert done.json()["metrics"] == manifest(tmp_path / "runs" / "job")["metrics"]
    assert {path: path.read_bytes() for path in (tmp_path / "runs" / "job").rglob("*") if path.is_file()} == files
    command = ("run", "--batch-size", 100, "--epochs", 4, *plan[4:], *hook, "--name", "job")
    longer = wf(*command, env={"TORCHELASTIC_RESTART_COUNT": "1"})
    assert longer.code == 0, longer.stderr
    assert manifest(tmp_path / "runs" / "job")["epochs"] == 4


@pytest.mark.parametrize("options", [(), ("--folds", 3, "--name", "x")])
def test_resume_if_there_needs_the_name_of_one_run(wf: Any, options: tuple[Any, ...]) -> None:
    refused = wf("run", "--resume-if-there", *options)
    assert refused.code == 2
    assert "--resume-if-there" in refused.stderr


def test_a_cross_validation_that_was_killed_is_listed_as_such(wf: Any, tmp_path: Path) -> None:
    plan = ("--batch-size", 100, "--epochs", 4, "--folds", 3, "--quiet")
    assert wf("run", *plan, *stop_after(tmp_path, 30, name="SIGKILL"), "--name", "folds").code == -signal.SIGKILL
    (found,) = wf("runs", "--json").json()
    assert (found["status"], found["num_runs"], found["num_done"]) == ("killed", 3, 0)
    assert [run["status"] for run in wf("runs", "folds", "--json").json()] == ["killed"]
    assert "0 of 3 runs done" in wf("runs").stdout


HANG = '''
import time
from pathlib import Path
from wf import Hook

class Hang(Hook):
    """Stands still at step 30, once."""

    def on_step_end(self, run) -> None:
        if run.progress.step == 30 and not Path("hangs").exists():
            Path("hangs").touch()
            time.sleep(600)
'''


def test_a_run_is_used_by_one_process_at_a_time(wf: Any, tmp_path: Path) -> None:
    """A second process is refused while the first lives, and resumes as soon as it is killed, despite its workers."""
    (tmp_path / "hang.py").write_text(HANG)
    for label in ("left", "right"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(100):
            Image.new("RGB", (4, 4), (number, 9, 200)).save(tmp_path / "photos" / label / f"{number}.png")
    plan = ("--dataset", "photos/", "--model", "linear", "--batch-size", 4, "--epochs", 1, "--workers", 2, "--quiet")
    plan = (*plan, "--checkpoint-every", "4steps")
    line = ("run", *plan, "--hook", "+hang.py:Hang", "--name", "first")
    command = [sys.executable, "-P", "-m", "wf_cli", *map(str, line)]
    process, deadline = subprocess.Popen(command, cwd=tmp_path), time.monotonic() + 60
    try:
        while not (tmp_path / "hangs").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for second in (wf("resume", "first"), wf(*line)):
            assert second.code == 2
            assert f"runs/first is in use: process {process.pid} on " in second.stderr
        assert [run["status"] for run in wf("runs", "--json").json()] == ["running"]
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        process.kill()
        process.wait()
    assert [int(pid) for pid in workers if os.path.exists(f"/proc/{pid}")], "no worker outlived its parent"
    (killed,) = wf("runs", "--json").json()
    assert (killed["status"], killed["reason"]) == ("killed", "its process is gone")
    resumed = wf("resume", "first", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert manifest(tmp_path / "runs/first")["status"] == "done"
    assert not list((tmp_path / "runs/first").glob(".*"))


POISON = '''
import os, signal
import torch
from wf import Hook

class Poison(Hook):
    """Spoils the weights after a step until the run has gone back; kills it once at a later one.

    Args:
        model: Whose weights.
        at: The step.
        kill: The step after which it is killed, once it has gone back.
    """

    def __init__(self, model, at: int, kill: int) -> None:
        self.model, self.at, self.kill = model, at, kill

    def on_step_end(self, run) -> None:
        if run.progress.step == self.at and not run.rollbacks:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        if run.progress.step == self.kill and run.rollbacks and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
'''

SCHEDULES = {
    "none": (),
    "onecycle": ("--scheduler", "onecycle"),
    "warmup": ("--scheduler", "linear-warmup", "--scheduler.num_steps", 20, "--scheduler.then", "cosine"),
}


@pytest.mark.parametrize(
    ("schedule", "at", "kill"),
    [
        pytest.param("none", 20, 18, id="before the next checkpoint"),
        pytest.param("onecycle", 20, 30, id="after the next checkpoint", marks=pytest.mark.exhaustive),
        pytest.param("warmup", 24, 18, id="a checkpoint of spoilt weights"),
        pytest.param("warmup", 37, 38, id="the last epoch", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_killed_after_a_rollback_has_the_same_bits(
    wf: Any, tmp_path: Path, schedule: str, at: int, kill: int
) -> None:
    """A run killed after a rollback and resumed ends with the bits of one that was not killed."""
    (tmp_path / "poison.py").write_text(POISON)
    hook = "--hook.poison.py:Poison"
    plan = ("--batch-size", 100, "--epochs", 3, "--model.dropout", 0.3, "--optimizer", "adamw", *SCHEDULES[schedule])
    plan += ("--checkpoint-every", "8steps", "--log-every", 5, "--hook.divergence-guard.rollback", 2, "--quiet")
    plan += ("--hook", "+poison.py:Poison", f"{hook}.at", at, f"{hook}.kill", kill)
    killed = wf("run", *plan, "--name", "killed")
    assert killed.code == -signal.SIGKILL, killed.stderr
    resumed = wf("resume", "killed", "--quiet")
    assert resumed.code == 0, resumed.stderr
    straight = wf("run", *plan, "--name", "straight")
    assert straight.code == 0, straight.stderr
    ours, theirs = tmp_path / "runs" / "killed", tmp_path / "runs" / "straight"
    (back,) = manifest(theirs)["rollbacks"]
    assert back["to_step"] == (at - 1) // 8 * 8 < at <= back["from_step"]
    assert back["reason"].startswith("the training loss is not" if at % 8 else "the ")
    assert f"continues from step {back['to_step']} with learning rate" in straight.stderr
    assert "went back" in straight.stdout
    assert [one["to_step"] for one in manifest(ours)["rollbacks"]] == [back["to_step"]]
    steps = [record["step"] for record in records(ours, "train")]
    assert steps == sorted(steps)
    assert_same(ours, theirs)


def test_a_run_that_keeps_diverging_ends(wf: Any, tmp_path: Path) -> None:
    plan = ("--optimizer", "sgd", "--lr", 1e38, "--log-every", 1, "--checkpoint-every", "1steps", "--quiet")
    done = wf(
        "run", *plan, "--hook.divergence-guard.rollback", 2, "--hook.divergence-guard.lr_factor", 0.9, "--name", "x"
    )
    assert done.code == 5
    found = manifest(tmp_path / "runs" / "x")
    assert found["status"] == "diverged"
    assert len(found["rollbacks"]) == 2
    assert "the run has gone back 2 times already" in done.stderr


def test_a_rollback_without_checkpoint_ends_the_run(wf: Any, tmp_path: Path) -> None:
    done = wf(
        "run", "--optimizer", "sgd", "--lr", 1e38, "--hook.divergence-guard.rollback", 2, "--name", "x", "--quiet"
    )
    assert done.code == 5
    assert "there is no checkpoint to go back to" in done.stderr
    assert "--checkpoint-every" in done.stderr
    assert manifest(tmp_path / "runs" / "x")["rollbacks"] == []


def test_a_real_process_is_stopped_from_outside(tmp_path: Path) -> None:
    arguments = ["run", "--epochs", "100000", "--name", "long", "--log-every", "1", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "wf_cli", *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    file, deadline = tmp_path / "runs" / "long" / "metrics.jsonl", time.monotonic() + 60
    try:
        while not (file.exists() and file.stat().st_size > 2000) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143, stderr
    run = tmp_path / "runs" / "long"
    assert manifest(run)["status"] == "interrupted"
    step = manifest(run)["steps"]
    assert f"after step {step}" in stderr
    assert checkpoints(run)[-1].name == f"step-{step:08d}"


def test_resuming_a_finished_run(wf: Any) -> None:
    assert wf("run", "--epochs", 1, "--name", "done", "--quiet").code == 0
    again = wf("resume", "done")
    assert again.code == 2
    assert "--epochs 11" in again.stderr


LENGTH: dict[str, tuple[Any, ...]] = {
    "cosine": (),
    "onecycle": (),
    "linear-warmup": ("--scheduler.num_steps", 5, "--scheduler.then", "cosine"),
}


@pytest.mark.parametrize("scheduler", LENGTH)
def test_a_schedule_over_the_whole_run_cannot_be_extended(wf: Any, tmp_path: Path, scheduler: str) -> None:
    plan = ("--scheduler", scheduler, *LENGTH[scheduler], "--epochs", 2, "--quiet")
    assert wf("run", *plan, "--name", "run").code == 0
    files = {path: path.read_bytes() for path in sorted((tmp_path / "runs" / "run").rglob("*")) if path.is_file()}
    longer = wf("resume", "run", "--epochs", 3)
    assert longer.code == 2
    assert f"scheduler '{scheduler}' follows the run's length, 80 steps, and cannot be stretched" in longer.stderr
    assert "train anew: wf run runs/run/run.toml --epochs 3 --name NAME" in longer.stderr
    assert "wf resume" not in longer.stderr
    again = wf("resume", "run")
    assert (again.code, again.stderr) == (2, longer.stderr.replace("--epochs 3", "--epochs 12"))
    assert wf("run", "runs/run/run.toml", "--epochs", 3, "--name", "new", "--quiet").code == 0
    assert {path: path.read_bytes() for path in files} == files, "a refused resume changed the run"


def test_a_stopped_run_resumes_to_the_length_of_its_schedule(wf: Any) -> None:
    stops = ("--hook.early-stopping.patience", 1, "--hook.early-stopping.min_delta", 100)
    plan = ("--dataset", "iris", "--scheduler", "onecycle", "--epochs", 8, "--hook", "early-stopping", *stops)
    stopped = wf("run", *plan, "--name", "run", "--quiet", "--json").json()
    assert stopped["epochs"] < 8
    assert "resume to that length: wf resume runs/run --epochs 8" in wf("resume", "run").stderr
    assert wf("resume", "run", "--epochs", 8, "--quiet").code == 0
    shorter = wf("resume", "run", "--epochs", 7)
    assert shorter.code == 2


@pytest.mark.parametrize(
    "scheduler",
    [
        ("step", "--scheduler.step_size", 1),
        ("cosine", "--scheduler.total_steps", 120),
        ("linear-warmup", "--scheduler.num_steps", 5),
        ("linear-warmup", "--scheduler.num_steps", 5, "--scheduler.then", "{use='cosine', total_steps=120}"),
    ],
    ids=lambda scheduler: " ".join(map(str, scheduler)),
)
def test_other_schedules_can_be_extended(wf: Any, tmp_path: Path, scheduler: Sequence[Any]) -> None:
    plan = ("--scheduler", *scheduler, "--log-every", 10, "--quiet")
    assert wf("run", *plan, "--epochs", 2, "--name", "run").code == 0
    done = wf("resume", "run", "--epochs", 3, "--quiet")
    assert done.code == 0, done.stderr
    assert wf("run", *plan, "--epochs", 3, "--name", "straight").code == 0
    assert_same(tmp_path / "runs" / "run", tmp_path / "runs" / "straight")
    assert "epochs = 3" in (tmp_path / "runs" / "run" / "run.toml").read_text()


def test_every_stateful_builtin_hook_is_resumed_in_these_tests() -> None:
    registry = Registry.discover(only_builtin=True)
    stateful = {entry.component.name for entry in registry.entries("hook") if hasattr(entry.load(), "state_dict")}
    # The guard is in every run, the others are in RUNS.
    assert stateful == {"early-stopping", "divergence-guard", "stats"}


@pytest.mark.parametrize(("before", "after"), [(0, 2), pytest.param(2, 0, marks=pytest.mark.exhaustive), (2, 1)])
def test_another_number_of_workers_resumes_to_the_bit(wf: Any, tmp_path: Path, before: int, after: int) -> None:
    """Images from files in the middle of an epoch, with shuffling, augmentation and dropout."""
    for number in range(60):
        file = tmp_path / "images" / str(number % 2) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (4 * number, 255 - 4 * number, 100 * (number % 2))).save(file)
    plan = (
        *("--dataset", "images/", "--dataset.image_size", 8, "--model", "cnn", "--model.channels", "[4]"),
        *("--model.dropout", 0.3, "--transform", "flip", "--transform", "crop", "--batch-size", 4, "--epochs", 3),
        *("--log-every", 3, *stop_after(tmp_path, 15), "--quiet"),
    )
    stopped = wf("run", *plan, "--workers", before, "--name", "halted")
    assert stopped.code == 143, stopped.stderr
    assert wf("run", *plan, "--workers", after, "--name", "straight").code == 0
    resumed = wf("resume", "halted", "--workers", after, "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert_same(tmp_path / "runs" / "halted", tmp_path / "runs" / "straight")


def test_a_dataset_with_a_state_resumes_to_the_bit(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(DATASET)
    plan = ("--dataset", "own.py:noisy", "--batch-size", 7, "--epochs", 3, "--log-every", 3)
    plan += (*stop_after(tmp_path, 14), "--quiet")
    assert wf("run", *plan, "--name", "halted").code == 143
    assert wf("run", *plan, "--name", "straight").code == 0
    assert wf("resume", "halted", "--quiet").code == 0
    assert_same(tmp_path / "runs" / "halted", tmp_path / "runs" / "straight")
    refused = wf("run", *plan, "--workers", 2)
    assert refused.code == 2
    assert "--workers 0" in refused.stderr


def test_tests_run_with_one_thread() -> None:
    """Bits are compared here, and they differ between one thread and two."""
    assert os.environ["OMP_NUM_THREADS"] == "1"
