"""Resuming a run under changed conditions gives a warning or is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import checkpoints, manifest

CSV = "x,y,target\n" + "".join(f"{n / 10},{n % 7},{n * 0.3}\n" for n in range(60))

NET = """
from torch import nn


def net(num_features: int, num_outputs: int) -> nn.Module:
    return nn.Linear(num_features, num_outputs)
"""

HOOKS = """
from wf import Hook


class Counter(Hook):
    def __init__(self) -> None:
        self.count = 0

    def on_step_end(self, run) -> None:
        self.count += 1


class Forgetful(Counter):
    def state_dict(self):
        return {"count": self.count, "kept": 1}

    def load_state_dict(self, state):
        pass


class Half(Counter):
    def state_dict(self):
        return {"count": self.count}


class Unsavable(Counter):
    def state_dict(self):
        return {"seen": [print]}

    def load_state_dict(self, state):
        pass


class Restless(Counter):
    def state_dict(self):
        self.count += 1
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]
"""


@pytest.fixture
def run(wf: Any, tmp_path: Path) -> Path:
    """An unfinished run with user data, code and a user hook."""
    (tmp_path / "points.csv").write_text(CSV)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "hooks.py").write_text(HOOKS)
    made = wf(
        *(
            "run",
            "--dataset",
            "points.csv",
            "--dataset.target",
            "target",
            "--model",
            "net.py:net",
            "--batch-size",
            10,
            "--steps",
            5,
        ),
        *("--name", "begun", "--quiet"),
    )
    assert made.code == 0, made.stderr
    return tmp_path / "runs" / "begun"


def edit(file: Path, change: Callable[[str], str]) -> None:
    before = file.read_text()
    file.write_text(change(before))
    assert file.read_text() != before


def edit_manifest(run: Path, **fields: Any) -> None:
    edit(run / "manifest.json", lambda text: json.dumps({**json.loads(text), **fields}))


def test_the_manifest_records_the_conditions_of_a_run(run: Path) -> None:
    found = manifest(run)
    assert {"train"} == found["dataset"].keys()
    assert found["versions"].keys() == {"wf", "python", "torch", "numpy"}
    assert found["precision"]["default_dtype"] == "float32"
    assert found["determinism"]["deterministic_algorithms"] is False
    assert (found["threads"], found["world_size"], found["device"], found["schema"]) == (1, 1, "cpu", 1)
    assert found["run_file"]["batch_size"] == 10
    assert [file["file"] for file in found["code"]] == ["net.py"]
    assert found["device_name"]


@pytest.mark.parametrize("name", ["dataset", "run-file", "code"])
def test_changed_data_run_file_and_code_are_refused(wf: Any, run: Path, tmp_path: Path, name: str) -> None:
    if name == "dataset":
        edit(tmp_path / "points.csv", lambda text: text.replace("0.3,3", "0.31,3"))
    elif name == "run-file":
        edit(run / "run.toml", lambda text: text.replace("lr = 0.001", "lr = 0.01"))
    else:
        edit(tmp_path / "net.py", lambda text: text.replace("nn.Linear(num_features", "nn.Linear(1 * num_features"))
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused = wf("resume", "begun", "--epochs", 2)
    assert refused.code == 2
    assert f"--allow-drift {name}" in refused.stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    done = wf("resume", "begun", "--epochs", 2, "--allow-drift", name)
    assert done.code == 0, done.stderr
    (drift,) = manifest(run)["drift"]
    assert (drift["step"], [one["name"] for one in drift["differences"]]) == (5, [name])
    again = wf("resume", "begun", "--epochs", 3, "--quiet")
    assert again.code == 0, f"not compared with the conditions of the last resume: {again.stderr}"
    assert len(manifest(run)["drift"]) == 1


def test_all_differences_are_reported_and_warnings_do_not_stop_a_resume(wf: Any, run: Path) -> None:
    edit_manifest(run, threads=4, device_name="another", schema=9)
    refused = wf("resume", "begun", "--epochs", 2)
    assert refused.code == 2
    for words in ("threads: was 4, is 1", "schema: was 9, is 1", "--allow-drift threads,schema"):
        assert words in refused.stderr
    done = wf("resume", "begun", "--epochs", 2, "--allow-drift", "all")
    assert done.code == 0
    assert "warning: device-name: was another" in done.stderr
    assert [one["name"] for one in manifest(run)["drift"][0]["differences"]] == ["threads", "schema", "device-name"]


def test_conditions_missing_in_an_older_run_are_named(wf: Any, run: Path) -> None:
    old = {key: value for key, value in manifest(run).items() if key not in ("dataset", "run_file")}
    edit(run / "manifest.json", lambda _: json.dumps(old))
    done = wf("resume", "begun", "--epochs", 2)
    assert done.code == 0
    assert "the run has no record of these conditions, so they are not compared: dataset, run-file" in done.stderr


def test_an_unknown_condition_gets_a_suggestion(wf: Any, run: Path) -> None:
    refused = wf("resume", "begun", "--epochs", 2, "--allow-drift", "thread")
    assert refused.code == 2
    assert "did you mean 'threads'" in refused.stderr


def test_more_epochs_and_workers_are_no_drift(wf: Any, run: Path) -> None:
    assert wf("resume", "begun", "--epochs", 2, "--workers", 2, "--quiet").code == 0
    assert "drift" not in manifest(run)


def test_state_that_is_not_restored_is_named(wf: Any, run: Path, tmp_path: Path) -> None:
    made = ("--steps", 5, "--hook", "+hooks.py:Forgetful", "--name", "forgetful", "--quiet")
    assert wf("run", *made).code == 0
    refused = wf("resume", "forgetful", "--epochs", 2)
    assert refused.code == 2
    assert "hooks.py (hook/Forgetful): count: 5, now 0" in refused.stderr
    assert "kept" not in refused.stderr
    done = wf("resume", "forgetful", "--epochs", 2, "--allow-drift", "state")
    assert done.code == 0, done.stderr
    (record,) = manifest(tmp_path / "runs" / "forgetful")["drift"]
    assert [(one["name"], one["now"]) for one in record["differences"]] == [("state", "0")]


def test_an_added_hook_starts_fresh_if_drift_is_allowed(wf: Any, run: Path, tmp_path: Path) -> None:
    edit(run / "run.toml", lambda text: text + '[[hook]]\nuse = "early-stopping"\n')
    assert "hook learning-rate-log, " in wf("resume", "begun", "--epochs", 2).stderr
    refused = wf("resume", "begun", "--epochs", 2, "--allow-drift", "run-file")
    assert (refused.code, "only in the run: ['hook/EarlyStopping']" in refused.stderr) == (2, True)
    assert wf("resume", "begun", "--epochs", 2, "--allow-drift", "all").code == 0
    found = [(one["name"], one["before"], one["now"]) for one in manifest(run)["drift"][-1]["differences"]]
    assert ("state", "not in the checkpoint", "hook/EarlyStopping") in found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:30], "30 of "),
        (lambda text: text.replace('"loss": ', '"loss": 1', 1), "lines of it were changed"),
    ],
)
def test_changed_records_are_refused(wf: Any, run: Path, change: Callable[[str], str], words: str) -> None:
    edit(run / "metrics.jsonl", change)
    before = {file: file.read_bytes() for file in run.iterdir() if file.is_file()}
    refused = wf("resume", "begun", "--epochs", 2)
    assert refused.code == 2
    assert "metrics.jsonl has changed since step 5: " + words in refused.stderr
    assert {file: file.read_bytes() for file in run.iterdir() if file.is_file()} == before
    allowed = wf("resume", "begun", "--epochs", 2, "--quiet", "--allow-drift", "state")
    assert allowed.code == 0, allowed.stderr
    assert "Recorder.sha256" in str(manifest(run)["drift"])


def test_a_finished_run_without_checkpoints_is_not_overwritten(wf: Any, run: Path) -> None:
    records = (run / "metrics.jsonl").read_bytes()
    shutil.rmtree(run / "checkpoints")
    refused = wf("resume", "begun", "--epochs", 2)
    assert refused.code == 4
    assert "its checkpoints are gone\n  train anew: wf run " in refused.stderr
    assert (run / "metrics.jsonl").read_bytes() == records


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("Half", "Half has only one of state_dict and load_state_dict"),
        ("Unsavable", "seen.0: an object of type builtin_function_or_method cannot be saved"),
        ("Restless", "(hook/Restless): count: 1, now 2"),
    ],
)
def test_state_that_cannot_be_saved_is_refused_before_the_first_step(
    wf: Any, run: Path, tmp_path: Path, hook: str, words: str
) -> None:
    refused = wf("run", "--epochs", 1, "--hook", f"+hooks.py:{hook}", "--name", "new")
    assert refused.code == 2, refused.stderr
    assert words in refused.stderr
    assert not (tmp_path / "runs" / "new").exists()
    assert wf("run", "--epochs", 1, "--hook", f"+hooks.py:{hook}", "--dry-run").code == 0


OPTIMIZERS = """
import torch


class Refusing(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1) -> None:
        super().__init__(params, lr)

    def load_state_dict(self, state):
        raise NotImplementedError("one day")


class Doubling(Refusing):
    def load_state_dict(self, state):
        self.param_groups[0]["lr"] *= 2
"""


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (
            "Refusing",
            "(optimizer) cannot be loaded back, so the run could not be resumed\n  NotImplementedError: one day",
        ),
        ("Doubling", "(optimizer): param_groups.0.lr: 0.1, now 0.2"),
    ],
)
def test_an_optimizer_that_does_not_take_its_state_back_is_refused_before_the_first_step(
    wf: Any, run: Path, tmp_path: Path, optimizer: str, words: str
) -> None:
    (tmp_path / "optimizers.py").write_text(OPTIMIZERS)
    line = ("run", "--epochs", 1, "--optimizer", f"optimizers.py:{optimizer}", "--name", "new")
    refused = wf(*line)
    assert refused.code == 2, refused.stderr
    assert words in refused.stderr
    assert not (tmp_path / "runs" / "new").exists()
    assert wf(*line, "--dry-run").code == 0


def test_deleted_user_code_is_taken_from_the_copy(wf: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").unlink()
    assert wf("resume", "begun", "--epochs", 2, "--quiet").code == 0
    assert checkpoints(run)[-1].name == "step-00000010"
