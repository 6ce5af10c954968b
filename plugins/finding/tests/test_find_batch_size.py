"""``wf find-batch-size``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wf.errors import UsageError
from wf_finding.sizes import Trial, parse_memory, sizes_up_to, suggest

ALLOCATES = '''
import torch
from torch import nn


class Hungry(nn.Module):
    """A sample takes 4 MB, and a batch of more than 8 samples too much."""

    def __init__(self, num_features: int, num_outputs: int, most: int = 8) -> None:
        super().__init__()
        self.layer, self.most = nn.Linear(num_features, num_outputs), most

    def forward(self, inputs):
        if self.training and len(inputs) > self.most:
            raise MemoryError("DefaultCPUAllocator: can't allocate memory")
        return self.layer(inputs.flatten(1)) + torch.ones(len(inputs), 1 << 20).sum() * 0
'''


def trial(size: int, us: float) -> Trial:
    return Trial(size=size, ms_per_step=us * size / 1e3, us_per_sample=us, peak_bytes=0)


def test_sizes_double_up_to_the_largest() -> None:
    assert list(sizes_up_to(105)) == [1, 2, 4, 8, 16, 32, 64, 105]
    assert list(sizes_up_to(8)) == [1, 2, 4, 8]
    assert list(sizes_up_to(1)) == [1]


def test_a_smaller_size_that_is_nearly_as_fast_is_suggested() -> None:
    found = suggest([trial(1, 100), trial(2, 50), trial(4, 21), trial(8, 20)], "16 is out of memory")
    assert (found.size, "nearly as fast as in batches of 8" in found.reason) == (4, True)
    assert "8 fits, 16 is out of memory" in found.reason
    assert suggest([trial(1, 100), trial(2, 50)], "").size == 2


@pytest.mark.parametrize("text", ["", "12", "GB", "-1GB", "0MB", "nanGB", "1e30GB", "5 PB"])
def test_invalid_amounts_of_memory_are_refused(text: str) -> None:
    assert parse_memory("1.5 gb") == 1_500_000_000
    with pytest.raises(UsageError, match="--memory"):
        parse_memory(text)


def test_every_size_is_tried_and_nothing_is_written(wf: Any, tmp_path: Path) -> None:
    done = wf("find-batch-size", "--dataset", "iris", "--lr", 0.01, "--seconds", 0.01, "--json")
    assert done.code == 0, done.stderr
    found = done.json()
    assert [one["size"] for one in found["trials"]] == [1, 2, 4, 8, 16, 32, 64, 105]
    assert all(one["us_per_sample"] > 0 < one["peak_bytes"] for one in found["trials"])
    assert found["command"] == f"wf run --dataset iris --lr 0.01 --batch-size {found['batch_size']}"
    assert not list(tmp_path.iterdir())


def test_the_search_ends_at_out_of_memory(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "hungry.py").write_text(ALLOCATES)
    done = wf("find-batch-size", "--dataset", "iris", "--model", "hungry.py:Hungry", "--seconds", 0.01, "--quiet")
    assert done.code == 0, done.stderr
    assert "8 fits, 16 is out of memory" in " ".join(done.stdout.split())
    done = wf("find-batch-size", "--dataset", "iris", "--model", "hungry.py:Hungry", "--memory", "1MB")
    assert (done.code, "a batch size of 1 takes" in done.stderr) == (2, True), done.stderr


def test_a_model_that_needs_two_samples_begins_with_two(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "norm.py").write_text(
        "from torch import nn\n\n"
        "def norm(num_features: int, num_outputs: int) -> nn.Module:\n"
        "    return nn.Sequential(nn.Linear(num_features, 8), nn.BatchNorm1d(8), nn.Linear(8, num_outputs))\n"
    )
    options = ("--drop-last", "--seconds", 0.01, "--max", 8, "--json")
    done = wf("find-batch-size", "--dataset", "iris", "--model", "norm.py:norm", *options)
    assert done.code == 0, done.stderr
    assert [one["size"] for one in done.json()["trials"]] == [2, 4, 8]


def test_invalid_options_are_refused(wf: Any) -> None:
    for words, options in (
        ("a batch has at least 1 sample", ("--max", 0)),
        ("write a number and a unit", ("--memory", "much")),
        ("it must be larger than 0", ("--seconds", 0)),
    ):
        done = wf("find-batch-size", *options)
        assert (done.code, words in done.stderr) == (2, True), done.stderr
