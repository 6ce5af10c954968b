"""The loop, with parts that only record their calls."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wf import Epochs, Every, Hook, Loop, Steps
from wf.engine.events import EVENTS
from wf.engine.feed import PlainBatch
from wf.engine.figures import Monitor
from wf.errors import DataError, DivergedError, GoBack, SaveError, UsageError, WfError


class Data:
    """Epochs of a few numbered batches; `known` tells whether `num_batches` is their number or None."""

    def __init__(self, num: int = 4, *, known: bool = True) -> None:
        self.num_batches = num if known else None
        self._num = num

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        for number in range(start, self._num):
            yield SimpleNamespace(size=number + 1, id=(epoch, number))


class Trainer:
    """Its loss is a function of the batch; it collects the batches."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def train_step(self, batch: Any) -> float:
        self.batches.append(getattr(batch, "id", batch))
        return float(1 + len(self.batches) % 7)

    def state_dict(self) -> dict[str, Any]:
        return {"batches": list(self.batches)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches = list(state["batches"])


class Evaluator:
    def __init__(self, losses: Sequence[float] = ()) -> None:
        self._losses = iter(losses)
        self.splits: list[str] = []

    def evaluate(self, split: str) -> dict[str, float]:
        self.splits.append(split)
        return {"loss": next(self._losses, 0.5)}


class Checkpointer:
    """Keeps states in memory by step."""

    def __init__(self) -> None:
        self.saved: dict[int, Any] = {}
        self.order: list[tuple[int, int, int]] = []

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        self.saved[progress["step"]] = {"state": state, "loss": metrics.get("validation/loss", math.inf)}
        self.order.append((progress["epoch"], progress["batch"], progress["step"]))
        return f"step-{progress['step']}"

    def load(self, which: str = "latest") -> Any:
        if which == "best":
            return min(self.saved.values(), key=lambda saved: saved["loss"])["state"]
        return self.saved[max(self.saved)]["state"]


class Log(Hook):
    """Writes down every event with its arguments and the position; its memory is saved with the run."""

    def __init__(self, *, stop_at: int | None = None) -> None:
        self.events: list[Any] = []
        self._stop_at = stop_at

    def names(self) -> list[str]:
        return [event[0].removeprefix("on_") for event in self.events]

    def state_dict(self) -> dict[str, Any]:
        return {"events": list(self.events)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.events = list(state["events"])

    def on_run_start(self, run: Loop) -> None:
        self._add("on_run_start", run)

    def on_epoch_start(self, run: Loop) -> None:
        self._add("on_epoch_start", run)

    def on_step_end(self, run: Loop) -> None:
        self._add("on_step_end", run)
        if run.progress.step == self._stop_at:
            run.stop("enough")

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        self._add("on_log", run, dict(record))

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        self._add("on_evaluation_end", run, split, dict(metrics))

    def on_epoch_end(self, run: Loop) -> None:
        self._add("on_epoch_end", run)

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        self._add("on_checkpoint_end", run, place)

    def on_exception(self, run: Loop, error: BaseException) -> None:
        self._add("on_exception", run, str(error))

    def on_run_end(self, run: Loop) -> None:
        self._add("on_run_end", run)

    def _add(self, event: str, run: Loop, *details: Any) -> None:
        progress = run.progress
        self.events.append((event, progress.epoch, progress.batch, progress.step, progress.samples, *details))


# Cadences


@pytest.mark.parametrize(
    ("text", "num", "unit"),
    [
        ("50steps", 50, "steps"),
        ("1step", 1, "steps"),
        ("2 epochs", 2, "epochs"),
        ("1epoch", 1, "epochs"),
        ("10min", 10, "minutes"),
        ("0.5minutes", 0.5, "minutes"),
        (3, 3, "epochs"),
        ("3", 3, "epochs"),
        (" 2.0epochs ", 2, "epochs"),
    ],
)
def test_cadence(text: Any, num: float, unit: str) -> None:
    assert Every.parse(text) == Every(num, unit)


@given(num=st.integers(1, 10**9), unit=st.sampled_from(["steps", "epochs", "minutes"]))
def test_cadence_round_trip(num: int, unit: str) -> None:
    assert Every.parse(str(Every(num, unit))) == Every(num, unit)


@pytest.mark.parametrize(
    "text", ["", "0", "0steps", "-1", "1.5epochs", "1.5steps", "5parsecs", "steps", "nan", "٣", True]
)
def test_invalid_cadences_are_refused(text: Any) -> None:
    with pytest.raises(UsageError, match="50steps, 2epochs or 10min"):
        Every.parse(text)


@pytest.mark.parametrize(
    ("num", "unit"), [(0, "steps"), (0.5, "epochs"), (1, "hours"), (-1, "minutes"), (math.inf, "steps")]
)
def test_cadence_built_directly_is_checked(num: float, unit: str) -> None:
    with pytest.raises(UsageError, match="not a cadence"):
        Every(num, unit)


# Order of events


def test_events_happen_in_the_order_of_the_list_of_events() -> None:
    log = Log()
    Loop(Trainer(), Evaluator(), Checkpointer(), [log], checkpoint_every=Every(1)).run(Data(1), Epochs(1))
    happened = [f"on_{name}" for name in log.names()]
    assert happened == [name for name in EVENTS if name not in ("on_gradients_ready", "on_exception")]


def test_every_event_of_a_run() -> None:
    log = Log()
    loop = Loop(
        Trainer(), Evaluator(), Checkpointer(), [log], log_every=2, checkpoint_every=Every(2), final_splits=["test"]
    ).run(Data(3), Epochs(2))
    epoch = ["epoch_start", "step_end", "log", "step_end", "step_end", "log", "evaluation_end", "epoch_end"]
    end = ["checkpoint_end", "evaluation_end", "run_end"]
    assert log.names() == ["run_start", *epoch, *epoch, *end]
    assert [event[1] for event in log.events if event[0] == "on_epoch_end"] == [0, 1]
    assert (loop.progress.epoch, loop.progress.batch, loop.progress.step) == (2, 0, 6)
    assert loop.progress.samples == 12
    assert loop.metrics == {"validation/loss": 0.5, "test/loss": 0.5}


def test_records_hold_the_means_of_their_losses() -> None:
    log = Log()
    Loop(Trainer(), hooks=[log], log_every=2).run(Data(4), Epochs(1))
    records = [event[-1] for event in log.events if event[0] == "on_log"]
    # losses 2, 3, 4, 5 of batches of 1, 2, 3 and 4 samples
    assert records[0] == {"loss": 2.0, "running_loss": 2.0}
    assert records[1] == {"loss": 4.0, "running_loss": 3.5}
    assert records[2] == {"loss": 5.0, "running_loss": 5.0, "epoch_loss": pytest.approx((2 + 6 + 12 + 20) / 10)}


def test_the_last_record_of_an_epoch_repeats_the_last_loss() -> None:
    log = Log()
    Loop(Trainer(), Evaluator(), hooks=[log], eval_every=Every(2, "steps")).run(Data(2), Epochs(1))
    records = [event[-1] for event in log.events if event[0] == "on_log"]
    assert records[-1] == {"loss": 3.0, "epoch_loss": pytest.approx(8 / 3)}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("cadence", "places"),
    [(Every(3, "steps"), [3, 6, 8]), (Every(1), [4, 8]), (Every(4, "steps"), [4, 8]), (None, [8])],
)
def test_checkpoint_cadence(cadence: Every | None, places: list[int], known: bool) -> None:
    checkpointer = Checkpointer()
    Loop(Trainer(), checkpointer=checkpointer, checkpoint_every=cadence).run(Data(4, known=known), Epochs(2))
    assert sorted(set(checkpointer.saved)) == places


def test_a_checkpoint_due_at_the_last_batch_is_saved_at_the_epoch_end() -> None:
    checkpointer = Checkpointer()
    Loop(Trainer(), checkpointer=checkpointer, checkpoint_every=Every(4, "steps")).run(Data(4), Epochs(2))
    assert checkpointer.order == [(1, 0, 4), (2, 0, 8)]


@pytest.mark.parametrize("num_batches", [1, 3])
def test_checkpoint_cadence_in_minutes(monkeypatch: pytest.MonkeyPatch, num_batches: int) -> None:
    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr("wf.engine.saving.time.monotonic", lambda: next(clock))
    checkpointer = Checkpointer()
    Loop(Trainer(), checkpointer=checkpointer, checkpoint_every=Every(1, "minutes"), log_every=1).run(
        Data(num_batches), Epochs(2)
    )
    assert len(checkpointer.order) == 2 * num_batches


def test_the_clock_of_checkpoints_runs_from_the_run_and_from_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e6]
    monkeypatch.setattr("wf.engine.saving.time.monotonic", lambda: now[0])

    class Slow(Trainer):
        def train_step(self, batch: Any) -> float:
            now[0] += 50
            return super().train_step(batch)

    checkpointer = Checkpointer()
    loop = Loop(Slow(), checkpointer=checkpointer, checkpoint_every=Every(2, "minutes"), log_every=1)
    now[0] += 1e4
    loop.run(Data(10), Epochs(1))
    assert [step for *_, step in checkpointer.order] == [3, 6, 9, 10]


@pytest.mark.parametrize(
    ("every", "num"), [(Every(1), 3), (Every(2), 1), (Every(2, "steps"), 6), (Every(5, "steps"), 2), (None, 0)]
)
def test_evaluation_cadence(every: Every | None, num: int) -> None:
    evaluator = Evaluator()
    Loop(Trainer(), evaluator, eval_every=every).run(Data(4), Epochs(3))
    assert evaluator.splits == ["validation"] * num


@pytest.mark.parametrize(("every", "epochs"), [(1, [0, 1, 2, 3, 4]), (2, [1, 3]), (3, [2]), (4, [3])])
def test_evaluations_are_after_the_last_of_so_many_epochs(every: int, epochs: list[int]) -> None:
    log = Log()
    Loop(Trainer(), Evaluator(), hooks=[log], eval_every=Every(every)).run(Data(2), Epochs(5))
    assert [event[1] for event in log.events if event[0] == "on_evaluation_end"] == epochs


@pytest.mark.parametrize("every", [Every(1), Every(4, "steps")])
def test_a_split_is_not_evaluated_twice_after_the_same_step(every: Every) -> None:
    evaluator = Evaluator()
    Loop(Trainer(), evaluator, eval_every=every, final_splits=["validation", "test"]).run(Data(4), Steps(4))
    assert evaluator.splits == ["validation", "test"]


def test_steps_that_end_with_an_epoch_end_the_epoch() -> None:
    log = Log()
    loop = Loop(Trainer(), Evaluator(), hooks=[log]).run(Data(4), Steps(4))
    assert log.names()[-4:] == ["log", "evaluation_end", "epoch_end", "run_end"]
    assert (loop.progress.epoch, loop.progress.batch) == (1, 0)


def test_steps_that_end_within_an_epoch() -> None:
    log = Log()
    loop = Loop(Trainer(), Evaluator(), Checkpointer(), [log]).run(Data(4), Steps(6))
    assert log.names()[-5:] == ["log", "step_end", "checkpoint_end", "log", "run_end"]
    assert (loop.progress.epoch, loop.progress.batch, loop.progress.step) == (1, 2, 6)


@pytest.mark.parametrize("until", [Epochs(0), Steps(0)])
def test_no_training_at_all(until: Any) -> None:
    log, checkpointer = Log(), Checkpointer()
    Loop(Trainer(), Evaluator(), checkpointer, [log], final_splits=["test"]).run(Data(), until)
    assert log.names() == ["run_start", "checkpoint_end", "evaluation_end", "run_end"]
    assert list(checkpointer.saved) == [0]


# Data


@pytest.mark.parametrize("until", [Epochs(2), Steps(2)])
@pytest.mark.parametrize("data", [[], Data(0), Data(0, known=False)])
def test_no_batches_are_an_error_and_not_an_endless_loop(data: Any, until: Any) -> None:
    with pytest.raises(DataError, match="no batches to train on in epoch 1"):
        Loop(Trainer()).run(data, until)


def test_a_bare_iterator_lasts_one_epoch() -> None:
    with pytest.raises(DataError, match="in epoch 2\n  an iterator is used up after one pass"):
        Loop(Trainer()).run(iter([([1], [2])]), Epochs(2))


class Array:
    """An object with a shape, like a tensor or an array."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape


@pytest.mark.parametrize(
    ("inputs", "targets", "num"),
    [
        (Array(32, 4), Array(32), 32),
        (["a", "b", "c"], [0, 1, 0], 3),
        ({"a": Array(32, 4), "b": Array(32, 3)}, Array(32), 32),
        ({"a": Array(32, 4), "b": Array(32, 3)}, None, 32),
        ({"a": [1, 2, 3], "b": [4, 5, 6]}, [0, 1, 0], 3),
        ((Array(32, 4), Array(32, 3)), Array(32), 32),
        ([Array(3, 8, 8)] * 5, Array(5), 5),
        ([Array(3, 8, 8)] * 5, [0, 1, 0, 1, 0], 5),
        ({"graph": {"nodes": Array(99, 4), "edges": Array(2, 500)}}, Array(7, 1), 7),
    ],
)
def test_a_batch_counts_its_samples_and_not_its_inputs(inputs: Any, targets: Any, num: int) -> None:
    assert Loop(Trainer()).run([(inputs, targets)], Steps(1)).progress.samples == num


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        ([Array(3, 8, 8)] * 5, [{"boxes": Array(2, 4)}] * 5),  # one sample each, or several arrays of three samples
        ((Array(32, 4), Array(31, 4)), None),
        ({"a": 1}, None),
        (Array(), None),
        (3.5, 1.0),
    ],
)
def test_an_ambiguous_number_of_samples_is_refused(inputs: Any, targets: Any) -> None:
    with pytest.raises(UsageError, match="a batch's inputs are a"):
        Loop(Trainer()).run([(inputs, targets)], Steps(1))


@pytest.mark.parametrize("batch", [([1],), ([1], [2], [3]), {"inputs": [1], "targets": [2]}])
def test_batches_other_than_pairs_are_refused(batch: Any) -> None:
    with pytest.raises(UsageError, match="it must be a pair"):
        Loop(Trainer()).run([batch], Steps(1))


def test_data_shorter_than_their_length_give_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Short(list[Any]):
        def __len__(self) -> int:
            return 5

    Loop(Trainer()).run(Short([([1], [2])] * 2), Epochs(1))
    assert "epoch 1 had 2 batches, and the data say that it has 5" in caplog.text


def test_pairs_are_accepted_as_batches() -> None:
    trainer = Trainer()
    loop = Loop(trainer).run([([1, 2], [3, 4]), [[5], [6]]], Epochs(2))
    assert [type(batch) for batch in trainer.batches] == [PlainBatch] * 4
    assert (trainer.batches[1].inputs, trainer.batches[1].targets, trainer.batches[1].size) == ([5], [6], 1)
    assert loop.progress.samples == 6
    assert loop.num_batches == 2


def test_data_whose_len_raises_type_error_have_no_known_length() -> None:
    class Loader:
        def __len__(self) -> int:
            raise TypeError("an iterable dataset has no len()")

        def __iter__(self) -> Iterator[Any]:
            yield from [([1], [2]), ([3], [4])]

    loop = Loop(Trainer()).run(Loader(), Epochs(2))
    assert (loop.num_batches, loop.progress.epoch, loop.progress.step) == (None, 2, 4)


@pytest.mark.parametrize("batch", [{"x": [1], "y": [2]}, ([1], [2], [3]), 5, SimpleNamespace(size=lambda: 3)])
def test_objects_that_are_not_batches_are_refused(batch: Any) -> None:
    with pytest.raises(UsageError, match=r"must be a pair \(inputs, targets\)"):
        Loop(Trainer()).run([batch], Epochs(1))


# Stopping, failing


@pytest.mark.parametrize("known", [True, False])
def test_stop_ends_after_the_present_step_with_a_checkpoint(known: bool) -> None:
    log, checkpointer = Log(stop_at=6), Checkpointer()
    loop = Loop(Trainer(), Evaluator(), checkpointer, [log], final_splits=["test"]).run(Data(known=known), Epochs(9))
    assert (loop.stop_reason, loop.progress.step, list(checkpointer.saved)) == ("enough", 6, [6])
    assert log.names()[-4:] == ["checkpoint_end", "log", "evaluation_end", "run_end"]


def test_a_stop_requested_before_the_run_applies_once() -> None:
    checkpointer = Checkpointer()
    loop = Loop(Trainer(), checkpointer=checkpointer)
    loop.stop("a signal while the state was loaded")
    assert loop.run(Data(), Epochs(1)).stop_reason == "a signal while the state was loaded"
    assert list(checkpointer.saved) == [0]
    assert loop.run(Data(), Epochs(1)).stop_reason is None


@pytest.mark.parametrize(
    ("event", "step"),
    [
        ("on_run_start", 0),
        ("on_epoch_start", 1),
        ("on_log", 1),
        ("on_step_end", 1),
        ("on_evaluation_end", 4),
        ("on_epoch_end", 4),
        ("on_checkpoint_end", 2),
    ],
)
def test_stop_from_any_event(event: str, step: int) -> None:
    hook = type("Stopper", (), {event: lambda self, run, *args: run.stop(event)})()
    loop = Loop(Trainer(), Evaluator(), Checkpointer(), [hook], checkpoint_every=Every(2, "steps"))
    loop.run(Data(4), Epochs(3))
    # an event after the decision of a step takes effect after the next step
    assert loop.progress.step == (step + 1 if event == "on_checkpoint_end" else step)
    assert loop.stop_reason == event


def test_processes_stop_together_at_a_pause() -> None:
    loop = Loop(Trainer(), log_every=2)

    def agree(flag: bool) -> bool:
        return flag or loop.progress.step == 3

    loop.agree = agree
    loop.run(Data(8), Epochs(1))
    assert loop.stop_reason == "stopped by another process"
    assert loop.progress.step == 3


def test_processes_ask_each_other_to_stop_after_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no record, evaluation or checkpoint is due for long."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("wf.engine.leaving.time", clock)
    asked: list[int] = []

    class Slow:
        def on_step_end(self, run: Loop) -> None:
            clock.now += 0.3 if run.progress.step < 20 else 5.0
            if run.progress.step == 24:
                run.stop("SIGTERM", for_good=False)

    def agree(flag: bool) -> bool:
        asked.append(loop.progress.step)
        return flag

    loop = Loop(Trainer(), hooks=[Slow()], log_every=1000, agree=agree)
    loop.run(Data(500), Epochs(1))
    assert list(dict.fromkeys(asked)) == [0, 1, 3, 7, 9, 13, 15, 19, 21, 22, 23, 24]
    assert loop.progress.step == 24


def test_exceptions_reach_every_hook_even_when_a_hook_fails_too() -> None:
    class Failing:
        def on_step_end(self, run: Loop) -> None:
            raise DivergedError("away it goes")

        def on_exception(self, run: Loop, error: BaseException) -> None:
            raise RuntimeError("and I fell too")

    log = Log()
    with pytest.raises(DivergedError) as caught:
        Loop(Trainer(), hooks=[Failing(), log]).run(Data(), Epochs(1))
    assert log.events[-1][0] == "on_exception"
    assert log.events[-1][-1] == "away it goes"
    assert caught.value.__notes__ == ["Failing failed too, at on_exception: RuntimeError: and I fell too"]


def test_a_part_told_last_is_so_for_figures_and_the_end_only() -> None:
    told: list[tuple[str, str]] = []

    class Told:
        told_last = False

        def __init__(self) -> None:
            for event in EVENTS:
                setattr(self, event, lambda *_, event=event: told.append((event, type(self).__name__)))

    class Last(Told):
        told_last = True

    fragile_loop(Last(), Told()).run(Data(2), Epochs(1))
    orders = {event: [name for heard, name in told if heard == event][:2] for event in dict(told)}
    late = {"on_log", "on_evaluation_end", "on_run_end"}
    assert orders == {
        event: ["Told", "Last"] if event in late else ["Last", "Told"] for event in EVENTS if event != "on_exception"
    }


def test_gradients_are_announced_with_the_loop_to_those_that_listen() -> None:
    heard: list[Any] = []

    class Clip:
        def on_gradients_ready(self, run: Loop) -> None:
            heard.append(run)

    loop = Loop(Announcing(), hooks=[Clip()]).run(Data(2), Epochs(1))
    assert heard == [loop, loop]
    assert Loop(loop.trainer).run(Data(2), Epochs(1)).trainer.before_update == ()  # type: ignore[attr-defined]  # ours


def test_a_misspelt_event_is_refused_before_the_first_step() -> None:
    class Misspelt:
        def on_step_ends(self, run: Loop) -> None: ...

    loop = Loop(Trainer(), hooks=[Misspelt()])
    with pytest.raises(UsageError, match="Misspelt has a method 'on_step_ends', which is not an event"):
        loop.run(Data(), Epochs(1))
    assert loop.progress.step == 0


def test_a_loop_evaluates_without_a_run() -> None:
    loop = Loop(Trainer(), Evaluator())
    loop.evaluate(["test"])
    assert loop.figures == {"test/loss": 0.5}


# Listeners that fail

FAILING = [event for event in EVENTS if event != "on_exception"]


class Announcing(Trainer):
    """A trainer with gradients."""

    before_update: Sequence[Any] = ()

    def train_step(self, batch: Any) -> float:
        for listen in self.before_update:
            listen()
        return super().train_step(batch)


class Fragile:
    """Listens to every event, and fails at one."""

    def __init__(self, fails_at: str, error: BaseException | None = None) -> None:
        self.heard: list[str] = []
        self.raised: BaseException | None = None
        self._fails_at, self._error = fails_at, error
        for event in FAILING:
            setattr(self, event, lambda *_, event=event: self._hear(event))

    def _hear(self, event: str) -> None:
        self.heard.append(event)
        if event == self._fails_at:
            self.raised = self._error or RuntimeError("boom")
            raise self.raised

    def state_dict(self) -> dict[str, Any]:
        self._hear("state_dict")
        return {"heard": len(self.heard)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.heard = ["loaded"] * state["heard"]


def fragile_loop(*hooks: Any, **settings: Any) -> Loop:
    every = {"checkpoint_every": Every(2, "steps"), "log_every": 1}
    return Loop(Announcing(), Evaluator(), Checkpointer(), hooks, **{**every, **settings})


@pytest.mark.parametrize("event", [*FAILING, "state_dict"])
def test_an_error_carries_the_hook_and_the_event(event: str) -> None:
    hook, log = Fragile(event), Log()
    with pytest.raises(RuntimeError, match="boom") as caught:
        fragile_loop(hook, log).run(Data(2), Epochs(2))
    assert caught.value is hook.raised
    assert caught.value.__notes__ == [f"in Fragile, at {event}"]
    assert caught.traceback[-1].name == "_hear", "the traceback ends where it was raised"
    assert hook.heard[-1] == event
    assert log.events[-1][0] == "on_exception"


@pytest.mark.parametrize("event", [*FAILING, "state_dict"])
def test_a_run_continues_without_a_failed_hook(event: str) -> None:
    asked = []

    def keep_running(run: Loop, part: Any, where: str, error: Exception) -> bool:
        asked.append((part, where, error, run.progress.step))
        return True

    hook, before, after = Fragile(event), Log(), Log()
    loop = fragile_loop(before, hook, after, hook_failed=keep_running).run(Data(2), Epochs(2))
    whole = Log()
    fragile_loop(whole).run(Data(2), Epochs(2))
    assert (before.events, after.events) == (whole.events, whole.events), (
        "other hooks get every event, also of this step"
    )
    failures = [part for part, where, *_ in asked if where == event]
    assert set(map(id, failures)) == {id(hook)}
    assert len(failures) == (1 if event != "state_dict" else len(loop.checkpointer.order)), event  # type: ignore[union-attr]  # ours
    assert [heard for heard in hook.heard if heard != "state_dict"].count(event) <= 1
    first = hook.heard.index(event)
    assert set(hook.heard[first + 1 :]) <= {"state_dict"}, "a failed hook gets no more events"


def test_a_hook_that_fails_in_a_nested_event_skips_the_outer_event() -> None:
    """The second hook is disabled while the first one handles the step, so the step skips it, too."""

    class Reader:
        def on_step_end(self, run: Loop) -> None:
            run.log()

    fragile = Fragile("on_log")
    fragile_loop(Reader(), fragile, log_every=100, hook_failed=lambda *_: True).run(Data(2), Epochs(1))
    assert "on_step_end" not in fragile.heard


@pytest.mark.parametrize("error", [DivergedError("x"), UsageError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("event", [*FAILING, "state_dict"])
def test_errors_meant_for_the_user_end_the_run(event: str, error: BaseException) -> None:
    asked: list[Any] = []
    with pytest.raises(type(error)) as caught:
        fragile_loop(Fragile(event, error), hook_failed=lambda *args: not asked.append(args)).run(Data(2), Epochs(1))  # type: ignore[func-returns-value]  # for brevity
    assert caught.value is error
    assert not asked
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("kind", [UsageError, DataError, SaveError, DivergedError])
@pytest.mark.parametrize("event", [*FAILING, "state_dict"])
def test_errors_of_a_watching_hook_do_not_end_the_run(event: str, kind: type[WfError]) -> None:
    fragile = Fragile(event, kind("x"))
    loop = fragile_loop(fragile, hook_failed=lambda *_: True, watches=lambda part: part is fragile)
    if event == "on_run_start" or kind in (SaveError, DivergedError):
        with pytest.raises(kind):
            loop.run(Data(2), Epochs(1))
    else:
        assert loop.run(Data(2), Epochs(1)).finished


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
@pytest.mark.parametrize("event", [*FAILING, "state_dict"])
def test_system_exit_in_a_hook_is_a_hook_failure(event: str, kind: type[BaseException]) -> None:
    with pytest.raises(kind) as caught:
        fragile_loop(Fragile(event, kind())).run(Data(2), Epochs(1))
    assert [note for note in caught.value.__notes__ if note.endswith(f"at {event}")]
    loop = fragile_loop(Fragile(event, kind()), hook_failed=lambda *_: True)
    assert loop.run(Data(2), Epochs(1)).progress.epoch == 1


def test_the_failed_hook_is_blamed_rather_than_its_caller() -> None:
    class Caller:
        def on_step_end(self, run: Loop) -> None:
            run.log()

    caller, fragile, asked = Caller(), Fragile("on_log"), []

    def only_the_caller(run: Loop, part: Any, event: str, error: Exception) -> bool:
        asked.append(part)
        return part is caller

    with pytest.raises(RuntimeError, match="boom") as caught:
        fragile_loop(caller, fragile, log_every=100, hook_failed=only_the_caller).run(Data(2), Epochs(1))
    assert asked == [fragile]
    assert caught.value.__notes__ == ["in Fragile, at on_log"]


def test_a_failing_trainer_event_is_blamed_on_the_trainer() -> None:
    class Broken(Trainer):
        def on_epoch_end(self, run: Loop) -> None:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError) as caught:
        Loop(Broken(), name_of=lambda part: f"trainer {type(part).__name__!r}").run(Data(2), Epochs(1))
    assert caught.value.__notes__ == ["in trainer 'Broken', at on_epoch_end"]


def test_a_hook_that_replaces_its_own_method_may_fail_like_any_other() -> None:
    class Changing:
        def __init__(self) -> None:
            self.on_step_end = self.first

        def first(self, run: Loop) -> None:
            self.on_step_end = self.second
            raise RuntimeError("boom")

        def second(self, run: Loop) -> None: ...

    with pytest.raises(RuntimeError, match="boom") as caught:
        Loop(Trainer(), hooks=[Changing()]).run(Data(2), Epochs(1))
    assert caught.value.__notes__ == ["in method, at on_step_end"]


def test_a_hook_without_saved_state_starts_fresh() -> None:
    fragile = Fragile("state_dict")
    loop = fragile_loop(fragile, hook_failed=lambda *_: True).run(Data(2), Epochs(1))
    state = loop.checkpointer.load("latest")  # type: ignore[union-attr]  # ours
    assert state["parts"]["hook/Fragile"] is None
    fresh = Fragile("")
    resumed = fragile_loop(fresh)
    resumed.load_state_dict(state)
    assert fresh.heard == []
    assert resumed.run(Data(2), Epochs(2)).progress.step == 4
    assert fresh.heard[0] == "on_run_start", "a hook that was disabled is tried again"


def test_figures_of_a_hook_that_fails_are_dropped() -> None:
    class Half:
        def on_log(self, run: Loop, record: dict[str, Any]) -> None:
            record.update(half=object(), loss=-1.0)
            del record["running_loss"]
            raise RuntimeError("boom")

        def on_evaluation_end(self, run: Loop, split: str, metrics: dict[str, Any]) -> None:
            metrics.update(half=object(), loss=-1.0)
            raise RuntimeError("boom")

    for others in ([], [Log()]):
        log, whole = Log(), Log()
        log.told_last = whole.told_last = True  # type: ignore[misc]  # of this one alone
        loop = fragile_loop(Half(), *others, log, hook_failed=lambda *_: True).run(Data(2), Epochs(1))
        expected = fragile_loop(whole).run(Data(2), Epochs(1))
        assert log.events == whole.events
        assert loop.figures == expected.figures


def test_a_hook_that_cannot_load_its_state_keeps_it_and_is_told_nothing() -> None:
    class Picky(Log):
        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            if not self.fails:
                return super().load_state_dict(state)
            state.pop("events")  # type: ignore[attr-defined]  # of a dict
            raise RuntimeError("of another version")

        fails = True

    state = fragile_loop(Picky()).run(Data(2), Epochs(1)).state_dict()
    asked: list[Any] = []
    hook, after = Picky(), Fragile("")
    loop = fragile_loop(hook, after, hook_failed=lambda *failure: not asked.append(failure))  # type: ignore[func-returns-value]  # for brevity
    loop.load_state_dict(state, partial=True)
    loop.run(Data(2), Epochs(2))
    assert [(*of, str(error)) for *of, error in asked] == [(loop, hook, "load_state_dict", "of another version")]
    assert hook.events == []
    assert "on_run_end" in after.heard
    assert loop.state_dict()["parts"]["hook/Picky"] == state["parts"]["hook/Picky"]
    hook.fails = False
    loop.load_state_dict(state, partial=True)
    loop.run(Data(2), Epochs(3))
    assert "run_end" in hook.names()
    assert len(loop.state_dict()["parts"]["hook/Picky"]["events"]) > len(state["parts"]["hook/Picky"]["events"])
    with pytest.raises(RuntimeError, match="of another version") as caught:
        fragile_loop(Picky(), Fragile("")).load_state_dict(state, partial=True)
    assert caught.value.__notes__ == ["in Picky, at load_state_dict"]


def test_a_disabled_hook_costs_one_empty_call_a_step() -> None:
    class Failing:
        def on_run_start(self, run: Loop) -> None:
            raise RuntimeError("boom")

        def on_step_end(self, run: Loop) -> None:
            raise AssertionError("it is not told any more")

    assert calls_a_step([Failing()], hook_failed=lambda *_: True) == calls_a_step([]) + 1


def test_a_non_finite_loss_is_logged_before_the_checkpoint_commit() -> None:
    class Guard:
        def on_log(self, run: Loop, record: dict[str, Any]) -> None:
            if not math.isfinite(record["loss"]):
                raise DivergedError("not finite")

    class Diverging:
        steps = 0

        def train_step(self, batch: Any) -> float:
            self.steps += 1
            return 1.0 if self.steps < 3 else math.nan

    checkpointer = Checkpointer()
    with pytest.raises(DivergedError):
        Loop(Diverging(), None, checkpointer, [Guard()], checkpoint_every=Every(1, "steps")).run(Data(), Epochs(1))
    assert list(checkpointer.saved) == [1, 2]


class Writer(Checkpointer):
    """Writes in the background: a checkpoint is done when `finish` is called or when its future is waited for."""

    def __init__(self, *failing: int) -> None:
        super().__init__()
        self.failing, self.writing = failing, 0
        self.max_writing = 0

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> Any:
        self.writing += 1
        self.max_writing = max(self.writing, self.max_writing)
        self._commit = lambda: super(Writer, self).save(state, progress, metrics)
        self.future = _Lazy(self)
        return self.future

    def finish(self) -> None:
        self.writing -= 1
        place, number = self._commit(), len(self.order)
        if number in self.failing:
            self.future.set_exception(SaveError(f"save {number} failed"))
        else:
            self.future.set_result(place)


class _Lazy(Future[str]):
    """A future that finishes when it is waited for."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def result(self, timeout: float | None = None) -> str:
        if not self.done():
            self._writer.finish()
        return super().result(timeout)


class FinishAt:
    """Lets the checkpoint be finished in a step."""

    def __init__(self, writer: Writer, step: int) -> None:
        self.writer, self.step = writer, step

    def on_step_end(self, run: Loop) -> None:
        if run.progress.step == self.step:
            self.writer.finish()


def write_in_background(writer: Writer, *hooks: Any, **settings: Any) -> tuple[Log, Loop]:
    log, every = Log(), Every(3, "steps")
    loop = Loop(Trainer(), None, writer, [*hooks, log], checkpoint_every=every, **settings)
    return log, loop


def committed(log: Log) -> list[tuple[int, str]]:
    """The checkpoints, each with the step after which it was reported."""
    return [(event[3], event[5]) for event in log.events if event[0] == "on_checkpoint_end"]


def test_a_checkpoint_is_reported_at_the_first_step_after_it_is_durable() -> None:
    writer = Writer()
    log, loop = write_in_background(writer, FinishAt(writer, 5))
    loop.run(Data(10), Epochs(1))
    assert committed(log) == [(5, "step-3"), (9, "step-6"), (10, "step-9"), (10, "step-10")]
    assert writer.max_writing == 1


def test_a_save_that_finishes_before_the_pause_is_set_is_reported() -> None:
    """A small save that finishes before the next pause is set is reported after the next step."""
    writer = Writer()
    writer.save = lambda *args: (Writer.save(writer, *args), writer.finish())[0]  # type: ignore[method-assign,func-returns-value]
    log, loop = write_in_background(writer)
    loop.run(Data(10), Epochs(1))
    assert committed(log) == [(4, "step-3"), (7, "step-6"), (10, "step-9"), (10, "step-10")]


@pytest.mark.parametrize("step", [4, 20])
def test_a_failed_save_ends_the_run_at_the_next_step(step: int) -> None:
    writer = Writer(1)
    log, loop = write_in_background(writer, FinishAt(writer, step))
    with pytest.raises(SaveError, match="save 1 failed"):
        loop.run(Data(10), Epochs(1))
    assert loop.progress.step == min(step, 6)
    assert committed(log) == []


def test_a_failed_save_is_retried_when_the_next_checkpoint_is_due() -> None:
    writer, failed = Writer(1), []
    log, loop = write_in_background(
        writer, save_failed=lambda run, error: not failed.append((run.progress.step, str(error)))
    )
    loop.run(Data(10), Epochs(1))
    assert failed == [(6, "save 1 failed")]
    assert committed(log) == [(9, "step-6"), (10, "step-9"), (10, "step-10")]


def test_a_failed_last_save_is_an_error() -> None:
    writer = Writer(3)
    log, loop = write_in_background(writer, save_failed=lambda *_: True)
    with pytest.raises(SaveError, match="save 3 failed"):
        loop.run(Data(7), Epochs(1))
    assert committed(log) == [(6, "step-3"), (7, "step-6")]
    assert "run_end" in log.names(), "the run first continues to its end"


def test_the_last_step_is_tried_again_when_its_save_failed() -> None:
    writer = Writer(2)
    log, loop = write_in_background(writer, save_failed=lambda *_: True)
    loop.run(Data(6), Epochs(1))
    assert committed(log) == [(6, "step-3"), (6, "step-6")]
    assert [step for _, _, step in writer.order] == [3, 6, 6]


@pytest.mark.parametrize("fails", [False, True])
def test_an_error_waits_for_the_checkpoint_and_is_not_hidden_by_it(fails: bool) -> None:
    class Breaking(Trainer):
        def train_step(self, batch: Any) -> float:
            if len(self.batches) == 4:
                raise ValueError("broken")
            return super().train_step(batch)

    writer, log = Writer(*[1] * fails), Log()
    loop = Loop(Breaking(), None, writer, [log], checkpoint_every=Every(3, "steps"))
    with pytest.raises(ValueError, match="broken") as caught:
        loop.run(Data(10), Epochs(1))
    assert committed(log) == ([] if fails else [(4, "step-3")])
    notes = getattr(caught.value, "__notes__", [])
    assert any("save 1 failed" in note for note in notes) is fails


@pytest.mark.parametrize("first", [True, False])
def test_processes_report_a_save_at_the_same_pause(first: bool) -> None:
    """A save is never done in the other processes; process 0 decides."""
    writer = Writer()
    log, loop = write_in_background(writer, *([FinishAt(writer, 4)] if first else []), log_every=2)
    pauses: list[int] = []

    def agree(flag: bool) -> bool:
        pauses.append(loop.progress.step)
        return flag or (not first and loop._saving.is_writing and loop.progress.step == 5)

    loop.agree = agree
    loop.run(Data(6), Epochs(1))
    assert committed(log) == [(5, "step-3"), (6, "step-6")]


def test_a_checkpoint_adds_no_record() -> None:
    logs = []
    for cadence in (None, Every(1, "steps")):
        log = Log()
        Loop(Trainer(), None, Checkpointer(), [log], log_every=3, checkpoint_every=cadence).run(Data(7), Epochs(2))
        logs.append([event for event in log.events if event[0] == "on_log"])
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"eval_every": Every(5, "minutes")}, "counts epochs or steps"),
        ({"keep": "bset"}, "did you mean 'best'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Loop(Trainer(), **settings)


def test_a_length_without_a_unit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"say Epochs\(10\) or Steps"):
        Loop(Trainer()).run(Data(), 10)  # type: ignore[arg-type]  # the mistake


def test_a_trainer_that_returns_no_loss() -> None:
    with pytest.raises(UsageError, match="train_step must return the loss"):
        Loop(SimpleNamespace(train_step=lambda batch: None)).run(Data(), Epochs(1))


# keep=best


class Weights:
    """A model: the number of steps it has seen."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self.restored = trainer, None

    def state_dict(self) -> dict[str, Any]:
        return {"steps": len(self._trainer.batches)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.restored = state["steps"]


@pytest.mark.parametrize(
    ("losses", "larger", "steps", "best"),
    [
        ([3.0, 1.0, 2.0, math.nan], False, 4, 1.0),
        ([3.0, 1.0, 5.0, math.nan], True, 6, 5.0),
        ([math.nan, 2.0, 2.0, 3.0], False, 4, 2.0),
    ],
)
def test_the_best_weights_are_restored_and_evaluated(
    losses: list[float], larger: bool, steps: int, best: float
) -> None:
    trainer, evaluator = Trainer(), Evaluator(losses)
    weights, checkpointer = Weights(trainer), Checkpointer()
    if larger:
        checkpointer.load = lambda which="latest": checkpointer.saved[steps]["state"]  # type: ignore[method-assign]  # it looks for the smallest
    loop = Loop(
        trainer,
        evaluator,
        checkpointer,
        keep="best",
        larger_is_better=larger,
        final_splits=["validation", "test"],
        parts={"model": weights},
    ).run(Data(2), Epochs(4))
    assert loop.best == best
    assert weights.restored == steps
    assert evaluator.splits[4:] == ["validation", "test"]


def test_keeping_the_best_needs_a_figure_of_the_evaluation() -> None:
    with pytest.raises(UsageError, match="validation/acc") as caught:
        Loop(Trainer(), Evaluator(), Checkpointer(), keep="best", monitor="validation/acc").run(Data(), Epochs(1))
    assert "available: validation/loss" in str(caught.value)
    judge = Evaluator()
    judge.figures = ("loss", "accuracy")  # type: ignore[attr-defined]  # as one that says what it gives
    loop = Loop(Trainer(), judge, Checkpointer(), keep="best", monitor="validation/acc")
    with pytest.raises(UsageError, match="did you mean 'validation/accuracy'"):
        loop.run(Data(), Epochs(1))
    assert loop.progress.step == 0


# State


@settings(max_examples=150, deadline=None)
@given(
    num_batches=st.integers(1, 5),
    num_epochs=st.integers(1, 4),
    stops=st.lists(st.integers(1, 20), max_size=3),
    log_every=st.integers(1, 4),
    eval_every=st.none() | st.builds(Every, st.integers(1, 3), st.sampled_from(["steps", "epochs"])),
    checkpoint_every=st.none() | st.builds(Every, st.integers(1, 3), st.sampled_from(["steps", "epochs"])),
    known=st.booleans(),
    final_splits=st.sampled_from([(), ("train", "validation")]),
)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(
    num_batches: int,
    num_epochs: int,
    stops: list[int],
    log_every: int,
    eval_every: Every | None,
    checkpoint_every: Every | None,
    known: bool,
    final_splits: tuple[str, ...],
) -> None:
    cadences: dict[str, Any] = {"log_every": log_every, "eval_every": eval_every, "checkpoint_every": checkpoint_every}
    data, until = Data(num_batches, known=known), Epochs(num_epochs)

    def run(state: Any, stop_at: int | None) -> tuple[Loop, Log, Checkpointer]:
        log, checkpointer = Log(stop_at=stop_at), Checkpointer()
        splits = final_splits if stop_at is None else ()  # as a signal stops a run
        loop = Loop(Trainer(), Evaluator(), checkpointer, [log], final_splits=splits, **cadences)
        if state is not None:
            loop.load_state_dict(state)
        return loop.run(data, until), log, checkpointer

    whole, whole_log, _ = run(None, None)
    state = None
    for stop in sorted(stops):
        _, _, checkpointer = run(state, stop)
        state = checkpointer.load("latest") if checkpointer.saved else state
    loop, log, _ = run(state, None)

    assert loop.trainer.batches == whole.trainer.batches  # type: ignore[attr-defined]  # of this Trainer
    assert loop.progress == whole.progress
    assert loop.metrics == whole.metrics
    assert loop.state_dict()["losses"] == whole.state_dict()["losses"]
    assert training_events(log) == training_events(whole_log)


class Commits(Checkpointer):
    """Keeps each state in the order in which they are committed."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[Any] = []

    def save(self, state: Mapping[str, Any], progress: Mapping[str, int], metrics: Mapping[str, Any]) -> str:
        self.states.append(state)
        return super().save(state, progress, metrics)


class Judge:
    """Its figures are a function of the steps trained."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def evaluate(self, split: str) -> dict[str, float]:
        return {"loss": 7 * len(self._trainer.batches) % 5}


class Ends(Log):
    """Ends the run for good at an event of a step; it does not remember that after a resume."""

    def __init__(self, event: str, step: int, *, signal: bool = False) -> None:
        super().__init__()
        self._event, self._step, self._signal = event, step, signal

    def _add(self, event: str, run: Loop, *details: Any) -> None:
        super()._add(event, run, *details)
        if (event, run.progress.step) == (self._event, self._step) and not run.finished:
            run.stop("enough")
            if self._signal:
                run.stop("SIGTERM received", for_good=False)


@settings(max_examples=60, deadline=None)
@given(
    num_batches=st.integers(1, 4),
    event=st.sampled_from(["on_step_end", "on_log", "on_evaluation_end", "on_epoch_end"]),
    step=st.integers(1, 10),
    until=st.builds(Epochs, st.integers(1, 3)) | st.builds(Steps, st.integers(1, 9)),
    eval_every=st.builds(Every, st.integers(1, 3), st.sampled_from(["steps", "epochs"])),
    checkpoint_every=st.none() | st.builds(Every, st.integers(1, 3), st.sampled_from(["steps", "epochs"])),
    keep=st.sampled_from(["last", "best"]),
    known=st.booleans(),
    signal=st.booleans(),
)
def test_a_run_ended_by_a_part_stays_ended_from_every_checkpoint(
    num_batches: int,
    event: str,
    step: int,
    until: Any,
    eval_every: Every,
    checkpoint_every: Every | None,
    keep: str,
    known: bool,
    signal: bool,
) -> None:
    """Killed after any commit and resumed, also when a signal arrived at the end."""
    data = Data(num_batches, known=known)

    def run(state: Any = None, *, signal: bool = False) -> tuple[Loop, Log, Commits]:
        log, checkpointer = Ends(event, step, signal=signal), Commits()
        cadences: dict[str, Any] = {"eval_every": eval_every, "checkpoint_every": checkpoint_every, "log_every": 2}
        trainer = Trainer()
        loop = Loop(trainer, Judge(trainer), checkpointer, [log], keep=keep, final_splits=["test"], **cadences)
        if state is not None:
            loop.load_state_dict(state)
            loop.ended = state["ended"]
            checkpointer.saved[state["progress"]["step"]] = {"state": state, "loss": -1.0}
        return loop.run(data, until), log, checkpointer

    whole, whole_log, _ = run()
    for state in run(signal=signal)[2].states:
        loop, log, _ = run(state)
        assert loop.progress == whole.progress
        assert loop.stop_reason == whole.stop_reason
        assert loop.trainer.batches == whole.trainer.batches  # type: ignore[attr-defined]  # of this Trainer
        if keep == "last":
            assert training_events(log) == training_events(whole_log)


class Judging(Judge):
    """An evaluation of three batches; some batch of all interrupts the run. Reading one changes its state."""

    loop: Loop
    between_batches = staticmethod(lambda: None)

    def __init__(self, trainer: Trainer, interrupt_at: int | None) -> None:
        super().__init__(trainer)
        self._interrupt_at, self.num, self.read = interrupt_at, 0, list[str]()

    def state_dict(self) -> dict[str, Any]:
        return {"read": list(self.read)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.read = list(state["read"])

    def evaluate(self, split: str) -> dict[str, float]:
        for _ in range(3):
            self.between_batches()
            self.num += 1
            self.read.append(split)
            if self.num == self._interrupt_at:
                self.loop.interrupt("SIGTERM received")
        return super().evaluate(split)


@settings(max_examples=200, deadline=None)
@given(
    num_batches=st.integers(1, 4),
    until=st.builds(Epochs, st.integers(1, 3)) | st.builds(Steps, st.integers(1, 9)),
    interrupts=st.lists(st.integers(1, 15), min_size=1, max_size=3),
    eval_every=st.none() | st.builds(Every, st.integers(1, 3), st.sampled_from(["steps", "epochs"])),
    checkpoint_every=st.none() | st.builds(Every, st.integers(1, 3), st.sampled_from(["steps", "epochs"])),
    keep=st.sampled_from(["last", "best"]),
    known=st.booleans(),
    ends=st.none() | st.tuples(st.sampled_from(["on_step_end", "on_log", "on_evaluation_end"]), st.integers(1, 9)),
    several=st.booleans(),
)
def test_a_run_interrupted_in_evaluations_equals_an_uninterrupted_one(
    num_batches: int,
    until: Any,
    interrupts: list[int],
    eval_every: Every | None,
    checkpoint_every: Every | None,
    keep: str,
    known: bool,
    ends: tuple[str, int] | None,
    several: bool,
) -> None:
    """Also one that a part ends for good at an event."""
    data = Data(num_batches, known=known)

    def run(state: Any, interrupt_at: int | None) -> tuple[Loop, Log, Commits]:
        log, checkpointer, trainer = Ends(*(ends or ("", 0))), Commits(), Trainer()
        judge = Judging(trainer, interrupt_at)
        judge.loop = loop = Loop(
            trainer,
            judge,
            checkpointer,
            [log],
            log_every=2,
            eval_every=eval_every,
            eval_splits=["validation", "other"],
            final_splits=["validation", "test"],
            checkpoint_every=checkpoint_every,
            keep=keep,
            agree=(lambda flag: flag) if several else bool,
            parts={"dataset": judge},
            reading=["dataset"],
        )
        if state is not None:
            loop.load_state_dict(state)
            loop.ended = state["ended"]
            checkpointer.saved[state["progress"]["step"]] = {"state": state, "loss": math.inf}
        loop.run(data, until)
        assert judge.between_batches() is None, "it is set during evaluations alone"
        return loop, log, checkpointer

    whole, whole_log, _ = run(None, None)
    whole_read = whole.evaluator.read  # type: ignore[union-attr]  # ours
    state = None
    for interrupt in interrupts:
        left, _, checkpointer = run(state, interrupt)
        if not several:
            assert left.evaluator.num <= interrupt, "no further batch is judged"  # type: ignore[union-attr]  # ours
        state = checkpointer.states[-1] if checkpointer.states else state
    loop, log, _ = run(state, None)

    assert loop.trainer.batches == whole.trainer.batches  # type: ignore[attr-defined]  # of this Trainer
    assert loop.progress == whole.progress
    assert loop.metrics == whole.metrics
    assert (loop.best, loop.stop_reason, loop.interrupted) == (whole.best, whole.stop_reason, False)
    assert loop.state_dict()["losses"] == whole.state_dict()["losses"]
    assert training_events(log) == training_events(whole_log)
    assert loop.evaluator.read == whole_read  # type: ignore[union-attr]  # ours


def test_a_rollback_undoes_a_stop_requested_after_the_checkpoint() -> None:
    class Guard:
        def on_step_end(self, run: Loop) -> None:
            if run.progress.step == 3 and not run.rollbacks:
                run.stop("enough")
                raise GoBack("not finite")

    loop = Loop(Trainer(), checkpointer=Checkpointer(), hooks=[Guard()], checkpoint_every=Every(2, "steps"))
    assert loop.run(Data(), Epochs(2)).stop_reason is None
    assert loop.progress.step == 8


def training_events(log: Log) -> list[Any]:
    """The events of training, without the start and end of each process and without its checkpoints."""
    own = ("on_run_start", "on_epoch_start", "on_checkpoint_end", "on_run_end")
    return [event for event in log.events if event[0] not in own]


def test_state_dict_between_records_keeps_unlogged_losses() -> None:
    states = []

    class Saver:
        def on_step_end(self, run: Loop) -> None:
            states.append(run.state_dict())

    Loop(Trainer(), hooks=[Saver()], log_every=100).run(Data(4), Epochs(1))
    assert states[2]["losses"] == {"last": 4.0, "since_record": [3.0, 4.0], "epoch_sum": 20.0, "epoch_samples": 6}


def test_hooks_of_one_class_keep_separate_states() -> None:
    first, second = Log(), Log()
    first.events, second.events = [1], [2]
    state = Loop(Trainer(), hooks=[first, second]).state_dict()
    third, fourth = Log(), Log()
    Loop(Trainer(), hooks=[third, fourth]).load_state_dict(state)
    assert (third.events, fourth.events) == ([1], [2])
    assert list(Loop(Trainer(), hooks=[Log(), Log(), Log()]).stateful()) == [
        *("trainer", "hook/Log", "hook/Log-2", "hook/Log-3")
    ], "checkpoints have these names"


def test_parts_of_the_trainer_are_saved_and_restored() -> None:
    own = Weights(Trainer())
    trainer = SimpleNamespace(train_step=Trainer().train_step, parts={"own": own})
    state = Loop(trainer).run(Data(), Epochs(1)).state_dict()
    assert state["parts"] == {"trainer/own": {"steps": 0}}
    Loop(trainer).load_state_dict({**state, "parts": {"trainer/own": {"steps": 3}}})
    assert own.restored == 3


def test_a_checkpoint_with_other_parts_is_refused() -> None:
    state = Loop(Trainer(), hooks=[Log()]).state_dict()
    with pytest.raises(UsageError, match=r"only in the checkpoint: \['hook/Log'\]\n  only in the run: -"):
        Loop(Trainer()).load_state_dict(state)
    loop = Loop(Trainer())
    loop.load_state_dict(state, partial=True)
    assert loop.progress.step == 0


# Costs


def calls_a_step(hooks: Sequence[Any], **settings: Any) -> float:
    """Python and C calls that one more step causes."""

    class Cheap:
        def train_step(self, batch: Any) -> float:
            return 0.0

    def count(num_steps: int) -> int:
        batches = [SimpleNamespace(size=1)] * num_steps
        data = SimpleNamespace(num_batches=num_steps, epoch=lambda epoch, start: batches)
        loop, calls = Loop(Cheap(), hooks=hooks, log_every=10**6, **settings), 0

        def tick(frame: Any, event: str, arg: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        before = sys.getprofile()
        gc.disable()  # hypothesis listens to the collector, and its calls would be counted
        sys.setprofile(tick)
        try:
            loop.run(data, Steps(num_steps))
        finally:
            sys.setprofile(before)
            gc.enable()
        return calls

    # losses are read and summed once a record: two calls each, outside the steps
    return (count(3000) - count(2000)) / 1000


def test_an_event_that_nobody_listens_to_costs_nothing() -> None:
    deaf = [Hook(), type("Other", (Hook,), {"on_epoch_end": lambda self, run: None})()]
    assert calls_a_step(deaf) == calls_a_step([])


def test_a_listener_costs_one_call_a_step() -> None:
    listener = type("Listener", (Hook,), {"on_step_end": lambda self, run: None})()
    assert calls_a_step([listener]) == calls_a_step([]) + 1


def test_a_bare_step_is_a_handful_of_calls() -> None:
    assert calls_a_step([]) <= 8  # train_step, two appends; when read: float, isfinite, append


# What a loop tells of itself


def test_a_new_loop_has_no_results() -> None:
    loop = Loop(Trainer())
    names = ("loss", "batch", "best", "saved_step", "num_batches", "stop_reason", "ended", "larger_is_better")
    assert {getattr(loop, name) for name in names[:-1]} == {None}
    assert (loop.finished, loop.phase, loop.until) == (False, "", Epochs(0))
    assert (loop.notes, loop.metrics, loop.recorded, loop.rollbacks) == ({}, {}, {}, [])


@pytest.mark.parametrize(
    ("monitor", "larger", "read"),
    [
        ("validation/loss", None, False),
        ("validation/loss", True, True),
        ("validation/loss:max", None, True),
        ("validation/loss:max", False, False),
        ("validation/odd", None, None),
    ],
)
def test_the_direction_is_that_of_the_option_or_else_of_the_monitor(
    monitor: str, larger: bool | None, read: bool | None
) -> None:
    loop = Loop(Trainer(), monitor=monitor, larger_is_better=larger)
    assert (loop.monitor, loop.larger_is_better) == (monitor.partition(":")[0], read)


def test_an_unknown_choice_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        Loop(Trainer(), keep="all")
    assert str(caught.value) == "unknown value of 'keep': 'all'\n  available: best, last"


class Told:
    """Writes down in one list the weights that a model has, and who used them in which phase."""

    def __init__(self, writer: bool = False) -> None:
        self.seen: list[str] = []
        told = self.seen

        class Judging(Evaluator):
            def evaluate(self, split: str) -> dict[str, float]:
                told.append(f"judge ({loop.phase})")
                return super().evaluate(split)

        class Saving(Writer if writer else Checkpointer):  # type: ignore[misc]  # one of two
            def save(self, *args: Any) -> Any:
                told.append(f"save ({loop.phase})")
                return super().save(*args)

            def finish(self) -> None:
                told.append(f"finish ({loop.phase})")
                super().finish()

        modes = SimpleNamespace(to_train=lambda: told.append("to_train"), to_eval=lambda: told.append("to_eval"))
        self.loop = loop = Loop(Trainer(), Judging(), Saving(), [self], modes=modes, final_splits=["test"])

    def on_step_end(self, run: Loop) -> None:
        self.seen.append(f"step ({run.phase})")

    def on_evaluation_end(self, run: Loop, split: str, metrics: Any) -> None:
        self.seen.append(f"judged {split} ({run.phase})")

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        self.seen.append(f"{place} ({run.phase})")

    def on_run_end(self, run: Loop) -> None:
        self.seen.append(f"end ({run.phase})")


@pytest.mark.parametrize("writer", [False, True])
def test_evaluation_weights_are_evaluated_saved_and_kept_at_the_end(writer: bool) -> None:
    told = Told(writer)
    told.loop.run(Data(1), Epochs(1))
    judged = ["to_eval", "judge (evaluating validation)", "judged validation (training)", "to_train"]
    saved = ["finish (saving)", "step-1 (saving)"] if writer else ["step-1 (training)"]
    final = ["to_eval", "judge (evaluating test)", "judged test (training)", "end (training)"]
    save = ["to_eval", "save (saving)", "to_train", *saved]
    assert told.seen == ["to_train", "step (training)", *judged, *save, *final]
    assert told.loop.phase == ""
    told.seen.clear()
    told.loop.run(Data(1), Epochs(2))
    assert told.seen[:2] == ["to_train", "step (training)"], "the next run begins with the weights that are trained"


def test_a_failed_checkpoint_leaves_the_weights_that_are_trained() -> None:
    told = Told()
    checkpointer = told.loop.checkpointer
    checkpointer.save = lambda *args: fail(SaveError("full"))  # type: ignore[union-attr,method-assign]  # ours
    told.loop._saving._failed = lambda run, error: not told.seen.append(f"failed ({run.phase})")
    with pytest.raises(SaveError, match="full"):
        told.loop.run(Data(1), Epochs(1))
    assert told.seen.count("to_eval") == 3
    assert told.seen[6:9] == ["to_eval", "to_train", "failed (saving)"]
    assert told.seen[-1] == "end (training)"


def fail(error: BaseException) -> Any:
    raise error


def test_without_an_evaluator_nothing_is_evaluated() -> None:
    loop = Loop(Trainer(), None, Checkpointer(), keep="best", eval_every=Every(1, "steps"), final_splits=["test"])
    assert loop.evaluated == ()
    loop.run(Data(2), Epochs(1))
    assert (loop.best, loop.metrics) == (None, {})
    assert Loop(Trainer(), Evaluator()).evaluated == ("validation",)
    assert Loop(Trainer(), Evaluator(), eval_every=None).evaluated == ()


class Terms(Trainer):
    """Its steps give terms and another figure."""

    def train_step(self, batch: Any) -> Any:
        return {"loss": super().train_step(batch), "loss/price": 3.0, "norm": 4.0}


class Adds:
    """Adds a figure to records and evaluations."""

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        record["lr"] = 0.5

    def on_evaluation_end(self, run: Loop, split: str, metrics: dict[str, Any]) -> None:
        metrics["gap"] = 0.25


def test_figures_of_steps_and_of_evaluations_are_kept_apart() -> None:
    log = Log()
    log.told_last = True  # type: ignore[attr-defined]  # as one that shows them
    loop = Loop(Terms(), Evaluator(), hooks=[Adds(), log]).run(Data(2), Epochs(1))
    assert loop.metrics == {"train/loss/price": 3.0, "validation/loss": 0.5, "validation/gap": 0.25}
    assert loop.recorded == {"train/norm": 4.0, "train/lr": 0.5}
    assert loop.figures == {**loop.recorded, **loop.metrics}
    assert loop.loss == 3.0
    assert loop.batch.id == (0, 1)
    again = Loop(Terms(), Evaluator(), hooks=[Adds(), Log()])
    again.load_state_dict(loop.state_dict())
    assert (again.metrics, again.recorded) == (loop.metrics, loop.recorded)


def test_figures_of_hooks_are_those_of_the_first_of_several_processes() -> None:
    """Its own losses and evaluations are of all processes already."""

    def of_first(figures: dict[str, Any]) -> dict[str, Any]:
        return {name: value + 100 for name, value in figures.items()}

    log = Log()
    log.told_last = True  # type: ignore[attr-defined]  # as one that shows them
    loop = Loop(Terms(), Evaluator(), hooks=[Adds(), log], agree=lambda flag: flag, of_first=of_first)
    loop.run(Data(1), Epochs(1))
    assert loop.metrics == {"train/loss/price": 103.0, "validation/loss": 0.5, "validation/gap": 100.25}
    assert loop.recorded == {"train/norm": 104.0, "train/lr": 100.5}
    records = [event[-1] for event in log.events if event[0] in ("on_log", "on_evaluation_end")]
    assert records[0] == {
        "loss": 2.0, "running_loss": 2.0, "epoch_loss": 2.0, "loss/price": 103.0, "norm": 104.0, "lr": 100.5
    }  # fmt: skip
    assert records[1] == {"loss": 0.5, "gap": 100.25}


def test_several_processes_count_the_samples_of_all_of_them() -> None:
    batches = [SimpleNamespace(size=2, whole_size=5), SimpleNamespace(size=2, whole_size=0), SimpleNamespace(size=2)]
    for agree, samples in ((bool, 6), (lambda flag: flag, 9)):
        log = Log()
        loop = Loop(Trainer(), hooks=[log], agree=agree).run(batches, Epochs(1))
        assert loop.progress.samples == samples
        loss = (2 * 2 + 3 * 2 + 4 * 2) / 6 if agree is bool else (2 * 5 + 3 * 2 + 4 * 2) / 9
        assert log.events[-3][-1]["epoch_loss"] == pytest.approx(loss)


# Going back


class Backs:
    """Goes back after some steps, each time that its number says so."""

    def __init__(self, *steps: int, interrupt: bool = False) -> None:
        self.steps, self.interrupt = [*steps], interrupt
        self.numbers: list[int] = []

    def on_step_end(self, run: Loop) -> None:
        if self.steps and run.progress.step == self.steps[0]:
            del self.steps[0]
            run.stop("enough")
            if self.interrupt:
                run.stop("SIGTERM", for_good=False)
            raise GoBack("not finite", lambda number: self.numbers.append(number) or {"halved": number})


def test_each_return_to_a_checkpoint_is_recorded() -> None:
    hook, checkpointer = Backs(3, 3, 5), Checkpointer()
    loop = Loop(Trainer(), None, checkpointer, [hook], checkpoint_every=Every(2, "steps")).run(Data(6), Epochs(1))
    assert loop.rollbacks == [
        {"from_step": 3, "to_step": 2, "halved": 1},
        {"from_step": 3, "to_step": 2, "halved": 2},
        {"from_step": 5, "to_step": 4, "halved": 1},  # the checkpoint of step 4 knows of the first two
    ]
    assert (loop.stop_reason, loop.ended, loop.saved_step) == (None, None, 6)
    assert loop.trainer.batches == [(0, number) for number in range(6)]  # type: ignore[attr-defined]  # of this Trainer
    assert checkpointer.saved[6]["state"]["rollbacks"] == loop.rollbacks


def test_a_signal_still_ends_a_run_that_went_back() -> None:
    checkpointer = Checkpointer()
    hook = Backs(3, interrupt=True)
    loop = Loop(Trainer(), None, checkpointer, [hook], checkpoint_every=Every(2, "steps")).run(Data(6), Epochs(1))
    assert (loop.stop_reason, loop.ended, loop.progress.step) == ("SIGTERM", None, 2)
    assert [step for *_, step in checkpointer.order] == [2, 2], "the state has changed: it went back"
    assert len(checkpointer.saved[2]["state"]["rollbacks"]) == 1


@pytest.mark.parametrize("saves", [False, True])
def test_a_run_without_a_checkpoint_ends_with_the_request(saves: bool) -> None:
    class Empty(Checkpointer):
        def load(self, which: str = "latest") -> Any:
            assert which == "latest"
            raise DataError("there are none\n  and more")

    with pytest.raises(GoBack, match="not finite") as caught:
        Loop(Trainer(), None, Empty() if saves else None, [Backs(2)]).run(Data(), Epochs(1))
    why = "there are none" if saves else "this run saves none"
    note = f"there is no checkpoint to go back to: {why}\n  --checkpoint-every saves more often"
    assert caught.value.__notes__ == [note]
    assert caught.value.__suppress_context__


def test_a_run_goes_back_to_the_checkpoint_that_is_being_written() -> None:
    writer, backs = Writer(), Backs(4)
    log, loop = write_in_background(writer, backs)
    loop.run(Data(6), Epochs(1))
    assert loop.rollbacks == [{"from_step": 4, "to_step": 3, "halved": 1}]
    assert committed(log)[0] == (6, "step-6")  # the log has gone back, too
    assert writer.max_writing == 1


def test_a_rollback_from_on_checkpoint_end_during_a_rollback() -> None:
    class Twice(Backs):
        def on_checkpoint_end(self, run: Loop, place: str) -> None:
            if run.progress.step == 4:
                raise GoBack("again")

    _, loop = write_in_background(Writer(), Twice(4))
    loop.run(Data(6), Epochs(1))
    assert [one["from_step"] for one in loop.rollbacks] == [4]


def test_a_run_that_goes_back_trains_the_weights_that_are_trained() -> None:
    told = Told()
    told.loop.checkpoint_every = Every(1, "steps")

    class Late:
        def on_run_end(self, run: Loop) -> None:
            if not run.rollbacks:
                raise GoBack("at the end")

    told.loop.hooks = (told, Late())
    told.loop.run(Data(2), Epochs(1))
    end = told.seen.index("end (training)")
    assert told.seen[end + 1 :][:2] == ["to_train", "to_eval"]
    assert told.loop.finished


def test_decisions_taken_after_the_checkpoint_end_no_run_that_went_back() -> None:
    class Late:
        def on_step_end(self, run: Loop) -> None:
            assert run.finished is False
            if run.progress.step == 3 and not run.rollbacks:
                run.stop("enough")

        def on_run_end(self, run: Loop) -> None:
            if not run.rollbacks:
                raise GoBack("not good")

    checkpointer = Checkpointer()
    loop = Loop(Trainer(), None, checkpointer, [Late()]).run(Data(4), Epochs(2))
    assert (loop.stop_reason, loop.ended, loop.progress.step) == (None, None, 8)
    assert checkpointer.saved[3]["state"]["ended"] == "enough"
    assert checkpointer.saved[8]["state"]["ended"] is None

    class Interrupted(Backs):
        def on_step_end(self, run: Loop) -> None:
            super().on_step_end(run)
            if run.progress.step == 5:
                run.stop("SIGTERM", for_good=False)

    loop = Loop(Trainer(), None, checkpointer := Checkpointer(), [Interrupted(3)], checkpoint_every=Every(2, "steps"))
    assert loop.run(Data(4), Epochs(2)).stop_reason == "SIGTERM"
    assert checkpointer.saved[5]["state"]["ended"] is None, "the run was to end for good before it went back"


# Saving and resuming


def test_a_resumed_run_that_is_at_its_end_saves_nothing_again() -> None:
    first = Loop(Trainer(), Evaluator(), Checkpointer(), [Log(stop_at=2)])
    state = first.run(Data(2), Epochs(1)).checkpointer.load()  # type: ignore[union-attr]  # ours
    assert state["ended"] == "enough"
    checkpointer = Checkpointer()
    loop = Loop(Trainer(), Evaluator(), checkpointer, [Log()])
    loop.load_state_dict(state)
    assert (loop.saved_step, loop.ended) == (2, None)
    loop.ended = state["ended"]
    assert loop.run(Data(2), Epochs(9)).stop_reason == "enough"
    assert checkpointer.order == []
    assert loop.ended is None


def test_a_temporary_stop_does_not_end_the_run() -> None:
    checkpointer = Checkpointer()
    loop = Loop(Trainer(), None, checkpointer)
    loop.stop("SIGTERM received", for_good=False)
    assert loop.run(Data(), Epochs(1)).stop_reason == "SIGTERM received"
    assert checkpointer.load()["ended"] is None
    loop.stop("enough")
    loop.run(Data(), Epochs(1))
    assert checkpointer.load()["ended"] == "enough"


def test_a_checkpoint_of_an_older_version_can_be_resumed() -> None:
    state = Loop(Trainer(), Evaluator()).run(Data(2), Epochs(1)).state_dict()
    older = {name: value for name, value in state.items() if name not in ("evaluated_at", "rollbacks", "recorded")}
    loop = Loop(Trainer(), Evaluator(), final_splits=["validation"])
    loop.load_state_dict({**older, "ended": None})
    assert (loop.rollbacks, loop.recorded) == ([], {})
    loop.run(Data(2), Epochs(1))
    assert loop.evaluator.splits == ["validation"]  # type: ignore[union-attr]  # ours


def test_a_saved_state_is_independent_of_the_running_loop() -> None:
    loop = Loop(Terms(), Evaluator(), hooks=[Adds()]).run(Data(2), Epochs(1))
    state = loop.state_dict()
    before = {name: repr(value) for name, value in state.items()}
    loop.metrics["x"] = loop.recorded["x"] = 1.0
    loop.rollbacks.append({})
    loop.run(Data(2), Epochs(2))
    assert {name: repr(value) for name, value in state.items()} == before
    loop.load_state_dict(state)
    assert (loop.progress.epoch, loop.metrics) == (1, state["metrics"])


def test_parts_of_a_checkpoint_are_named() -> None:
    loop = Loop(Trainer(), hooks=[Log()], name_of=lambda part: f"hook {type(part).__name__}")
    assert list(loop.stateful()) == ["trainer", "hook/Log"]
    assert loop.part_name("hook/Log") == "hook Log"


def test_if_one_process_cannot_save_its_state_none_does() -> None:
    class Broken(Trainer):
        def state_dict(self) -> dict[str, Any]:
            raise SaveError("mine cannot be saved")

    def save(trainer: Trainer, other_fails: bool) -> None:
        asked: list[bool] = []

        def agree(flag: bool) -> bool:
            asked.append(flag)
            return flag or (other_fails and len(asked) == 3)  # after the stop and the losses

        Loop(trainer, None, Checkpointer(), agree=agree).save()
        assert asked == [False] * 3

    save(Trainer(), False)
    for trainer, words in ((Broken(), "mine cannot"), (Trainer(), "another process could not save the state")):
        with pytest.raises(SaveError, match=words):
            save(trainer, True)


@pytest.mark.parametrize("several", [False, True])
def test_an_interrupt_or_error_of_one_process_does_not_wait_for_checkpoints(several: bool) -> None:
    class Breaking(Trainer):
        def train_step(self, batch: Any) -> float:
            if len(self.batches) == 4:
                raise ValueError("broken") if several else KeyboardInterrupt
            return super().train_step(batch)

    writer, log = Writer(), Log()
    agree = {"agree": lambda flag: flag} if several else {}
    loop = Loop(Breaking(), None, writer, [log], checkpoint_every=Every(3, "steps"), **agree)  # type: ignore[arg-type]  # a bool
    with pytest.raises((ValueError, KeyboardInterrupt)):
        loop.run(Data(10), Epochs(1))
    assert (writer.writing, committed(log)) == (1, [])
    assert log.events[-1][0] == "on_exception"


@pytest.mark.parametrize("several", [False, True])
def test_the_best_are_saved_at_once_within_an_epoch(several: bool) -> None:
    """Also where evaluations are counted in steps."""
    losses, checkpointer = [3.0, 1.0, 2.0, 1.0, 0.5], Checkpointer()
    told: dict[int, float] = {}

    class Reads:
        def on_evaluation_end(self, run: Loop, split: str, metrics: Any) -> None:
            told[run.progress.step] = run.metrics["validation/loss"]

    agree = {"agree": lambda flag: flag} if several else {}
    loop = Loop(
        Trainer(), Evaluator(losses), checkpointer, [Reads()], keep="best", eval_every=Every(1, "steps"), **agree
    )  # type: ignore[arg-type]  # a bool
    loop.run(Data(6), Steps(5))
    assert [step for *_, step in checkpointer.order] == [1, 2, 5]
    assert loop.best == 0.5
    assert told == dict(enumerate(losses, 1)), "hooks read the figures of this evaluation"


def test_the_first_of_equal_checkpoints_is_best_and_non_finite_is_never_best() -> None:
    for losses, larger, best, steps in (
        ([2.0, 2.0, 2.0], None, 2.0, [1, 3]),
        ([2.0, 2.0, 2.0], True, 2.0, [1, 3]),
        ([1.0, 2.0, 3.0], True, 3.0, [1, 2, 3]),
        ([math.inf, -math.inf, math.nan], None, None, [3]),
    ):
        checkpointer = Checkpointer()
        loop = Loop(Trainer(), Evaluator(losses), checkpointer, keep="best", larger_is_better=larger)
        loop.eval_every = Every(1, "steps")
        if larger:
            checkpointer.load = lambda which="latest": {"parts": {}}  # type: ignore[method-assign]  # it looks for the smallest
        loop.run(Data(4), Steps(3))
        assert (loop.best, [step for *_, step in checkpointer.order]) == (best, steps)


def test_keep_best_needs_a_known_direction() -> None:
    class Odd(Evaluator):
        def evaluate(self, split: str) -> dict[str, float]:
            return {"odd": 1.0}

    loop = Loop(Trainer(), Odd(), Checkpointer(), keep="best", monitor="validation/odd")
    with pytest.raises(UsageError, match="write the direction behind the figure: monitor validation/odd:max"):
        loop.run(Data(2), Epochs(1))
    loop = Loop(Trainer(), Odd(), Checkpointer(), keep="best", monitor="validation/odd:max")
    assert loop.run(Data(2), Epochs(1)).best == 1.0
    loop = Loop(Trainer(), Odd(), Checkpointer(), keep="best", monitor="validation/loss")
    with pytest.raises(UsageError, match="set monitor to one of them"):
        loop.run(Data(2), Epochs(1))


def test_keep_best_refuses_a_figure_that_is_not_a_number() -> None:
    class Lists(Evaluator):
        def evaluate(self, split: str) -> Any:
            return {"loss": [1.0, 2.0]}

    with pytest.raises(UsageError, match="keep best: 'validation/loss' is not one number but list"):
        Loop(Trainer(), Lists(), Checkpointer(), keep="best").run(Data(2), Epochs(1))


def test_no_checkpoint_is_read_where_none_is_the_best() -> None:
    class Unread(Checkpointer):
        def load(self, which: str = "latest") -> Any:
            raise AssertionError(which)

    state = Loop(Trainer(), Evaluator(), Checkpointer(), keep="best").run(Data(2), Epochs(1)).state_dict()
    assert state["best"] == 0.5
    loop = Loop(Trainer(), Evaluator(), Unread(), keep="last")
    loop.load_state_dict(state)
    loop.run(Data(2), Epochs(2))
    Loop(Trainer(), Evaluator([math.nan]), Unread(), keep="best").run(Data(2), Epochs(1))


def test_of_the_best_checkpoint_only_model_and_loss_are_read() -> None:
    class Part:
        def __init__(self) -> None:
            self.loaded: list[Any] = []

        def state_dict(self) -> dict[str, Any]:
            return {"mine": id(self)}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.loaded.append(state)

    parts = {name: Part() for name in ("model", "loss", "optimizer")}
    Loop(Trainer(), Evaluator(), Checkpointer(), keep="best", parts=parts).run(Data(2), Epochs(1))
    assert {name: part.loaded for name, part in parts.items()} == {
        "model": [{"mine": id(parts["model"])}],
        "loss": [{"mine": id(parts["loss"])}],
        "optimizer": [],
    }
    checkpointer, evaluator = Checkpointer(), Evaluator()
    loop = Loop(Trainer(), evaluator, checkpointer, keep="best", parts=parts, final_splits=["validation"])
    checkpointer.load = lambda which="latest": {"parts": {}}  # type: ignore[method-assign]  # another run's
    loop.run(Data(2), Epochs(1))
    assert evaluator.splits == ["validation"] * 2, "the best weights are judged, not those of the last step"
    for options in ({"keep": "last"}, {"checkpointer": None}):
        loop = Loop(
            Trainer(), Evaluator(), **{"checkpointer": Checkpointer(), "keep": "best", "parts": parts, **options}
        )  # type: ignore[arg-type]  # mixed
        loop.run(Data(2), Epochs(1))
    assert [len(part.loaded) for part in parts.values()] == [1, 1, 0]


def test_keep_best_names_the_split_that_is_not_evaluated() -> None:
    loop = Loop(Trainer(), Evaluator(), Checkpointer(), keep="best", monitor="test/loss")
    with pytest.raises(UsageError) as caught:
        loop.run(Data(), Epochs(1))
    assert str(caught.value) == (
        "keep best watches 'test/loss', but the run does not evaluate 'test' while it trains\n"
        "  evaluated: validation\n  add the split to --eval-splits, or set monitor"
    )
    loop = Loop(Trainer(), Evaluator(), Checkpointer(), keep="last", monitor="test/loss")
    assert loop.run(Data(), Epochs(1)).finished, "nothing else needs it"


def test_a_missing_figure_of_a_hook_is_reported_before_the_first_step() -> None:
    class Needs:
        def on_run_start(self, run: Loop) -> None:
            assert run.expect(Monitor.read("validation/loss"), "--monitor", "hook 'x'") == "validation"
            run.expect(Monitor.read("test/loss"), "--x.monitor", "hook 'x'")

    with pytest.raises(UsageError, match=r"hook 'x' watches 'test/loss', but(.|\n)* or set --x.monitor"):
        Loop(Trainer(), Evaluator(), hooks=[Needs()]).run(Data(), Epochs(1))


def test_a_hook_s_training_figure_must_be_in_the_first_record() -> None:
    class Needs:
        def on_run_start(self, run: Loop) -> None:
            run.expect(Monitor.read("train/lrr"), "--monitor", "hook 'x'")

    loop = Loop(Trainer(), Evaluator(), hooks=[Needs(), Adds()])
    with pytest.raises(UsageError, match="'train/lrr'\n  did you mean 'train/lr'"):
        loop.run(Data(), Epochs(1))
    assert loop.progress.step == 1


def test_two_sources_of_a_figure_are_named() -> None:
    class Again:
        def __init__(self, event: str, name: str) -> None:
            setattr(self, event, lambda run, *args: args[-1].update({name: 7.0}))

    judge = Evaluator()
    judge.figures = {"loss": False, "map": True}  # type: ignore[attr-defined]  # as one that says what it gives
    for event, name, words in (
        ("on_log", "norm", "'train/norm' has two sources: the trainer, and Again"),
        ("on_log", "map", "'train/map' has two sources: the evaluator, and Again"),
        ("on_evaluation_end", "loss", "'validation/loss' has two sources: the evaluator, and Again"),
    ):
        with pytest.raises(UsageError, match=words):
            Loop(Terms(), judge, hooks=[Again(event, name)]).run(Data(), Epochs(1))


def test_hooks_that_show_figures_find_all_of_them_in_the_loop() -> None:
    seen: list[dict[str, Any]] = []

    class Shows:
        told_last = True

        def on_evaluation_end(self, run: Loop, split: str, metrics: Any) -> None:
            seen.append(dict(run.metrics))

    Loop(Trainer(), Evaluator(), hooks=[Shows(), Adds()]).run(Data(), Epochs(1))
    assert seen == [{"validation/loss": 0.5, "validation/gap": 0.25}]


def test_a_trainer_may_read_its_losses_itself() -> None:
    class Reads(Trainer):
        def train_step(self, batch: Any) -> Any:
            return [super().train_step(batch)]

        def read(self, losses: Sequence[Any]) -> list[float]:
            return [one + 100 for (one,) in losses]

    log = Log()
    Loop(Reads(), hooks=[log]).run(Data(2), Epochs(1))
    assert [event[-1]["loss"] for event in log.events if event[0] == "on_log"] == [102.0, 103.0]


@pytest.mark.parametrize("num_batches", [1, 2])
def test_a_checkpoint_within_the_last_step_of_an_epoch_is_resumed_with_the_end_of_the_epoch(num_batches: int) -> None:
    """The best are saved before the epoch ends."""

    def parts() -> tuple[Log, Checkpointer, Loop]:
        log, checkpointer = Log(), Commits()
        judged = {"keep": "best", "eval_every": Every(num_batches, "steps")}
        return log, checkpointer, Loop(Trainer(), Evaluator(), checkpointer, [log], **judged)  # type: ignore[arg-type]  # mixed

    _, first, loop = parts()
    loop.run(Data(num_batches), Steps(num_batches))
    state = first.states[0]  # type: ignore[attr-defined]  # of Commits
    assert state["progress"]["batch"] == num_batches
    log, checkpointer, loop = parts()
    loop.load_state_dict(state)
    checkpointer.saved[num_batches] = {"state": state, "loss": 0.5}
    loop.run(Data(num_batches), Steps(num_batches))
    assert (loop.progress.epoch, loop.progress.batch) == (1, 0)
    assert log.names().count("epoch_end") == 1


def test_a_run_of_zero_epochs_and_batches_finishes() -> None:
    assert Loop(Trainer()).run(Data(0), Epochs(0)).finished


def test_each_epoch_has_its_own_batches() -> None:
    trainer = Trainer()
    Loop(trainer).run(Data(2), Epochs(2))
    assert trainer.batches == [(0, 0), (0, 1), (1, 0), (1, 1)]
