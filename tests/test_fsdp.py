"""A model sharded over processes: the figures of one process, and checkpoints for any number of processes."""

from __future__ import annotations

import json
import os
import shutil
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
