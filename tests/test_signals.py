"""Signals and failures: the state that a run leaves, and resuming from it to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import checkpoints, manifest, records
from test_resume import assert_same

TOOLS = '''
import os, signal, time
import torch
from torch.utils.data import get_worker_info
from wf_storage import files
from wf_base import Dataset, Metric


def once(name):
    """True the first time in this folder."""
    try:
        open(name, "x").close()
    except FileExistsError:
        return False
    return True


class Signal:
    """Sends this process a signal at an event of the loop, once."""

    def __init__(self, event: str, step: int, number: int = signal.SIGTERM) -> None:
        def send(run, *_):
            if run.progress.step == step and once("sent"):
                os.kill(os.getpid(), number)
        setattr(self, event, send)


class SignalInSave:
    """Sends signals while the first checkpoint is being written, and writes on slowly after the last one."""

    def __init__(self, numbers: list[int], seconds: float) -> None:
        rename = files.rename

        def slow(old, new):
            if new.name.startswith("step-") and once("sent"):
                for number in numbers:
                    os.kill(os.getpid(), number)
                    time.sleep(0.5)
                time.sleep(seconds)
            rename(old, new)

        files.rename = slow


class Leaves(Metric):
    """Sends this process a signal in a batch of all evaluations, once; writes the number of batches, slowly then."""

    figures = {"": True}

    def __init__(self, batch: int, number: int = signal.SIGTERM, rank: int = 0, seconds: float = 0) -> None:
        super().__init__()
        self.batch, self.number, self.rank, self.seconds, self.num = batch, number, rank, seconds, 0

    def update(self, predictions, targets):
        self.num += 1
        if os.environ.get("RANK", "0") == str(self.rank):
            if self.num == self.batch and once("sent"):
                os.kill(os.getpid(), self.number)
                open("judged", "w").close()
            if os.path.exists("judged") and not os.path.exists("resumed"):
                open("judged", "a").write(".")
                time.sleep(self.seconds)
        self.add("right", (predictions.argmax(1) == targets).sum())

    def compute(self):
        return self.total("right")


class Fails:
    """Raises at a step."""

    def __init__(self, what: str, step: int = 20) -> None:
        self.what, self.step = what, step

    def on_step_end(self, run):
        if run.progress.step == self.step and once("failed"):
            if self.what == "allocation":
                torch.empty(10**15)
            raise {"memory": MemoryError(), "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"),
                   "hook": ConnectionError("the server is gone")}[self.what]


class Numbers:
    """A dataset that is not in memory; it may fail, once, after the first checkpoint."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def __len__(self):
        return 400

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        trains = get_worker_info() is not None and os.path.exists("runs/x/checkpoints")
        if index == 77 and self.fails and trains and once("failed"):
            if self.fails == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"memory": MemoryError(), "error": ValueError("sample 77 is broken")}[self.fails]
        return torch.rand(3, generator=generator), index % 2


def numbers(fails: str = "", wait: float = 0) -> Dataset:
    open("loading", "w").close()
    time.sleep(wait)
    return Dataset(train=Numbers(fails), targets="class_index", class_names=("even", "odd"))
'''

PLAN = ("--batch-size", 100, "--epochs", 3, "--model.dropout", 0.3, "--checkpoint-every", "8steps", "--quiet")
LOADED = ("--dataset", "tools.py:numbers", "--model", "mlp", "--workers", 2, "--batch-size", 4, "--epochs", 2)
LOADED += ("--model.dropout", 0.3, "--checkpoint-every", "20steps", "--log-every", 1, "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools.py").write_text(TOOLS)
    return tmp_path


def hook(name: str, **options: Any) -> tuple[Any, ...]:
    words: tuple[Any, ...] = ("--hook", f"+tools.py:{name}")
    for option, value in options.items():
        words += (f"--hook.tools.py:{name}.{option}", value)
    return words


def assert_resumes_exactly(wf: Any, folder: Path, plan: tuple[Any, ...]) -> None:
    """Check that the run ``x`` resumes and ends like an uninterrupted one."""
    (folder / "resumed").touch()
    resumed = wf("resume", "x", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert wf("run", *plan, "--name", "straight").code == 0
    assert_same(folder / "runs/x", folder / "runs/straight")


@pytest.mark.parametrize(
    ("event", "step", "at"),
    [("on_run_start", 0, 0), ("on_evaluation_end", 13, 13), ("on_checkpoint_end", 39, 39)],
)
def test_sigterm_at_an_event(wf: Any, folder: Path, event: str, step: int, at: int) -> None:
    plan = (*PLAN, *hook("Signal", event=event, step=step))
    done = wf("run", *plan, "--name", "x")
    assert done.code == 143, done.stderr
    assert f"stopped by SIGTERM after step {at}\n  resume from step {at}: wf resume runs/x" in done.stderr
    assert manifest(folder / "runs/x")["status"] == "interrupted"
    assert checkpoints(folder / "runs/x")[-1].name == f"step-{at:08d}"
    assert_resumes_exactly(wf, folder, plan)


IN_EVALUATION = {
    "of an epoch": (("--batch-size", 100, "--epochs", 3), 67 + 5),
    "of the best": (("--batch-size", 100, "--epochs", 3, "--keep", "best"), 67 + 5),
    "of steps": (("--batch-size", 100, "--epochs", 2, "--eval-every", "5steps", "--checkpoint-every", "5steps"), 140),
    "second split": (("--batch-size", 100, "--epochs", 2, "--eval-splits", "test,validation"), 2 * 67 + 90),
    "at the end": (("--batch-size", 100, "--epochs", 1), 67 + 100),
}


@pytest.mark.parametrize("case", IN_EVALUATION)
def test_a_signal_in_an_evaluation_leaves_it(wf: Any, folder: Path, case: str) -> None:
    """The resumed run evaluates from the beginning, and once."""
    length, batch = IN_EVALUATION[case]
    plan = ("--dataset", "digits", *length, "--model.dropout", 0.3, "--evaluator.batch_size", 4, "--quiet")
    plan += ("--metric", "tools.py:Leaves", "--metric.tools.py:Leaves.batch", batch)
    done = wf("run", *plan, "--name", "x")
    assert done.code == 143, done.stderr
    step = manifest(folder / "runs/x")["steps"]
    assert f"stopped by SIGTERM after step {step}\n  resume from step {step}: wf resume runs/x" in done.stderr
    assert len((folder / "judged").read_text()) == 1, "no further batch is judged"
    assert checkpoints(folder / "runs/x")[-1].name == f"step-{step:08d}"
    assert not (folder / "runs/x/bundle").exists()
    assert_resumes_exactly(wf, folder, plan)


def test_several_processes_leave_an_evaluation_together(ranks: Any, folder: Path) -> None:
    """Soon after a signal to one of them, at the same batch; the resumed run has the bits of an undisturbed one."""
    plan = ("--dataset", "digits", "--epochs", 2, "--batch-size", 100, "--model.dropout", 0.3, "--quiet")
    plan += ("--evaluator.batch_size", 2, "--strategy", "ddp", "--metric", "tools.py:Leaves")
    options = {"batch": 135 + 20, "rank": 1, "seconds": 0.05}
    plan += tuple(word for key, value in options.items() for word in (f"--metric.tools.py:Leaves.{key}", value))
    done = ranks("run", *plan, "--name", "x")
    assert "stopped by SIGTERM after step 26\n  resume from step 26: wf resume runs/x" in done.stderr
    assert done.stderr.count("wf: ") == 1, done.stderr
    num = len((folder / "judged").read_text())
    assert num <= 12, "they ask each other after 1, 3, 7, 15 and 31 batches, and earlier if these take seconds"
    found = manifest(folder / "runs/x")
    assert (found["status"], found["epochs"]) == ("interrupted", 1)
    (folder / "resumed").touch()
    resumed = ranks("resume", "x", "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert ranks("run", *plan, "--name", "straight").code == 0
    assert_same(folder / "runs/x", folder / "runs/straight")


def test_sigterm_in_a_save(wf: Any, folder: Path) -> None:
    """The step and the checkpoint are finished, and another one is saved."""
    plan = (*PLAN, *hook("SignalInSave", numbers="[15, 15]", seconds=0))
    done = wf("run", *plan, "--name", "x")
    assert done.code == 143, done.stderr
    step = manifest(folder / "runs/x")["steps"]
    assert step > 8
    assert checkpoints(folder / "runs/x")[-1].name == f"step-{step:08d}"
    assert_resumes_exactly(wf, folder, plan)


def test_a_second_sigint_does_not_wait(wf: Any, wf_process: Any, folder: Path) -> None:
    """The checkpoint being written is missing, and the existing ones are complete."""
    plan = (*PLAN, *hook("SignalInSave", numbers="[2, 2]", seconds=60))
    began = time.monotonic()
    done = wf_process("run", *plan, "--name", "x")
    assert done.code == 130, done.stderr
    assert time.monotonic() - began < 45
    assert "wf: interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    found = manifest(folder / "runs/x")
    assert (found["status"], found["reason"]) == ("interrupted", "a second signal ended the run at once")
    assert checkpoints(folder / "runs/x") == []
    again = wf("resume", "x", "--epochs", 1, "--quiet")
    assert (again.code, "it starts over" in again.stderr) == (0, True), again.stderr


@pytest.mark.parametrize(
    ("what", "begin", "end"),
    [
        ("memory", "out of memory: in hook 'tools-fails' of ", "/tools.py, at on_step_end: MemoryError"),
        ("cuda", "out of memory: in hook", "OutOfMemoryError: CUDA out of memory. Tried 2 GiB"),
        ("allocation", "out of memory: in hook", ""),
        ("hook", "in hook 'tools-fails' of ", "/tools.py, at on_step_end: ConnectionError: the server is gone"),
    ],
)
def test_an_error_is_recorded_with_its_reason(wf: Any, folder: Path, what: str, begin: str, end: str) -> None:
    plan = (*PLAN, *hook("Fails", what=what))
    done = wf("run", *plan, "--name", "x")
    assert done.code == 1
    found = manifest(folder / "runs/x")
    assert found["status"] == "failed"
    assert found["reason"].startswith(begin)
    assert found["reason"].endswith(end)
    place = "/tools.py, at on_step_end, after step 20: batch_size 100, accumulate 1, precision fp32"
    assert (place in done.stderr) is (what != "hook")
    assert ("smaller parts: --batch-size 50 --accumulate 2" in done.stderr) is (what != "hook")
    assert "resume from step 16: wf resume runs/x" in done.stderr
    if what == "hook":
        assert_resumes_exactly(wf, folder, plan)


@pytest.mark.parametrize(
    ("fails", "reason", "advice"),
    [
        ("kill", "a process that loads data was killed: ", "most often because memory ran out: try fewer --workers"),
        ("memory", "out of memory: MemoryError", "smaller parts: --batch-size 2 --accumulate 2\n  fewer processes"),
        ("error", "in a process that loads data: ValueError: sample 77 is broken", "ValueError: sample 77 is broken"),
    ],
)
def test_a_failing_data_worker_ends_the_run(wf: Any, folder: Path, fails: str, reason: str, advice: str) -> None:
    plan = (*LOADED, "--dataset.fails", fails, "--split", "99/1", "--no-shuffle")
    done = wf("run", *plan, "--name", "x")
    assert done.code == 1, done.stderr
    found = manifest(folder / "runs/x")
    assert (found["status"], found["reason"][: len(reason)]) == ("failed", reason)
    assert "\n" not in found["reason"]
    assert advice in done.stderr
    assert "resume from step " in done.stderr
    if fails == "kill":
        assert_resumes_exactly(wf, folder, plan)


class Process:
    """A real process of a run, in a process group of its own."""

    def __init__(self, folder: Path, *args: Any, module: tuple[str, ...] = ("wf_cli",)) -> None:
        command = [sys.executable, "-P", "-m", *module, *map(str, args)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "NO_COLOR": "1"}
        self.popen = subprocess.Popen(
            command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def when(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            assert self.popen.poll() is None, self.popen.stderr.read() if self.popen.stderr else ""
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        _, stderr = self.popen.communicate(timeout=60)
        return self.popen.returncode, stderr


@pytest.fixture
def process(folder: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*args: Any, **options: Any) -> Process:
        started.append(Process(folder, *args, **options))
        return started[-1]

    yield start
    for one in started:
        if one.popen.poll() is None:
            os.killpg(one.popen.pid, signal.SIGKILL)
            one.popen.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)])
def test_a_signal_while_data_are_loaded_leaves_nothing(process: Any, folder: Path, number: signal.Signals) -> None:
    run = process("run", *LOADED, "--dataset.wait", 60, "--name", "x")
    run.when((folder / "loading").exists)
    run.popen.send_signal(number)
    code, stderr = run.end()
    assert code == (130 if number == signal.SIGINT else -signal.SIGTERM), "a shell says 128 + the number of both"
    assert "Traceback" not in stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive), signal.SIGTERM])
def test_a_signal_to_all_processes_of_a_run(wf: Any, process: Any, folder: Path, number: signal.Signals) -> None:
    """As terminals and many schedulers send it: also to workers that load data."""
    run = process("run", *LOADED, "--name", "x")
    run.when(lambda: (folder / "runs/x/metrics.jsonl").exists() and len(records(folder / "runs/x")) > 5)
    os.killpg(run.popen.pid, number)
    code, stderr = run.end()
    assert code == 128 + number, stderr
    step = manifest(folder / "runs/x")["steps"]
    assert f"resume from step {step}: wf resume" in stderr
    assert checkpoints(folder / "runs/x")[-1].name == f"step-{step:08d}"
    if number == signal.SIGTERM:
        assert_resumes_exactly(wf, folder, LOADED)
