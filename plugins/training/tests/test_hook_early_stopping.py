"""Early stopping."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf import Epochs, Every, Loop, Steps
from wf.errors import UsageError
from wf_training.hooks.early_stopping import EarlyStopping

BATCHES = [SimpleNamespace(size=1)] * 3


class Trainer:
    """Trains nothing."""

    def train_step(self, batch: Any) -> float:
        return 1.0


class Evaluator:
    """Gives scripted figures, one per evaluation; the last one repeats."""

    def __init__(self, values: Sequence[Any], name: str = "loss") -> None:
        self.values, self.name, self.num_calls = list(values), name, 0

    def evaluate(self, split: str) -> Mapping[str, Any]:
        value = self.values[min(self.num_calls, len(self.values) - 1)]
        self.num_calls += 1
        return {self.name: value}


def stopped_after(values: Sequence[Any], name: str = "loss", until: Any = None, **options: Any) -> tuple[int, Loop]:
    options = {"monitor": f"validation/{name}", "directions": {"accuracy": True}, "patience": 2, **options}
    hook = EarlyStopping(**options)
    loop = Loop(Trainer(), Evaluator(values, name), hooks=[hook]).run(BATCHES, until or Epochs(10))
    return loop.progress.epoch, loop


def test_it_stops_when_the_loss_has_not_improved_for_patience_evaluations() -> None:
    epoch, loop = stopped_after([3.0, 2.0, 2.5, 2.0, 1.0])
    assert epoch == 4
    assert loop.stop_reason == "validation/loss has not improved on 2 in the last 2 evaluations (now 2)"


def test_it_goes_on_while_the_loss_improves() -> None:
    epoch, loop = stopped_after([10.0 - number for number in range(10)])
    assert (epoch, loop.stop_reason) == (10, None)


def test_an_improvement_starts_the_patience_afresh() -> None:
    assert stopped_after([3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 1.0])[0] == 7


def test_the_direction_follows_the_metric_or_the_mode() -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert stopped_after(rising, "accuracy", Epochs(5))[1].stop_reason is None
    assert stopped_after(rising, "accuracy", Epochs(5), mode="min")[0] == 3
    assert stopped_after(rising, "loss", Epochs(5), mode="max")[1].stop_reason is None
    with pytest.raises(UsageError, match="mode to min or max"):
        stopped_after(rising, "novel")


def test_a_settled_loss_stops_with_min_delta() -> None:
    settling = [1 + 0.5**number for number in range(10)]
    epoch, loop = stopped_after(settling, min_delta=0.05)
    assert epoch == 7  # best at epoch 5, which still improved by 0.0625
    assert "by 0.05 or more" in str(loop.stop_reason)


def test_a_figure_that_is_not_a_number_is_no_improvement() -> None:
    assert stopped_after([math.nan])[0] == 2
    assert stopped_after([1.0, math.nan, math.nan])[0] == 3


def test_the_final_evaluation_does_not_count() -> None:
    hook = EarlyStopping("validation/loss", {}, patience=1)
    evaluator = Evaluator([2.0, 3.0])
    loop = Loop(Trainer(), evaluator, hooks=[hook], eval_every=Every(2), final_splits=["validation"])
    loop.run(BATCHES, Epochs(3))
    assert evaluator.num_calls == 2
    assert hook.num_waited == 0


def test_evaluations_every_few_steps_count() -> None:
    hook = EarlyStopping("validation/loss", {}, patience=2)
    loop = Loop(Trainer(), Evaluator([1.0]), hooks=[hook], eval_every=Every(2, "steps")).run(BATCHES, Steps(100))
    assert loop.progress.step == 6


def test_a_monitor_missing_in_the_evaluation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"larger 'validation/los' is better\n  did you mean 'validation/loss'"):
        stopped_after([1.0], monitor="validation/los")


def test_a_monitor_of_an_unevaluated_split_is_refused() -> None:
    with pytest.raises(UsageError, match=r"does not evaluate 'test'[^\n]*\n  evaluated: validation"):
        stopped_after([1.0], monitor="test/loss")


def test_a_per_class_figure_is_refused_as_a_monitor() -> None:
    with pytest.raises(UsageError, match="not one number but list"):
        stopped_after([[0.1, 0.2]], "recall", monitor="validation/recall:max")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "loss"}, "SPLIT/FIGURE"),
        ({"patience": 0}, "patience is 0"),
        ({"min_delta": -1.0}, "min_delta is -1"),
        ({"mode": "minimum"}, "choose from auto, min, max"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EarlyStopping(**{"monitor": "validation/loss", "directions": {}, **options})


@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12),
    cut=st.integers(0, 12),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.5]),
)
def test_a_resumed_run_stops_where_an_uninterrupted_one_does(
    values: list[float], cut: int, patience: int, min_delta: float
) -> None:
    def start() -> EarlyStopping:
        return EarlyStopping("validation/loss", {}, patience, min_delta)

    def drive(hook: EarlyStopping, values: Sequence[float]) -> int | None:
        loop = Loop(Trainer())
        loop.until = Epochs(1)
        for number, value in enumerate(values):
            hook.on_evaluation_end(loop, "validation", {"loss": value})
            if loop._stop_requested:
                return number
        return None

    whole = drive(start(), values)
    first, second = start(), start()
    at = drive(first, values[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    if at is None:
        rest = drive(second, values[cut:])
        at = None if rest is None else rest + cut
    assert at == whole


@pytest.mark.parametrize(("said", "epoch"), [("max", 3), ("min", 10)])
def test_a_direction_can_be_given_with_the_monitor(said: str, epoch: int) -> None:
    falling = [1 - 0.05 * number for number in range(10)]
    assert stopped_after(falling, "a/odd", monitor=f"validation/a/odd:{said}")[0] == epoch


@pytest.mark.parametrize("monitor", ["validation/acuracy", "validation/acuracy:max"])
def test_an_undeclared_figure_is_refused_before_the_first_step(monitor: str) -> None:
    judge = Evaluator([1.0], "accuracy")
    judge.figures = ("loss", "accuracy")  # type: ignore[attr-defined]  # as one that says what it gives
    loop = Loop(Trainer(), judge, hooks=[EarlyStopping(monitor, {})])
    with pytest.raises(UsageError, match=r"(?s)unknown figure 'validation/acuracy'.*'validation/accuracy'"):
        loop.run(BATCHES, Epochs(3))
    assert loop.progress.step == 0


def test_an_unknown_direction_is_refused_before_the_first_step() -> None:
    judge = Evaluator([1.0], "odd")
    judge.figures = ("loss", "odd")  # type: ignore[attr-defined]  # as one that says what it gives
    loop = Loop(Trainer(), judge, hooks=[EarlyStopping("validation/odd", {})])
    with pytest.raises(UsageError, match="not known whether a larger 'validation/odd' is better"):
        loop.run(BATCHES, Epochs(1))
    assert loop.progress.step == 0
