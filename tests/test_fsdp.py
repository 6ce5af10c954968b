"""A model sharded over processes: the figures of one process, and checkpoints for any number of processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from forkserver import ForkServer, Result
from runs import checkpoints, manifest
from safetensors.torch import load_file
from torch import Tensor

from wf_durability.checkpointer import read_checkpoint

pytestmark = pytest.mark.xdist_group("fsdp")  # one worker, so that the shared run is made once

MODEL = (
    "--dataset",
    "iris",
    "--split",
    "80/10/10",
    "--model",
    "mlp",
    "--model.hidden",
    "[13, 7]",
    "--no-shuffle",
    "--quiet",
)
PLAN = (
    *MODEL,
    "--batch-size",
    17,
    "--epochs",
    1,
    "--hook",
    "+gradient-clip",
    "--hook.gradient-clip.max_norm",
    0.05,
    "--log-every",
    1,
)
DIVIDED = ("--strategy", "fsdp", "--strategy.min_params", 80)
"""The layer in the middle is a unit of its own; 13 and 7 rows are not divided evenly."""


def together(server: ForkServer, folder: Path, processes: int, *args: Any) -> Result:
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "NO_COLOR": "1"}
    return server.run([*map(str, args)], folder, environment, 110, processes=processes)


@pytest.fixture(scope="module")
def two(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes; beside it the runs ``one`` and ``longer`` of one process with the same batches."""
    folder = tmp_path_factory.mktemp("fsdp")
    options = (*DIVIDED, "--checkpoint-every", "4steps", "--name", "two")
    done = together(fork_server, folder, 2, "run", *PLAN, *options)
    assert done.code == 0, done.stderr
    for name, epochs in (("one", 1), ("longer", 2)):
        words = ("run", *PLAN, "--epochs", epochs, "--name", name)
        alone = fork_server.run([*map(str, words)], folder, os.environ, 110)
        assert alone.code == 0, alone.stderr
    return folder / "runs" / "two"


def model_of(run: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = read_checkpoint(checkpoints(run)[-1])["parts"]["model"]
    return found


def test_two_processes_give_the_figures_of_one(two: Path) -> None:
    one = two.parent / "one"
    for name, weight in model_of(one).items():
        torch.testing.assert_close(model_of(two)[name], weight, rtol=1e-5, atol=1e-6)
    assert manifest(two)["metrics"] == pytest.approx(manifest(one)["metrics"], rel=1e-5)
    divided, whole = (read_checkpoint(checkpoints(run)[-1])["parts"]["optimizer"]["state"] for run in (two, one))
    for number, state in whole.items():
        torch.testing.assert_close(divided[number]["exp_avg"], state["exp_avg"], rtol=1e-4, atol=1e-6)


def test_each_process_writes_its_shard(two: Path) -> None:
    place = checkpoints(two)[-1]
    shards = sorted(place.glob("shard-*"))
    assert [path.name for path in shards] == ["shard-00000-of-00002.safetensors", "shard-00001-of-00002.safetensors"]
    first, second = (load_file(path) for path in shards)
    for name, whole in model_of(two).items():
        parts = [found[f"parts.model.{name}"] for found in (first, second) if f"parts.model.{name}" in found]
        assert torch.equal(torch.cat(parts), whole)
        assert len(parts[0]) == -(-len(whole) // 2)
    assert {path.name for path in place.iterdir()} == {*json.loads((place / "manifest.json").read_text())["files"]} | {
        "manifest.json"
    }


def test_one_process_evaluates_exports_and_bundles(two: Path, wf: Any) -> None:
    folder = two.parents[1]
    evaluated = wf("evaluate", "two", "--json", cwd=folder)
    assert evaluated.code == 0, evaluated.stderr
    found = manifest(two)["metrics"]
    assert evaluated.json()["metrics"] == pytest.approx({name: found[name] for name in evaluated.json()["metrics"]})
    assert wf("export", "two", "weights.safetensors", cwd=folder).code == 0
    for file in (folder / "weights.safetensors", two / "bundle" / "weights.safetensors"):
        weights = load_file(file)
        assert all(torch.equal(weights[name], one) for name, one in model_of(two).items())
    predicted = wf("predict", "two", "test", cwd=folder)
    assert predicted.code == 0, predicted.stderr


@pytest.mark.parametrize("processes", [1, 4])
def test_another_number_of_processes_resumes_the_run(fork_server: ForkServer, two: Path, processes: int) -> None:
    run = two.with_name(f"on-{processes}")
    shutil.copytree(two, run)
    alone = ("--processes", 1) if processes == 1 else ()  # one process resumes with the local strategy
    done = together(fork_server, two.parents[1], processes, "resume", run.name, "--epochs", 2, "--quiet", *alone)
    assert done.code == 0, done.stderr
    assert len([*checkpoints(run)[-1].glob("shard-*")]) == (0 if processes == 1 else processes)
    assert (manifest(run)["status"], manifest(run)["epochs"], manifest(run)["world_size"]) == ("done", 2, processes)
    for name, weight in model_of(two.with_name("longer")).items():
        torch.testing.assert_close(model_of(run)[name], weight, rtol=1e-5, atol=1e-6)


def test_a_run_that_went_on_in_one_process_returns_to_its_strategy(fork_server: ForkServer, two: Path, wf: Any) -> None:
    run, folder = two.with_name("back"), two.parents[1]
    shutil.copytree(two, run)
    assert wf("resume", "back", "--epochs", 2, "--processes", 1, "--quiet", cwd=folder).code == 0
    assert load_file(checkpoints(run)[-1] / "tensors.safetensors"), "a checkpoint with whole tensors"
    done = together(fork_server, folder, 2, "resume", "back", "--epochs", 3, "--quiet")
    assert done.code == 0, done.stderr
    assert len([*checkpoints(run)[-1].glob("shard-*")]) == 2
    assert tomllib.loads((run / "run.toml").read_text())["strategy"]["min_params"] == 80
    unbroken = wf("run", *PLAN, "--epochs", 3, "--name", "unbroken", cwd=folder)
    assert unbroken.code == 0, unbroken.stderr
    parts, like = (read_checkpoint(checkpoints(two.with_name(name))[-1])["parts"] for name in ("back", "unbroken"))
    for name, weight in like["model"].items():
        torch.testing.assert_close(parts["model"][name], weight, rtol=1e-5, atol=1e-6)
    for number, state in like["optimizer"]["state"].items():
        torch.testing.assert_close(parts["optimizer"]["state"][number], state, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_a_lost_shard_is_named(two: Path, wf: Any, harm: str) -> None:
    run = two.with_name(harm)
    shutil.copytree(two, run)
    shard = checkpoints(run)[-1] / "shard-00001-of-00002.safetensors"
    if harm == "missing":
        shard.unlink()
    else:
        data = bytearray(shard.read_bytes())
        data[-3] ^= 1
        shard.write_bytes(data)
    done = wf("evaluate", run.name, "--json", cwd=two.parents[1])
    assert done.code == 0, done.stderr
    assert f"checkpoint step-00000008 is skipped: {shard.name}" in done.stderr
    assert ("is missing" if harm == "missing" else "does not match its checksum") in done.stderr


KILL = '''
import os, signal
from wf_storage import files

write_file = files.write_file


class Kill:
    """Kills process 1 half way through its part of the second checkpoint."""

    def __init__(self, strategy) -> None:
        if strategy.rank == 1:
            files.write_file = self.write

    def write(self, path, pieces):
        if "00000006" in path.parent.name:
            write_file(path, list(pieces)[:1])
            os.kill(os.getpid(), signal.SIGKILL)
        write_file(path, pieces)
'''


def test_a_process_that_is_killed_as_it_writes(ranks: Any, tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(KILL)
    plan = (*MODEL, *DIVIDED, "--checkpoint-every", "3steps", "--steps", 9)
    done = ranks("run", *plan, "--hook", "+kill.py:Kill", "--name", "two")
    assert done.code != 0
    run = tmp_path / "runs" / "two"
    assert [place.name for place in checkpoints(run)] == ["step-00000003"]
    assert read_checkpoint(checkpoints(run)[-1])["progress"]["step"] == 3
    (tmp_path / "kill.py").write_text(KILL.replace("00000006", "never"))
    resumed = ranks("resume", "two", "--quiet", "--allow-drift", "code")
    assert resumed.code == 0, resumed.stderr
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000006", "step-00000009"]


def test_a_shard_that_cannot_be_written(ranks: Any, tmp_path: Path) -> None:
    (tmp_path / "full.py").write_text(KILL.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise OSError(28, 'full')"))
    plan = (*MODEL, *DIVIDED, "--checkpoint-every", "3steps", "--steps", 9, "--on-checkpoint-error", "continue")
    done = ranks("run", *plan, "--hook", "+full.py:Kill", "--name", "two")
    assert done.code == 0, done.stderr
    run = tmp_path / "runs" / "two"
    assert "the checkpoint step-00000006 could not be written" in done.stderr
    assert "process 1: full" in done.stderr
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000003", "step-00000009"]
    assert len(manifest(run)["failed_saves"]) == 1


OWN = '''
import hashlib, json, os
import torch
from torch import nn
from wf_base.shards import whole


class Net(nn.Module):
    """Two tied layers, tables that no checkpoint has, and weights that are drawn in several ways."""

    def __init__(self, num_features: int, num_outputs: int, way: str = "plain") -> None:
        super().__init__()
        self.first = nn.Linear(num_features, num_features)
        with open("built.txt", "a") as stream:
            print(os.environ.get("RANK", "alone"), self.first.weight.device, file=stream)
        self.again = nn.Linear(num_features, num_features, bias=False)
        self.again.weight = self.first.weight
        self.head = nn.Linear(num_features, num_outputs)
        self.register_buffer("turn", torch.rand(num_features), persistent=way == "saved")
        self.register_buffer("alias", self.turn, persistent=way == "saved")
        self.table = self.turn
        if way == "item":
            self.scale = torch.rand(1).item()
        if way == "cached":
            self.scale = _kept.setdefault(0, torch.rand(1))

    def forward(self, inputs):
        return self.head(self.again(self.first(inputs) * self.table + self.alias) * getattr(self, "scale", 1.0))


_kept = {}


class Note:
    """Writes down what a process starts with."""

    def __init__(self, model, run_dir) -> None:
        self.model, self.place = model, run_dir.parent.parent / f"{run_dir.name}-{os.environ.get('RANK', '0')}.json"

    def on_run_start(self, run) -> None:
        found = {name: whole(one.detach()).tolist() for name, one in self.model.named_parameters()}
        found |= {name: one.tolist() for name, one in self.model.named_buffers()}
        found["empty"] = any(one.is_meta for one in vars(self.model).values() if isinstance(one, torch.Tensor))
        found["same"] = self.model.table is self.model.turn is self.model.alias
        self.place.write_text(json.dumps([found, hashlib.sha256(torch.get_rng_state().numpy()).hexdigest()]))
'''
START = ("--dataset", "iris", "--steps", 2, "--quiet", "--model", "own.py:Net", "--hook", "+own.py:Note")


def started(folder: Path, name: str, rank: int = 0) -> Any:
    return json.loads((folder / f"{name}-{rank}.json").read_text())


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("plain", ""),
        ("item", "Tensor.item() cannot be called on meta tensors"),
    ],
)
def test_only_the_first_process_builds_the_whole_model(
    fork_server: ForkServer, wf: Any, tmp_path: Path, way: str, reason: str
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    plan = [word for word in START if word != "--quiet"]
    alone = wf("run", *plan, "--model.way", way, "--name", "one")
    assert alone.code == 0, alone.stderr
    done = together(fork_server, tmp_path, 2, "run", *plan, "--model.way", way, "--strategy", "fsdp", "--name", "two")
    assert done.code == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "builds the whole model" in line]
    assert len(said) == bool(reason)
    assert all(reason in line for line in said)
    for rank in (0, 1):
        assert started(tmp_path, "two", rank)[0] == started(tmp_path, "one")[0]
    assert started(tmp_path, "two")[1] == started(tmp_path, "one")[1], "the random generator"


def test_a_model_that_keeps_tensors_in_its_code_is_built_whole_on_request(ranks: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    plan = (*START, "--model.way", "cached", "--strategy", "fsdp")
    refused = ranks("run", *plan, "--name", "refused")
    assert refused.code != 0
    assert "takes tensors that its code keeps from one model to the next" in refused.stderr
    done = ranks("run", *plan, "--strategy.whole_build", "true", "--name", "two")
    assert done.code == 0, done.stderr
    assert started(tmp_path, "two", 1)[0] == started(tmp_path, "two")[0]


@pytest.mark.parametrize("way", ["saved", pytest.param("plain", marks=pytest.mark.exhaustive)])
def test_no_process_builds_a_model_that_the_checkpoint_has(fork_server: ForkServer, tmp_path: Path, way: str) -> None:
    (tmp_path / "own.py").write_text(OWN)
    plan = [word for word in (*START, "--model.way", way, "--strategy", "fsdp") if word not in ("--steps", 2)]
    done = together(fork_server, tmp_path, 2, "run", *plan, "--epochs", 1, "--name", "two")
    assert done.code == 0, done.stderr
    built = tmp_path / "built.txt"
    assert sorted({*built.read_text().splitlines()}) == ["0 cpu", "1 meta"]
    built.unlink()
    resumed = together(fork_server, tmp_path, 2, "resume", "two", "--epochs", 2, "--quiet")
    assert resumed.code == 0, resumed.stderr
    whole = [] if way == "saved" else ["0 cpu"]  # where a table is in no checkpoint
    assert sorted({*built.read_text().splitlines()}) == [*whole, "0 meta", "1 meta"]
    assert together(fork_server, tmp_path, 2, "run", *plan, "--epochs", 2, "--name", "unbroken").code == 0
    found, expected = (model_of(tmp_path / "runs" / name) for name in ("two", "unbroken"))
    assert all(torch.equal(found[name], one) for name, one in expected.items())


THAWS = (
    *(*PLAN, "--accumulate", 2, "--hook", "+ema", "--hook.ema.decay", 0.5, "--checkpoint-every", "2steps"),
    *("--trainer.freeze", "backbone", "--trainer.freeze_until", "5steps"),
)


@pytest.mark.parametrize(
    "options",
    [
        DIVIDED,
        pytest.param(("--strategy", "ddp", "--strategy.find_unused_parameters", "yes"), marks=pytest.mark.exhaustive),
    ],
)
def test_parts_are_unfrozen_as_in_one_process(fork_server: ForkServer, wf: Any, tmp_path: Path, options: Any) -> None:
    assert wf("run", *THAWS, "--epochs", 2, "--name", "one").code == 0
    done = together(fork_server, tmp_path, 2, "run", *THAWS, *options, "--name", "two")
    assert done.code == 0, done.stderr
    assert manifest(tmp_path / "runs" / "two")["steps"] == 4, "all of them with frozen parts"
    resumed = together(fork_server, tmp_path, 2, "resume", "two", "--epochs", 2, "--quiet")
    assert resumed.code == 0, resumed.stderr
    found, expected = (read_checkpoint(checkpoints(tmp_path / "runs" / name)[-1])["parts"] for name in ("two", "one"))
    for name, weight in expected["model"].items():
        torch.testing.assert_close(found["model"][name], weight, rtol=1e-5, atol=1e-6)
    for number, state in expected["optimizer"]["state"].items():
        torch.testing.assert_close(found["optimizer"]["state"][number], state, rtol=1e-4, atol=1e-6)


def test_ddp_says_how_parts_can_be_unfrozen(ranks: Any) -> None:
    done = ranks("run", *THAWS, "--strategy", "ddp")
    assert done.code != 0
    assert "let each step search for them: --strategy.find_unused_parameters yes" in done.stderr


LIVE = """
import sys
import torch, wf
from torch import nn

torch.manual_seed(3)
models = {
    "object": nn.Linear(4, 3),
    "function": lambda num_features, num_outputs: nn.Linear(num_features, num_outputs),
    "values": lambda num_features, num_outputs: nn.Linear(num_features + int(torch.zeros(1).item()), num_outputs),
}
for name, model in models.items():
    wf.run(dataset="iris", model=model, steps=2, strategy="fsdp", name=name).close()
"""


@pytest.mark.exhaustive
def test_models_of_ones_own_objects(tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(LIVE)
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "live.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(manifest(tmp_path / "runs" / name)["status"] == "done" for name in ("object", "function", "values"))
