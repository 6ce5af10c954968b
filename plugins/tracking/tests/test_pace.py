"""The remaining time of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from wf import Epochs, Every, Hook, Loop, Steps
from wf_tracking.display.pace import Pace

SIZES = {"train": 400, "validation": 100, "test": 200}
STEP, SAMPLE = 1.0, 0.02
"""The seconds of an update of 100 samples, and of an evaluated sample."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Batch:
    size = 100


class Watch(Hook):
    """Records the remaining time and the clock at every step and within every evaluation."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[float, float | None, str]] = []

    def on_run_start(self, run: Loop) -> None:
        self.run, self.pace = run, Pace(run, SIZES, self.clock)

    def on_step_end(self, run: Loop) -> None:
        self.ask()

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        self.pace.logged()

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        self.pace.evaluated(split)
        self.ask()

    def ask(self) -> None:
        self.asked.append((self.clock.now, self.pace.left(), self.run.phase))


class Parts:
    """A trainer and an evaluator of constant speed."""

    def __init__(self, clock: Clock, watch: Watch) -> None:
        self.clock, self.watch, self.fraction = clock, watch, 0.0

    def train_step(self, batch: Any) -> float:
        self.clock.now += STEP
        return 0.5

    def evaluate(self, split: str) -> Mapping[str, Any]:
        self.fraction = 0.0
        for _ in range(10):
            self.clock.now += SIZES[split] * SAMPLE / 10
            self.fraction += 0.1
            self.watch.ask()
        return {"loss": 0.5}


@pytest.mark.parametrize(
    ("until", "options"),
    [
        (Epochs(5), {}),
        (Epochs(6), {"eval_every": Every(2)}),
        (Epochs(3), {"eval_every": Every(2, "steps")}),
        (Steps(17), {}),
        (Epochs(4), {"eval_every": None}),
        (Epochs(3), {"eval_splits": ("validation", "test")}),
    ],
)
def test_the_time_left_counts_down_to_zero_through_training_and_evaluations(
    until: Any, options: dict[str, Any]
) -> None:
    watch = Watch(clock := Clock())
    parts = Parts(clock, watch)
    splits = ("train", "test")
    Loop(parts, parts, hooks=[watch], final_splits=splits, **options).run([Batch()] * 4, until)
    end, first = clock.now, 1 if options.get("eval_every", 1) is None else 0
    timed = [now for now, _, phase in watch.asked if phase.startswith("evaluating")]
    known = [(now, left) for now, left, _ in watch.asked if now > timed[0] + 2 and left is not None]
    assert len(known) > 20 - 10 * first
    for now, left in known:
        assert left == pytest.approx(end - now, abs=0.15 * end), (now, end)
    assert known[-1][1] == pytest.approx(0.0, abs=1e-6)
    assert {phase for _, _, phase in watch.asked} >= {"training", "evaluating train", "evaluating test"}


def test_time_left_is_unknown_without_an_end_or_before_step_1() -> None:
    watch = Watch(Clock())
    parts = Parts(watch.clock, watch)
    loop = Loop(parts, hooks=[watch], eval_every=None)
    watch.run, watch.pace = loop, Pace(loop, SIZES, watch.clock)
    assert watch.pace.left() is None

    def endless() -> Iterator[Any]:
        yield from [Batch()] * 3

    loop.run(endless(), Epochs(1))
    assert [left for _, left, _ in watch.asked] == [None] * 3


def test_training_and_evaluations_are_timed_separately() -> None:
    watch = Watch(clock := Clock())
    parts = Parts(clock, watch)
    Loop(parts, parts, hooks=[watch]).run([Batch()] * 4, Epochs(5))
    assert watch.pace.training == pytest.approx(20 * STEP)
    assert watch.pace.elapsed - watch.pace.training == pytest.approx(5 * 100 * SAMPLE)
    assert watch.pace.num_samples / watch.pace.training == pytest.approx(100)
