"""Runs of several processes: changing their number, ``--processes``, and ending when one fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from forkserver import ForkServer
from runs import manifest, records

pytestmark = pytest.mark.xdist_group("ddp")

TROUBLE = '''
import os, signal, time
import torch
from torch import nn

RANK = int(os.environ.get("RANK", 0))
WIDTH = 8 + RANK * (os.environ.get("TROUBLE") == "code")


class Net(nn.Sequential):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__(nn.Linear(num_features, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_outputs))


def data():
    inputs = torch.arange(60.0).reshape(30, 2)
    inputs[3, 0] += RANK * (os.environ.get("TROUBLE") == "data")
    return inputs, torch.arange(30) % 3


class Trouble:
    """Notes the samples of each step; process 1 comes into trouble in step 6."""

    def on_step_end(self, run):
        with open(f"samples-{RANK}.txt", "a") as file:
            file.write(f"{run.progress.epoch} {run.progress.step} {run.batch.sample_ids.tolist()}\\n")
        time.sleep(float(os.environ.get("SLOW", 0)))
        trouble = os.environ.get("TROUBLE")
        if trouble == "kill-0" and RANK == 0 and run.progress.step == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        if RANK != 1 or run.progress.step != 6:
            return
        if trouble == "kill" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "hang":
            time.sleep(1000)
'''
PLAN = ("--model", "trouble.py:Net", "--hook", "+trouble.py:Trouble", "--log-every", 1, "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trouble.py").write_text(TROUBLE)
    return tmp_path


def samples(folder: Path, num: int) -> dict[int, list[int]]:
    """The samples that the processes trained on, by epoch and in order; then deletes the files."""
    found: dict[int, list[int]] = {}
    for rank in range(num):
        file = folder / f"samples-{rank}.txt"
        for line in file.read_text().splitlines():
            epoch, _, ids = line.split(" ", 2)
            found.setdefault(int(epoch), []).extend(json.loads(ids))
        file.unlink()
    return {epoch: sorted(ids) for epoch, ids in found.items()}


def test_a_run_resumes_with_another_number_of_processes(fork_server: ForkServer, wf: Any, folder: Path) -> None:
    """Two processes, four, then one: the samples of a run in one process, and its figures up to rounding."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

    def together(num: int, *words: Any) -> None:
        done = fork_server.run([*map(str, words)], folder, environment, 110, processes=num)
        assert done.code == 0, done.stderr

    plan = ("run", "--dataset", "iris", *PLAN, "--batch-size", 10)
    assert wf(*plan, "--epochs", 4, "--name", "straight").code == 0
    wanted = samples(folder, 1)
    assert {epoch: len(ids) for epoch, ids in wanted.items()} == dict.fromkeys(range(4), 105)
    together(2, *plan, "--epochs", 1, "--name", "parts")
    assert samples(folder, 2) == {0: wanted[0]}
    refused = wf("resume", "parts", "--epochs", 2)
    assert (refused.code, "wf resume runs/parts --processes 2" in refused.stderr) == (2, True)
    together(4, "resume", "parts", "--epochs", 3, "--quiet")
    assert samples(folder, 4) == {epoch: wanted[epoch] for epoch in (1, 2)}
    alone = wf("resume", "parts", "--epochs", 4, "--processes", 1, "--quiet")
    assert alone.code == 0, alone.stderr
    assert "world-size: was 4, is 1" in alone.stderr
    assert samples(folder, 1) == {3: wanted[3]}
    found = [
        {(one["event"], one["split"], one["step"], name): value for name, value in one.items() if type(value) is float}
        for one in records(folder / "runs" / "parts")
        if one["event"] == "train" or one["step"] == 44
    ]
    expected = [
        {(one["event"], one["split"], one["step"], name): value for name, value in one.items() if type(value) is float}
        for one in records(folder / "runs" / "straight")
        if one["event"] == "train" or one["step"] == 44
    ]
    figures, like = ({key: value for one in several for key, value in one.items()} for several in (found, expected))
    assert like.keys() <= figures.keys()
    assert {key: figures[key] for key in like} == pytest.approx(like, rel=1e-4)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("code", "parameter 0.weight: [8, 2] in process 0, [9, 2] in process 1"),
        ("data", "dataset: train "),
    ],
)
def test_differing_processes_are_refused_before_the_first_step(
    ranks: Any, folder: Path, trouble: str, words: str
) -> None:
    done = ranks("run", "--dataset", "trouble.py:data", *PLAN, "--name", "two", env={"TROUBLE": trouble})
    assert done.code != 0
    assert "process 1 would not train what process 0 trains" in done.stderr
    assert words in done.stderr
    assert not (folder / "samples-0.txt").exists()


@pytest.mark.exhaustive
def test_a_hanging_process_is_named_with_its_place_and_collective(ranks: Any, folder: Path) -> None:
    plan = ("--dataset", "iris", "--batch-size", 10, "--strategy.timeout_sec", 3, "--name", "two")
    done = ranks("run", *PLAN, "--strategy", "ddp", *plan, env={"TROUBLE": "hang"})
    assert done.code != 0
    assert "process 1 did not come to the all_reduce" in done.stderr
    assert "process 1 is at trouble.py:" in done.stderr
    assert manifest(folder / "runs/two")["status"] == "failed"


def test_the_end_of_a_killed_first_process_is_recorded_by_another(ranks: Any, folder: Path) -> None:
    plan = ("run", "--dataset", "iris", *PLAN, "--batch-size", 20, "--checkpoint-every", "2steps", "--name", "two")
    done = ranks(*plan, "--epochs", 2, "--strategy", "ddp", env={"TROUBLE": "kill-0"})
    assert done.code != 0
    found = manifest(folder / "runs/two")
    assert found["status"] == "failed", done.stderr
    assert found["reason"] == "process 0 ended without a message: it was killed, or its machine is gone"
    assert ranks("resume", "two", "--epochs", 2, "--quiet").code == 0
    assert manifest(folder / "runs/two")["status"] == "done"


def test_a_taken_port_is_one_message(wf: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
        done = wf("run", "--strategy", "ddp", env={**place, "TORCHELASTIC_USE_AGENT_STORE": None})
    assert (done.code, done.stderr.count("wf: ")) == (2, 1), done.stderr
    assert f"port {port} of this machine, at which the processes of the run meet, is taken" in done.stderr


def test_folds_in_several_processes_are_those_of_one(ranks: Any, wf: Any, tmp_path: Path) -> None:
    plan = ("run", "--dataset", "iris", "--model", "linear", "--epochs", 1, "--folds", 2, "--quiet", "--json")
    one, two = (run(*plan, "--name", name) for run, name in ((wf, "one"), (ranks, "two")))
    assert two.code == 0, two.stderr
    found, like = (manifest(tmp_path / "runs" / name) for name in ("two", "one"))
    assert found["status"] == "done"
    assert found["metrics"] == pytest.approx(like["metrics"], rel=1e-4)
    assert json.loads(two.stdout)["folds"] == [pytest.approx(fold, rel=1e-4) for fold in one.json()["folds"]]
    assert manifest(tmp_path / "runs/two/fold-2")["world_size"] == 2
    refused = wf("run", "--dataset", "iris", "--folds", 3, "--processes", 2, "--max-restarts", 1)
    assert (refused.code, "--fold 1/3 --name fold-1 --max-restarts 1" in refused.stderr) == (2, True)


ROOT = """
from torch import nn
from torch.nn.functional import cross_entropy

def root(outputs, targets):
    return cross_entropy(outputs, targets).sqrt()

class Centred(nn.Linear):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__(num_features, num_outputs)

    def forward(self, inputs):
        inputs = inputs.flatten(1)
        return super().forward(inputs - inputs.mean(0))
"""


def test_what_sees_only_a_share_of_a_batch_is_named_once(ranks: Any, wf: Any, tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('batch_size = 8\ndataset = {use = "digits"}\n')
    (tmp_path / "new.toml").write_text("format = 2\n" + (tmp_path / "old.toml").read_text())
    norms = ("--model", "cnn", "--model.channels", "[4]", "--dry-run")
    pairs = ("--model", "linear", "--task", "embedding", "--loss", "nt-xent", "--dry-run")
    (tmp_path / "root.py").write_text(ROOT)
    root = ("--model", "linear", "--loss", "root.py:root", "--dry-run")
    centred = ("--model", "root.py:Centred", "--dry-run")
    words = {
        "old.toml has no 'format', so batch_size 8 is that of all 2 processes together": ("old.toml", *norms),
        "batch norm 1: means and deviations are those of each process's share": ("old.toml", *norms),
        "loss 'nt-xent' compares the samples of a batch, and each of 2 processes": ("new.toml", *pairs),
        "as the mean of its parts; each of 2 processes computes its own": ("new.toml", *root),
        "model 'root-centred': the outputs for a sample depend on the other samples": ("new.toml", *centred),
    }
    said = {line: ranks("run", *line).stderr for line in dict.fromkeys(words.values())}
    assert {text: said[line].count(text) for text, line in words.items()} == dict.fromkeys(words, 1)
    assert said["new.toml", *pairs].count("warning") == 1
    assert "warning" not in wf("run", "old.toml", *norms).stderr + wf("run", "old.toml", *pairs).stderr
    assert "not those of" not in wf("run", "new.toml", *root).stderr + wf("run", "new.toml", *centred).stderr
    parts = wf("run", "new.toml", *root, "--accumulate", 4).stderr
    assert "as the mean of its parts; each of 4 batches of an update computes its own" in parts


def test_invalid_uses_of_processes_are_refused(wf: Any) -> None:
    assert "--processes must be a whole number from 1 to 4,096, not 0" in wf("run", "--processes", 0).stderr
    done = wf("run", "--processes", 2, env={"RANK": "0", "WORLD_SIZE": "2"})
    assert (done.code, "torchrun has started this one" in done.stderr) == (2, True)
    done = wf("run", "--strategy", "local", env={"RANK": "0", "WORLD_SIZE": "2"})
    assert (done.code, "strategy 'local' is for one process, and 2 were started" in done.stderr) == (2, True)
    assert "name one for several: --strategy ddp" in done.stderr
    done = wf("run", "--processes", 2, "--loss", "focl")
    assert (done.code, done.stderr.count("did you mean 'focal'?")) == (2, 1)
    done = wf("compare", "--dataset", "iris", "--vary", "strategy=local,ddp")
    assert (done.code, "trains each run in one process: --strategy local" in done.stderr) == (2, True)


def test_commands_of_one_process_do_their_work_once_under_torchrun(ranks: Any, wf: Any, tmp_path: Path) -> None:
    assert wf("run", "--dataset", "iris", "--epochs", 1, "--name", "x", "--quiet").code == 0
    lines = [("evaluate", "x"), ("list", "losses"), ("compare", "--dataset", "iris", "--epochs", 1, "--repeats", 2)]
    for line in lines[:2]:
        done, alone = ranks(*line), wf(*line)
        assert (done.code, done.stdout, done.stderr) == (0, alone.stdout, alone.stderr)
    assert ranks("export", "x", "x.safetensors").code == 0
    refused = ranks("evaluate", "y")
    assert (refused.code == 0, refused.stderr.count("wf: ")) == (False, 1)
    compared = ranks(*lines[2], "--vary", "optimizer=adam,sgd", "--name", "c", "--quiet")
    assert (compared.code, compared.stdout.count("comparison  ")) == (0, 1), compared.stderr
    assert [path.name for path in tmp_path.glob("runs/c*") if path.is_dir()] == ["c"]


def test_the_run_file_of_several_processes_is_printed_once(ranks: Any, folder: Path) -> None:
    done = ranks("run", "--dataset", "iris", "--strategy", "ddp", "--print-config")
    assert tomllib.loads(done.stdout)["strategy"]["use"] == "ddp"
    launching = launched(folder, "--strategy", "fsdp", "--print-config")
    out, err = launching.communicate(timeout=60)
    assert launching.returncode == 0, err
    assert tomllib.loads(out)["strategy"]["use"] == "fsdp"


def launched(folder: Path, *words: Any, **environment: str) -> subprocess.Popen[str]:
    """``wf run --processes 2``, as a user starts it."""
    command = [sys.executable, "-P", "-m", "wf_cli", "run", "--processes", "2", "--dataset", "iris", *map(str, words)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.exhaustive
def test_a_lost_process_is_restarted_and_the_run_continues(folder: Path) -> None:
    twice = ("--epochs", 2, "--epochs", 3)
    plan = (*twice, "--batch-size", 20, "--checkpoint-every", "2steps", "--max-restarts", 1, "--json")
    process = launched(folder, *PLAN, *plan, TROUBLE="kill")
    stdout, stderr = process.communicate(timeout=110)
    assert process.returncode == 0, stderr
    assert stderr.count("process 1 ended without a message: it was killed") == 1
    assert stderr.count("--epochs is given more than once; the last one counts: 3") == 1
    assert "process 1 was killed by SIGKILL; all are started again" in stderr
    found = json.loads(stdout)
    assert (found["status"], found["steps"]) == ("done", 18)
    (run,) = (path for path in (folder / "runs").iterdir() if not path.is_symlink())
    assert [one["step"] for one in records(run, "train")] == sorted({one["step"] for one in records(run, "train")})


def wait_for(file: Path) -> None:
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until, file
        time.sleep(0.1)


@pytest.mark.exhaustive  # two processes that import torch, each
@pytest.mark.parametrize("number", ["SIGUSR1", "SIGTERM", "SIGINT", "SIGKILL"])
def test_a_signal_to_the_launcher_saves_and_ends_every_process(folder: Path, number: str) -> None:
    sent = getattr(signal, number)
    process = launched(folder, *PLAN, "--epochs", 500, "--name", "two", SLOW="0.05")
    wait_for(folder / "samples-1.txt")
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)  # until the processes have closed their end, too
    assert process.returncode == (-sent if number == "SIGKILL" else 128 + sent), stderr
    said = "SIGTERM" if number == "SIGKILL" else number  # the processes notice that their launcher is gone
    assert stderr.count(f"stopped by {said} after step") == 1
    assert stderr.count("wf resume runs/two --processes 2") == 1
    assert manifest(folder / "runs/two")["status"] == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.exhaustive  # two processes that import torch
def test_a_second_sigint_ends_the_run_without_saving(folder: Path) -> None:
    process = launched(folder, *PLAN, "--epochs", 500, "--name", "two", SLOW="1")
    wait_for(folder / "samples-1.txt")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "wf: interrupted\n  wf resume runs/two --processes 2\n")
    found = manifest(folder / "runs/two")
    assert (found["status"], found["reason"]) == ("interrupted", "a second signal ended the run at once")


@pytest.mark.exhaustive  # two processes that import torch, each
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.5, 3])
def test_an_interruption_of_the_start_is_one_message(folder: Path, seconds: float) -> None:
    process = launched(folder, *PLAN, "--epochs", 500, "--name", "two", SLOW="1")
    wait_for_children(process.pid)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "wf: interrupted\n" or "wf: stopped by SIGINT after step" in stderr, stderr
    assert stderr.count("wf: ") == 1


def wait_for_children(pid: int) -> None:
    until = time.monotonic() + 60
    while not Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        assert time.monotonic() < until
        time.sleep(0.02)
