from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, Stream, TensorSamples
from wf_base.data import split_dataset
from wf_data.serving import RunData


class Source:
    """A stream of numbers with their squares, which counts how often it is opened and how many samples it gave."""

    def __init__(self, num: int, chunk: int = 3) -> None:
        self.num, self.chunk = num, chunk
        self.begun: list[int] = []
        self.given = 0

    def read(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        self.begun.append(start)
        for begin in range(start, self.num, self.chunk):
            x = torch.arange(begin, min(begin + self.chunk, self.num), dtype=torch.float32).unsqueeze(1)
            self.given += len(x)
            yield x, x * x


def streamed(num: int, chunk: int = 3, buffer: int = 10) -> Dataset:
    return Dataset(train=Stream(num_samples=num, read=Source(num, chunk).read, buffer=buffer), targets="real")


def in_memory(num: int) -> Dataset:
    x = torch.arange(num, dtype=torch.float32).unsqueeze(1)
    return Dataset(train=TensorSamples(x, x * x), targets="real")


def serve(dataset: Dataset, *, split: str = "100/0", seed: int = 5, shuffle: bool = True, **options: Any) -> RunData:
    splits = split_dataset(dataset, split, seed, shuffle=shuffle)
    return RunData(dataset, splits, **{"seed": seed, "shuffle": shuffle, "batch_size": 4, **options})


def rows(batches: Any) -> list[tuple[list[int], list[float], list[float]]]:
    return [(b.sample_ids.tolist(), b.inputs.flatten().tolist(), b.targets.flatten().tolist()) for b in batches]


@given(
    num=st.integers(2, 60),
    chunk=st.integers(1, 9),
    buffer=st.integers(1, 70),
    batch=st.integers(2, 9),  # each of two processes needs a sample of it
    epoch=st.integers(0, 3),
    start=st.integers(0, 5),
    world=st.integers(1, 2),
    shuffle=st.booleans(),
)
def test_an_epoch_entered_in_the_middle_gives_the_remaining_batches(
    num: int, chunk: int, buffer: int, batch: int, epoch: int, start: int, world: int, shuffle: bool
) -> None:
    seen: list[int] = []
    for rank in range(world):
        options: dict[str, Any] = {"shuffle": shuffle, "batch_size": batch, "rank": rank, "world_size": world}
        data = serve(streamed(num, chunk, buffer), **options)
        whole = rows(data.epoch(epoch))
        assert rows(data.epoch(epoch, start)) == whole[start:]
        assert len(whole) == data.num_batches
        assert all(xs == ids and ys == [x * x for x in xs] for ids, xs, ys in whole)
        seen += [number for one in data.epoch(epoch) if one.share for number in one.sample_ids.tolist()]
        if buffer >= num or not shuffle:
            assert whole == rows(serve(in_memory(num), **options).epoch(epoch))
        assert rows(data.batches("train")) == rows(serve(in_memory(num), **options).batches("train"))
    assert sorted(seen) == list(range(num))


@given(num=st.integers(40, 300), seed=st.integers(0, 9), shuffle=st.booleans())
def test_every_sample_is_in_one_split(num: int, seed: int, shuffle: bool) -> None:
    data = serve(streamed(num), split="60/20/20", seed=seed, shuffle=shuffle)
    found = {split: [number for ids, _, _ in rows(data.batches(split)) for number in ids] for split in data.splits}
    assert sorted(number for ids in found.values() for number in ids) == list(range(num))
    assert {split: len(ids) for split, ids in found.items()} == {split: data.num_samples(split) for split in found}
    if not shuffle:
        plain = serve(in_memory(num), split="60/20/20", seed=seed, shuffle=False)
        assert {split: rows(data.batches(split)) for split in data.splits} == {
            split: rows(plain.batches(split)) for split in plain.splits
        }


def test_drawn_splits_have_about_the_requested_shares() -> None:
    data = serve(streamed(20_000, chunk=1000), split="70/20/10")
    assert [round(data.num_samples(split) / 20_000, 2) for split in data.splits] == pytest.approx(
        [0.7, 0.2, 0.1], abs=0.011
    )
    other = serve(streamed(20_000, chunk=1000), split="70/20/10", seed=6)
    assert next(iter(data.batches("test"))).sample_ids.tolist() != next(iter(other.batches("test"))).sample_ids.tolist()


def test_the_buffer_shuffles_differently_each_epoch() -> None:
    data = serve(streamed(40, buffer=10))
    orders = [[number for ids, _, _ in rows(data.epoch(epoch)) for number in ids] for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert len({frozenset(order[:10]) for order in orders}) == 3
    assert all(abs(place - number) < 10 for order in orders for place, number in enumerate(order))


def test_at_most_one_buffer_is_read_ahead() -> None:
    source = Source(10_000, chunk=1)
    data = serve(Dataset(train=Stream(num_samples=10_000, read=source.read, buffer=50), targets="real"))
    source.given, source.begun = 0, []
    next(data.epoch(0, 2000))
    assert len(source.begun) == 1
    assert 8000 - 50 <= source.begun[0] <= 8000
    assert source.given <= 100


def test_a_stream_gives_single_samples() -> None:
    stream = streamed(30).train
    assert [int(stream[number][1]) for number in (0, 7, 29)] == [0, 49, 841]


def test_other_splits_may_be_in_memory() -> None:
    dataset = Dataset(train=streamed(30).train, test=in_memory(6).train, targets="real")
    data = serve(dataset, split="80/20")
    assert data.splits == ("train", "validation", "test")
    assert data.num_samples("train") + data.num_samples("validation") == 30
    assert [ids for ids, _, _ in rows(data.batches("test"))] == [[0, 1, 2, 3], [4, 5]]


def test_streams_refuse_folds_and_surplus_workers() -> None:
    with pytest.raises(UsageError, match="a stream cannot be divided into folds"):
        split_dataset(streamed(30), "70/30", 0, shuffle=True, fold=(0, 3))
    with pytest.raises(UsageError, match="2 workers would be unused"):
        serve(streamed(30), workers=2)


def test_a_stream_that_ends_too_early() -> None:
    dataset = Dataset(train=Stream(num_samples=600, read=Source(500).read), targets="real")
    data = serve(dataset, shuffle=False)
    with pytest.raises(DataError, match="ended after 500 samples, and 600 were counted"):
        list(data.epoch(0))


def test_the_first_samples_are_checked() -> None:
    def read(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.full((20 - start, 1), float("nan")), torch.zeros(20 - start, 1)

    with pytest.raises(DataError, match="not finite"):
        serve(Dataset(train=Stream(num_samples=20, read=read), targets="real"))


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (torch.zeros(3, 1), "it yields Tensor$"),
        ((torch.zeros(3, 1), torch.zeros(3, 1), 1), "it yields Tensor, Tensor, int$"),
        (([[1.0]], [[1.0]]), "it yields list, list$"),
        ((torch.zeros(3, 1), torch.zeros(2, 1)), "as many targets as inputs, and from sample 6 on"),
        ((torch.zeros(3, 2), torch.zeros(3, 1)), r"from sample 6 on it yields torch.float32 \[2\] and"),
        ((torch.zeros(3, 1), torch.zeros(3, 1, dtype=torch.int64)), "from sample 6 on it yields .* torch.int64"),
    ],
)
def test_malformed_batches_of_a_stream_are_refused(later: Any, message: str) -> None:
    def read(_: int) -> Iterator[Any]:
        yield torch.zeros(6, 1), torch.zeros(6, 1)
        yield later

    dataset = Dataset(train=Stream(num_samples=9, read=read), targets="real")
    with pytest.raises(DataError, match=message):
        list(serve(dataset, shuffle=False).epoch(0))
