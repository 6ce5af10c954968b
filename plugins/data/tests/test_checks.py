"""Samples that contradict their dataset's declaration are refused with number and value, wherever they are read."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wf.errors import DataError
from wf_base import Dataset, Stream, TensorSamples
from wf_base.data import split_dataset
from wf_base.task import task_of
from wf_data.serving import RunData

NUM, BAD = 12, 7
CLASSES = ("a", "b", "c")


class Own:
    """A user-defined map-style dataset."""

    def __init__(self, sample: Callable[[int], Any], num: int = NUM) -> None:
        self._sample, self._num = sample, num

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: int) -> Any:
        return self._sample(index)


def good(kind: str, index: int) -> tuple[Tensor, Any]:
    targets: dict[str, Any] = {
        "real": torch.tensor([0.5]),
        "class_index": index % 3,
        "binary": float(index % 2),
        "multilabel": torch.tensor([0.0, 1.0, 1.0]),
        "one_hot": torch.tensor([0.0, 1.0, 0.0]),
        "mask": torch.full((2, 2), index % 3),
    }
    inputs = torch.full((1, 2, 2), 0.5) if kind == "mask" else torch.tensor([float(index), 1.0])
    return inputs, targets[kind]


def serve(samples: Any, kind: str, **options: Any) -> RunData:
    names = () if kind in ("real", "binary") else CLASSES
    dataset = Dataset(train=samples, targets=kind, class_names=names)  # type: ignore[arg-type]  # every kind
    splits = split_dataset(dataset, "100/0/0", 0, shuffle=False)
    return RunData(dataset, splits, **{"batch_size": 4, "shuffle": False, "name": "mine", **options})


def read(data: RunData) -> int:
    try:
        return sum(batch.size for batch in data.epoch(0))
    finally:
        data.close()


NAN, INF = float("nan"), float("inf")
BAD_SAMPLES: list[tuple[str, Any, str]] = [
    ("class_index", (torch.tensor([1.0, 2.0]), 3), f"to 3 .* do not fit 3 classes.*\n.*sample {BAD}, 3"),
    ("class_index", (torch.tensor([1.0, 2.0]), -1), f"from -1 to .*\n.*sample {BAD}, -1"),
    ("class_index", (torch.tensor([1.0, NAN]), 1), f"inputs hold values that are not finite\n.*sample {BAD}, nan"),
    ("class_index", (torch.tensor([1.0, INF]), 1), f"inputs hold values that are not finite\n.*sample {BAD}, inf"),
    ("class_index", (torch.tensor([1.0]), 1), rf"input of sample \d is .*, that of sample {BAD} torch.float32 \[1\]"),
    ("class_index", (torch.zeros(2, dtype=torch.uint8), 1), f"that of sample {BAD} torch.uint8"),
    ("class_index", (torch.tensor([1.0, 2.0]), "b"), f"target of sample . is a int, that of sample {BAD} a str"),
    ("class_index", (torch.tensor([1.0, 2.0]), 1, 2), f"sample {BAD} is a tuple of 3 items"),
    ("class_index", {"x": 1, "y": 2}, f"sample {BAD} is a dict of x, y; a sample is a pair"),
    ("class_index", torch.tensor([1.0, 2.0]), f"sample {BAD} is torch.float32"),
    ("class_index", None, f"sample {BAD} is a NoneType"),
    (
        "real",
        (torch.tensor([1.0, 2.0]), torch.tensor([NAN])),
        f"targets contain values .* not finite\n.*sample {BAD}, nan",
    ),
    ("real", (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])), f"that of sample {BAD} torch.float32"),
    ("binary", (torch.tensor([1.0, 2.0]), 2.0), f"binary targets must be 0 or 1\n.*sample {BAD}, 2.0"),
    ("multilabel", (torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0, 2.0])), f"must be 0 or 1\n.*sample {BAD}, 2.0"),
    ("one_hot", (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0, 0.0])), f"must add up to 1.*\n.*sample {BAD}"),
    (
        "mask",
        (torch.full((1, 2, 2), 0.5), torch.tensor([[0, 1], [2, 3]])),
        f"do not fit 3 classes.*\n.*sample {BAD}, 3",
    ),
]


@pytest.mark.parametrize(("kind", "bad", "message"), BAD_SAMPLES)
def test_a_bad_sample_is_named_before_its_batch_is_served(kind: str, bad: Any, message: str) -> None:
    data = serve(Own(lambda index: bad if index == BAD else good(kind, index)), kind)
    batches = data.epoch(0)
    assert next(batches).size == 4
    with pytest.raises(DataError, match=f"dataset 'mine', train split: (.|\n)*{message}"):
        next(batches)
    shuffled = serve(Own(lambda index: bad if index == BAD else good(kind, index)), kind, shuffle=True, batch_size=1)
    with pytest.raises(DataError, match=f"sample {BAD}"):
        read(shuffled)


@pytest.mark.parametrize("kind", ["real", "class_index", "binary", "multilabel", "one_hot", "mask"])
def test_good_samples_pass(kind: str) -> None:
    assert read(serve(Own(lambda index: good(kind, index)), kind)) == NUM


@pytest.mark.parametrize(
    ("label", "message"),
    [(1.0, "torch.float32"), (True, "torch.bool"), ("b", "a str, which is not a tensor"), ([1], "a list of 1 items")],
)
def test_labels_of_the_wrong_type_are_refused_at_once(label: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        serve(Own(lambda _: (torch.ones(2), label)), "class_index")


@pytest.mark.parametrize("where", ["workers", "stream", "memory"])
def test_checks_apply_wherever_samples_are_read(where: str) -> None:
    labels = torch.arange(NUM) % 3
    labels[BAD] = 5
    inputs = torch.rand(NUM, 2)

    def rows(start: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(inputs[start:].split(5), labels[start:].split(5), strict=True)

    samples: Any = {
        "workers": Own(lambda index: (inputs[index], labels[index])),
        "stream": Stream(num_samples=NUM, read=rows),
        "memory": TensorSamples(inputs, labels),
    }[where]
    with pytest.raises(DataError, match=f"train split: class indices from 0 to 5(.|\n)*sample {BAD}, 5") as found:
        read(serve(samples, "class_index", workers=1 if where == "workers" else 0))
    assert "Traceback" not in str(found.value)


@given(values=st.lists(st.integers(-3, 5), min_size=4, max_size=4), ignored=st.sampled_from([-100, -1, 4]))
def test_class_indices_out_of_range_are_refused_unless_ignored(values: list[int], ignored: int) -> None:
    wrong = [index for index, value in enumerate(values) if not 0 <= value < 3 and value != ignored]
    said = f"sample {wrong[0]}, {values[wrong[0]]}" if wrong else ""
    task = task_of("class_index", class_names=CLASSES, ignore_index=ignored)
    try:
        read(serve(Own(lambda index: (torch.ones(1), values[index]), 4), "class_index", task=task))
        refused = ""
    except DataError as error:
        refused = str(error)
    assert bool(refused) == bool(wrong)
    assert said in refused


def test_a_length_beyond_the_samples_is_reported_with_the_sample() -> None:
    data = serve(Own(lambda index: [good("class_index", number) for number in range(9)][index]), "class_index")
    with pytest.raises(DataError, match=r"sample 9 cannot be read: IndexError.*\n.*__len__") as found:
        read(data)
    assert isinstance(found.value.__cause__, IndexError)


def test_an_error_in_a_sample_names_the_sample() -> None:
    def fails(index: int) -> Any:
        if index == BAD:
            raise OSError("no such picture")
        return good("class_index", index)

    for workers in (0, 1):
        with pytest.raises(OSError, match="no such picture") as found:
            read(serve(Own(fails), "class_index", workers=workers))
        assert f"sample {BAD} of dataset 'mine', train split" in found.value.__notes__


class UnsentError(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def test_an_unpicklable_error_of_a_worker_keeps_its_message() -> None:
    with pytest.raises(TypeError):
        pickle.loads(pickle.dumps(UnsentError("this", "that")))

    def fails(index: int) -> Any:
        if index == BAD:
            raise UnsentError("this", "that")
        return good("class_index", index)

    with pytest.raises(RuntimeError, match="UnsentError: this and that"):
        read(serve(Own(fails), "class_index", workers=1))


def test_a_sample_that_ends_iteration_does_not_end_the_epoch() -> None:
    def ends(index: int) -> Any:
        return next(iter([good("class_index", index)] if index != BAD else []))

    for workers in (0, 1):
        with pytest.raises(DataError, match=f"sample {BAD} cannot be read: StopIteration"):
            read(serve(Own(ends), "class_index", workers=workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_inputs_are_detached_from_gradients(workers: int) -> None:
    data = serve(Own(lambda index: (torch.ones(2, requires_grad=True), index % 3)), "class_index", workers=workers)
    assert not any(batch.inputs.requires_grad for batch in data.epoch(0))
    data.close()


def test_samples_that_cannot_be_stacked_are_refused() -> None:
    with pytest.raises(DataError, match=r"input of sample 0, torch.float32 \[2\], cannot be in a batch: .*sparse"):
        serve(Own(lambda index: (torch.ones(2).to_sparse(), index % 3)), "class_index")


def test_getitems_must_return_all_requested_samples() -> None:
    class Few(Own):
        def __getitems__(self, indices: list[int]) -> list[Any]:
            return [self[index] for index in indices[:3]]

    with pytest.raises(DataError, match="__getitems__ returned 3 samples instead of 4"):
        read(serve(Few(lambda index: good("class_index", index)), "class_index"))


def test_class_targets_without_class_names_are_refused() -> None:
    unnamed = Dataset(train=Own(lambda index: good("class_index", index)), targets="class_index")
    splits = split_dataset(unnamed, "100/0/0", 0, shuffle=False)
    with pytest.raises(DataError, match="class_index targets but no class_names"):
        RunData(unnamed, splits)
