"""Loggers: each record once, even if the process is killed, and failures that do not end the run."""

from __future__ import annotations

import csv
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
from runs import manifest, records

from wf_storage.logger import flat_options

KILL = '''
import os, signal

class Kill:
    """Kills the process, once at each of these steps."""

    def on_step_end(self, run) -> None:
        if run.progress.step in (9, 14) and not os.path.exists(f"killed-{run.progress.step}"):
            open(f"killed-{run.progress.step}", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
'''

OWN = """
import json, os
from wf import Component, hookimpl
from wf.traits import HookTraits
from wf_storage.logger import Logger


class Own(Logger):
    def __init__(self, run_dir, strategy, run_file, fail_at: int = 0) -> None:
        super().__init__(run_dir, strategy)
        self.run_file, self.fail_at = run_file, fail_at

    def begin(self, run, records) -> int:
        self.file = open("own.jsonl", "a+")
        self.file.seek(0)
        return len(self.file.readlines())

    def log(self, record) -> None:
        if record.step == self.fail_at and not os.path.exists("failed"):
            open("failed", "w").close()
            raise ConnectionError("the server is gone")
        print(json.dumps([record.step, record.numbers]), file=self.file, flush=True)

    def end(self, run, error) -> None:
        with open("ended.json", "w") as file:
            json.dump({"error": str(error), "seed": self.run_file["seed"], "dataset": self.run_file["dataset"]}, file)


@hookimpl
def wf_components():
    return [Component("hook", "own", Own, "appends to a file", traits=HookTraits(watches=True))]
"""

LINE = ("run", "--dataset", "iris", "--epochs", 4, "--log-every", 1, "--checkpoint-every", "5steps", "--quiet")
LOGGERS = ("--hook", "+csv", "--hook", "+tensorboard", "--hook", "+own", "-p", "own.py")


def rows(run: Path) -> list[dict[str, Any]]:
    """The rows of ``metrics.csv`` in the form of records."""
    with open(run / "metrics.csv", newline="") as stream:
        return [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


def as_cells(record: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in record.items() if value is not None}


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_each_record_is_logged_once_by_a_run_that_was_killed_twice(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(KILL)
    (tmp_path / "own.py").write_text(OWN)
    done = wf(*LINE, *LOGGERS, "--hook", "+kill.py:Kill", "--name", "killed")
    for _ in range(2):
        assert done.code == -signal.SIGKILL, done.stderr
        done = wf("resume", "runs/killed", "-p", "own.py")
    assert done.code == 0, done.stderr
    run = tmp_path / "runs" / "killed"
    lines = records(run)
    assert [line["step"] for line in lines if line["event"] == "train"] == list(range(1, 17))
    assert rows(run) == [as_cells(line) for line in lines]
    losses = [(line["step"], pytest.approx(line["loss"])) for line in lines if line["split"] == "train"]
    assert scalars(run)["train/loss"] == losses  # the last record is the final evaluation
    own = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    assert [step for step, _ in own] == [line["step"] for line in lines]
    assert own[-1][1] == {f"test/{name}": lines[-1][name] for name in ("loss", "accuracy")}
    ended = json.loads((tmp_path / "ended.json").read_text())
    assert (ended["error"], ended["seed"], ended["dataset"]["use"]) == ("None", 42, "iris")


def test_a_failing_logger_does_not_end_the_run_and_catches_up_later(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    options = (*LINE, "--hook", "+own", "-p", "own.py", "--hook.own.fail_at", 6)
    done = wf(*options, "--name", "stopped", "--max-time", "1d")
    assert done.code == 0, done.stderr
    assert done.stderr.count("warning: hook 'own'") == 1
    assert "failed at on_log of step 6; the run continues without it" in done.stderr
    run = tmp_path / "runs" / "stopped"
    assert [one["hook"] for one in manifest(run)["disabled_hooks"]] == ["own"]
    assert records(run)[-1]["step"] == 16
    assert len((tmp_path / "own.jsonl").read_text().splitlines()) == 6  # five steps and an evaluation
    done = wf("resume", run, "--epochs", 5, "-p", "own.py")
    assert done.code == 0, done.stderr
    steps = [json.loads(line)[0] for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    assert steps == [line["step"] for line in records(run)]
    for name in ("failed", "own.jsonl"):
        (tmp_path / name).unlink()
    done = wf(*options, "--hook.own.on_error", "stop", "--name", "fatal")
    assert done.code == 1
    assert "ConnectionError: the server is gone" in done.stderr


def test_a_logger_follows_a_rollback(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "back.py").write_text(
        "import os\nfrom wf.errors import DivergedError, GoBack\n\n"
        "class Back:\n"
        "    def on_log(self, run, record):\n"
        "        if run.progress.step == 8 and not run.rollbacks:\n"
        "            raise GoBack('again', lambda number: {'reason': 'a test'})\n"
    )
    loggers = ("--hook", "+csv", "--hook", "+tensorboard", "--hook", "+back.py:Back")
    done = wf(*LINE, *loggers, "--name", "back")
    assert done.code == 0, done.stderr
    run = tmp_path / "runs" / "back"
    assert len(manifest(run)["rollbacks"]) == 1
    assert rows(run) == [as_cells(line) for line in records(run)]
    assert [step for step, _ in scalars(run)["train/loss"]] == [*range(1, 17), 16]


def test_long_lists_are_images_and_not_scalars(wf: Any, tmp_path: Path) -> None:
    done = wf(*LINE, "--hook", "+tensorboard", "--metric", "+confusion-matrix", "--metric", "+f1", "--name", "run")
    assert done.code == 0, done.stderr
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "run" / "tensorboard"))
    events.Reload()
    splits = ("train", "validation", "test")
    assert {*events.Tags()["images"]} >= {"curves/loss", *(f"{split}/confusion-matrix" for split in splits)}
    assert not [tag for tag in events.Tags()["scalars"] if "confusion" in tag]
    assert not [tag for tag in events.Tags()["scalars"] if not math.isfinite(events.Scalars(tag)[0].value)]
    (text,) = events.Tensors("run file/text_summary")
    assert b'dataset]\nuse = "iris"' in text.tensor_proto.string_val[0]


def test_flat_options_of_a_run_file() -> None:
    document = {
        "epochs": 3,
        "steps": None,
        "loss": {"use": "focal", "gamma": 2.0},
        "hook": [{"use": "csv"}, {"use": "early-stopping", "patience": 3}],
        "optimizer": {"generator": {"use": "adam", "betas": [0.5, 0.9]}},
        "plugins": [],
    }
    assert flat_options(document) == {
        "epochs": 3,
        "loss": "focal",
        "loss.gamma": 2.0,
        "hook.csv": True,
        "hook.early-stopping": True,
        "hook.early-stopping.patience": 3,
        "optimizer.generator": "adam",
        "optimizer.generator.betas": [0.5, 0.9],
        "plugins": [],
    }
