"""Transforms that mix the samples of an update: equal for any accumulation, processes and workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wf.errors import UsageError
from wf.traits import TransformTraits
from wf_base import Batch, Dataset, TensorSamples
from wf_base.data import split_dataset
from wf_base.streams import Stream
from wf_data.serving import RunData

NUM = 24


class Noise:
    """Adds a random number of each sample, so that the partner's number is visible."""

    num_draws = 1

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return inputs + draws


class Mix:
    """Adds a share of the partner, equal in a whole update, and a random number of the sample."""

    joint, num_draws = "batch", 1

    def __call__(
        self,
        inputs: Tensor,
        targets: Tensor,
        partners: tuple[Tensor, Tensor],
        generator: torch.Generator,
        draws: Tensor,
    ) -> tuple[Tensor, Tensor]:
        share = torch.rand((), generator=generator)
        return inputs + share * partners[0] + 100 * draws, targets + share * partners[1]


class OnDisk:
    def __init__(self, samples: TensorSamples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.samples[index]
        return inputs, targets


def serve(num: int = NUM, place: str = "memory", mixing: int = 2, **options: Any) -> RunData:
    samples = TensorSamples(torch.arange(num, dtype=torch.float32).unsqueeze(1), torch.arange(num * 1.0).unsqueeze(1))
    made: Any = {
        "memory": lambda: samples,
        "disk": lambda: OnDisk(samples),
        "stream": lambda: Stream(num_samples=num, read=lambda number: iter([samples_from(samples, number)])),
    }[place]()
    dataset = Dataset(train=made, targets="real")
    transforms: list[tuple[Any, bool]] = [(Noise(), False), *[(Mix(), False)] * mixing, (Noise(), False)]
    splits = split_dataset(dataset, "100/0/0", 5, shuffle=True)
    return RunData(dataset, splits, transforms, **{"batch_size": 4, "seed": 5, **options})


def samples_from(samples: TensorSamples, number: int) -> tuple[Tensor, Tensor]:
    return samples.inputs[number:], samples.targets[number:]


def epoch_of(data: RunData, epoch: int = 1, start: int = 0) -> list[Batch]:
    try:
        return list(data.epoch(epoch, start))
    finally:
        data.close()


def together(ranks: list[list[Batch]]) -> Iterator[Batch]:
    """The updates of all processes, in the order of the epoch."""
    for parts in zip(*ranks, strict=True):
        parts = [part for part in parts if part.share]
        turns = [parts[place % len(parts)] for place in range(sum(part.size for part in parts))]
        inputs, targets, ids = (
            torch.stack([getattr(part, name)[place // len(parts)] for place, part in enumerate(turns)])
            for name in ("inputs", "targets", "sample_ids")
        )
        yield Batch(inputs, targets, ids, None, len(ids))


def assert_same(found: Any, wanted: Any) -> None:
    found, wanted = list(found), list(wanted)
    assert [batch.size for batch in found] == [batch.size for batch in wanted]
    for one, other in zip(found, wanted, strict=True):
        for name in ("inputs", "targets", "sample_ids"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@given(
    num=st.integers(8, 40),
    parts=st.sampled_from([(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 3), (1, 4)]),
    place=st.sampled_from(["memory", "disk"]),
    mixing=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
@settings(deadline=None)
def test_an_update_is_the_same_for_any_accumulation_and_processes(
    num: int, parts: tuple[int, int], place: str, mixing: int, epoch: int
) -> None:
    """To the bit, for parts whose gradients are added up and for several processes."""
    accumulate, world_size = parts
    whole = epoch_of(serve(num, mixing=mixing, batch_size=8), epoch)
    size = 8 // accumulate
    divided = [
        epoch_of(
            serve(num, place, mixing, batch_size=size, accumulate=accumulate, rank=rank, world_size=world_size), epoch
        )
        for rank in range(world_size)
    ]
    assert_same(together(divided), whole)


@pytest.mark.parametrize("world_size", [1, 2])
def test_mixing_is_the_same_for_any_number_of_workers(world_size: int) -> None:
    for rank in range(world_size):
        shared = {"rank": rank, "world_size": world_size}
        wanted = epoch_of(serve(place="memory", **shared))
        assert_same(epoch_of(serve(place="disk", workers=2, **shared)), wanted)


def test_a_stream_is_mixed_like_data_in_memory() -> None:
    options = {"shuffle": False, "batch_size": 8}
    whole = epoch_of(serve(**options))
    assert_same(epoch_of(serve(place="stream", **options)), whole)
    ranks = [epoch_of(serve(place="stream", rank=rank, world_size=2, **options)) for rank in range(2)]
    assert_same(together(ranks), whole)


@pytest.mark.parametrize("place", ["memory", "disk", "stream"])
def test_a_mixed_epoch_can_be_entered_in_the_middle(place: str) -> None:
    data = serve(place=place)
    whole = epoch_of(data)
    assert_same(epoch_of(data, start=2), whole[2:])
    assert epoch_of(data, start=6) == []


def test_mixing_partners_change_with_each_update_and_epoch() -> None:
    plain = {int(ids): value for ids, value in shown(serve(mixing=0))}
    mixed = [value - plain[int(ids)] for ids, value in shown(serve(mixing=1))]
    assert len({round(float(value), 3) for value in mixed}) == NUM
    first, second = (epoch_of(serve(mixing=1), epoch)[0].inputs for epoch in (0, 1))
    assert not torch.equal(first, second)


def shown(data: RunData) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in epoch_of(data):
        yield from zip(batch.sample_ids, batch.inputs.flatten(), strict=True)  # type: ignore[arg-type]


def test_evaluations_are_not_mixed() -> None:
    data = serve()
    (batch,) = data.batches("train", NUM)
    assert torch.equal(batch.inputs, torch.arange(NUM * 1.0).unsqueeze(1))
    assert torch.equal(batch.targets, batch.inputs)


def test_batches_that_a_dataset_collates_are_not_mixed() -> None:
    samples = TensorSamples(torch.zeros(8, 1), torch.zeros(8, 1))
    dataset = Dataset(train=samples, targets="real", collate=torch.utils.data.default_collate)
    splits = split_dataset(dataset, "100/0/0", 5, shuffle=True)
    with pytest.raises(UsageError, match="transform 'Mix' mixes the samples of an update, but dataset 'own' collates"):
        RunData(dataset, splits, [(Mix(), False)], batch_size=4, name="own")


@pytest.mark.parametrize("given", [{"joint": "batch"}, {"joint": True, "gives_targets": "soft"}, {"targets": ("x",)}])
def test_contradicting_transform_traits_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TransformTraits: "):
        TransformTraits(**given)
