from __future__ import annotations

from typing import Any

from wf_run.directory.records import compare_records


def record(step: int, event: str = "train", **figures: Any) -> dict[str, Any]:
    return {"event": event, "split": "train", "epoch": step // 10, "step": step, **figures}


def test_records_are_compared_by_figure() -> None:
    before = [record(1, loss=1.0, lr=0.1), record(5, loss=0.5, lr=0.1), record(5, "eval", f1=[0.5, None])]
    after = [record(1, loss=1.0, lr=0.1), record(5, loss=0.25, lr=0.1), record(5, "eval", f1=[0.5, 0.25])]
    found = {(one.event, one.name): one for one in compare_records(before, after)}
    assert found["train", "lr"].equal
    loss = found["train", "loss"]
    assert (loss.records, loss.first_step, loss.largest) == (2, 5, 0.25)
    assert (found["eval", "f1"].first_step, found["eval", "f1"].largest) == (5, 0.0)
    assert all(one.equal for one in compare_records(before, before))


def test_missing_and_repeated_records_are_differences() -> None:
    before = [record(1, loss=1.0), record(5, loss=0.5)]
    for after, step in ((before[:1], 5), ([*before, before[1]], 5), ([before[1]], 1)):
        (found,) = compare_records(before, after)
        assert (found.equal, found.first_step) == (False, step)
    (found,) = compare_records([], before)
    assert (found.records, found.first_step, found.largest) == (0, 1, None)
