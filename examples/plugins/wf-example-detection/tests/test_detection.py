from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from wf.errors import DataError, UsageError
from wf_example_detection import plugin
from wf_example_detection.anchors import Rectangles, Squares, anchors
from wf_example_detection.boxes import Boxes, Found, overlaps
from wf_example_detection.commands import COLOURS, found_in, pictured
from wf_example_detection.dataset import MOST, ImageReader, drawings, drawn, read_image
from wf_example_detection.metric import MeanAveragePrecision
from wf_example_detection.model import GridDetector
from wf_example_detection.task import Detection
from wf_example_detection.transform import FlipBoxes

ONE: Boxes = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]]), "labels": torch.tensor([0])}
NONE: Boxes = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Found:
    own = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": own, "scores": torch.tensor(scores), "labels": torch.tensor(labels, dtype=torch.int64)}


def test_drawings_are_reproducible_and_their_boxes_do_not_overlap() -> None:
    counts = set()
    for number in range(120):
        image, targets = drawn(number)
        assert torch.equal(image, drawn(number)[0])
        shared = overlaps(targets["boxes"], targets["boxes"])
        assert not (shared - torch.eye(len(shared))).any()
        counts.add(len(shared))
    assert {0, MOST} <= counts


def test_splits_share_no_drawing() -> None:
    dataset = drawings(num_train=3, num_held_out=2)
    parts = (dataset.train, dataset.validation, dataset.test)
    images = {part[index][0].numpy().tobytes() for part in parts if part is not None for index in range(len(part))}
    assert len(images) == 7
    with pytest.raises(UsageError, match="at least 1"):
        drawings(num_train=0)


def test_boxes_are_mirrored_with_their_images() -> None:
    images = torch.zeros(2, 3, 4, 10)
    images[:, :, 1:3, 2:5] = 1
    targets: list[Boxes] = [{"boxes": torch.tensor([[2.0, 1.0, 5.0, 3.0]]), "labels": torch.tensor([1])}, NONE]
    made, moved = FlipBoxes()(images, targets, torch.tensor([[0.2], [0.7]]))
    assert moved is not None
    assert moved[0]["boxes"].tolist() == [[5.0, 1.0, 8.0, 3.0]]
    assert made[0, :, 1:3, 5:8].all()
    assert torch.equal(made[1], images[1])
    assert moved[1] is NONE
    assert FlipBoxes(p=1.0)(images, None, torch.rand(2, 1))[1] is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (found([[0, 0, 4, 4]], [0.9], [0]), (1.0, 1.0, 1.0)),
        (found([[0, 0, 4, 3]], [0.9], [0]), (0.6, 1.0, 1.0)),  # an IoU of 0.75
        (found([[0, 0, 4, 4]], [0.9], [1]), (0.0, 0.0, 0.0)),
        (found([[0, 0, 4, 4], [0, 0, 4, 4]], [0.9, 0.8], [0, 0]), (1.0, 1.0, 1.0)),
        (found([[9, 9, 12, 12], [0, 0, 4, 4]], [0.9, 0.8], [0, 0]), (0.5, 0.5, 1.0)),
        (found([[0, 0, 4, 4], [9, 9, 12, 12]], [0.9, 0.9], [0, 0]), (0.5, 0.5, 1.0)),  # of one score, in any order
        (found([], [], []), (0.0, 0.0, 0.0)),
    ],
)
def test_figures_of_an_image_with_one_box(given: Found, wanted: tuple[float, ...]) -> None:
    metric = MeanAveragePrecision()
    metric.update([given, found([], [], [])], [ONE, NONE])
    figures = metric.compute()
    assert tuple(float(figures[name]) for name in ("", "50", "recall")) == pytest.approx(wanted)


def test_map_without_objects_is_nan() -> None:
    metric = MeanAveragePrecision()
    metric.update([found([], [], [])], [NONE])
    assert all(figure.isnan() for figure in metric.compute().values())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(4), "dict of boxes and labels"),
        ({**ONE, "labels": torch.tensor([2])}, r"from 0 to 1, not \[2\]"),
        ({**ONE, "boxes": torch.zeros(4)}, r"boxes must be \[M, 4\]"),
        ({**ONE, "boxes": torch.tensor([[0.0, 0.0, float("nan"), 1.0]])}, "no area"),
    ],
)
def test_invalid_targets_are_refused_with_their_sample_number(targets: object, message: str) -> None:
    task = Detection("boxes", class_names=("disc", "square"))
    task.check(None, [ONE, NONE], [0, 1], "train")
    with pytest.raises(DataError, match=f"train: sample 7: .*{message}"):
        task.check(None, [ONE, targets], [3, 7], "train")


def test_predictions_become_readable_records() -> None:
    (records,) = Detection("boxes").names([found([[0, 0, 4, 4]], [0.5], [1])], ("disc", "square"))
    assert records == [{"class": "square", "score": 0.5, "box": [0.0, 0.0, 4.0, 4.0]}]


def test_a_detector_of_images_without_objects_has_losses() -> None:
    model = GridDetector(2, width=2)
    losses = model(torch.rand(2, 3, 40, 40), [NONE, NONE])
    assert isinstance(losses, dict)
    assert losses["middle"] == losses["size"] == 0
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_generators_give_the_anchors() -> None:
    assert anchors(Squares()).tolist() == [[4.0, 4.0]]
    assert anchors(Squares([4, 8])).tolist() == [[4.0, 4.0], [8.0, 8.0]]
    sides = anchors(Rectangles(6.0, [0.25, 1.0]))
    assert torch.allclose(sides, torch.tensor([[12.0, 3.0], [6.0, 6.0]]))
    for make in (lambda: Squares([]), lambda: Squares([4, 0]), lambda: Rectangles(size=-1)):
        with pytest.raises(UsageError, match="more than 0"):
            make()


def test_each_object_is_assigned_to_the_most_similar_anchor() -> None:
    """A box far from every anchor costs more, so the loss of the size tells which anchor took it."""
    costs = {}
    for name, sides in (("alike", [[4.0, 4.0]]), ("other", [[20.0, 20.0]]), ("both", [[20.0, 20.0], [4.0, 4.0]])):
        torch.manual_seed(0)
        model = GridDetector(2, width=2, anchors=torch.tensor(sides))
        torch.nn.init.zeros_(model.places.weight)
        torch.nn.init.zeros_(model.places.bias)  # type: ignore[arg-type]
        losses = model(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)), [ONE])
        assert isinstance(losses, dict)
        costs[name] = float(losses["size"].detach())
    assert costs["alike"] == costs["both"] == 0 < costs["other"]


def test_boxes_start_at_the_size_of_each_anchor() -> None:
    model = GridDetector(2, width=2, min_score=0.0, most=8, anchors=torch.tensor([[8.0, 2.0], [2.0, 8.0]])).eval()
    torch.nn.init.zeros_(model.places.weight)
    torch.nn.init.zeros_(model.places.bias)  # type: ignore[arg-type]
    (one,) = model(torch.rand(1, 3, 4, 4))
    assert isinstance(one, dict)
    sides = {tuple(row) for row in (one["boxes"][:, 2:] - one["boxes"][:, :2]).tolist()}
    assert sides == {(8.0, 2.0), (2.0, 8.0)}
    with pytest.raises(UsageError, match="min_score is 2; it must be from 0 to 1"):
        GridDetector(2, min_score=2)


def test_image_files(tmp_path: Path) -> None:
    image, _ = drawn(1)
    for name in ("a.png", "a.bmp"):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name)
    assert torch.equal(ImageReader().read(tmp_path / "a.png")[0], image)
    assert torch.equal(read_image(tmp_path / "a.bmp")[0], image)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read as an image"):
        ImageReader().read(tmp_path / "b.png")


def test_pictures_show_boxes_above_the_score_threshold() -> None:
    given = found([[1, 1, 4, 4], [5, 5, 9, 9]], [0.9, 0.1], [0, 1])
    picture = pictured(torch.zeros(3, 48, 48, dtype=torch.uint8), given, 0.5, ("disc", "square"))
    assert picture.size == (480, 480)
    pixels = {"#{:02X}{:02X}{:02X}".format(*picture.getpixel((x, x))) for x in range(480)}  # type: ignore[misc]
    assert COLOURS[0] in pixels
    assert COLOURS[1] not in pixels


def test_a_model_that_finds_no_boxes_is_refused() -> None:
    with pytest.raises(UsageError, match="the model of run x is not a detector: its outputs are not boxes"):
        found_in(torch.nn.Flatten(), torch.zeros(3, 4, 4), "x")


def test_uses_every_hook_of_wf() -> None:
    import wf.hookspecs

    hooks = {name for name in vars(wf.hookspecs) if name.startswith("wf_")}
    assert {name for name in vars(plugin) if name.startswith("wf_")} == hooks


def test_declares_its_task_and_components() -> None:
    assert [task.name for task in plugin.wf_tasks()] == ["shape-detection"]
    names = [(component.kind, component.name) for component in plugin.wf_components()]
    assert names == [
        ("dataset", "drawings"),
        ("transform", "flip-boxes"),
        ("model", "grid-detector"),
        ("metric", "shape-map"),
        ("anchor-generator", "squares"),
        ("anchor-generator", "rectangles"),
    ]
