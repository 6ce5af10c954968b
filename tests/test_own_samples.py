"""A run without a dataset: its trainer makes its samples, in an environment or with a generator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import manifest, weights

import wf as package
from wf.errors import UsageError
from wf_base import BaseTrainer, Batch

CORRIDOR = '''
"""A corridor of six places: whoever reaches its end is paid 1, and each step costs 0.05."""

import torch
from torch import nn

from wf_base import BaseTrainer, Batch

PLACES, STEPS = 6, 12


def seen(places):
    return nn.functional.one_hot(places, PLACES).float()


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Linear(PLACES, 2)

    def forward(self, states):
        return self.logits(states)


class Reinforce(BaseTrainer):
    """Policy gradients of walks that go on from update to update."""

    def __init__(self, model, optimizer, walkers: int = 16):
        super().__init__(model, optimizer)
        self.places, self.ages = torch.zeros(walkers, dtype=torch.int64), torch.zeros(walkers, dtype=torch.int64)

    @staticmethod
    def run_values(walkers: int = 16):
        return {"input_shape": (PLACES,), "num_outputs": 2, "steps_per_epoch": 20}

    def make_batch(self):
        states, actions, rewards, ends = [], [], [], []
        for _ in range(STEPS):
            state = seen(self.places)
            with torch.no_grad():
                action = torch.distributions.Categorical(logits=self.model(state)).sample()
            self.places = (self.places + 2 * action - 1).clamp(min=0)
            self.ages += 1
            there = self.places == PLACES - 1
            end = there | (self.ages >= STEPS)
            self.places, self.ages = self.places.where(~end, 0), self.ages.where(~end, 0)
            for kept, one in zip((states, actions, rewards, ends), (state, action, there.float() - 0.05, end)):
                kept.append(one)
        total, returns = torch.zeros(len(end)), []
        for reward, end in zip(reversed(rewards), reversed(ends)):
            total = reward + 0.95 * total * ~end
            returns.insert(0, total)
        targets = {"actions": torch.cat(actions), "returns": torch.cat(returns)}
        return Batch(torch.cat(states), targets, None, None, len(targets["actions"]))

    def compute_loss(self, batch):
        chances = torch.distributions.Categorical(logits=self.model(batch.inputs)).log_prob(batch.targets["actions"])
        returns = batch.targets["returns"]
        return -(chances * (returns - returns.mean())).mean()

    def state_dict(self):
        return {"places": self.places, "ages": self.ages}

    def load_state_dict(self, state):
        self.places, self.ages = state["places"].clone(), state["ages"].clone()


class Endless(Reinforce):
    @staticmethod
    def run_values():
        return {}


class Scheduled(Endless):
    def __init__(self, model, optimizer, scheduler):
        super().__init__(model, optimizer)


class Walks:
    """The mean return of a hundred walks."""

    figures = ("return",)

    def __init__(self, model):
        self.model = model

    def evaluate(self, split):
        generator = torch.Generator().manual_seed(0)
        places, total, alive = torch.zeros(100, dtype=torch.int64), torch.zeros(100), torch.ones(100)
        with torch.no_grad():
            for _ in range(STEPS):
                chances = self.model(seen(places)).softmax(1)
                action = torch.multinomial(chances, 1, generator=generator)[:, 0]
                places = (places + 2 * action - 1).clamp(0, PLACES - 1)
                total += alive * ((places == PLACES - 1).float() - 0.05)
                alive *= places != PLACES - 1
        return {"return": total.mean().item()}
'''
WALKS = ("--evaluator", "corridor.py:Walks")
TRAIN = ("run", "--trainer", "corridor.py:Reinforce", "--model", "corridor.py:Policy", "--lr", 0.05, "--quiet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corridor.py").write_text(CORRIDOR)
    return tmp_path


def test_a_policy_learns_and_its_run_works_like_any_other(wf: Any, folder: Path) -> None:
    chosen = (*WALKS, "--keep", "best", "--monitor", "validation/return:max", "--epochs", 5, "--name", "walk")
    done = wf(*TRAIN, *chosen)
    assert done.code == 0, done.stderr
    assert manifest(folder / "runs/walk")["metrics"]["validation/return"] > 0.7  # 0.75 is the best; it begins below 0.2
    assert manifest(folder / "runs/walk")["samples"] == {}
    default = wf("evaluate", "walk")
    assert (default.code, default.stderr) == (2, "wf: the run has no test split\n  name another: --split validation\n")
    judged = wf("evaluate", "walk", "--split", "validation", "--json")
    assert json.loads(judged.stdout)["metrics"]["validation/return"] > 0.7
    np.save(folder / "states.npy", np.eye(6, dtype="f4"))
    predicted = wf("predict", "walk", "states.npy", "--json")
    rows = torch.tensor([row["output"] for row in json.loads(predicted.stdout)])
    trusted = [file["sha256"] for file in manifest(folder / "runs/walk")["code"]]
    model = package.load_model(folder / "runs/walk", trust=trusted)
    with torch.inference_mode():
        assert torch.allclose(model(torch.eye(6)), rows, atol=1e-4)
    assert (rows[:5, 1] > rows[:5, 0]).all()  # it walks on from every position
    assert wf("replay", "walk").code == 0
    assert wf("plot", "walk").stdout.split() == ["runs/walk/plots/loss.svg", "runs/walk/plots/metrics.svg"]
    assert wf("export", "walk", "policy.safetensors").code == 0
    listed = json.loads(wf("runs", "--json").stdout)
    assert {run["name"]: run["dataset"] for run in listed} == {"walk": None, "walk-replay": None}


def test_a_killed_run_ends_with_the_same_bits(wf: Any, folder: Path) -> None:
    # the kill is within walks
    proof = wf("prove-resume", *TRAIN[1:], *WALKS, "--epochs", 2, "--kill-at", 17, "--json", forks=True)
    assert proof.code == 0, proof.stdout + proof.stderr
    found = json.loads(proof.stdout)
    assert "trainer" in [part["name"] for part in found["parts"] if part["values"]]
    assert found["steps"] == 40


def test_two_processes_make_their_own_samples_and_resume(ranks: Any, folder: Path) -> None:
    train = (*TRAIN, "--strategy", "ddp", "--epochs", 1)
    straight = ranks(*train, "--name", "straight", "--epochs", 2)
    assert straight.code == 0, straight.stderr
    first = ranks(*train, "--name", "again")
    assert first.code == 0, first.stderr
    resumed = ranks("resume", "again", "--epochs", 2, "--quiet")
    assert resumed.code == 0, resumed.stderr
    one, other = weights(folder / "runs/straight"), weights(folder / "runs/again")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--dataset", "iris"), "so there is no dataset\n  leave out --dataset"),
        (("--split", "80/20", "--workers", 2), "leave out --split, --workers"),
        (("--transform", "standardize"), "leave out --transform"),
        (("--batch-size", "full"), "leave out --batch-size full"),
        (("--metric", "accuracy"), "leave out --metric, or name an evaluator that needs no data"),
        (
            ("--evaluator", "default"),
            "evaluator 'default' needs 'data', which this run does not know\n  the run has no",
        ),
        (("--loss", "mse"), "trainer 'corridor-reinforce': a loss would not be used, as 'loss' is not taken\n"),
        ((*WALKS, "--metric", "mae"), "and evaluator 'corridor-walks': a metric would not be used"),
        (("--folds", 3), "there is no dataset to divide into folds"),
        (("--keep", "best"), "no split is evaluated while it trains"),
        ((*WALKS, "--keep", "best", "--monitor", "validation/retrun:max"), "did you mean 'validation/return'?"),
        (("--trainer", "corridor.py:Endless", "--epochs", 2), "does not give the length of an epoch: --epochs 2\n"),
        (("--trainer", "corridor.py:Endless", *WALKS, "--eval-every", "2epochs"), "eval_every 2epochs"),
        (("--trainer", "corridor.py:Endless", "--checkpoint-every", "2epochs"), "checkpoint_every 2epochs"),
        (
            ("--trainer", "corridor.py:Scheduled", "--scheduler", "step", "--scheduler.step_size", 3),
            "counts epochs, but trainer",
        ),
    ],
)
def test_options_that_need_a_dataset_are_refused(wf: Any, folder: Path, more: tuple[Any, ...], message: str) -> None:
    done = wf(*TRAIN, *more)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (folder / "runs").exists()


def test_without_epochs_a_run_counts_steps(wf: Any, folder: Path) -> None:
    train = ("run", "--trainer", "corridor.py:Endless", "--model", "corridor.py:Policy", *WALKS, "--steps", 30)
    done = wf(*train, "--name", "walk", "--log-every", 7)
    assert done.code == 0, done.stderr
    assert "warning: evaluated only at the end" in done.stderr
    assert "trainer corridor-endless, model" in done.stderr
    assert manifest(folder / "runs/walk")["steps"] == 30
    refused = wf("predict", "walk", "corridor.py")
    assert (refused.code, refused.stdout) == (2, "")
    assert "its trainer did not declare the shape of its inputs" in refused.stderr
    for verb in (("predict", "walk", "test"), ("run", "runs/walk/run.toml", "--dataset", "iris")):
        assert wf(*verb).code == 2


WALKING = """
from wf import Component, hookimpl
from wf.traits import ModelTraits, TrainerTraits


@hookimpl
def wf_components():
    traits = TrainerTraits(makes_samples=True)
    return [
        Component("model", "policy", Policy, "the policy of a test", traits=ModelTraits()),
        Component("trainer", "walk", Reinforce, "the trainer of a test", traits=traits),
        Component("trainer", "silent", Reinforce, "says nothing", traits=TrainerTraits()),
        Component("trainer", "empty", BaseTrainer, "makes nothing", traits=traits),
    ]
"""


def test_a_plugin_declares_that_its_trainer_makes_samples(wf: Any, folder: Path) -> None:
    (folder / "walking.py").write_text(CORRIDOR + WALKING)
    (folder / "pyproject.toml").write_text('[tool.wf.check.run]\n"trainer/walk" = { model = "policy" }\n')
    line = ("-p", "walking.py", "--model", "policy", "--steps", 2, "--quiet")
    done = wf("run", "--trainer", "walk", *line, "--name", "walk")
    assert done.code == 0, done.stderr
    refused = wf("run", "--trainer", "empty", *line)
    assert refused.code == 3, refused.stderr
    assert "trainer 'empty' declares that it makes its samples, but has no method make_batch" in refused.stderr
    checked = {one["check"]: one for one in wf("check", "trainer/walk", "-p", "walking.py", "--json").json()["results"]}
    assert [one for one in checked if checked[one]["status"] == "failed"] == ["docstring"]
    assert {checked[one]["status"] for one in ("made", "run", "run-resumes")} == {"passed"}
    silent = {
        one["check"]: one for one in wf("check", "trainer/silent", "-p", "walking.py", "--json").json()["results"]
    }
    assert "does not declare TrainerTraits(makes_samples=True)" in silent["trainer-step"]["message"]


def test_compare_uses_a_figure_of_the_evaluator(wf: Any, folder: Path) -> None:
    compare = ("compare", *TRAIN[1:5], *WALKS, "--epochs", 1, "--vary", "lr=0.05,0.1", "--repeats", 2, "--quiet")
    assert "--by FIGURE:max" in wf(*compare).stderr
    done = wf(*compare, "--by", "validation/return:max", "--name", "rates")
    assert done.code == 0, done.stderr
    assert "validation/return" in done.stdout
    past = wf("compare", "runs/rates/lr-0.05", "runs/rates/lr-0.1", "--by", "validation/return:max")
    assert past.code == 0, past.stderr
    without = wf("compare", *TRAIN[1:5], "--epochs", 1, "--repeats", 2, "--quiet")
    assert "its attribute 'figures'" in without.stderr


class Falling(BaseTrainer):
    """Draws the height of a falling stone at random times, and learns it."""

    def __init__(self, model: Any, optimizer: Any, batch_size: int, accumulate: int) -> None:
        super().__init__(model, optimizer, accumulate=accumulate, batch_size=batch_size)
        self.num = batch_size * accumulate

    def make_batch(self) -> Any:
        time = torch.rand(self.num, 1)
        return Batch(time, 1 - time.square(), None, None, self.num)

    def compute_loss(self, batch: Batch) -> Any:
        return (self.model(batch.inputs) - batch.targets).square().mean()


class Line(torch.nn.Linear):
    """Made by the run, so that its initial weights are reproducible."""

    def __init__(self) -> None:
        super().__init__(1, 1)


def test_a_generator_in_python_with_accumulation() -> None:
    options = {"trainer": Falling, "model": Line, "steps": 100, "save": False, "quiet": True}
    run = package.run(**options, optimizer={"use": "adam", "lr": 0.1}, batch_size=8, accumulate=2)
    assert run.loop.progress.samples == 100 * 16
    assert float(run.loop.loss) < 0.02
    with pytest.raises(UsageError, match="has no evaluator"):
        run.evaluate("test")
    assert run.predict(torch.zeros(2, 1)).shape == (2, 1)


def test_make_batch_must_return_a_batch() -> None:
    class Pairs(Falling):
        def make_batch(self) -> Any:
            return torch.rand(4, 1), torch.rand(4, 1)

    with pytest.raises(UsageError, match=r"make_batch\(\) gave tuple; it must return a wf_base.Batch"):
        package.run(trainer=Pairs, model=torch.nn.Linear(1, 1), steps=2, save=False, quiet=True)
