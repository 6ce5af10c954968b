"""The guard against divergence."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import wf
from wf import Epochs, Every, Loop
from wf.errors import DivergedError, UsageError
from wf_base import Dataset, TensorSamples
from wf_training.hooks.divergence_guard import DivergenceGuard

X = torch.tensor([0.5, 14, 15, 28, 11, 8, 3, -4, 6, 13, 21])
Y = torch.tensor([35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4])


class Descent:
    """The line of the reference workflow R1, by gradient descent."""

    def __init__(self, lr: float) -> None:
        self.weight = torch.tensor([1.0, 0.0], requires_grad=True)
        self.lr = lr

    def train_step(self, batch: Any) -> torch.Tensor:
        loss = ((self.weight[0] * batch.inputs + self.weight[1] - batch.targets) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, self.weight)
        with torch.no_grad():
            self.weight -= self.lr * gradient
        return torch.as_tensor(loss.detach())


class Script:
    """Gives the losses of a script."""

    def __init__(self, losses: Sequence[float]) -> None:
        self.losses = iter(losses)

    def train_step(self, batch: Any) -> float:
        return next(self.losses)


def run_script(losses: Sequence[float], hook: Any, log_every: int = 1, **options: Any) -> Loop:
    return Loop(Script(losses), hooks=[hook], log_every=log_every, **options).run(
        [(torch.zeros(1), torch.zeros(1))] * len(losses), Epochs(1)
    )


def warnings_of(losses: Sequence[float], caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    caplog.clear()
    run_script(losses, DivergenceGuard(**options))
    return [record.getMessage() for record in caplog.records]


def test_the_diverging_reference_run_warns_while_it_happens(caplog: pytest.LogCaptureFixture) -> None:
    Loop(Descent(1e-2), hooks=[DivergenceGuard()]).run([(X, Y)], Epochs(6))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.name == "wf"
    message = record.getMessage()
    assert message.startswith("the loss is rising: 1763.9 -> ")
    assert "over 5 records" in message
    assert "learning rate is too large, or the inputs are not scaled" in message


def test_it_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    Loop(Descent(1e-2), hooks=[DivergenceGuard()]).run([(X, Y)], Epochs(20))
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("lr", "scale"), [(1e-4, 1.0), (1e-2, 0.1)])
def test_the_healthy_reference_runs_do_not_warn(lr: float, scale: float, caplog: pytest.LogCaptureFixture) -> None:
    Loop(Descent(lr), hooks=[DivergenceGuard()]).run([(X * scale, Y)], Epochs(10))
    assert not caplog.records


def test_the_diverging_run_ends_when_the_loss_overflows() -> None:
    with pytest.raises(DivergedError) as caught:
        Loop(Descent(1e-2), hooks=[DivergenceGuard()]).run([(X, Y)], Epochs(100))
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert "the training loss is not finite (inf) at step" in message
    assert "was last seen finite at step" in message
    assert "--transform standardize" in message
    assert "--hook +gradient-clip" in message


def test_the_learning_rate_is_named_where_the_record_has_it() -> None:
    class Rate:
        def on_log(self, run: Loop, record: dict[str, Any]) -> None:
            record["lr"] = 0.5

    with pytest.raises(DivergedError, match=r"too large \(0.5\).*\n.*smaller --lr \(0.05\)"):
        Loop(Script([math.nan]), hooks=[Rate(), DivergenceGuard()]).run([(torch.zeros(1), torch.zeros(1))], Epochs(1))


def test_one_bad_batch_between_two_records_is_seen() -> None:
    with pytest.raises(DivergedError, match=r"\(nan\) at step 7.*\n.*finite at step 4: 1\n"):
        run_script([1.0] * 5 + [math.nan] + [1.0] * 6, DivergenceGuard(), log_every=3)


def test_nothing_is_saved_after_a_loss_that_is_not_finite() -> None:
    class Checkpointer:
        saved: list[int] = []  # noqa: RUF012 - one use

        def save(self, state: Any, progress: Mapping[str, int], metrics: Any) -> str:
            self.saved.append(progress["step"])
            return ""

        def load(self, which: str = "latest") -> Mapping[str, Any]:
            raise AssertionError

    with pytest.raises(DivergedError):
        run_script(
            [1.0, 1.0, math.inf, 1.0],
            DivergenceGuard(),
            log_every=100,
            checkpointer=Checkpointer(),
            checkpoint_every=Every(1, "steps"),
        )
    assert Checkpointer.saved == [1, 2]


@pytest.mark.parametrize("finite", [True, False, None])
def test_non_finite_weights_reported_by_the_checkpointer_end_the_run(finite: bool | None) -> None:
    class Checkpointer:
        def save(self, state: Any, progress: Mapping[str, int], metrics: Any) -> str:
            return "here"

        def load(self, which: str = "latest") -> Mapping[str, Any]:
            raise AssertionError

    class Telling(Checkpointer):
        def is_finite(self, place: str) -> bool:
            assert (place, finite is None) == ("here", False)
            return bool(finite)

    checkpointer = Checkpointer() if finite is None else Telling()
    options: dict[str, Any] = {"checkpointer": checkpointer, "checkpoint_every": Every(2, "steps")}
    if finite is False:
        with pytest.raises(DivergedError, match=r"weights are not finite .* at step 2"):
            run_script([1.0] * 4, DivergenceGuard(), **options)
    else:
        run_script([1.0] * 4, DivergenceGuard(), **options)


def test_an_evaluated_loss_that_is_not_finite() -> None:
    class Evaluator:
        def evaluate(self, split: str) -> Mapping[str, Any]:
            return {"loss": math.inf, "precision": math.nan}

    with pytest.raises(DivergedError, match=r"validation loss is not finite \(inf\) at step 2, epoch 1"):
        run_script([1.0, 1.0], DivergenceGuard(), evaluator=Evaluator())


def test_a_nan_metric_is_not_a_divergence() -> None:
    class Evaluator:
        def evaluate(self, split: str) -> Mapping[str, Any]:
            return {"loss": 1.0, "precision": math.nan}

    run_script([1.0, 1.0], DivergenceGuard(), evaluator=Evaluator())


def test_a_slow_rise_and_one_after_progress_warn(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = warnings_of([1.1**number for number in range(12)], caplog)
    assert message.startswith("the loss is rising: 1 -> 2.1436 over 8 records")
    assert warnings_of([2.0, 1.0, 0.5, 1.5, 3.0, 4.0, 5.0, 6.0, 7.0], caplog)
    assert warnings_of([-1.0, -0.8, -0.6, -0.4, -0.2, 0.1], caplog)


def test_a_rise_that_ends_early_or_stays_small_does_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    assert not warnings_of([1.0, 2.0, 4.0, 8.0, 16.0, 1.0], caplog)
    assert not warnings_of([1 + 0.01 * number for number in range(50)], caplog)
    assert warnings_of([1 + 0.01 * number for number in range(50)], caplog, factor=1.2)


@given(
    level=st.floats(1e-6, 1e6),
    noise=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=200),
)
def test_noise_within_the_factor_never_warns(level: float, noise: list[float]) -> None:
    hook = DivergenceGuard()
    for value in noise:
        hook.on_log(Loop(Script([])), {"running_loss": level * (1 + 0.999 * value)})
    assert not hook.warned


def test_heavy_stationary_noise_hardly_ever_warns() -> None:
    draw, num_warned = random.Random(0), 0
    for _ in range(1000):
        hook = DivergenceGuard()
        for _ in range(100):
            hook._watch(draw.lognormvariate(0.0, 0.5), None)
        num_warned += hook.warned
    assert num_warned <= 3


@given(losses=st.lists(st.floats(-1e3, 1e3), max_size=30), cut=st.integers(0, 30))
def test_a_resumed_guard_continues_from_its_state(losses: list[float], cut: int) -> None:
    def drive(hook: DivergenceGuard, part: Sequence[float], start: int) -> None:
        run = Loop(Script([]))
        for number, loss in enumerate(part):
            run.progress.step = start + number
            hook.on_log(run, {"running_loss": loss})

    logging.getLogger("wf").disabled = True
    try:
        whole, first, second = DivergenceGuard(), DivergenceGuard(), DivergenceGuard()
        drive(whole, losses, 0)
        drive(first, losses[:cut], 0)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        drive(second, losses[cut:], len(losses[:cut]))
    finally:
        logging.getLogger("wf").disabled = False
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 1.0}, "factor is 1;"),
        ({"patience": 1}, "patience is 1;"),
        ({"rollback": -1}, "rollback is -1;"),
        ({"lr_factor": 1.0}, "lr_factor is 1;"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DivergenceGuard(**options)


def test_a_rollback_needs_a_learning_rate() -> None:
    with pytest.raises(UsageError, match="the optimizer has no learning rate"):
        run_script([1.0], DivergenceGuard(rollback=1))


INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(40) % 3


def run_with_ignored(ignored: slice, validation: slice = slice(0, 0), **options: Any) -> Any:
    """A run in batches of four samples in their order, of which some have no target that counts."""
    train = CLASSES.clone()
    train[ignored] = -100
    splits = {name: TensorSamples(INPUTS, CLASSES) for name in ("validation", "test")}
    names = ("a", "b", "c")
    dataset = Dataset(train=TensorSamples(INPUTS, train), targets="class_index", class_names=names, **splits)
    usual = {"model": "linear", "epochs": 2, "batch_size": 4, "shuffle": False, "save": False, "quiet": True}
    return wf.run(dataset=dataset, **{**usual, **options})


@pytest.mark.parametrize("log_every", [1, 4, 100])
@pytest.mark.parametrize("number", [1, 3, 10])
def test_a_batch_without_a_counted_target_is_named(number: int, log_every: int) -> None:
    with pytest.raises(DivergedError) as failed:
        run_with_ignored(slice(4 * number - 4, 4 * number), log_every=log_every)
    _, cause, remedy, *rest = str(failed.value).splitlines()
    assert cause.strip().startswith(f"no target counts in batch {number} of the epoch (step {number}): all are ignored")
    assert "larger --batch-size" in remedy
    assert not any("--lr" in line or "rollback" in line for line in rest)


def test_a_loss_that_diverges_still_blames_the_learning_rate() -> None:
    """The batch with the first loss that is not finite has targets, whatever others have."""
    with pytest.raises(DivergedError, match=r"learning rate is too large \(1e\+30\)"):
        run_with_ignored(
            slice(36, 40), model={"use": "mlp", "hidden": [8, 8]}, optimizer={"use": "sgd", "lr": 1e30}, log_every=1
        )


def test_going_back_does_not_help_against_a_batch_without_targets(tmp_path: Path) -> None:
    guard = {"use": "divergence-guard", "rollback": 3}
    more = {"save": True, "run_dir": tmp_path / "run", "checkpoint_every": "1steps"}
    with pytest.raises(DivergedError, match="no target counts in batch 3"):
        run_with_ignored(slice(8, 12), hook=[guard], **more)
    assert json.loads((tmp_path / "run/manifest.json").read_text())["status"] == "diverged"


def test_an_update_of_which_a_part_counts_is_trained() -> None:
    run = run_with_ignored(slice(8, 12), accumulate=2)
    assert math.isfinite(run.metrics["test/loss"])
