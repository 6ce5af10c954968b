import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wf.errors import DataError, UsageError
from wf_base import sample_uniform
from wf_datasets.transforms.affine import Normalize, Scale
from wf_datasets.transforms.augment import Crop, Flip
from wf_datasets.transforms.pad import Pad
from wf_datasets.transforms.standardize import Standardize


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "axes"), [((50, 3), (0,)), ((50, 3, 4, 5), (0, 2, 3)), ((50, 4, 3), (0, 1))])
def test_standardize_gives_zero_mean_and_unit_variance(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    inputs = normal(*shape) * 7 + 100
    transform = Standardize()
    transform.fit(inputs)
    std, mean = torch.std_mean(transform(inputs), axes, correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.ones(3), atol=1e-4, rtol=0)


def test_standardize_uses_train_statistics_on_other_data() -> None:
    transform = Standardize()
    transform.fit(torch.tensor([[0.0], [2.0]]))
    assert transform(torch.tensor([[5.0]])).item() == 4.0


@given(value=st.floats(-(2.0**99), 2.0**99, width=32), num=st.integers(1, 70))
@settings(deadline=None, max_examples=50)
def test_standardize_makes_constant_features_zero(value: float, num: int) -> None:
    transform = Standardize()
    constant = torch.full((num, 2), value)
    transform.fit(constant)
    assert torch.equal(transform(constant), torch.zeros(num, 2))
    assert torch.equal(transform(constant + 1) - transform(constant), constant + 1 - constant)


@given(seed=st.integers(0, 1000), num_features=st.integers(1, 5), image=st.booleans())
@settings(deadline=None, max_examples=30)
def test_standardize_state_round_trip(seed: int, num_features: int, image: bool) -> None:
    inputs = normal(9, num_features, *((4, 4) if image else ()), seed=seed)
    fitted, restored = Standardize(), Standardize()
    fitted.fit(inputs)
    restored.load_state_dict(copy.deepcopy(fitted.state_dict()))
    assert torch.equal(restored(inputs), fitted(inputs))
    assert restored.state_dict().keys() == fitted.state_dict().keys()


def test_standardize_without_fit() -> None:
    transform = Standardize()
    assert transform.state_dict() == {}
    transform.load_state_dict({})
    with pytest.raises(RuntimeError, match="fit"):
        transform(normal(2, 3))


def test_standardize_refusals() -> None:
    transform = Standardize()
    with pytest.raises(UsageError, match=r"\[4\]"):
        transform.fit(normal(4))
    with pytest.raises(DataError, match="not finite"):
        transform.fit(torch.tensor([[1.0], [float("nan")]]))
    transform.fit(normal(4, 3))
    with pytest.raises(UsageError, match="measured on 3 features"):
        transform(normal(4, 1))


def test_scale() -> None:
    inputs = torch.tensor([[0.5, 28.0], [-4.0, 0.0]])
    assert torch.equal(Scale(factor=0.1)(inputs), inputs * 0.1)
    assert torch.equal(Scale(factor=2.0, offset=-1.0)(inputs), inputs * 2 - 1)
    with pytest.raises(UsageError, match="factor"):
        Scale(factor=float("inf"))


def test_normalize() -> None:
    inputs = normal(4, 3, 2, 2)
    normalized = Normalize(mean=[0.5, 0.0, 1.0], std=[1.0, 2.0, 4.0])(inputs)
    for channel, (mean, std) in enumerate([(0.5, 1.0), (0.0, 2.0), (1.0, 4.0)]):
        assert torch.equal(normalized[:, channel], (inputs[:, channel] - mean) / std)


def test_normalize_refusals() -> None:
    with pytest.raises(UsageError, match=r"3 means.*\[4, 1, 2, 2\] have 1 channels"):
        Normalize(mean=[0.0] * 3, std=[1.0] * 3)(normal(4, 1, 2, 2))
    bad: list[tuple[list[float], list[float]]] = [
        ([0.0], [0.0]),
        ([0.0], [1.0, 1.0]),
        ([], []),
        ([float("nan")], [1.0]),
    ]
    for mean, std in bad:
        with pytest.raises(UsageError, match="normalize"):
            Normalize(mean=mean, std=std)


def test_pad() -> None:
    images = torch.ones(2, 1, 28, 28)
    padded = Pad(size=32)(images)
    assert padded.shape == (2, 1, 32, 32)
    assert torch.equal(padded[:, :, 2:-2, 2:-2], images)
    assert padded.sum() == images.sum()
    assert Pad(pixels=2)(images).shape == (2, 1, 32, 32)
    assert Pad(pixels=(1, 2, 3, 4))(images).shape == (2, 1, 35, 31)
    assert Pad(size=(29, 31))(images).shape == (2, 1, 29, 31)
    assert float(Pad(pixels=1, value=0.5)(images)[0, 0, 0, 0]) == 0.5
    assert torch.equal(Pad(size=28)(images), images)


@pytest.mark.parametrize(
    "options", [{}, {"pixels": 1, "size": 32}, {"pixels": -1}, {"size": -1}, {"pixels": 1, "value": float("nan")}]
)
def test_pad_refuses_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="pad"):
        Pad(**options)


def test_pad_refuses_inputs() -> None:
    with pytest.raises(UsageError, match="28x28 do not fit"):
        Pad(size=20)(torch.ones(2, 1, 28, 28))
    with pytest.raises(UsageError, match="not images"):
        Pad(pixels=1)(torch.ones(2, 3))


def test_flip_mirrors_samples_drawn_below_the_probability() -> None:
    images = normal(3, 2, 4, 5)
    flipped = Flip(probability=0.5)(images, torch.tensor([[0.49], [0.5], [0.0]]))
    assert torch.equal(flipped[0], images[0].flip(-1))
    assert torch.equal(flipped[1], images[1])
    assert torch.equal(flipped[2], images[2].flip(-1))
    assert torch.equal(Flip(probability=0.0)(images, torch.zeros(3, 1)), images)


def test_crop_shifts() -> None:
    images = normal(4, 2, 5, 6)
    just_below_one = 1 - 2**-24
    draws = torch.tensor([[0.5, 0.5], [0.0, 0.0], [just_below_one, just_below_one], [0.5, 0.0]])
    cropped = Crop(padding=2)(images, draws)
    assert cropped.shape == images.shape
    assert torch.equal(cropped[0], images[0])
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    assert torch.equal(cropped[1], padded[1, :, :5, :6])
    assert torch.equal(cropped[2], padded[2, :, 4:, 4:])
    assert torch.equal(cropped[3], padded[3, :, 2:7, :6])


@given(padding=st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_crop_stays_inside_for_the_largest_draw(padding: int) -> None:
    images = normal(1, 1, 3, 3)
    cropped = Crop(padding=padding)(images, torch.full((1, 2), 1 - 2**-24))
    assert torch.equal(cropped, torch.nn.functional.pad(images, (padding,) * 4)[:, :, -3:, -3:])


@given(seed=st.integers(0, 2**31), ids=st.lists(st.integers(0, 50), min_size=1, max_size=12, unique=True))
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("transform", [Flip(), Crop(padding=2)], ids=["flip", "crop"])
def test_a_samples_augmentation_does_not_depend_on_its_neighbours(
    transform: Flip | Crop, seed: int, ids: list[int]
) -> None:
    images, sample_ids = normal(51, 2, 5, 6), torch.tensor(ids)
    together = transform(images[sample_ids], sample_uniform(seed, 3, sample_ids, transform.num_draws))
    for row, one in enumerate(sample_ids.split(1)):
        alone = transform(images[one], sample_uniform(seed, 3, one, transform.num_draws))
        assert torch.equal(together[row], alone[0])


def test_augmentation_refusals() -> None:
    for probability in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="probability"):
            Flip(probability=probability)
    with pytest.raises(UsageError, match="padding"):
        Crop(padding=0)
    for transform in (Flip(), Crop()):
        with pytest.raises(UsageError, match="not images"):
            transform(torch.ones(2, 3), torch.zeros(2, transform.num_draws))


def test_transforms_compute_on_the_device_of_the_inputs() -> None:
    """The meta device stands for any accelerator: it cannot be mixed with the CPU."""
    standardize = Standardize()
    standardize.fit(normal(4, 3, 8, 8))
    images = torch.empty(5, 3, 8, 8, device="meta")
    for transform in (standardize, Scale(2.0), Normalize([0.0] * 3, [1.0] * 3), Pad(pixels=1)):
        assert transform(images).device == images.device
    for random in (Flip(), Crop()):
        assert random(images, torch.empty(5, random.num_draws, device="meta")).shape == images.shape
