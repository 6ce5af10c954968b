"""`wf tune`: trials are plain runs; resuming a search, pruning, and the final comparison."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wf_tune.directory import Directory

IRIS = ("--dataset", "iris", "--model.hidden", "[4]", "--device", "cpu")
SEARCH = (
    *("--vary", "optimizer=adam,sgd", "--vary", "optimizer.lr=log(1e-3,1e-1)"),
    *("--vary", "optimizer.momentum=uniform(0,0.9)"),
)


OWN_PLOT = """
from wf import Component, hookimpl
from wf_charts import Interval, Intervals, PlotTraits
from wf_tune.directory import Directory


@hookimpl
def wf_components():
    return [Component("plot", "of-trials", OfTrials, "trials", traits=PlotTraits(of="search"))]


class OfTrials:
    def __init__(self, run_dir):
        self.trials = Directory(run_dir).trials().all()

    def charts(self):
        rows = [Interval(name=str(one.number), mean=one.value) for one in self.trials]
        return [Intervals(name="trials", title="Trials of this search", rows=rows)]
"""


def manifest(path: Path) -> Any:
    return json.loads((path / "manifest.json").read_text())


def trials_of(path: Path) -> list[Any]:
    return Directory(path).trials().all()


def starts(path: Path) -> int:
    """How often a run made its first step."""
    return [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()].count(1)


def test_a_search_from_the_first_trial_to_the_final_comparison(wf: Any, tmp_path: Path) -> None:
    line = ("tune", *IRIS, "--epochs", "1", *SEARCH, "--name", "one", "--finalists", "1", "--final-repeats", "2")
    done = wf(*line, "--trials", "3", "--json")
    assert done.code == 0, done.stderr
    record, place = json.loads(done.stdout), tmp_path / "runs" / "one"
    assert [trial["number"] for trial in record["trials"]] == [0, 1, 2]
    assert all(trial["state"] == "complete" for trial in record["trials"])
    for trial in record["trials"]:
        run = manifest(place / f"trial-{trial['number']}")
        assert run["status"] == "done"
        assert run["metrics"]["validation/accuracy"] == trial["value"]
        settings, optimizer = trial["settings"], run["run_file"]["optimizer"]
        assert (optimizer["use"], optimizer["lr"]) == (settings["optimizer"], settings["optimizer.lr"])
        assert ("optimizer.momentum" in settings) == (settings["optimizer"] == "sgd")
    # the defaults are in the space and were tried first
    assert record["trials"][0]["settings"] == {"optimizer": "adam", "optimizer.lr": 0.001}
    final = record["final"]
    assert next(row["name"] for row in final["table"]["rows"]) == "defaults"
    assert {run["repeat"] for row in final["table"]["rows"] for run in row["runs"]} == {"seed 43", "seed 44"}
    assert json.loads((place / "search.json").read_text()) == record
    assert (place / "best.toml").is_file()
    assert "3/3  trial" in done.stderr

    again = wf(*line, "--trials", "3", "--json")  # nothing is left to train
    assert json.loads(again.stdout) == record
    assert "trial 0" not in again.stderr

    more = wf(*line, "--trials", "4", "--finalists", "0")
    assert more.code == 0, more.stderr
    assert "4 trials in runs/one, 3 of them already finished" in more.stderr
    assert len(trials_of(place)) == 4

    shown = wf("tune", "one")
    assert "trials    4: 4 done" in shown.stdout
    assert "defaults" in shown.stdout
    listed = wf("runs", "runs/one")
    assert all(f"trial-{number}" in listed.stdout for number in range(4))
    page = wf("report", "runs/one", "-o", "page.html", "--no-plots")
    assert page.code == 0, page.stderr
    text = (tmp_path / "page.html").read_text()
    assert "validation/accuracy by trial" in text
    assert "With fresh seeds" in text
    assert "minus defaults" in text
    assert "repeat and" not in text, "the trials, which have the seed of the search, are not compared"
    (tmp_path / "own.py").write_text(OWN_PLOT)
    drawn = wf("plot", "runs/one", "-p", "own.py")
    names = ("search-history", "search-importance", "search-slices", "search-slice-optimizer", "trials")
    assert drawn.stdout.split() == [f"runs/one/plots/{name}.svg" for name in names]
    page = wf("report", "runs/one", "-o", "page.html", "-p", "own.py", "--plot", "of-trials")
    assert (page.code, "Trials of this search" in (tmp_path / "page.html").read_text()) == (0, True)
    refused = wf("plot", "runs/one", "--plot", "curves")
    assert (refused.code, "plot 'curves' draws a run, not a search" in refused.stderr) == (2, True)

    other = wf("tune", *IRIS, "--epochs", "2", *SEARCH, "--name", "one")
    assert (other.code, "is a search with other settings\n  choose another --name" in other.stderr) == (2, True)
    refused = wf("tune", "--resume", "runs/one", "--epochs", "2")
    assert (refused.code, "--epochs: --resume continues" in refused.stderr) == (2, True)
    (place / "search.db").unlink()
    gone = wf("tune", "--resume", "runs/one")
    assert (gone.code, "search.db is missing" in gone.stderr) == (4, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ((), "there is nothing to search"),
        (("--vary", "optimizer.lrr=log(1e-3,1)"), "did you mean 'lr'?"),
        (("--vary", "optimizer=adam,sgdd"), "did you mean 'sgd'?"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--optimizer.lr", "1"), "both --optimizer.lr and --vary optimizer.lr"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--lr", "1"), "both --lr and --vary optimizer.lr"),
        (("--vary", "optimizer=adam,sgd", "--optimizer", "adam"), "both --optimizer and --vary optimizer"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--searcher", "tpee"), "did you mean 'tpe'?"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--searcher.startup-trial", "1"), "did you mean 'startup_trials'?"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--pruner", "wilcoxon"), "needs several repeats\n  add --repeats"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--searcher", "cma-es"), "this search has 1"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--trials", "0"), "--trials must be an integer of at least 1"),
        (("--vary", "epochs=int(-3,-1)"), "epochs"),
        (
            ("--vary", "scheduler=cosine,step"),
            "scheduler 'step' needs option 'step_size': --scheduler.step_size VALUE\n"
            "  step_size: Epochs between two changes.\n  or vary it: --vary scheduler.step_size=VALUES",
        ),
        (
            ("--vary", "scheduler.step_size=1,2"),
            "--vary scheduler.step_size: there is no scheduler that could have the option\n  name one: --scheduler N",
        ),
        (
            ("--scheduler", "warmup", "--scheduler.num_steps", "5", "--vary", "scheduler.then=cosine,step"),
            "--scheduler.then.step_size VALUE",
        ),
        (
            ("--vary", "scheduler=cosine,step", "--scheduler.step_sizes", "2"),
            "unknown option 'step_sizes' of scheduler 'cosine' and 'step'\n  did you mean 'step_size'?",
        ),
        (("--vary", "loss.gamma=1,2"), "unknown option 'gamma' of loss 'ce'"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--storage", "nonsense"), "not the URL of a supported database"),
        (("--vary", "optimizer.lr=log(1e-3,1)", "--by", "validation/acuracy"), "did you mean 'validation/accuracy'"),
        (
            ("--vary", "loss=ce,focal", "--by", "validation/loss"),
            "validation/loss is not the same figure in the trials: their losses are ce and focal, and values of "
            "different functions cannot be compared\n  choose a metric: --by validation/accuracy\n",
        ),
        (("--vary", "batch_size=uniform(1,16)"), "option 'batch_size' wants int or str, not 5.7"),
        (("--vary", "deterministic=uniform(0,1)"), "option 'deterministic' wants bool"),
        (
            ("--vary", "metric=f1,accuracy"),
            "a trial with metric f1 has no figure validation/accuracy\n"
            "  add to the metrics of all trials: --vary metric=+A,+B, or choose another figure: --by FIGURE",
        ),
        (
            ("--vary", "optimizer.lr=log(1e-3,1)", "--by", "validation/accuracy:mox"),
            "unknown direction 'mox'\n  write --by validation/accuracy:max or validation/accuracy:min",
        ),
        (
            ("--loss", "focal", "--vary", "loss.gamma=uniform(0,2)", "--by", "validation/loss"),
            "is not the same figure in the trials: their losses are focal (gamma 0.0) and focal (gamma 2.0)",
        ),
    ],
)
def test_invalid_searches_are_refused_and_write_nothing(
    line: tuple[str, ...], words: str, wf: Any, tmp_path: Path
) -> None:
    done = wf("tune", *IRIS, *line)
    assert done.code == 2, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_trial_with_the_defaults_is_no_finalist_beside_them(wf: Any, tmp_path: Path) -> None:
    line = ("--vary", "optimizer.lr=0.001,1e-9,1e-8", "--searcher", "grid", "--final-repeats", "2", "--name", "same")
    done = wf("tune", *IRIS, "--epochs", "3", *line, "--trials", "3", "--finalists", "2", "--json")
    assert done.code == 0, done.stderr
    record = json.loads(done.stdout)
    as_given = next(one["number"] for one in record["trials"] if one["settings"]["optimizer.lr"] == "0.001")
    assert f"trial {as_given} trains the same as defaults" in done.stderr
    rows = [row["name"] for row in record["final"]["table"]["rows"]]
    assert sorted(rows) == ["defaults", *(f"trial {number}" for number in range(3) if number != as_given)]
    assert (record["final"]["trial"], record["final"]["words"][:14]) == (None, "no improvement")
    again = wf("tune", *IRIS, "--epochs", "3", *line, "--trials", "3", "--finalists", "2", "--json")
    assert json.loads(again.stdout) == record
    assert "trains the same" not in again.stderr  # the comparison is found again, and nothing is built


@pytest.mark.parametrize(
    "line",
    [
        ("--dataset", "points.csv", "--dataset.target", "y"),
        ("--dataset", "iris", "--hook", "no:fit-verdict", "--hook", "+early-stopping", "--metric", "no:accuracy"),
        ("--dataset", "iris", "--hook", "+early-stopping", "--hook.early-stopping.patience", "3"),
    ],
    ids=["file", "removed", "set"],
)
def test_a_search_takes_the_names_that_a_run_takes(wf: Any, tmp_path: Path, line: tuple[str, ...]) -> None:
    rows = [f"{number},{number % 7},{number % 2}" for number in range(40)]
    (tmp_path / "points.csv").write_text("\n".join(["a,b,y", *rows]))
    vary = ("--vary", "optimizer.lr=log(1e-3,1e-2)", "--by", "validation/loss", "--dry-run")
    for command in (("run", "--dry-run"), ("tune", *vary)):
        done = wf(*command, *line, "--epochs", "1")
        assert done.code == 0, done.stderr
    assert not (tmp_path / "runs").exists()


def test_values_that_no_trial_can_have_are_refused_before_the_first(wf: Any, tmp_path: Path) -> None:
    vary = ("--vary", "strategy=local,ddp", "--vary", "trainer=supervised,graphed", "--vary", "lr=log(1e-3,1e-1)")
    refused = wf("tune", *IRIS, *vary, "--trials", "2")
    assert refused.code == 2
    assert "no trial with strategy=ddp can be trained: strategy ddp runs in several processes" in refused.stderr
    assert "leave ddp out of --vary strategy\n" in refused.stderr
    assert "no trial with trainer=graphed can be trained: trainer 'graphed' captures CUDA graphs" in refused.stderr
    assert not (tmp_path / "runs").exists()


def test_a_value_that_works_with_some_values_of_others_is_searched(wf: Any, tmp_path: Path) -> None:
    """lbfgs and fp16 exclude each other, and adam works with both."""
    vary = ("--vary", "optimizer=torch/lbfgs,adam", "--vary", "precision=fp32,fp16")
    with_first = wf("run", *IRIS, "--optimizer", "torch/lbfgs", "--precision", "fp16", "--dry-run")
    assert with_first.code == 2
    tried = wf("tune", *IRIS, *vary, "--dry-run")
    assert tried.code == 0, tried.stderr


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_search_that_chooses_by_the_test_split_says_so(wf: Any, split: str) -> None:
    tried = wf("tune", *IRIS, "--vary", "optimizer.lr=log(1e-3,1e-1)", "--by", f"{split}/accuracy", "--dry-run")
    assert tried.code == 0, tried.stderr
    assert ("warning: the search chooses by test/accuracy" in tried.stderr) is (split == "test")


@pytest.mark.parametrize("command", ["tune", "compare"])
def test_several_processes_of_a_trial_are_refused_with_the_commands_that_have_them(wf: Any, command: str) -> None:
    refused = wf(command, *IRIS, "--processes", 2)
    assert refused.code == 2
    assert "unknown option '--processes'\n" in refused.stderr
    assert "each run of this command has one process; wf run and wf resume can have several" in refused.stderr


LUCK = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self, salt: int = 0):
        torch.rand(salt)  # other initial weights, of the same distribution
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(4, 3))
"""


def test_a_setting_without_effect_is_no_improvement_and_a_learning_rate_is_one(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(LUCK)
    (tmp_path / "slow.toml").write_text("format = 2\n[optimizer]\nuse = 'adam'\nlr = 1e-5\n")
    common = ("--dataset", "iris", "--device", "cpu", "--epochs", "4", "--model", "net.py:Net")
    common += ("--finalists", "1", "--final-repeats", "4")
    luck = wf("tune", *common, "--vary", "model.salt=int(0,9)", "--trials", "8", "--name", "luck", "--json")
    assert luck.code == 0, luck.stderr
    record = json.loads(luck.stdout)
    values = [one["value"] for one in record["trials"]]
    assert max(values) > values[0] + 0.1  # by luck, as the fresh seeds show
    assert record["final"]["verdict"] in (None, "tie", "better?")
    assert "which is more than noise" not in record["final"]["words"]
    real = wf("tune", "slow.toml", *common, "--vary", "optimizer.lr=log(1e-2,1e-1)", "--trials", "2", "--name", "real",
              "--json")  # fmt: skip
    assert real.code == 0, real.stderr
    final = json.loads(real.stdout)["final"]
    assert final["verdict"] == "better"
    assert final["words"].startswith("better than the defaults by 0.")
    assert final["words"].endswith("which is more than noise")


def test_equal_settings_are_not_trained_twice(wf: Any, tmp_path: Path) -> None:
    line = ("--vary", "optimizer=adam,sgd", "--searcher", "random", "--finalists", "0", "--name", "few")
    done = wf("tune", *IRIS, "--epochs", "1", *line, "--trials", "9")
    assert done.code == 0, done.stderr
    found = trials_of(tmp_path / "runs" / "few")
    trained = [one for one in found if one.same_as is None]
    assert len(trained) == 2
    assert all(one.value == found[one.same_as].value for one in found if one.same_as is not None)
    assert len(list((tmp_path / "runs" / "few").glob("trial-*"))) == 2
    assert "there are 2 combinations, so the search ends after them" in done.stderr
    assert len(found) < 9


def test_a_pruned_trial_is_a_run_that_ended_early(wf: Any, tmp_path: Path) -> None:
    line = ("--vary", "optimizer.lr=1e-2,1e-9,1e-8", "--searcher", "grid", "--finalists", "0", "--name", "cut")
    pruner = ("--pruner", "median", "--pruner.startup-trials", "1", "--by", "validation/loss")
    done = wf("tune", *IRIS, "--epochs", "4", *line, *pruner, "--trials", "3", "--seed", "3")
    assert done.code == 0, done.stderr
    found = trials_of(tmp_path / "runs" / "cut")
    cut = [one for one in found if one.state == "pruned"]
    assert cut, done.stderr
    for one in found:
        run = manifest(tmp_path / "runs" / "cut" / f"trial-{one.number}")
        assert run["status"] == "done"
        assert run["epochs"] == (len(one.steps) if one in cut else 4)
        assert run["reason"].startswith("pruned: after evaluation") == (one in cut)
        records = (tmp_path / "runs" / "cut" / f"trial-{one.number}" / "metrics.jsonl").read_text().splitlines()
        evaluated = [one for one in map(json.loads, records) if one["event"] == "eval" and one["split"] == "validation"]
        assert len(evaluated) >= len(one.steps)


def test_repeats_are_paired_by_seed(wf: Any, tmp_path: Path) -> None:
    line = ("--vary", "optimizer.lr=1e-2,1e-9", "--searcher", "grid", "--finalists", "0", "--name", "several")
    done = wf("tune", *IRIS, "--epochs", "1", *line, "--repeats", "2", "--pruner", "wilcoxon", "--trials", "2")
    assert done.code == 0, done.stderr
    for one in trials_of(tmp_path / "runs" / "several"):
        place = tmp_path / "runs" / "several" / f"trial-{one.number}"
        values = [manifest(place / f"seed-{seed}")["metrics"]["validation/accuracy"] for seed in (42, 43)]
        assert one.value == pytest.approx(sum(values) / 2)
        assert list(one.steps) == [1, 2]


def test_a_failing_trial_is_recorded_and_the_others_continue(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n    def __init__(self, size: int = 3, tag: str = '') -> None:\n"
        "        if size == 4:\n            raise ValueError('four is too many')\n        super().__init__(4, 3)\n"
    )
    line = ("--model", "net.py:Net", "--model.tag", "2021", "--vary", "model.size=3,4", "--searcher", "grid")
    line += ("--finalists", "0")
    done = wf("tune", "--dataset", "iris", "--epochs", "1", *line, "--name", "some", "--trials", "2")
    assert done.code == 0, done.stderr
    states = {one.point["model.size"]: (one.state, one.reason) for one in trials_of(tmp_path / "runs" / "some")}
    assert states["3"][0] == "complete"
    assert states["4"][0] == "failed"
    assert "four is too many" in states["4"][1]
    [complete] = [one for one in trials_of(tmp_path / "runs" / "some") if one.state == "complete"]
    run_file = manifest(tmp_path / "runs" / "some" / f"trial-{complete.number}")["run_file"]
    assert run_file["model"]["tag"] == "2021"  # a number for an option of text, as on the line of wf run


FICKLE = """
class Fickle:
    figures = ("score", "other")

    def __init__(self, calls=0):
        self.left = calls

    def evaluate(self, split):
        self.left -= 1
        return {"other" if self.left < 0 else "score": 1.0}
"""


def test_a_trial_without_the_figure_fails_and_is_not_called_diverged(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "fickle.py").write_text(FICKLE)
    line = ("--evaluator", "fickle.py:Fickle", "--vary", "evaluator.calls=0,9", "--searcher", "grid")
    line += ("--by", "validation/score:max", "--finalists", "0", "--trials", "2")
    done = wf("tune", *IRIS, "--epochs", "1", *line, "--name", "some")
    assert done.code == 0, done.stderr
    ended = {one.point["evaluator.calls"]: (one.status, one.reason) for one in trials_of(tmp_path / "runs" / "some")}
    assert ended["9"][0] == "done"
    status, reason = ended["0"]
    assert status == "failed"
    assert reason == "the run has no figure validation/score; its figures: validation/other, test/other"


def test_a_trial_that_is_over_its_time_is_not_restarted(wf: Any, tmp_path: Path) -> None:
    line = ("--epochs", "1000000", "--max-time", "1s", "--vary", "optimizer.lr=0.1,0.01", "--trials", "1")
    done = wf("tune", *IRIS, *line, "--name", "some")
    assert done.code == 1, done.stderr
    assert "restarted" not in done.stderr
    [trial] = trials_of(tmp_path / "runs" / "some")
    assert trial.status == "failed"
    assert re.fullmatch(r"stopped after step [\d,]+: max_time 1s is over", trial.reason)


FULL = """
import errno, os
import torch


class Net(torch.nn.Linear):
    def __init__(self, size: int = 0):
        super().__init__(4, 3)
        self.calls = 0

    def forward(self, inputs):
        self.calls += 1
        if self.calls > 9 and os.path.exists("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().forward(inputs)
"""


def test_a_search_stops_at_a_full_disk_and_continues_with_the_same_trial(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FULL)
    (tmp_path / "full").touch()
    line = ("tune", "--dataset", "iris", "--epochs", "5", "--model", "net.py:Net", "--vary", "model.size=1,2")
    line += ("--searcher", "grid", "--trials", "2", "--finalists", "0", "--name", "some")
    done = wf(*line)
    assert done.code == 4, done.stderr
    assert "No space left on device\n  make room: the search continues with this trial" in done.stderr
    assert [one.state for one in trials_of(tmp_path / "runs" / "some")] == ["running"]
    (tmp_path / "full").unlink()
    done = wf(*line)
    assert done.code == 0, done.stderr
    assert [one.status for one in trials_of(tmp_path / "runs" / "some")] == ["done", "done"]


def test_joining_a_database_that_is_not_there_creates_none(wf: Any, tmp_path: Path) -> None:
    done = wf("tune", "--join", "sqlite:///none.db")
    assert (done.code, "there is no search to join:" in done.stderr) == (4, True), done.stderr
    assert list(tmp_path.glob("*.db")) == []


STOPS = """
from optuna.pruners import BasePruner


class Stops(BasePruner):
    def make(self):
        return self

    def prune(self, study, trial):
        return len(trial.intermediate_values) > trial.number
"""


def test_a_search_without_a_best_trial_says_why_and_what_to_do(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "stops.py").write_text(STOPS)
    line = ("tune", *IRIS, "--epochs", "5", "--vary", "optimizer.lr=0.1,0.01", "--searcher", "grid", "--name", "none")
    line += ("--pruner", "stops.py:Stops", "--trials", "2")
    done = wf(*line)
    assert done.code == 1, done.stderr
    assert "trials  2: 2 pruned\nbest    none: no trial was trained to its end\n" in done.stdout
    assert "pruned  2 by 'stops.py:Stops' after evaluation 1 to 2 (trials 0, 1)" in done.stdout
    assert "--pruner none" in done.stdout
    again = wf(*line, "--json")
    record = json.loads(again.stdout)
    assert (again.code, record["best"], record["final"], record["status"]) == (1, None, None, "failed")
    reason = (
        "none of 2 trials was trained to its end: pruned: 2 by 'stops.py:Stops' after evaluation 1 to 2 (trials 0, 1)"
    )
    assert record["reason"] == reason
    assert json.loads((tmp_path / "runs" / "none" / "search.json").read_text()) == record
    assert wf("tune", "none").code == 1
    assert " ".join(wf("runs", "runs").stdout.split()).endswith(reason)
    assert wf("report", "runs/none", "-o", "page.html", "--no-plots").code == 0
    assert "none of 2 trials was trained to its end" in (tmp_path / "page.html").read_text()


def test_a_search_whose_first_trials_fail_ends(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n    def __init__(self, size: int = 0) -> None:\n"
        "        if size:\n            raise ValueError(f'{size} is too many')\n        super().__init__(4, 3)\n"
    )
    line = ("--model", "net.py:Net", "--vary", "model.size=int(1,9)", "--searcher", "random", "--trials", "7")
    done = wf("tune", "--dataset", "iris", "--epochs", "1", *line, "--name", "all", "--json")
    assert done.code == 1, done.stderr
    assert "the first 5 trials failed, so the search ends" in done.stderr
    record = json.loads(done.stdout)
    assert [one["state"] for one in record["trials"]] == ["failed"] * 5
    assert re.search(r"failed: 5 \(trials 0, 1, 2, 3, 4\), the first with: .*\d is too many", record["reason"])


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)])
def test_a_killed_search_resumes_without_losing_or_repeating_trials(
    number: signal.Signals, wf: Any, tmp_path: Path
) -> None:
    line = ["tune", *IRIS, *SEARCH, "--finalists", "0", "--trials", "4", "--searcher.startup-trials", "2"]
    line += ["--epochs", "60", "--checkpoint-every", "1", "--keep-checkpoints", "1", "--jobs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "wf_cli", *line, "--name", "killed"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    place = tmp_path / "runs" / "killed"
    _wait_for(lambda: any((place / "trial-1" / "checkpoints").glob("*")), process)
    process.send_signal(number)
    process.wait()
    _wait_for(lambda: not (place / ".trial-1.lock").exists() or _is_free(place), None)
    if number == signal.SIGINT:
        shown = " ".join(wf("tune", "killed").stdout.split())
        assert "interrupted: stopped by SIGINT; to continue: wf tune --resume runs/killed" in shown
    before = trials_of(place)
    assert [one.state for one in before] == ["complete", "running"]

    again = wf(*line, "--name", "killed", timeout=280)
    assert again.code == 0, again.stderr
    assert "trial 1 is resumed" in again.stderr
    straight = wf(*line, "--name", "straight", timeout=280)
    assert straight.code == 0, straight.stderr
    found, wanted = trials_of(place), trials_of(tmp_path / "runs" / "straight")
    assert [(one.number, one.point, one.value) for one in found] == [
        (one.number, one.point, one.value) for one in wanted
    ]
    assert all(starts(place / f"trial-{one.number}") == starts(tmp_path / "runs/straight/trial-0") for one in found)
    timings = [json.loads(text) for text in (place / "trial-1" / "timings.jsonl").read_text().splitlines()]
    clock = [one["elapsed_sec"] for one in timings]
    assert any(later < earlier for earlier, later in itertools.pairwise(clock))  # it was resumed, and started once


def test_a_database_that_is_deleted_in_the_middle_ends_the_search(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text(
        "import pathlib\nfrom wf import Hook\n\n\nclass Gone(Hook):\n    def on_run_end(self, run):\n"
        "        pathlib.Path('runs/gone/search.db').unlink()\n"
    )
    line = ("tune", *IRIS, "--epochs", "1", *SEARCH, "--hook", "+gone.py:Gone", "--name", "gone", "--trials", "3")
    done = wf(*line)
    assert done.code == 4, done.stderr
    assert (
        "search.db cannot be used: the file is gone\n  the settings and figures of the trials are lost" in done.stderr
    )
    assert "wf runs runs/gone" in done.stderr
    assert not (tmp_path / "runs" / "gone" / "search.db").exists()
    again = wf(*line)
    assert (again.code, "search.db is missing: the settings" in again.stderr) == (4, True)


def _wait_for(condition: Any, process: subprocess.Popen[bytes] | None) -> None:
    until = time.monotonic() + 200
    while not condition():
        assert process is None or process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)


def _is_free(place: Path) -> bool:
    from wf_run.directory.lock import is_held

    return is_held(place / ".trial-1.lock") is False


NET = """\
import torch


def net(num_features, num_classes):
    return torch.nn.Linear(num_features, num_classes)
"""


def test_a_search_goes_on_only_with_the_code_that_it_started_with(wf: Any, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "net.py").write_text(NET)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    line = ("--dataset", "iris", "--device", "cpu", "--epochs", "1", "--model", "net.py:net", "--searcher", "random")
    vary = ("--vary", "optimizer.lr=log(1e-3,1e-1)", "--trials", "1", "--finalists", "0")
    begun = wf("tune", *line, *vary, "--storage", url, "--name", "x", cwd=here)
    assert begun.code == 0, begun.stderr

    def go_on(*how: str, cwd: Path) -> Any:
        """Continue after trusting the code that the command shows."""
        done = wf("tune", *how, cwd=cwd)
        trust = re.search(r"--trust \w+", done.stderr)
        return wf("tune", *how, *trust[0].split(), cwd=cwd) if trust else done

    assert go_on("--join", url, cwd=there).code == 0

    for folder, how in ((there, ("--join", url)), (here, ("--resume", "runs/x", "--trials", "2"))):
        (folder / "net.py").write_text(NET + "\n")
        done = go_on(*how, cwd=folder)
        assert done.code == 2
        assert "the code is not that with which the search was started\n  code: was net.py" in done.stderr
    (there / "net.py").unlink()
    done = go_on("--join", url, cwd=there)
    assert (done.code, "net.py is missing, and trials of this search use it" in done.stderr) == (2, True)
    assert [trial.state for trial in Directory(here / "runs" / "x").trials(url).all()] == ["complete"]


def test_a_variant_of_a_run_file_is_chosen_by_name(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(
        'dataset = "iris"\nepochs = 1\n[[variant]]\nname = "a"\nbatch_size = 8\n[[variant]]\nname = "b"\n'
    )
    line = ("tune", "two.toml", "--vary", "optimizer.lr=log(1e-3,1e-1)", "--device", "cpu", "--trials", "1")
    refused = wf(*line)
    assert (refused.code, "choose one: --variant a, or b" in refused.stderr) == (2, True)
    done = wf(*line, "--variant", "a", "--finalists", "0", "--name", "of-a")
    assert done.code == 0, done.stderr
    assert manifest(tmp_path / "runs" / "of-a" / "trial-0")["run_file"]["batch_size"] == 8
