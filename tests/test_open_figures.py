"""Figures of any part are recorded, monitored, compared, and restored by a resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, records

import wf as wf_api
from wf.errors import UsageError

OWN = '''
import os, signal
import torch
from torch import nn
from torch.nn import functional
from wf import Hook
from wf_base import BaseTrainer, Metric

class Spread(Metric):
    """Three figures whose names it does not declare."""

    def update(self, predictions, targets):
        self.append("all", predictions.detach().flatten() + 0 * torch.rand(1))

    def compute(self):
        found = self.values("all")
        return {"low": found.min(), "high": found.max(), "both": torch.stack([found.min(), found.max()])}

class Map(Metric):
    """Two figures that it declares."""

    figures = {"": True, "/50": False}

    def update(self, predictions, targets):
        self.add("sum", predictions.detach().sum())

    def compute(self):
        return {"": self.total("sum"), "/50": self.total("sum") / 2}

class Adds(Hook):
    """Adds a figure to records and to evaluations."""

    def on_log(self, run, record):
        record["weights"] = {"norm": sum(one.detach().norm() for one in run.trainer.model.parameters())}

    last = None

    def on_evaluation_end(self, run, split, metrics):
        metrics["double"] = 2 * metrics["loss"]
        self.last = metrics

    def state_dict(self):
        return {"last": self.last}

    def load_state_dict(self, state):
        self.last = state["last"]

class Says(Adds):
    """As `Adds`; says so."""

    figures = {"train/weights/norm": False, "*/double": False}

class StopOnce(Hook):
    """Sends this process a signal once, in the middle of an epoch."""

    def on_step_end(self, run):
        if run.progress.step == 6 and not os.path.exists("stopped"):
            open("stopped", "w").close()
            os.kill(os.getpid(), signal.SIGTERM)

class TwoTerms(nn.Module):
    """Two terms, by name."""

    def forward(self, predictions, targets):
        fit = functional.cross_entropy(predictions, targets)
        return {"fit": fit, "size": 0.01 * predictions.square().mean()}

class SaysTerms(TwoTerms):
    """As `TwoTerms`; says so."""

    figures = {"fit": False, "size": False}

class Trains(BaseTrainer):
    """Records a figure of each step."""

    def compute_loss(self, batch):
        outputs = self.model(batch.inputs)
        self.record("outputs/size", outputs.square().mean())
        return functional.cross_entropy(outputs, batch.targets)

class SaysTrains(Trains):
    """As `Trains`; says so."""

    figures = {"outputs/size": True}
'''

RUN = ("run", "--dataset", "iris", "--quiet", "--epochs", 4, "--log-every", 2)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with `OWN` as own.py."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(**options: Any) -> Any:
    """An experiment of four epochs that writes nothing."""
    lists = {kind: list(options[kind]) for kind in ("hook", "metric") if kind in options}
    return wf_api.build(dataset="iris", epochs=4, log_every=2, save=False, quiet=True, **{**options, **lists})


METRICS = ("own.py:Spread", "own.py:Map")
"""What a metric is called is that of its class, behind the name of its file."""


def test_figures_of_every_part_are_recorded_and_survive_a_resume(wf: Any, workdir: Path) -> None:
    options: tuple[Any, ...] = (
        *("--metric", "+own.py:Spread", "--metric", "+own.py:Map", "--hook", "+own.py:Adds"),
        *("--loss", "own.py:TwoTerms"),
        *("--monitor", "train/weights/norm:min", "--keep", "best", "--hook", "+early-stopping"),
        *("--hook.early-stopping.monitor", "validation/double:min", "--scheduler", "plateau"),
        *("--scheduler.monitor", "train/loss/size:min", "--scheduler.patience", 0, "--hook", "+own.py:StopOnce"),
    )
    stopped = wf(*RUN, *options, "--name", "stopped")
    assert stopped.code == 128 + 15, stopped.stderr
    assert wf("resume", "stopped", "--quiet").code == 0
    straight = wf(*RUN, *options, "--name", "straight", "--json")
    assert straight.code == 0, straight.stderr
    runs = [workdir / "runs" / name for name in ("stopped", "straight")]
    first, second = ((run / "metrics.jsonl").read_bytes() for run in runs)
    assert first == second
    before, after = map(manifest, runs)
    assert before["recorded"] == after["recorded"]
    assert before["metrics"] == after["metrics"] == json.loads(straight.stdout)["metrics"]
    logged = records(runs[1], "train")
    assert set(after["recorded"]) == {"train/weights/norm", "train/lr"}
    assert logged[-1]["weights/norm"] == after["recorded"]["train/weights/norm"]
    assert len({one["lr"] for one in logged}) > 1  # the scheduler used its figure
    for split in ("train", "validation", "test"):
        names = {key.partition("/")[2] for key in after["metrics"] if key.startswith(f"{split}/")}
        assert {"own-spread-low", "own-spread-high", "own-map", "own-map/50", "double", "loss/fit"} <= names
        assert after["metrics"][f"{split}/double"] == 2 * after["metrics"][f"{split}/loss"]
    best = min(one["weights/norm"] for one in logged if "epoch_loss" in one)
    kept = [json.loads(one.read_text())["metrics"] for one in runs[1].glob("checkpoints/*/manifest.json")]
    assert best in [figures["train/weights/norm"] for figures in kept]

    listed = wf("runs", "--by", "train/weights/norm:min")
    assert listed.code == 0, listed.stderr
    assert "train/weights/norm" in listed.stdout
    assert wf("replay", "straight", "--quiet").code == 0
    drawn = wf("plot", "straight")
    assert drawn.code == 0, drawn.stderr
    picture = (runs[1] / "plots" / "metrics.svg").read_text()
    assert all(name in picture for name in ("weights/norm", "own-map/50", "loss/size", "double"))


def test_runs_are_compared_by_any_figure(wf: Any, workdir: Path) -> None:
    line = ("compare", "--dataset", "iris", "--epochs", 2, "--vary", "lr=0.001,0.1", "--repeats", 2, "--quiet")
    line = (*line, "--hook", "+own.py:Says", "--loss", "own.py:TwoTerms", "--name", "both", "--json")
    done = wf(*line, "--by", "train/weights/norm")
    assert done.code == 0, done.stderr
    table = json.loads(done.stdout)
    assert (table["by"], table["larger_is_better"]) == ("train/weights/norm", False)
    for figure, larger in (("train/loss/size", None), ("test/double", False), ("train/lr:max", True)):
        shown = wf("compare", "both", "--by", figure, "--json")
        assert shown.code == 0, shown.stderr
        assert json.loads(shown.stdout)["larger_is_better"] is larger
    listed = wf("runs", "runs/both", "--by", "test/double")  # its direction is recorded in the runs only
    assert listed.code == 0, listed.stderr
    missing = wf("compare", "both", "--by", "train/weights/nrm")
    assert missing.code == 2
    assert "did you mean 'train/weights/norm'" in missing.stderr


@pytest.mark.parametrize(
    ("options", "monitor", "larger"),
    [
        ({"hook": ("own.py:Says",)}, "train/weights/norm", False),
        ({"hook": ("own.py:Says",)}, "validation/double", False),
        ({"metric": METRICS}, "validation/own-map", True),
        ({"metric": METRICS}, "validation/own-map/50", False),
        ({"loss": "own.py:SaysTerms"}, "train/loss/size", False),
        ({"loss": "own.py:SaysTerms"}, "validation/loss/fit", False),
        ({"trainer": "own.py:SaysTrains"}, "train/outputs/size", True),
    ],
)
def test_a_declared_direction_is_used(workdir: Path, options: dict[str, Any], monitor: str, larger: bool) -> None:
    stops = {"use": "early-stopping", "monitor": monitor, "patience": 1}
    hooks = [*options.pop("hook", ()), stops]
    waits = {"use": "plateau", "monitor": monitor}
    with build(hook=hooks, scheduler=waits, monitor=monitor, keep="best", **options) as experiment:
        experiment.fit()
        assert experiment.loop.larger_is_better is larger
        assert experiment.loop.best is not None
        scheduler: Any = experiment._parts.values["scheduler"]
        assert scheduler.mode == ("max" if larger else "min")
        assert next(hook for hook in experiment.loop.hooks if hasattr(hook, "num_waited")).best is not None


@pytest.mark.parametrize(
    ("options", "monitor"),
    [
        ({"hook": ("own.py:Adds",)}, "train/weights/norm"),
        ({"hook": ("own.py:Adds",)}, "validation/double"),
        ({"metric": METRICS}, "validation/own-spread-low"),
        ({"loss": "own.py:TwoTerms"}, "train/loss/size"),
        ({"loss": "own.py:TwoTerms"}, "validation/loss/size"),
        ({"trainer": "own.py:Trains"}, "train/outputs/size"),
    ],
)
def test_an_undeclared_direction_must_be_given(workdir: Path, options: dict[str, Any], monitor: str) -> None:
    with pytest.raises(UsageError, match=f"whether a larger '{monitor}' is better"):
        build(monitor=monitor, keep="best", **options)
    with pytest.raises(UsageError, match=f"whether a larger '{monitor}' is better"):
        build(scheduler={"use": "plateau", "monitor": monitor}, **options)
    hooks = [*options.pop("hook", ()), {"use": "early-stopping", "monitor": monitor}]
    with (
        build(hook=hooks, **options) as experiment,
        pytest.raises(UsageError, match=f"whether a larger '{monitor}' is better"),
    ):
        experiment.fit()
    assert experiment.loop.progress.step == 0
    options |= {"hook": hooks[:-1]}
    with build(monitor=f"{monitor}:max", keep="best", **options) as experiment:
        experiment.fit()
        assert experiment.loop.best is not None


@pytest.mark.parametrize(
    ("options", "monitor", "step", "words"),  # completed steps; -1 if the build is refused
    [
        ({"metric": METRICS}, "validation/own-spread-lo:max", 0, "did you mean 'validation/own-spread-low'"),
        ({"metric": METRICS}, "validation/own-spread:max", 0, "did you mean 'validation/own-spread-"),
        ({"metric": METRICS}, "validation/own-spread-both:max", 0, "not one number but list"),
        ({"metric": METRICS}, "validation/own-map/75:max", -1, "did you mean 'validation/own-map/50'"),
        ({"loss": "own.py:TwoTerms"}, "validation/loss/siz:min", 0, "did you mean 'validation/loss/size'"),
        ({"loss": "own.py:SaysTerms"}, "train/loss/siz:min", -1, "did you mean 'train/loss/size'"),
        ({"loss": "own.py:TwoTerms"}, "train/loss/siz:min", 1, "did you mean 'train/loss/size'"),
        ({"trainer": "own.py:SaysTrains"}, "train/outputs/siz:min", -1, "did you mean 'train/outputs/size'"),
        ({"trainer": "own.py:Trains"}, "train/outputs/siz:min", 1, "did you mean 'train/outputs/size'"),
        ({"hook": ("own.py:Says",)}, "train/weights/nrm:min", -1, "did you mean 'train/weights/norm'"),
        ({"hook": ("own.py:Says",)}, "validation/doubl:min", -1, "did you mean 'validation/double'"),
        ({"hook": ("own.py:Adds",)}, "train/weights/nrm:min", 1, "did you mean 'train/weights/norm'"),
        ({"hook": ("own.py:Adds",)}, "validation/doubl:min", 4, "did you mean 'validation/double'"),
        ({"hook": ("own.py:Says",)}, "train/accuracy:max", -1, "--eval-splits train"),
    ],
)
def test_an_unknown_figure_is_refused_as_early_as_possible(
    workdir: Path, options: dict[str, Any], monitor: str, step: int, words: str
) -> None:
    if step < 0:
        with pytest.raises(UsageError) as caught:
            build(monitor=monitor, keep="best", **options)
    else:
        with build(monitor=monitor, keep="best", **options) as experiment, pytest.raises(UsageError) as caught:
            experiment.fit()
        assert experiment.loop.progress.step == step
    assert words in str(caught.value)


def test_the_trial_evaluation_before_step_1_leaves_no_trace(workdir: Path) -> None:
    made: list[Any] = []
    draws = {"use": "mlp", "dropout": 0.3}
    for options in ({}, {"keep": "best", "monitor": "validation/own-spread-low:min"}):
        with build(metric=METRICS, model=draws, **options) as experiment:
            evaluator = experiment.loop.evaluator
            looked = []
            preview = evaluator.preview
            evaluator.preview = lambda split, preview=preview, looked=looked: looked.append(split) or preview(split)
            experiment.fit()
            made.append((experiment.history, experiment.loop.progress, looked))
    plain, decided = made
    assert (plain[2], decided[2]) == ([], ["validation"])
    training = [[one for one in history if one["event"] == "train"] for history, *_ in made]
    assert training[0] == training[1]
    meanwhile = [[one for one in history if one["split"] == "validation"][:4] for history, *_ in made]
    assert meanwhile[0] == meanwhile[1]


def test_declared_figures_need_no_trial_evaluation(workdir: Path) -> None:
    for monitor in ("validation/accuracy", "validation/own-map/50", "validation/loss"):
        with build(metric=("accuracy", *METRICS), keep="best", monitor=monitor) as experiment:
            experiment.loop.evaluator.preview = None  # calling it would be an error
            experiment.fit()


COLLISIONS = '''
from wf import Hook
from wf_base import BaseTrainer

class Records(Hook):
    """Adds one figure to records.

    Args:
        name: The figure's.
    """

    def __init__(self, name: str = "lr", value: float = 1.0) -> None:
        self.name, self.value = name, value

    def on_log(self, run, record):
        record[self.name] = self.value

class Other(Records):
    pass

class Evaluates(Hook):
    def on_evaluation_end(self, run, split, metrics):
        metrics |= {"accuracy": 1.0}

class Text(Hook):
    def on_log(self, run, record):
        record.update(words="none")

class SaysLr(Hook):
    figures = {"train/lr": None}

class SaysAccuracy(Hook):
    figures = {"*/accuracy": True}

class SaysNoSplit(Hook):
    figures = {"norm": None}

class SaysWords(Hook):
    figures = {"train/norm": "min"}

class Reserved(BaseTrainer):
    def train_step(self, batch):
        return {"loss": self.model(batch.inputs).mean(), "running_loss": 1.0}

class Column(BaseTrainer):
    def train_step(self, batch):
        return {"loss": self.model(batch.inputs).mean(), "column": self.model(batch.inputs).mean(1)}

class Shaped(BaseTrainer):
    def compute_loss(self, batch):
        self.record("column", self.model(batch.inputs).mean(1))
        return self.model(batch.inputs).square().mean()
'''


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--hook +bad.py:Records", ["'train/lr' has two sources: hook 'learning-rate-log", "hook 'bad-records'"]),
        ("--hook +bad.py:Records --hook.bad.py:Records.name accuracy", ["'train/accuracy'", "the evaluator"]),
        ("--hook +bad.py:Records --hook.bad.py:Records.name loss", ["'train/loss' has two sources: the trainer"]),
        ("--hook +bad.py:Records --hook.bad.py:Records.name step", ["the name 'step'", "event, split, epoch, step"]),
        ("--hook +bad.py:Evaluates", ["'validation/accuracy' has two sources: the evaluator", "bad-evaluates"]),
        ("--hook +bad.py:Text", ["hook 'bad-text'", "gave 'none' of type str as 'train/words'", "not a figure"]),
        ("--hook +bad.py:SaysLr", ["'train/lr' has two sources", "bad-sayslr"]),
        ("--hook +bad.py:SaysAccuracy", ["'*/accuracy' has two sources: the evaluator", "bad-saysaccuracy"]),
        ("--hook +bad.py:SaysNoSplit", ["hook 'bad-saysnosplit' declares the figure 'norm'", "train/norm", "*/norm"]),
        ("--hook +bad.py:SaysWords", ["SaysWords.figures says 'min' of 'train/norm'", "True, False, or None"]),
        ("--trainer bad.py:Reserved", ["the name 'running_loss'"]),
        ("--trainer bad.py:Column", ["shape [32]", "one number"]),
        ("--trainer bad.py:Shaped", ["Shaped recorded 'column' of shape [32]", "one number"]),
    ],
)
def test_conflicting_and_invalid_figures_are_refused(wf: Any, tmp_path: Path, options: str, words: list[str]) -> None:
    (tmp_path / "bad.py").write_text(COLLISIONS)
    done = wf(*RUN, *options.split(), "--name", "refused")
    assert done.code == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_progress_marks_the_best_by_a_training_figure(wf: Any, workdir: Path) -> None:
    line = [word for word in RUN if word != "--quiet"]
    done = wf(
        *line, "--hook", "+own.py:Says", "--monitor", "train/weights/norm:max", "--keep", "best", "--name", "best"
    )
    assert done.code == 0, done.stderr
    norms = [one["weights/norm"] for one in records(workdir / "runs" / "best", "train") if "epoch_loss" in one]
    shown = [line for line in done.stderr.splitlines() if line.startswith("epoch")]
    wanted = [norm == max(norms[: number + 1]) for number, norm in enumerate(norms)]
    assert [line.endswith(" *") for line in shown] == wanted, done.stderr


def test_a_figure_that_is_not_finite_is_null_and_never_the_best(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(COLLISIONS)
    options = ("--hook", "+bad.py:Records", "--hook.bad.py:Records.name", "odd", "--hook.bad.py:Records.value", "nan")
    done = wf(*RUN, *options, "--monitor", "train/odd:min", "--keep", "best", "--name", "nan")
    assert done.code == 0, done.stderr
    assert {one["odd"] for one in records(tmp_path / "runs" / "nan", "train")} == {None}
    assert manifest(tmp_path / "runs" / "nan")["recorded"]["train/odd"] is None


APART = '''
import json
import torch
from torch import nn
from torch.nn import functional
from wf import Hook

class TwoTerms(nn.Module):
    def forward(self, predictions, targets):
        return {"fit": functional.cross_entropy(predictions, targets), "size": 0.01 * predictions.square().mean()}

class Apart(Hook):
    """Another figure in each process, and at the end what each process has come to.

    Args:
        strategy: Says which process this is.
        optimizer: Whose rate is written.
    """

    def __init__(self, strategy, optimizer) -> None:
        self.strategy, self.optimizer = strategy, optimizer

    def on_log(self, run, record):
        record["mine"] = float(run.progress.step) * (1 - 2 * self.strategy.rank)

    def on_evaluation_end(self, run, split, metrics):
        if self.strategy.rank == 0:
            metrics["first"] = 1.0 / run.progress.step

    def on_run_end(self, run):
        found = {"lr": self.optimizer.param_groups[0]["lr"], "best": run.best, "figures": run.figures}
        found["waited"] = next(hook.num_waited for hook in run.hooks if hasattr(hook, "num_waited"))
        with open(f"rank-{self.strategy.rank}.json", "w") as file:
            json.dump(found, file)
'''


@pytest.mark.xdist_group("ddp")
@pytest.mark.parametrize("monitor", ["train/loss/fit:min", "train/mine:max", "validation/first:min"])
def test_processes_with_different_figures_decide_alike(ranks: Any, tmp_path: Path, monitor: str) -> None:
    (tmp_path / "apart.py").write_text(APART)
    options = ("--strategy", "ddp", "--loss", "apart.py:TwoTerms", "--monitor", monitor, "--keep", "best")
    options += ("--hook", "no:progress", "--hook", "+apart.py:Apart", "--hook", "+early-stopping")
    options += ("--scheduler", "plateau", "--scheduler.monitor", monitor, "--scheduler.patience", "0")
    done = ranks(*RUN, *options, "--name", "two")
    assert done.code == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    figures = manifest(tmp_path / "runs" / "two")["recorded"]
    assert figures["train/mine"] > 0  # the figure of process 0
    assert torch.isfinite(torch.tensor(first["best"]))
