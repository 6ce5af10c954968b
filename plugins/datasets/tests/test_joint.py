"""Transforms that move images, boxes and masks together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wf.errors import UsageError
from wf_base.tree import Rows
from wf_datasets.transforms.joint import JointCrop, JointFlip, JointResize


def pictured(height: int, width: int, *boxes: tuple[int, int, int, int]) -> tuple[Tensor, dict[str, Tensor]]:
    """An image in which object k has the value k + 1, with its boxes and masks."""
    image, masks = torch.zeros(1, height, width), torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        image[:, y0:y1, x0:x1] = number + 1
        masks[number, y0:y1, x0:x1] = 1
    targets = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.arange(len(boxes))}
    return image, {**targets, "masks": masks}


def agree(image: Tensor, targets: dict[str, Tensor]) -> None:
    """Boxes and masks are where the objects are in the image, to within a pixel of its resizing."""
    for label, box, mask in zip(targets["labels"], targets["boxes"], targets["masks"], strict=True):
        shown = (image[0] - (label + 1)).abs() < 0.4
        differ = shown.ne(mask.bool())
        assert int(differ.sum()) <= 2 * sum(mask.shape)
        rows, columns = mask.nonzero().unbind(1)
        own = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert bool((own - box).abs().le(1).all())


SAMPLES = [
    pictured(12, 20, (2, 1, 9, 6), (11, 3, 19, 12)),
    pictured(30, 16, (4, 10, 12, 28)),
    pictured(9, 9),
]


def images_and_targets() -> tuple[Rows, Rows]:
    return Rows(image for image, _ in SAMPLES), Rows(targets for _, targets in SAMPLES)


@pytest.mark.parametrize(
    "transform", [JointFlip(p=0.5), JointFlip(p=1.0, vertical=True), JointCrop(), JointCrop(0.3), JointResize([8, 24])]
)
def test_boxes_and_masks_move_with_their_objects(transform: Any) -> None:
    for seed in range(10):
        draws = torch.rand(3, transform.num_draws, generator=torch.Generator().manual_seed(seed))
        images, targets = transform(*images_and_targets(), draws)
        assert isinstance(images, Rows)
        assert isinstance(targets, Rows)
        for image, own in zip(images, targets, strict=True):
            assert set(own) == {"boxes", "labels", "masks"}
            assert tuple(own["masks"].shape[1:]) == tuple(image.shape[1:])
            height, width = image.shape[-2:]
            assert bool((own["boxes"] >= 0).all() and (own["boxes"] <= torch.tensor([width, height] * 2)).all())
            assert bool((own["boxes"][:, 2:] > own["boxes"][:, :2]).all())
            agree(image, own)
        alone = [
            transform(Rows([image]), Rows([own]), draws[row : row + 1]) for row, (image, own) in enumerate(SAMPLES)
        ]
        assert all(torch.equal(one[0][0], image) for one, image in zip(alone, images, strict=True)), (
            "each sample depends on its own draws only"
        )
        assert [image.shape for image in transform(images_and_targets()[0], None, draws)[0]] == [
            image.shape for image in images
        ]


def test_a_flip_is_exact() -> None:
    image, targets = pictured(4, 10, (2, 1, 5, 3))
    (flipped,), (own,) = JointFlip(p=0.5)(Rows([image]), Rows([targets]), torch.tensor([[0.2]]))
    assert own["boxes"].tolist() == [[5.0, 1.0, 8.0, 3.0]]
    assert torch.equal(flipped, image.flip(-1))
    (same,), (as_it_was,) = JointFlip(p=0.5)(Rows([image]), Rows([targets]), torch.tensor([[0.5]]))
    assert same is image
    assert as_it_was is targets
    (_,), (own,) = JointFlip(p=1, vertical=True)(Rows([image]), Rows([targets]), torch.tensor([[0.5]]))
    assert own["boxes"].tolist() == [[2.0, 1.0, 5.0, 3.0]]


def test_a_crop_drops_cut_objects_but_keeps_at_least_one() -> None:
    image, targets = pictured(10, 20, (0, 0, 4, 4), (12, 4, 20, 10))
    corner = torch.tensor([[0.0, 0.999, 0.999]])  # the smallest part, at the bottom right
    (_,), (own,) = JointCrop(0.5)(Rows([image]), Rows([targets]), corner)
    assert own["labels"].tolist() == [1]
    assert own["boxes"].tolist() == [[4.0, 0.0, 20.0, 10.0]], (
        "x from 10 to 20 became 20 pixels, y from 5 to 10 became 10"
    )
    image, targets = pictured(10, 20, (0, 0, 4, 4))
    (same,), (as_it_was,) = JointCrop(0.5)(Rows([image]), Rows([targets]), corner)
    assert (same is image, as_it_was is targets) == (True, True)


def test_masks_of_classes_move_too() -> None:
    images, classes = torch.rand(3, 1, 8, 12), torch.randint(0, 3, (3, 8, 12))
    classes[0, 0, 0] = -100
    images[:, 0] = classes.float()
    draws = torch.tensor([[0.1, 0.5, 0.9], [0.9, 0.2, 0.3], [0.4, 0.4, 0.4]])
    flipped, own = JointFlip()(images, classes, draws[:, :1])
    assert torch.equal(flipped[:, 0], own.float())
    assert own.dtype == torch.int64
    assert int(own[0, 0, 11]) == -100
    zoomed, own = JointCrop(0.5)(images, classes, draws)
    assert (zoomed.shape, own.shape) == (images.shape, classes.shape)
    assert set(own.unique().tolist()) <= {-100, 0, 1, 2}
    large, own = JointResize([16])(images, classes, draws[:, :1])
    assert (large.shape, own.shape) == ((3, 1, 16, 24), (3, 16, 24))
    assert torch.equal(own[:, ::2, ::2], classes)
    with pytest.raises(
        UsageError, match=r"images of a batch are one tensor here, so they need one size, not \[8, 16\]"
    ):
        JointResize([8, 16])(images, classes, draws[:, :1])


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.rand(4, 5), torch.rand(4, 1), r"takes images \[C, H, W\] but got samples \[5\]"),
        (torch.rand(4, 6, 3), None, r"got samples \[6, 3\]"),
        (torch.rand(4, 1, 6, 8), torch.arange(4), r"a mask of each image \[6, 8\], but got targets \[\]"),
        (torch.rand(4, 1, 6, 8), torch.rand(4, 2), r"but got targets \[2\]\n  use a transform of images only"),
        (torch.rand(4, 1, 6, 8), torch.zeros(4, 3, 4), r"but got targets \[3, 4\]"),
    ],
)
@pytest.mark.parametrize("transform", [JointFlip(p=1.0), JointCrop(), JointResize([8])])
def test_unsupported_samples_and_targets_are_refused(
    transform: Any, inputs: Tensor, targets: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=f"{type(transform).__name__} .*{message}"):
        transform(inputs, targets, torch.rand(4, transform.num_draws))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JointFlip(p=1.5), "joint-flip': p is 1.5; it must be from 0 to 1"),
        (lambda: JointCrop(smallest=0), "smallest is 0; it must be more than 0"),
        (lambda: JointCrop(visible=2), "visible is 2"),
        (lambda: JointResize([]), "sizes is"),
        (lambda: JointResize([0]), "at least 1 each"),
    ],
)
def test_options_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
