"""Runs with mixed samples: batches depend on the update only, for any accumulation, workers and processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from runs import weights
from torch import Tensor

from wf_base import Dataset
from wf_run.api import build

KEEP = '''
import torch
from wf import Hook

class KeepBatches(Hook):
    """Writes the batches of this process to a file.

    Args:
        strategy: Says which process this is.
    """

    def __init__(self, strategy) -> None:
        self.strategy, self.batches = strategy, []

    def on_step_end(self, run) -> None:
        self.batches.append((run.batch.inputs, run.batch.targets, run.batch.sample_ids))

    def on_run_end(self, run) -> None:
        torch.save(self.batches, f"batches-{self.strategy.world_size}-{self.strategy.rank}.pt")
'''

MIXED = ("--transform", "mixup", "--transform.mixup.alpha", 1, "--transform", "cutmix", "--transform", "flip")


class Pictures(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(1, 7, 5), index % 3


def trained(**options: Any) -> list[tuple[Tensor, Tensor]]:
    """The inputs and targets of two epochs, as the trainer gets them."""
    dataset = Dataset(train=Pictures(), targets="class_index", class_names=("a", "b", "c"))
    settings: dict[str, Any] = {"save": False, "quiet": True, "split": "100/0/0", "eval_splits": [], **options}
    transforms = ["flip", {"use": "mixup", "alpha": 1.0}, "cutmix"]
    with build(dataset=lambda: dataset, transform=transforms, epochs=2, **settings) as run:
        return [(batch.inputs, batch.targets) for epoch in range(2) for batch in run.data.epoch(epoch)]


def test_mixed_batches_are_the_same_for_accumulation_and_workers() -> None:
    wanted = trained(batch_size=16)
    assert len(wanted) == 8
    for accumulate, workers in ((2, 0), (4, 2)):
        found = trained(batch_size=16 // accumulate, accumulate=accumulate, workers=workers)
        for one, other in zip(found, wanted, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


def test_two_processes_train_on_the_mixed_batches_of_one(ranks: Any, wf: Any, tmp_path: Path) -> None:
    """Their shares of an update equal the update of one process, including partners in the other process."""
    (tmp_path / "keep.py").write_text(KEEP)
    plan = ("run", *MIXED, "--epochs", 1, "--split", "80/10/10", "--hook", "+keep.py:KeepBatches", "--quiet")
    done = ranks(*plan, "--batch-size", 30, "--strategy", "ddp", "--name", "two")
    assert done.code == 0, done.stderr
    assert wf(*plan, "--batch-size", 30, "--name", "one").code == 0
    shares, whole = (
        [torch.load(tmp_path / f"batches-2-{rank}.pt") for rank in (0, 1)],
        torch.load(tmp_path / "batches-1-0.pt"),
    )
    for first, second, both in zip(*shares, whole, strict=True):
        for own, other, together in zip(first, second, both, strict=True):
            assert torch.equal(torch.stack([own, other], 1).flatten(0, 1), together)
    two, one = (weights(tmp_path / "runs" / name) for name in ("two", "one"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)
