"""The datasets made for one task each."""

from __future__ import annotations

import pytest
import torch

from wf.errors import UsageError
from wf_datasets.authors import authors
from wf_datasets.bundled import breast_cancer, breast_cancer_binary, digits, digits_multilabel
from wf_datasets.images.shapes import CLASSES, shapes


def test_binary_tumours() -> None:
    one, other = breast_cancer(), breast_cancer_binary()
    assert other.targets == "binary"
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert other.train.targets.dtype == torch.float32
    assert torch.equal(other.train.targets, (one.train.targets == 0).float())
    assert other.train.targets.sum() == 212
    assert list(other.class_names) == ["benign", "malignant"]


def test_multilabel_digits_have_the_labels_of_their_digit() -> None:
    one, other = digits(), digits_multilabel()
    assert (other.targets, other.class_names) == ("multilabel", ("even", "prime", "round", "above 4"))
    assert torch.equal(one.train.inputs, other.train.inputs)
    labels = {digit: other.train.targets[one.train.targets == digit].unique(dim=0).tolist() for digit in range(10)}
    assert labels[2] == [[1, 1, 0, 0]]
    assert labels[8] == [[1, 0, 1, 1]]
    assert labels[1] == [[0, 0, 0, 0]]
    assert all(len(rows) == 1 for rows in labels.values())


def test_shapes_are_a_function_of_the_seed() -> None:
    first, again, other = (shapes(seed, num_samples=20) for seed in (0, 0, 1))
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.train.targets, again.train.targets)
    assert not torch.equal(first.train.inputs, other.train.inputs)
    assert (first.train.inputs.shape, first.train.targets.shape) == ((20, 3, 32, 32), (20, 32, 32))
    assert (first.train.targets.dtype, first.targets, first.class_names) == (torch.int64, "mask", CLASSES)


def test_masks_cover_the_pixels_of_the_shapes() -> None:
    """Without noise each pixel of a shape is brighter than the background."""
    dataset = shapes(0, num_samples=200, noise=0.0)
    bright = dataset.train.inputs.amin(1) >= 0.6
    assert torch.equal(bright, dataset.train.targets > 0)
    shares = torch.bincount(dataset.train.targets.flatten(), minlength=4) / dataset.train.targets.numel()
    assert shares[0] < 0.95
    assert (shares[1:] > 0.01).all()


def test_each_kind_of_shape() -> None:
    from wf_datasets.images.shapes import _inside

    square, ring, cross = (_inside(kind, 16, 8.0, 8.0, 6.0) for kind in (1, 2, 3))
    assert square.sum() == 144
    assert [bool(one[8, 8]) for one in (square, ring, cross)] == [True, False, True]
    assert [bool(one[8, 3]) for one in (square, ring, cross)] == [True, True, True]
    assert [bool(one[3, 3]) for one in (square, ring, cross)] == [True, False, False]
    assert all(torch.equal(one, one.flip(0)) and torch.equal(one, one.T) for one in (square, ring, cross))


@pytest.mark.parametrize(
    "options", [{"num_samples": 0}, {"image_size": 7}, {"max_shapes": 0}, {"noise": -1.0}, {"noise": float("nan")}]
)
def test_shapes_refuses(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"shapes: {next(iter(options))} is"):
        shapes(0, **options)  # type: ignore[arg-type]  # each is of its kind


def test_authors() -> None:
    dataset = authors()
    inputs, targets = dataset.train.inputs, dataset.train.targets
    assert (inputs.shape, inputs.dtype, dataset.class_names) == (
        (2100, 32),
        torch.int64,
        ["Carroll", "Milton", "Shakespeare"],
    )
    assert targets.bincount().tolist() == [700, 700, 700]
    assert len(dataset.vocabulary) == 2000
    assert int(inputs.max()) == 1999
    words = [dataset.vocabulary[place] for place in inputs[0].tolist() if place]
    assert words[:4] == ["alice", "was", "beginning", "to"]
    assert (inputs == 1).sum() / (inputs > 0).sum() < 0.15, "most words are in the vocabulary"


def test_authors_refuses() -> None:
    with pytest.raises(UsageError, match="vocabulary_size is 2 and max_tokens 32"):
        authors(vocabulary_size=2)
