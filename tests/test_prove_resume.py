"""`wf prove-resume` and `wf replay` recognise equal and different runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import manifest

OWN = """
import random

import torch
from wf import Hook
from wf_base import Dataset, TensorSamples


class Drawing(Hook):
    '''Draws from Python's generator, which nobody saves.'''

    def __init__(self) -> None:
        random.seed(1)
        self.drawn = 0.0

    def on_step_end(self, run) -> None:
        self.drawn = random.random()

    def state_dict(self):
        return {"drawn": self.drawn}

    def load_state_dict(self, state):
        self.drawn = state["drawn"]


NUMBER = 0


class Unsaved(Hook):
    '''Counts in a place of its own and writes what it counts among the figures.'''

    def on_log(self, run, record) -> None:
        global NUMBER
        NUMBER += 1
        record["number"] = NUMBER


class Read(torch.utils.data.IterableDataset):
    '''Numbers that are read one after the other.'''

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def __iter__(self):
        for number in range(40):
            x = torch.tensor([number / 40 + self.noise * random.random()])
            yield x, 2 * x


def noisy(num_samples: int = 60) -> Dataset:
    inputs = torch.linspace(0, 1, num_samples).unsqueeze(1)
    return Dataset(train=TensorSamples(inputs, inputs + random.random()), targets="real")
"""

PLAN = ("--dataset", "iris", "--model.dropout", 0.2, "--batch-size", 16, "--epochs", 4, "--log-every", 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.mark.exhaustive  # four processes that import torch; the next one makes a proof, too
def test_an_exact_resume_is_proved(wf: Any, folder: Path) -> None:
    (folder / "run.toml").write_text('epochs = 3\n[dataset]\nuse = "iris"\n')
    line = ("prove-resume", "run.toml", *PLAN, "--kill-at", 5, "--kill-at", 16, "--hook", "+early-stopping")
    proved = wf(*line, "--name", "proof", timeout=110)
    assert proved.code == 0, proved.stdout + proved.stderr
    rows = dict(line.split()[::2] for line in proved.stdout.splitlines() if line.endswith("equal"))
    assert {"model", "optimizer", "random", "progress", "metrics.jsonl", "hook/EarlyStopping"} <= rows.keys()
    assert "killed after step 5, resumed from step 3\nkilled after step 16, resumed from step 15" in proved.stdout
    assert "28 steps: the killed run ends with the bits of the uninterrupted one" in proved.stdout
    killed = folder / "runs" / "proof" / "killed"
    assert (killed / "metrics.jsonl").read_bytes() == (killed.parent / "straight" / "metrics.jsonl").read_bytes()
    assert manifest(killed)["steps"] == 28


def test_a_hook_with_unsaved_state_is_found(wf: Any, folder: Path) -> None:
    line = ("prove-resume", *PLAN, "--kill-at", 10, "--hook", "+own.py:Unsaved")
    line += ("--hook", "+own.py:Drawing", "--json")
    proved = wf(*line, "--name", "proof", timeout=110, forks=True)
    assert proved.code == 1, proved.stdout + proved.stderr
    found = proved.json()
    assert (found["equal"], found["kills"]) == (False, [{"step": 10, "resumed_from": 6}])
    differing = {part["name"]: part["differences"] for part in found["parts"] if not part["equal"]}
    assert differing.keys() == {"hook/Drawing", "hook/Recorder", "metrics.jsonl", "recorded", "manifest.json"}
    assert differing["hook/Drawing"][0].startswith("drawn: 0.")
    assert differing["metrics.jsonl"] == ["train train number: from step 7 on"]


ITERABLE = ("--dataset", "own.py:Read", "--loss", "mse", "--model.num_outputs", 1, "--batch-size", 8, "--epochs", 2)


def test_an_iterable_dataset_warns_that_its_resume_may_not_be_exact(wf: Any, folder: Path) -> None:
    said = "warning: dataset own-read is iterable: a resumed run skips earlier samples"
    done = wf("run", *ITERABLE, "--name", "read", "--quiet")
    assert done.code == 0, done.stderr
    assert done.stderr.count(said) == 1
    assert manifest(folder / "runs/read")["exact_resume"] is False
    resumed = wf("resume", "read", "--epochs", 3)
    assert resumed.code == 0, resumed.stderr
    assert resumed.stderr.count("wf: warning: dataset own-read is iterable: earlier samples are skipped\n") == 1
    assert manifest(folder / "runs/read")["exact_resume"] is False
    assert wf("run", *PLAN, "--name", "iris", "--quiet").code == 0
    assert manifest(folder / "runs/iris")["exact_resume"] is True


@pytest.mark.exhaustive  # three processes that import torch, twice
@pytest.mark.parametrize(("noise", "words"), [(0, "only to the samples that it gave here"), (0.5, "each time?")])
def test_a_proof_on_an_iterable_dataset_states_its_limits(wf: Any, folder: Path, noise: float, words: str) -> None:
    line = ("prove-resume", *ITERABLE, "--dataset.noise", noise, "--kill-at", 5, "--name", "proof")
    proved = wf(*line, timeout=110)
    assert proved.code == int(noise > 0), proved.stdout + proved.stderr
    assert words in proved.stdout
    assert "(exact_resume: false)" in proved.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--kill-at 20"),
        (("--kill-at", 0), "give the steps after which"),
        (("--kill-at", 28), "takes steps from 1 to 27"),
        (("--kill-at", 3, "--nmae", "x"), "did you mean --name"),
    ],
)
def test_invalid_proofs_are_refused(wf: Any, folder: Path, options: tuple[Any, ...], words: str) -> None:
    refused = wf("prove-resume", *PLAN, *options)
    assert refused.code == 2
    assert words in refused.stderr
    assert not (folder / "runs").exists()


ABORTS = """
import ctypes

from wf import Hook

libc = ctypes.CDLL(None)  # its process aborts at its end if Python is finalized, as a thread of torch makes it at times
getattr(libc, "__cxa_atexit")(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)


class Aborting(Hook):
    '''Does nothing.'''
"""


@pytest.mark.exhaustive  # three processes that import torch
def test_processes_of_a_proof_end_like_those_of_wf_run(wf: Any, folder: Path) -> None:
    (folder / "aborts.py").write_text(ABORTS)
    proved = wf("prove-resume", *PLAN, "--kill-at", 10, "--hook", "+aborts.py:Aborting", "--name", "proof", timeout=110)
    assert proved.code == 0, proved.stdout + proved.stderr


@pytest.mark.exhaustive  # twelve processes that import torch
@pytest.mark.parametrize("options", [("--strategy", "ddp"), ("--strategy", "fsdp", "--strategy.min_params", 80)])
def test_a_run_of_two_processes_resumes_exactly(wf: Any, folder: Path, options: tuple[Any, ...]) -> None:
    line = ("prove-resume", *PLAN, *options, "--processes", 2, "--kill-at", 10, "--name", "proof", "--json")
    proved = wf(*line, timeout=170)
    assert proved.code == 0, proved.stdout + proved.stderr
    assert proved.json()["kills"] == [{"step": 10, "resumed_from": 6}]
    killed = folder / "runs" / "proof" / "killed"
    assert (manifest(killed)["world_size"], manifest(killed)["steps"]) == (2, 28)
    assert {part["name"] for part in proved.json()["parts"]} >= {"model", "optimizer", "ranks", "metrics.jsonl"}
    again = wf("replay", killed, "--json", timeout=110)
    assert (again.code, again.json()["equal"]) == (0, True), again.stderr
    assert manifest(folder / "runs" / "killed-replay")["world_size"] == 2


def test_a_replay_is_equal(wf: Any, folder: Path) -> None:
    assert wf("run", *PLAN, "--name", "first", "--quiet").code == 0
    again = wf("replay", "first", "--quiet")
    assert again.code == 0, again.stdout + again.stderr
    assert "train train loss" in again.stdout
    assert again.stdout.endswith("runs/first-replay is equal to runs/first\n")
    found = wf("replay", "first", "--json").json()
    assert (found["run_dir"], found["equal"], found["drift"]) == ("runs/first-replay-2", True, [])
    assert found["weights"] == {"equal": True, "differences": []}
    loss = next(one for one in found["figures"] if (one["event"], one["name"]) == ("eval", "accuracy"))
    assert (loss["split"], loss["records"], loss["equal"], loss["first_step"]) == ("validation", 4, True, None)


def test_a_replay_that_drifts_names_the_first_differing_step(wf: Any, folder: Path) -> None:
    line = ("--dataset", "own.py:noisy", "--batch-size", 10, "--epochs", 2, "--name", "first", "--quiet")
    assert wf("run", *line).code == 0
    (folder / "own.py").write_text(OWN.replace("inputs + random.random()", "inputs + 0.5 * inputs"))
    again = wf("replay", "first", "--json", "--name", "second")
    assert again.code == 1, again.stderr
    found = again.json()
    assert (found["run_dir"], found["equal"]) == ("runs/second", False)
    assert {one["name"] for one in found["drift"]} == {"dataset", "code"}
    assert found["figures"][0]["first_step"] == 1
    assert found["figures"][0]["largest"] > 0
    assert "differ, by up to" in found["weights"]["differences"][0]
    table = wf("replay", "first").stdout
    assert "differs from step 1 on, by up to" in table
    assert "changed: dataset: was train" in table


def test_an_unfinished_run_is_not_replayed(wf: Any, folder: Path) -> None:
    assert wf("run", *PLAN, "--name", "first", "--quiet").code == 0
    file = folder / "runs" / "first" / "manifest.json"
    file.write_text(json.dumps({**manifest(file.parent), "status": "interrupted"}))
    refused = wf("replay", "first")
    assert refused.code == 2
    assert "wf resume runs/first" in refused.stderr
