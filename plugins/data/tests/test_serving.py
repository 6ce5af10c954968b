from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import Dataset, TensorSamples
from wf_base.data import split_dataset
from wf_data.given import as_dataset
from wf_data.serving import RunData
from wf_run.using.network import TrainedModel


class Noise:
    """A random transform that shows its draws."""

    num_draws = 1

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return inputs + draws


class Double:
    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs * 2


class Center:
    """A fitted transform that counts how often it is fitted."""

    def __init__(self) -> None:
        self.fits: list[Tensor] = []

    def fit(self, inputs: Tensor) -> None:
        self.fits.append(inputs.clone())

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs - self.fits[-1].mean()


class OnDisk:
    """Samples that are not held in memory."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        target = self.targets[index]
        return self.inputs[index], target.item() if target.ndim == 0 else target


def regression(num: int = 23, *, on_disk: bool = False) -> Dataset:
    inputs = torch.arange(num, dtype=torch.float32).unsqueeze(1)
    make: Any = OnDisk if on_disk else TensorSamples
    return Dataset(train=make(inputs, inputs * 3), targets="real")


def serve(dataset: Dataset, transforms: Sequence[tuple[Any, bool]] = (), **options: Any) -> RunData:
    shuffle = options.get("shuffle", True)
    splits = split_dataset(dataset, options.pop("split", "70/15/15"), 5, shuffle=shuffle)
    return RunData(dataset, splits, transforms, **{"batch_size": 4, "seed": 5, **options})


def ids_of(batches: Any) -> list[int]:
    return [index for batch in batches for index in batch.sample_ids.tolist()]


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_epoch_has_every_sample_once_in_a_new_order(on_disk: bool) -> None:
    data = serve(regression(on_disk=on_disk))
    orders = [ids_of(data.epoch(epoch)) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len(set(orders[0])) == len(orders[0]) == data.num_samples("train") == 16
    assert ids_of(data.epoch(1)) == orders[1]
    assert [batch.size for batch in data.epoch(0)] == [4, 4, 4, 4]
    assert data.num_batches == 4


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_epoch_can_be_entered_at_any_batch(on_disk: bool) -> None:
    data = serve(regression(on_disk=on_disk), [(Noise(), True)])
    whole = list(data.epoch(2))
    for start in range(6):
        rest = list(data.epoch(2, start))
        assert len(rest) == max(0, 4 - start)
        for ours, theirs in zip(rest, whole[start:], strict=True):
            assert torch.equal(ours.inputs, theirs.inputs)
            assert torch.equal(ours.targets, theirs.targets)


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_update_of_several_batches_is_served_as_one(on_disk: bool) -> None:
    data = serve(regression(on_disk=on_disk), [(Noise(), True)], accumulate=3)
    assert data.num_batches == 2
    assert [batch.size for batch in data.epoch(2)] == [12, 4], "the last batch is short"
    assert [batch.size for batch in data.epoch(2, 1)] == [4]
    alone = list(serve(regression(on_disk=on_disk), [(Noise(), True)]).epoch(2))
    together = list(data.epoch(2))
    assert torch.equal(together[0].inputs, torch.cat([batch.inputs for batch in alone[:3]]))
    assert torch.equal(together[1].targets, alone[3].targets)
    assert max(batch.size for batch in data.batches("train")) == 4, "an evaluation takes one batch at a time"


class Counted(OnDisk):
    """Samples that record which of them were read."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        super().__init__(inputs, targets)
        self.read: list[int] = []

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        self.read.append(index)
        return super().__getitem__(index)


@pytest.mark.parametrize(("epoch", "start"), [(0, 1), (0, 3), (50, 2)])
def test_entering_an_epoch_reads_no_skipped_sample(epoch: int, start: int) -> None:
    inputs = torch.arange(23, dtype=torch.float32).unsqueeze(1)
    samples = Counted(inputs, inputs)
    data = serve(Dataset(train=samples, targets="real"), [(Noise(), True)])
    samples.read.clear()
    first = next(iter(data.epoch(epoch, start)))
    assert first.sample_ids is not None
    assert samples.read == first.sample_ids.tolist()


def test_memory_and_disk_serve_the_same_bits() -> None:
    """With the same transforms, whether or not they are applied in advance."""
    chain = [(Double(), False), (Noise(), True), (Double(), False), (Noise(), True)]
    memory, disk = (serve(regression(on_disk=on_disk), chain) for on_disk in (False, True))
    workers = serve(regression(on_disk=True), chain, workers=2)
    for ours, theirs, loaded in zip(memory.epoch(1), disk.epoch(1), workers.epoch(1), strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.inputs, loaded.inputs)
        assert ours.targets.shape == theirs.targets.shape


def test_two_random_transforms_draw_independently() -> None:
    once = next(iter(serve(regression(), [(Noise(), True)]).epoch(0)))
    twice = next(iter(serve(regression(), [(Noise(), True), (Noise(), True)]).epoch(0)))
    first, both = (batch.inputs - batch.targets / 3 for batch in (once, twice))
    assert not torch.allclose(both, 2 * first, atol=1e-3)


def test_random_transforms_are_for_training_alone() -> None:
    data = serve(regression(), [(Noise(), False), (Double(), False)])
    for split in data.splits:
        for batch in data.batches(split):
            assert torch.equal(batch.inputs, batch.targets / 3 * 2)
    assert any(not torch.equal(batch.inputs, batch.targets / 3 * 2) for batch in data.epoch(0))


def test_a_transform_is_fitted_once_on_train_after_the_previous_ones() -> None:
    center = Center()
    data = serve(regression(), [(Double(), False), (center, False)])
    assert len(center.fits) == 1
    train = data.samples("train")
    assert isinstance(train, TensorSamples)
    assert center.fits[0].sort(0).values.equal((train.targets / 3 * 2).sort(0).values)
    mean = center.fits[0].mean()
    for split in data.splits:
        for batch in data.batches(split):
            torch.testing.assert_close(batch.inputs, batch.targets / 3 * 2 - mean)
    with pytest.raises(UsageError, match="needs samples in memory"):
        serve(regression(on_disk=True), [(Center(), False)])


def test_images_stay_bytes_until_they_are_served() -> None:
    images = torch.randint(0, 256, (10, 1, 3, 3), dtype=torch.uint8)
    data = serve(as_dataset((images, torch.arange(10) % 2), "x"), shuffle=False, split="100/0/0")
    samples = data.samples("train")
    assert isinstance(samples, TensorSamples)
    assert samples.inputs.dtype == torch.uint8
    assert torch.equal(data.first("train", 10)[:4], images[:4].float() / 255)
    assert data.input_shape == (1, 3, 3)


@pytest.mark.parametrize("batch_size", [None, 100])
def test_one_batch_may_hold_the_whole_split(batch_size: int | None) -> None:
    data = serve(regression(), batch_size=batch_size)
    assert [batch.size for batch in data.epoch(0)] == [16]
    assert data.num_batches == 1


def test_serving_draws_nothing_from_the_global_generator() -> None:
    data = serve(regression(on_disk=True), [(Noise(), True)])
    before = torch.get_rng_state()
    for _ in itertools.chain(data.epoch(0), data.batches("validation")):
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_share_a_split() -> None:
    shares = [serve(regression(), rank=rank, world_size=3) for rank in range(3)]
    assert [data.num_batches for data in shares] == [4, 4, 4], "as many batches as in one process"
    train = [ids_of(data.epoch(0)) for data in shares]
    assert [len(part) for part in train] == [8, 4, 4]  # of 16, in batches of 4
    assert sorted(itertools.chain(*train)) == sorted(ids_of(serve(regression()).epoch(0)))
    validation = [ids_of(data.batches("validation")) for data in shares]
    assert sorted(itertools.chain(*validation)) == ids_of(serve(regression()).batches("validation"))


def test_run_files_of_format_1_give_each_process_its_own_batches() -> None:
    shares = [serve(regression(), rank=rank, world_size=3, per_process=True) for rank in range(3)]
    assert [data.num_batches for data in shares] == [2, 2, 2]
    train = [ids_of(data.epoch(0)) for data in shares]
    assert [len(part) for part in train] == [6, 6, 6]  # of 16: two samples are there twice
    assert set(itertools.chain(*train)) == set(ids_of(serve(regression()).epoch(0)))


def test_batches_smaller_than_the_number_of_processes_are_refused() -> None:
    with pytest.raises(UsageError, match="batches of 1 are too small for 2 processes"):
        serve(regression(), rank=0, world_size=2, batch_size=1)


def test_more_processes_than_samples() -> None:
    with pytest.raises(UsageError, match="the validation split has 4 samples for 5 processes"):
        serve(regression(), rank=0, world_size=5)


def test_float64_data_are_served_in_the_dtype_of_the_model() -> None:
    inputs = torch.arange(6, dtype=torch.float64).unsqueeze(1)
    for given in ((inputs, inputs), Dataset(train=TensorSamples(inputs, inputs), targets="real")):
        data = serve(as_dataset(given, "x"))
        batch = next(iter(data.epoch(0)))
        assert (batch.inputs.dtype, batch.targets.dtype) == (torch.float32, torch.float32)
        assert TrainedModel(torch.nn.Identity(), data.inputs)(inputs).dtype == torch.float32
    python_floats = Dataset(train=OnDisk(inputs, inputs[:, 0]), targets="real")
    batch = next(iter(serve(python_floats).epoch(0)))
    assert (batch.inputs.dtype, batch.targets.dtype, batch.targets.shape[1:]) == (torch.float32, torch.float32, (1,))


def test_a_pair_may_hold_dicts() -> None:
    made = as_dataset(({"image": torch.zeros(4, 3), "table": np.ones((4, 2))}, torch.tensor([0, 1, 0, 1])), "x")
    assert made.targets == "class_index"
    assert {name: leaf.shape for name, leaf in made.train[0][0].items()} == {"image": (3,), "table": (2,)}
    with pytest.raises(DataError, match="inputs/a has 4 samples, inputs/b has 3"):
        as_dataset(({"a": torch.zeros(4, 3), "b": torch.zeros(3)}, torch.zeros(4)), "x")
    with pytest.raises(DataError, match="inputs 'a' that are list cannot be made a tensor"):
        as_dataset(({"a": ["x"]}, torch.zeros(1)), "x")


def test_pairs_of_tensors_become_datasets() -> None:
    inputs = torch.zeros(4, 2)
    assert as_dataset((inputs, torch.zeros(4)), "x").train[0][1].shape == (1,)
    column = as_dataset((inputs, torch.tensor([[0], [1], [0], [1]])), "x")
    assert (column.targets, column.train[1][1].tolist()) == ("class_index", 1)
    assert as_dataset((inputs, torch.tensor([True, False, True, False])), "x").class_names == ["0", "1"]
    assert as_dataset((torch.zeros(2, 1, 3, 3), torch.zeros(2, 3, 3, dtype=torch.int64)), "x").targets == "mask"
    with pytest.raises(DataError, match="multilabel"):
        as_dataset((inputs, torch.zeros(4, 2, dtype=torch.int64)), "x")
    with pytest.raises(UsageError, match="returned int"):
        as_dataset(3, "x")


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.tensor(1.0), torch.tensor(1.0), "inputs are a single number"),
        (torch.eye(4).to_sparse(), torch.arange(4), "inputs are a tensor that cannot be trained on .torch.sparse_coo"),
        (torch.zeros(4, 2, device="meta"), torch.arange(4), "without values"),
        (torch.zeros(4, 2, dtype=torch.complex64), torch.arange(4), "torch.complex64"),
        (np.array([[1, None]] * 4, dtype=object), np.arange(4), "inputs that are an array of object cannot be made a"),
        (np.zeros((4, 2)), np.array(["a", "b", "a", "b"]), r"targets that are an array of <U1(.|\n)*class_names="),
        ([[1.0], [1.0, 2.0]], [0, 1], "inputs that are list cannot be made a tensor"),
    ],
)
def test_invalid_pairs_are_refused(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_dataset((inputs, targets), "x")


@pytest.mark.parametrize(
    ("shape", "warned"),
    [((8, 8, 3), True), ((9, 16, 1), True), ((3, 8, 8), False), ((1, 8, 3), False), ((8, 3), False)],
)
def test_images_with_channels_last_give_a_warning(shape: tuple[int, ...], warned: bool) -> None:
    data = serve(as_dataset((torch.zeros(6, *shape), torch.arange(6) % 2), "x"))
    assert any("put the channels first" in text for text in data.warnings) is warned


def test_a_pair_that_requires_gradients_is_detached() -> None:
    dataset = as_dataset((torch.zeros(4, 2, requires_grad=True), torch.arange(4)), "x")
    assert not dataset.train[0][0].requires_grad


WRONG: dict[str, tuple[str, Tensor, str]] = {
    "binary column": ("binary", torch.zeros(6, 1), r"binary targets must be \[N\], not \[6, 1\]"),
    "real vector": ("real", torch.zeros(6), r"real targets must be \[N, K\], not \[6\]"),
    "class out of range": ("class_index", torch.tensor([0, 1, 2, 0, 1, 2]), "class indices from 0 to 2"),
    "negative class": ("class_index", torch.tensor([0, 1, -1, 0, 1, 0]), "class indices from -1 to 1"),
    "whole numbers": ("multilabel", torch.zeros(6, 2, dtype=torch.int64), "must be floating point"),
    "not a number": ("real", torch.full((6, 1), torch.nan), "not finite"),
}


@pytest.mark.parametrize("case", WRONG)
def test_targets_that_do_not_fit(case: str) -> None:
    kind, targets, message = WRONG[case]
    wrong: Any = kind
    dataset = Dataset(train=TensorSamples(torch.zeros(6, 2), targets), targets=wrong, class_names=["a", "b"])
    with pytest.raises(DataError, match=message):
        serve(dataset, shuffle=False, split="100/0/0")


def test_one_class_only() -> None:
    with pytest.raises(DataError, match="there is only one class"):
        serve(as_dataset((torch.zeros(6, 2), torch.zeros(6, dtype=torch.int64)), "x"))


def test_unknown_split() -> None:
    with pytest.raises(UsageError, match="did you mean 'test'"):
        serve(regression()).samples("tset")


@pytest.mark.parametrize("inference", [False, True])
def test_samples_cannot_be_changed_through_a_batch(inference: bool) -> None:
    data = serve(regression(), shuffle=False)
    batches = data.epoch(0)
    with torch.inference_mode(inference):
        next(iter(batches)).inputs.sub_(1)
        with pytest.raises(UsageError, match=r"x = x\.clone\(\)"):
            next(iter(batches))
    shuffled = serve(regression())
    for batch in shuffled.epoch(0):
        batch.inputs.sub_(1)  # a copy


def test_transforms_keep_the_size_of_masks() -> None:
    images, masks = torch.rand(6, 1, 4, 4), torch.zeros(6, 4, 4, dtype=torch.int64)
    dataset = Dataset(train=TensorSamples(images, masks), targets="mask", class_names=("a", "b"))
    splits = split_dataset(dataset, "100/0", 0, shuffle=False)
    with pytest.raises(UsageError, match="masks keep theirs"):
        RunData(dataset, splits, [(lambda inputs: inputs[..., 1:], False)])
    data = RunData(dataset, splits, [(lambda inputs: inputs[..., 1:], True)])
    with pytest.raises(UsageError, match=r"make images \[4, 3\] of \[4, 4\]"):
        next(data.epoch(0))
    RunData(dataset, splits, [(lambda inputs: 2 * inputs, False)])


def labelled(*labels: int) -> TensorSamples:
    return TensorSamples(torch.randn(len(labels), 2), torch.tensor(labels))


@pytest.mark.parametrize(
    ("train", "validation", "test", "wanted"),
    [
        ((0, 1, 2), (2, 1, 0), (0, 1, 2), []),
        ((0, 1, 2), (1, 0), (0, 2, 1), ["the validation split has no sample of class 'c'"]),
        (
            (0, 1, 1),
            (1, 0, 2),
            (0,),
            [
                "the train split has no sample of class 'c': other splits have them, and they cannot be learned",
                "the test split has no sample of class 'b', 'c'",
            ],
        ),
        (
            (0, 0),
            (0, 1),
            (0, 1),
            [
                "the train split has no sample of class 'b', 'c': other splits have them, and they cannot be learned",
                *(f"the {split} split has no sample of class 'c'" for split in ("validation", "test")),
            ],
        ),
    ],
)
def test_a_class_missing_in_a_split_gives_a_warning(train: Any, validation: Any, test: Any, wanted: list[str]) -> None:
    splits = {"train": labelled(*train), "validation": labelled(*validation), "test": labelled(*test)}
    dataset = Dataset(**splits, targets="class_index", class_names=["a", "b", "c"])
    data = RunData(dataset, split_dataset(dataset, "70/15/15", 0, shuffle=True), batch_size=2)
    assert data.warnings == [f"dataset 'dataset': {text}" for text in wanted]


def test_a_class_missing_among_samples_on_disk_gives_a_warning() -> None:
    """As far as the targets are known: here those of all train samples, which are divided into splits."""
    samples = [(torch.zeros(1), index % 2 if index < 30 else 2) for index in range(31)]
    targets = torch.tensor([target for _, target in samples])
    dataset = Dataset(train=samples, targets="class_index", class_names=["a", "b", "c"], target_tensor=targets)
    data = RunData(dataset, split_dataset(dataset, "70/15/15", 0, shuffle=True), batch_size=2)
    assert [text.partition(": ")[2] for text in data.warnings] == [
        f"the {split} split has no sample of class 'c'" for split in ("validation", "test")
    ]


def test_a_validation_set_with_an_untrained_class_gives_a_warning() -> None:
    dataset = Dataset(train=labelled(0, 1, 0, 1), targets="class_index", class_names=["a", "b", "c"])
    further = Dataset(train=labelled(0, 2), targets="class_index", class_names=["a", "b", "c"])
    splits = split_dataset(dataset, "100/0/0", 0, shuffle=True)
    data = RunData(dataset, splits, batch_size=2, sets={"validation/night": further})
    assert any("validation set 'night' has samples of class 'c', but the train" in text for text in data.warnings)
