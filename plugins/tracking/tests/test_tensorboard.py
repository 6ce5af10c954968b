"""TensorBoard event files."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wf import Epochs, Loop
from wf.errors import UsageError
from wf_tracking.tensorboard import TensorBoard

DATA = [(torch.zeros(1), torch.zeros(1))] * 4
FIRST: Any = SimpleNamespace(rank=0)


class Trainer:
    """Losses 1, 2, 3, ..."""

    num = 0

    def train_step(self, batch: Any) -> float:
        self.num += 1
        if self.num == 6:
            raise RuntimeError("a broken step")
        return float(self.num)


class Evaluator:
    """One number, and one figure a class."""

    def evaluate(self, split: str) -> Mapping[str, Any]:
        return {"accuracy": 0.5, "recall": [0.25, 0.75]}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def start(folder: Path | None, strategy: Any = FIRST) -> Loop:
    return Loop(Trainer(), Evaluator(), hooks=[TensorBoard(folder, strategy)], log_every=2)


def test_training_and_evaluation_figures_are_written(tmp_path: Path) -> None:
    start(tmp_path).run(DATA, Epochs(1))
    found = scalars(tmp_path / "tensorboard")
    assert found["train/running_loss"] == [(1, 1.0), (3, 2.5), (4, 4.0)]
    assert found["train/epoch_loss"] == [(4, 2.5)]
    assert found["validation/accuracy"] == [(4, 0.5)]
    assert (found["validation/recall/0"], found["validation/recall/1"]) == ([(4, 0.25)], [(4, 0.75)])
    assert not any("name" in tag for tag in found)


def test_points_of_a_failed_run_are_kept_until_a_resume_replaces_them(tmp_path: Path) -> None:
    loop = start(tmp_path)
    with pytest.raises(RuntimeError):
        loop.run(DATA, Epochs(2))
    assert scalars(tmp_path / "tensorboard")["train/loss"] == [(1, 1.0), (3, 3.0), (4, 4.0), (5, 5.0)]
    again = start(tmp_path)
    again.progress.epoch, again.progress.step = 1, 4
    again.run(DATA, Epochs(2))
    assert scalars(tmp_path / "tensorboard")["train/loss"] == [
        *[(1, 1.0), (3, 3.0), (4, 4.0)],
        *[(5, 1.0), (7, 3.0), (8, 4.0)],
    ]


@pytest.mark.parametrize("rank", [0, 1])
def test_no_events_without_a_run_directory_or_in_other_processes(rank: int, tmp_path: Path) -> None:
    folder = None if rank == 0 else tmp_path
    start(folder, SimpleNamespace(rank=rank)).run(DATA, Epochs(1))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install tensorboard"):
        start(tmp_path).run(DATA, Epochs(1))


class Adds:
    """Adds figures of its own."""

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        record["mine"] = 7.0

    def on_evaluation_end(self, run: Loop, split: str, metrics: dict[str, Any]) -> None:
        metrics["mine"] = 8.0


def test_figures_added_by_later_hooks_are_written(tmp_path: Path) -> None:
    loop = Loop(Trainer(), Evaluator(), hooks=[TensorBoard(tmp_path, FIRST), Adds()], log_every=2)
    loop.run(DATA, Epochs(1))
    found = scalars(tmp_path / "tensorboard")
    assert (found["train/mine"][0], found["validation/mine"]) == ((1, 7.0), [(4, 8.0)])
    assert loop.metrics["validation/mine"] == 8.0
