"""Two processes that train one model: mostly forks with the environment of torchrun, and once torchrun itself."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from forkserver import ForkServer, Result
from runs import checkpoints, manifest, records, weights

pytestmark = pytest.mark.xdist_group("ddp")  # one worker, so that the shared run is made once

HOOK = '''
import torch
from wf import Hook

class KeepWeights(Hook):
    """Writes each process's weights to a file of its own.

    Args:
        strategy: Says which process this is.
        model: The model, wrapped.
    """

    def __init__(self, strategy, model) -> None:
        self.strategy, self.model = strategy, model

    def on_run_end(self, run) -> None:
        torch.save(self.strategy.bare(self.model).state_dict(), f"rank-{self.strategy.rank}.pt")
'''


def torchrun(folder: Path, *args: Any, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Run `wf` in several processes on the loopback interface, as a user does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}", "-m", "wf_cli", *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "NO_COLOR": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


SHARED: tuple[Any, ...] = (
    *("run", "--model", "cnn", "--model.channels", "[4]", "--model.dropout", 0.1),
    *("--epochs", 4, "--batch-size", 50, "--keep", "best", "--log-every", 5, "--lr", 2e-2),
    *("--hook", "+keep.py:KeepWeights", "--hook", "+early-stopping", "--hook", "+gradient-clip"),
    *("--metric", "accuracy", "--metric", "auroc", "--metric", "confusion-matrix"),
    *("--strategy", "ddp", "--name", "two", "--json", "--quiet"),
)


@pytest.fixture(scope="module")
def shared(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder with the run ``two`` of two processes: a model with dropout and running means."""
    folder = tmp_path_factory.mktemp("ddp")
    (folder / "keep.py").write_text(HOOK)
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "NO_COLOR": "1"}
    return folder, fork_server.run([*map(str, SHARED)], folder, environment, 110, processes=2)


def test_two_processes_write_one_run(shared: Any) -> None:
    folder, done = shared
    assert done.code == 0, done.stderr
    assert_one_run(folder, done.stdout)


def assert_one_run(folder: Path, stdout: str) -> None:
    assert [path.name for path in (folder / "runs").iterdir() if not path.is_symlink()] == ["two"]
    run = folder / "runs" / "two"
    assert manifest(run)["status"] == "done"
    assert manifest(run)["world_size"] == 2
    assert json.loads(stdout)["metrics"]["test/accuracy"] > 0.15, "printed once, as one document"
    steps = [record["step"] for record in records(run, "train")]
    assert steps == sorted(set(steps)), "the processes wrote over each other"
    assert manifest(run)["steps"] == 4 * 26  # of 1,258 samples, in batches of 50


@pytest.mark.exhaustive
def test_torchrun_gives_the_same_run(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "keep.py").write_text(HOOK)
    done = torchrun(tmp_path, *SHARED)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path, done.stdout)
    ours, theirs = (folder / "runs" / "two" / "metrics.jsonl" for folder in (tmp_path, shared[0]))
    assert ours.read_bytes() == theirs.read_bytes()


def test_both_processes_have_equal_weights_under_plain_names(wf: Any, shared: Any) -> None:
    folder, _ = shared
    first, second = (torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name
    model = ("--model", "cnn", "--model.channels", "[4]", "--model.dropout", 0.1)
    assert wf("run", *model, "--epochs", 1, "--name", "one", "--quiet", cwd=folder).code == 0
    alone = weights(folder / "runs" / "one")
    assert weights(folder / "runs" / "two").keys() == alone.keys() == first.keys()


def test_evaluate_in_one_process(wf: Any, shared: Any) -> None:
    """One process opens a run of two and gets the same figures."""
    folder, _ = shared
    for split in ("validation", "test"):
        done = wf("evaluate", "two", "--checkpoint", "best", "--split", split, "--json", cwd=folder)
        assert done.code == 0, done.stderr
        alone, together = done.json()["metrics"], manifest(folder / "runs" / "two")["metrics"]
        assert alone.keys() == {name for name in together if name.startswith(split)}
        for name, value in alone.items():
            if isinstance(value, float):
                assert value == pytest.approx(together[name], rel=1e-5), name
            else:
                assert value == together[name]


PROTOCOLS = ("-p", Path(__file__).with_name("step_protocols.py"))


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(("--optimizer", "sgd", "--hook", "+stats", "--hook.stats.every", 2), id="plain"),
        pytest.param((*PROTOCOLS, "--optimizer", "polyak", "--trainer.freeze", "backbone"), id="closure, frozen"),
        pytest.param(("--optimizer", "sgd", "--accumulate", 3), id="accumulated"),
    ],
)
def test_a_shared_step_equals_the_step_of_the_whole_batch(
    ranks: Any, wf: Any, tmp_path: Path, optimizer: tuple[Any, ...]
) -> None:
    """Two processes make the updates of one: of 39 samples, and of fewer at the end of an epoch."""
    plan = ("--dataset", "iris", "--steps", 7, *optimizer, "--batch-size", 39, "--quiet")
    done = ranks("run", *plan, "--strategy", "ddp", "--name", "two")
    assert done.code == 0, done.stderr
    assert wf("run", *plan, "--name", "one").code == 0
    figures = [
        [
            (record["event"], record["step"], name, pytest.approx(value, rel=1e-5))
            for record in records(tmp_path / "runs" / name_of_run)
            for name, value in record.items()
            if isinstance(value, float)
        ]
        for name_of_run in ("two", "one")
    ]
    assert figures[0] == figures[1]
    two, one = (weights(tmp_path / "runs" / name) for name in ("two", "one"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)


OWN = '''
from torch.nn.functional import cross_entropy, mse_loss
from wf_base import BaseTrainer


class Twice(BaseTrainer):
    """Two updates a step. It does not take the strategy, and gets it from the run."""

    def __init__(self, model, optimizer):
        super().__init__(model, optimizer)

    def step(self, batch):
        self.update("loss", self.compute_loss)
        self.update("loss", self.compute_loss)

    def compute_loss(self, batch):
        outputs = self.model(batch.inputs)
        return {"fit": cross_entropy(outputs, batch.targets), "size": 0.01 * outputs.square().mean()}


class Own(Twice):
    """Its own step, which knows nothing of shares."""

    def train_step(self, batch):
        self.optimizers["loss"].zero_grad()
        loss = cross_entropy(self.model(batch.inputs), batch.targets)
        loss.backward()
        self.optimizers["loss"].step()
        return loss.detach()


class Inside(BaseTrainer):
    """Calls a part of the model by its name."""

    def compute_loss(self, batch):
        return cross_entropy(self.model.last(self.model.first(batch.inputs)), batch.targets)
'''
OWN_PLAN = ("run", "--dataset", "iris", "--model", "mlp", "--steps", 7, "--batch-size", 39, "--log-every", 1, "--quiet")


def test_a_trainer_that_takes_no_strategy_makes_the_updates_of_one_process(ranks: Any, wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    plan = (*OWN_PLAN, "--trainer", "own.py:Twice")
    done = ranks(*plan, "--name", "two")
    assert done.code == 0, done.stderr
    assert "warning" not in done.stderr
    assert wf(*plan, "--name", "one").code == 0
    two, one = (records(tmp_path / "runs" / name) for name in ("two", "one"))
    assert len(two) == len(one) > 7
    for found, like in zip(two, one, strict=True):
        assert figures_of(found) == pytest.approx(figures_of(like), rel=1e-5)


def figures_of(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if isinstance(value, float)}


def test_a_trainer_with_a_step_of_its_own_is_named_once(ranks: Any, wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    done = ranks(*OWN_PLAN, "--trainer", "own.py:Own", "--name", "two")
    assert done.code == 0, done.stderr
    words = "makes steps of its own and takes no 'strategy': each of 2 processes counts the same"
    assert done.stderr.count(words) == 1
    assert "warning" not in wf(*OWN_PLAN, "--trainer", "own.py:Own", "--name", "one").stderr


def test_a_trainer_that_calls_a_part_of_the_model_is_refused(ranks: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "net.py").write_text(NET)
    done = ranks(*OWN_PLAN, "--trainer", "own.py:Inside", "--model", "net.py:Net", "--name", "two")
    assert done.code != 0
    assert "'last' is part of the model, which several processes wrap" in done.stderr
    assert "Traceback" not in done.stderr


def test_optimizers_that_differentiate_gradients_train_in_one_process(ranks: Any, tmp_path: Path) -> None:
    done = ranks("run", *PROTOCOLS, "--optimizer", "create-graph", "--strategy", "ddp", "--steps", 3)
    assert done.code != 0
    assert "several processes exchange gradients without their graphs" in done.stderr


FAILING = """
class Failing:
    def __init__(self, strategy) -> None:
        self.rank = strategy.rank

    def on_step_end(self, run):
        if self.rank == 1:
            raise RuntimeError("boom")
"""


def test_a_hook_that_fails_in_one_process_is_disabled_there(ranks: Any, tmp_path: Path) -> None:
    """It is disabled in that process only; the manifest is written by process 0."""
    (tmp_path / "failing.py").write_text(FAILING)
    hook = ("--hook", "+failing.py:Failing", "--hook.failing.py:Failing.on_error", "disable")
    done = ranks("run", *hook, "--strategy", "ddp", "--steps", 3, "--name", "two", "--quiet")
    assert done.code == 0, done.stderr
    assert done.stderr.count("failed at on_step_end of step 1 in process 1; the run continues without it") == 1
    assert 'raise RuntimeError("boom")' in done.stderr
    assert (manifest(tmp_path / "runs/two")["status"], manifest(tmp_path / "runs/two")["steps"]) == ("done", 3)
    assert manifest(tmp_path / "runs/two")["disabled_hooks"] == []


def test_disabling_a_gradient_hook_is_refused_with_several_processes(ranks: Any, tmp_path: Path) -> None:
    hook = ("--hook", "+gradient-clip", "--hook.gradient-clip.on_error", "disable")
    done = ranks("run", *hook, "--strategy", "ddp", "--steps", 3)
    assert done.code != 0
    assert "hook 'gradient-clip' changes the gradients" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("policy", [pytest.param("stop", marks=pytest.mark.exhaustive), "continue"])
def test_a_checkpoint_that_cannot_be_written(
    ranks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Process 0 writes in the background; both processes end, or both continue."""
    monkeypatch.setenv("WF_FAULT", "EIO:background:6")
    hook = ("--hook", f"+{Path(__file__).with_name('faults.py')}:Tell")
    plan = ("--steps", 30, "--log-every", 5, "--checkpoint-every", "10steps", "--on-checkpoint-error", policy)
    done = ranks("run", *hook, *plan, "--strategy", "ddp", "--name", "two", "--quiet")
    run = tmp_path / "runs" / "two"
    assert "the checkpoint step-00000010 could not be written" in done.stderr
    assert "unexpected failure" not in done.stderr  # torchrun itself shows a traceback
    if policy == "stop":
        assert "process 0 could not save the checkpoint" in done.stderr
        assert done.code != 0
        assert manifest(run)["status"] == "failed"
        assert checkpoints(run) == []
    else:
        assert done.code == 0, done.stderr
        assert [place.name for place in checkpoints(run)] == ["step-00000020", "step-00000030"]
        assert len(manifest(run)["failed_saves"]) == 1


def test_ddp_without_torchrun_is_refused(wf: Any) -> None:
    done = wf("run", "--strategy", "ddp", env={"RANK": None})
    assert done.code == 2
    assert "torchrun" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_option_ends_both_processes(ranks: Any, tmp_path: Path) -> None:
    done = ranks("run", "--strategy", "ddp", "--loss.gama", 2, "--loss", "focal")
    assert done.code != 0
    assert "unknown option 'gama'" in done.stderr
    assert checkpoints(tmp_path) == [] if (tmp_path / "checkpoints").exists() else not list(tmp_path.glob("runs/*"))


TROUBLE = '''
import os, signal
import torch

class Trouble:
    """In process 1: spoils the weights once, and later sends the process a signal."""

    def __init__(self, strategy, model) -> None:
        self.rank, self.model = strategy.rank, model

    def on_step_end(self, run):
        if self.rank == 1 and run.progress.step == 6 and not run.rollbacks:
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        if self.rank == 1 and run.progress.step == 12:
            os.kill(os.getpid(), signal.SIGTERM)
'''


def test_all_processes_roll_back_and_stop_together(ranks: Any, tmp_path: Path) -> None:
    (tmp_path / "trouble.py").write_text(TROUBLE)
    plan = ("--checkpoint-every", "4steps", "--log-every", 2, "--hook.divergence-guard.rollback", 1, "--steps", 500)
    hook = ("--hook", "+trouble.py:Trouble")
    done = ranks("run", *plan, *hook, "--strategy", "ddp", "--name", "two", "--quiet")
    assert done.code != 0
    found = manifest(tmp_path / "runs/two")
    assert (found["status"], found["reason"][:18]) == ("interrupted", "stopped by SIGTERM"), done.stderr
    (back,) = found["rollbacks"]
    assert back["to_step"] == 4
    step = found["steps"]
    assert 12 <= step <= 14, "they stop at the next pause"
    assert checkpoints(tmp_path / "runs/two")[-1].name == f"step-{step:08d}"


NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(num_features, 8), nn.Linear(8, num_outputs)
        self.unused, self.frozen = nn.Linear(3, 3), nn.Linear(2, 2).requires_grad_(False)

    def forward(self, inputs):
        hidden = self.first(inputs.flatten(1)).relu()
        if self.training:
            torch.rand(int(inputs.sum().abs()) % 7 + 1)  # how much is drawn depends on the data
            hidden = hidden * (torch.rand_like(hidden) > 0.3)
        return self.last(hidden)


class Running(nn.CrossEntropyLoss):
    # divides by a running mean, which is that of the process's own shares

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, outputs, targets):
        loss = super().forward(outputs, targets)
        if outputs.requires_grad:
            self.mean.mul_(0.9).add_(0.1 * loss.detach())
        return loss / self.mean


class Masks:
    def __init__(self, strategy) -> None:
        self.rank = strategy.rank

    def on_run_start(self, run):
        state = torch.get_rng_state()
        open(f"draws-{self.rank}", "w").write(str(torch.rand(4).tolist()))
        torch.set_rng_state(state)
"""


def test_each_process_keeps_its_own_random_stream_across_a_resume(ranks: Any, tmp_path: Path) -> None:
    """With a layer without gradient, which DistributedDataParallel needs declared, and a loss with a state."""
    (tmp_path / "net.py").write_text(NET)
    parts = ("--model", "net.py:Net", "--loss", "net.py:Running")
    plan = ("--strategy", "ddp", "--dataset", "iris", *parts, "--batch-size", 10, "--quiet")
    hook = ("--hook", "+net.py:Masks")
    straight = ranks("run", *plan, *hook, "--epochs", 3, "--name", "straight")
    assert straight.code == 0, straight.stderr
    draws = [(tmp_path / f"draws-{rank}").read_text() for rank in (0, 1)]
    assert draws[0] != draws[1]
    assert ranks("run", *plan, *hook, "--steps", 8, "--name", "parts").code == 0
    resumed = ranks("resume", "parts", "--epochs", 3, "--quiet")
    assert resumed.code == 0, resumed.stderr
    one, other = (checkpoints(tmp_path / "runs" / name)[-1] for name in ("straight", "parts"))
    assert (one / "tensors.safetensors").read_bytes() == (other / "tensors.safetensors").read_bytes()
    assert one.name == other.name
    one, other = (tmp_path / "runs" / name / "metrics.jsonl" for name in ("straight", "parts"))
    assert one.read_bytes() == other.read_bytes()


RAISING = """
class Raising:
    def __init__(self, strategy) -> None:
        self.rank = strategy.rank

    def on_step_end(self, run):
        if self.rank == 1 and run.progress.step == 3:
            raise ConnectionError("the server is gone")
"""


@pytest.mark.exhaustive  # with torchrun, which prints its own message about a failure
def test_the_recorded_reason_names_the_failed_process(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    plan = ("--strategy", "ddp", "--dataset", "iris", "--checkpoint-every", "1steps", "--quiet")
    done = torchrun(tmp_path, "run", *plan, "--hook", "+raising.py:Raising", "--name", "two")
    assert done.returncode != 0
    reason = manifest(tmp_path / "runs/two")["reason"]
    assert reason.startswith("process 1 failed: in hook 'raising-raising' of ")
    assert reason.endswith("at on_step_end: ConnectionError: the server is gone")
    assert f"wf: {reason}" in done.stderr
    assert re.search(r"resume from step \d: wf resume runs/two --processes 2", done.stderr)


TWICE = """
import wf

class Bad(wf.Hook):
    def on_step_end(self, run):
        if run.progress.step == 3:
            raise RuntimeError("boom")

settings = dict(dataset="iris", epochs=1, quiet=True, save=False, strategy="ddp")
for _ in range(2):
    try:
        wf.run(**settings, hook=[Bad()])
    except Exception as error:
        print(type(error).__name__, "boom" in str(error))
print(sorted(wf.run(**settings).metrics)[0])
"""


@pytest.mark.exhaustive  # two processes that import torch
def test_a_script_trains_on_after_a_run_that_failed(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWICE],
            cwd=tmp_path,
            env={**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=100)[0].split("\n") for process in processes]
    assert said == [["RuntimeError True", "RuntimeError True", "test/accuracy", ""]] * 2


@pytest.mark.exhaustive  # two processes that import torch
def test_an_error_of_one_process_before_the_group_starts_ends_all(wf: Any, tmp_path: Path) -> None:
    """Two machines without a shared disk: the run exists on the first one only."""
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
    assert wf("run", "--dataset", "iris", "--epochs", 1, "--name", "one", "--quiet", cwd=tmp_path / "0").code == 0
    run_file = tmp_path / "0/runs/one/run.toml"
    run_file.write_text(run_file.read_text().replace('use = "local"', 'use = "ddp"'))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "wf_cli", "resume", "one", "--epochs", "2"],
            cwd=tmp_path / rank,
            env={**shared, "RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    messages = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [4, 4]
    assert messages[1].startswith("wf: there is no run directory 'one'")
    assert messages[0].startswith("wf: process 1 failed: there is no run directory 'one'")


def test_the_resume_hint_includes_the_number_of_processes(wf: Any, tmp_path: Path) -> None:
    assert wf("run", "--dataset", "iris", "--epochs", 1, "--name", "one", "--quiet").code == 0
    run = tmp_path / "runs/one"
    (run / "run.toml").write_text((run / "run.toml").read_text().replace('use = "local"', 'use = "ddp"'))
    (run / "manifest.json").write_text(json.dumps({**manifest(run), "world_size": 2}))
    resumed = wf("resume", "one", "--epochs", 2)
    assert resumed.code == 2
    assert "wf resume runs/one --processes 2" in resumed.stderr
    again = wf("run", "--dataset", "iris", "--name", "one")
    assert "continue that run: wf resume runs/one --processes 2" in again.stderr


DRAWS = '''
import torch

class Noisy(torch.optim.SGD):
    """Adds noise to the gradients."""

    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr)

    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.grad.add_(torch.randn(param.shape[-1]).mean())
        return super().step(closure)
'''


@pytest.mark.exhaustive
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_an_optimizer_that_draws_random_numbers_is_refused(ranks: Any, wf: Any, tmp_path: Path, strategy: str) -> None:
    (tmp_path / "draws.py").write_text(DRAWS)
    words = ("run", "--dataset", "iris", "--optimizer", "draws.py:Noisy", "--steps", 2, "--quiet")
    done = ranks(*words, "--strategy", strategy, "--model.dropout", 0.5)
    assert done.code != 0
    assert "optimizer 'draws-noisy' draws random numbers, and each process would draw its own" in done.stderr
    assert "Traceback" not in done.stderr
    assert wf(*words).code == 0
