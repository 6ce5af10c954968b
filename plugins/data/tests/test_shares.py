"""For any number of processes, an epoch and an evaluation have the samples of one process, each once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wf.errors import UsageError
from wf_base import Dataset, Stream, TensorSamples
from wf_base.data import Batch, split_dataset
from wf_data.batches.shares import Shares
from wf_data.serving import RunData


class OnDisk(torch.utils.data.Dataset[Any]):
    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.values[index], self.values[index]


def collated(samples: list[Any]) -> tuple[list[Tensor], Tensor]:
    return [sample[0] for sample in samples], torch.stack([sample[1] for sample in samples])


def serve(num: int, where: str, **options: Any) -> RunData:
    values = torch.arange(num, dtype=torch.float32).unsqueeze(1)
    samples: Any = TensorSamples(values, values)
    if where == "stream":
        samples = Stream(num_samples=num, read=lambda start: iter([(values[start:], values[start:])]), buffer=5)
    elif where != "memory":
        samples = OnDisk(values)
    dataset = Dataset(train=samples, targets="real", collate=collated if where == "collated" else None)
    return RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), **options)


def ids(batch: Batch) -> list[int]:
    assert batch.sample_ids is not None
    return batch.sample_ids.tolist() if batch.share else []


@given(
    num=st.integers(5, 40),
    size=st.integers(5, 13),
    accumulate=st.integers(1, 3),
    world=st.integers(1, 5),
    epoch=st.integers(0, 2),
    start=st.integers(0, 2),
    where=st.sampled_from(["memory", "disk", "stream", "collated"]),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
@settings(deadline=None)
def test_processes_share_the_samples_of_each_update(
    num: int,
    size: int,
    accumulate: int,
    world: int,
    epoch: int,
    start: int,
    where: str,
    shuffle: bool,
    drop_last: bool,
) -> None:
    plan: dict[str, Any] = {"batch_size": size, "accumulate": accumulate, "shuffle": shuffle}
    plan["drop_last"] = drop_last and num >= size
    alone = serve(num, where, **plan)
    whole = [ids(batch) for batch in alone.epoch(epoch)]
    shared = [serve(num, where, **plan, rank=rank, world_size=world) for rank in range(world)]
    ranks = [list(data.epoch(epoch)) for data in shared]
    assert {len(batches) for batches in ranks} == {alone.num_batches} == {data.num_batches for data in shared}
    for update, parts in zip(whole, zip(*ranks, strict=True), strict=True):
        assert sorted(number for part in parts for number in ids(part)) == sorted(update)
        assert all(ids(part) == update[rank::world] for rank, part in enumerate(parts))
        assert all(part.size for part in parts), "each makes a step"
        assert sum(part.share for part in parts) == pytest.approx(world)
        assert all(part.share == world * len(ids(part)) / len(update) for part in parts)
        assert world == 1 or {part.whole_size for part in parts} == {len(update)}
    for data, batches in zip(shared, ranks, strict=True):
        assert list(map(ids, data.epoch(epoch, start))) == list(map(ids, batches[start:]))
    trained = [batch for batches in ranks for batch in batches]
    parts = [own.size for batch in trained for own in batch.parts or batch.split(-(-size // world))]
    assert shared[0].smallest_part() == min(parts)


@given(
    num=st.integers(5, 40),
    size=st.integers(5, 13),
    world=st.integers(1, 5),
    where=st.sampled_from(["memory", "disk", "stream", "collated"]),
)
@settings(deadline=None)
def test_processes_share_the_samples_of_an_evaluation(num: int, size: int, world: int, where: str) -> None:
    shared = [serve(num, where, batch_size=size, rank=rank, world_size=world) for rank in range(world)]
    uneven = [list(data.batches("train")) for data in shared]
    even = [list(data.batches("train", even=True)) for data in shared]
    assert sorted(number for batches in uneven for batch in batches for number in ids(batch)) == list(range(num))
    assert len({len(batches) for batches in even}) == 1
    for one, other in zip(even, uneven, strict=True):
        assert [ids(batch) for batch in one if batch.share] == list(map(ids, other))


def test_a_process_without_a_sample_gets_one_of_weight_zero() -> None:
    own = [Shares(rank, 4).is_own(torch.arange(6), 6, 4).tolist() for rank in range(4)]
    assert [[place for place, mine in enumerate(one) if mine] for one in own] == [[0, 4], [1, 5], [2, 4], [3, 5]]
    assert [Shares(rank, 4).num(2) for rank in range(4)] == [1, 1, 0, 0]


def test_one_process_passes_its_batches_on() -> None:
    batches = iter(())
    assert Shares().marked(batches, 10, 4) is batches


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "words"),
    [
        (
            {"train": 9, "validation/night": 3},
            4,
            "the validation set 'night' has 3 samples for 4 processes\n  start fewer",
        ),
        ({"train": 3}, 4, "the train split has 3 samples for 4 processes"),
        (
            {"train": 9},
            3,
            "batches of 3 are too small for 4 processes: each needs a sample of every batch\n  start fewer",
        ),
        ({"train": 4, "validation": 4}, 4, None),
    ],
)
def test_every_process_needs_samples(num_samples: dict[str, int], batch_size: int, words: str | None) -> None:
    if words is None:
        Shares(1, 4).check(num_samples, batch_size)
        return
    with pytest.raises(UsageError) as caught:
        Shares(1, 4).check(num_samples, batch_size)
    assert str(caught.value).startswith(words)
