from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from wf import Epochs, Every, Loop
from wf.errors import UsageError
from wf.traits import OptimizerTraits
from wf_training.trainer import SupervisedTrainer

X = torch.linspace(-1, 1, 8).unsqueeze(1)


class Fixed:
    """An evaluator with given figures."""

    def __init__(self, *losses: float) -> None:
        self.losses = list(losses)

    def evaluate(self, split: str) -> dict[str, Any]:
        return {"loss": self.losses.pop(0)}


def make(make_scheduler: Any = None, interval: str = "epoch", monitor: str = "validation/loss") -> SupervisedTrainer:
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = make_scheduler(optimizer) if make_scheduler else None
    return SupervisedTrainer(model, nn.MSELoss(), optimizer, scheduler, interval, monitor)


def lr(trainer: SupervisedTrainer) -> float:
    return float(trainer.optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda predictions, targets: 1.0, "the loss returned float\n  it must be a tensor"),
        (lambda predictions, targets: None, "the loss returned NoneType"),
        (lambda predictions, targets: (predictions - targets) ** 2, r"the loss returned a tensor of shape \[\d, 1\]"),
        (lambda predictions, targets: (predictions - targets).detach().mean(), "a tensor without a gradient"),
    ],
)
def test_a_loss_that_returns_no_scalar_is_refused(loss: Any, message: str, accumulate: int) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = SupervisedTrainer(model, loss, optimizer, None, "epoch", "", batch_size=4, accumulate=accumulate)
    with pytest.raises(UsageError, match=message):
        Loop(trainer).run([(X[:4], X[:4])], until=Epochs(1))


def test_a_step_equals_the_hand_written_loop() -> None:
    trainer = make()
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    loop = Loop(trainer).run([(X, 2 * X)] * 3, Epochs(2))
    for _ in range(6):
        loss = nn.functional.mse_loss(model(X), 2 * X)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(loop.loss, loss.detach())
    assert not loop.loss.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(("interval", "expected"), [("epoch", 0.5**2), ("step", 0.5**6)])
def test_scheduler_intervals(interval: str, expected: float) -> None:
    trainer = make(lambda optimizer: StepLR(optimizer, 1, 0.5), interval)
    Loop(trainer).run([(X, X)] * 3, Epochs(2))
    assert lr(trainer) == expected


def test_plateau_is_stepped_by_evaluations_during_training() -> None:
    trainer = make(lambda optimizer: ReduceLROnPlateau(optimizer, factor=0.5, patience=0), "evaluation")
    loop = Loop(trainer, Fixed(3.0, 2.0, 2.5, 9.0), eval_every=Every(1), final_splits=("validation", "test"))
    loop.run([(X, X)], Epochs(3))
    assert lr(trainer) == 0.5, "the third evaluation was worse; the final evaluation of the test split does not count"


def test_plateau_without_its_evaluation_is_refused() -> None:
    plateau = lambda optimizer: ReduceLROnPlateau(optimizer)  # noqa: E731
    with pytest.raises(UsageError, match=r"watches 'validation/loss'.*\n  evaluated: nothing"):
        Loop(make(plateau, "evaluation")).run([(X, X)], Epochs(1))
    with pytest.raises(UsageError, match=r"watches 'test/loss'.*\n  evaluated: validation"):
        Loop(make(plateau, "evaluation", "test/loss"), Fixed(1.0)).run([(X, X)], Epochs(1))
    with pytest.raises(UsageError, match="validation/lss"):
        Loop(make(plateau, "evaluation", "validation/lss"), Fixed(1.0)).run([(X, X)], Epochs(1))
    judge = Fixed(1.0)
    judge.figures = ("loss",)  # type: ignore[attr-defined]  # as an evaluator that says what it gives
    loop = Loop(make(plateau, "evaluation", "validation/lss"), judge)
    with pytest.raises(UsageError, match="did you mean 'validation/loss'"):
        loop.run([(X, X)], Epochs(1))
    assert loop.progress.step == 0


def test_losses_are_read_in_one_transfer() -> None:
    trainer = make()
    assert trainer.read([torch.tensor(1.5), torch.tensor(2.0)]) == [1.5, 2.0]
    assert trainer.read([]) == []


def test_gradients_are_announced_before_the_update() -> None:
    trainer, seen = make(), []
    weight = next(trainer.model.parameters())
    before = weight.detach().clone()

    class Watch:
        def on_gradients_ready(self, run: Loop) -> None:
            seen.append(torch.equal(weight, before) and weight.grad is not None)

    Loop(trainer, hooks=[Watch()]).run([(X, 2 * X)], Epochs(1))
    assert seen == [True]
    assert not torch.equal(weight, before)


def supervised(model: nn.Module, **options: Any) -> SupervisedTrainer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return SupervisedTrainer(model, nn.MSELoss(), optimizer, None, "epoch", "", **options)


def test_a_batch_is_computed_in_parts_only_where_gradients_are_accumulated() -> None:
    for accumulate, expected in ((1, [8, 8]), (2, [4, 4, 4, 4])):
        sizes: list[int] = []
        model = nn.Linear(1, 1)
        model.register_forward_pre_hook(lambda _, inputs, sizes=sizes: sizes.append(len(inputs[0])))  # type: ignore[misc]  # of this round
        trainer = supervised(model, accumulate=accumulate, batch_size=4)
        Loop(trainer).run([(X, X)], Epochs(2))
        assert sizes == expected


def test_step_protocols_that_processes_cannot_share_are_refused() -> None:
    alone, two = (
        SimpleNamespace(world_size=number, device=torch.device("cpu"), bare=lambda model: model) for number in (1, 2)
    )
    for step in ("plain", "closure", "two_step"):
        supervised(nn.Linear(1, 1), optimizer_traits=OptimizerTraits(step=step), strategy=two)  # type: ignore[arg-type]  # a loop's variable
    graph = OptimizerTraits(step="create_graph")
    supervised(nn.Linear(1, 1), optimizer_traits=graph, strategy=alone)
    with pytest.raises(UsageError, match="several processes exchange gradients without their graphs"):
        supervised(nn.Linear(1, 1), optimizer_traits=graph, strategy=two)


def test_thawing_keeps_the_listeners_of_a_derived_trainer() -> None:
    for event in ("on_epoch_start", "on_step_end"):
        derived = type("Derived", (SupervisedTrainer,), {event: lambda self, run: None})
        model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(UsageError, match=f"Derived defines {event}, which 'freeze_until' would replace"):
            derived(model, nn.MSELoss(), optimizer, None, "epoch", "", freeze="0", freeze_until="1epochs")


@pytest.mark.parametrize("searches", [True, False])
def test_processes_that_wait_for_all_gradients_cannot_thaw(searches: bool) -> None:
    model: Any = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    model.find_unused_parameters = searches  # as of DistributedDataParallel
    supervised(model, freeze="0")
    if searches:
        supervised(model, freeze="0", freeze_until="1epochs")
    else:
        with pytest.raises(UsageError, match=r"--strategy\.find_unused_parameters yes"):
            supervised(model, freeze="0", freeze_until="1epochs")


@pytest.mark.parametrize(("until", "steps"), [("2epochs", [5, 6]), ("3steps", [4, 5, 6]), ("4steps", [5, 6])])
def test_frozen_parts_are_trained_from_their_time_on(until: str, steps: list[int]) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.5), nn.Linear(1, 1))
    before, changed, modes = model[0].weight.detach().clone(), [], []

    class Watch:
        def on_step_end(self, run: Loop) -> None:
            nonlocal before
            if not torch.equal(before, model[0].weight):
                changed.append(run.progress.step)
            before = model[0].weight.detach().clone()
            modes.append(model[1].training)

    trainer = supervised(model, freeze=["0", "1"], freeze_until=until)
    Loop(trainer, hooks=[Watch()]).run([(X, X + 1)] * 2, Epochs(3))
    assert changed == steps
    assert [step for step, training in enumerate(modes, 1) if training] == (
        steps if "epochs" in until else [steps[0] - 1, *steps]
    )


def test_the_trainer_declares_the_terms_of_its_loss() -> None:
    class Loss(nn.Module):
        figures = ("fit", "size")

    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SupervisedTrainer(model, Loss(), optimizer, None, "epoch", "")
    assert {"loss/fit", "loss/size"} <= trainer.figures.keys()
    assert "loss/*" not in trainer.figures
    assert supervised(model).figures == {"loss/*": None}, "a loss that declares nothing may give any"


def test_records_have_the_mean_loss_of_all_processes() -> None:
    def add(values: list[torch.Tensor]) -> list[torch.Tensor]:
        return [value + 4 for value in values]  # the other process has losses of 4

    two = SimpleNamespace(world_size=2, device=torch.device("cpu"), bare=lambda model: model, sum=add)
    assert supervised(nn.Linear(1, 1), strategy=two).read([torch.tensor(2.0), torch.tensor(6.0)]) == [3.0, 5.0]
