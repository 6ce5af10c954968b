"""Detection: accepted targets, and the presentation of predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wf as api
from wf.errors import DataError, UsageError
from wf_base import Batch, Dataset, tree
from wf_tasks.detection import Detection
from wf_tasks.drawing import COLOURS, classes_drawn, objects_drawn

IMAGE = torch.zeros(3, 10, 20)
ONE = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]]), "labels": torch.tensor([0])}
NONE = {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64)}
TASK = Detection("boxes", class_names=("cat", "dog"))


def with_box(*box: float) -> dict[str, Tensor]:
    return {**ONE, "boxes": torch.tensor([box], dtype=torch.float32)}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(4), "must be a dict of tensors with boxes and labels"),
        ({"boxes": torch.zeros(1, 4)}, "must be a dict of tensors with boxes and labels"),
        ({**ONE, "labels": torch.tensor([2])}, r"labels must be from 0 to 1, not \[2\]"),
        ({**ONE, "labels": torch.tensor([0.0])}, r"labels whole numbers \[M\]"),
        ({**ONE, "boxes": torch.zeros(4)}, r"boxes must be floats \[M, 4\]"),
        ({**ONE, "boxes": torch.zeros(1, 4, dtype=torch.int64)}, r"boxes must be floats \[M, 4\]"),
        (with_box(0, 0, float("nan"), 1), "box 0, .* has no area"),
        (with_box(2, 0, 2, 1), r"box 0, \[2.0, 0.0, 2.0, 1.0\], has no area"),
        (with_box(2, 0, 21, 1), "box 0, .*, is not inside the image of 20x10 pixels"),
        ({**ONE, "masks": torch.zeros(1, 4, 4)}, r"masks must be \[1, 10, 20\], one an object, not \[1, 4, 4\]"),
    ],
)
def test_invalid_targets_are_refused_with_their_sample_number(targets: Any, message: str) -> None:
    TASK.check([IMAGE, IMAGE], [ONE, NONE], [0, 1], "train")
    with pytest.raises(DataError, match=f"train: sample 7: .*{message}"):
        TASK.check([IMAGE, IMAGE], [ONE, targets], [3, 7], "train")


def test_images_of_a_batch_are_not_stacked() -> None:
    images, targets = TASK.collate([(IMAGE, ONE), (IMAGE[:, :5], NONE)])
    assert [tuple(one.shape) for one in images] == [(3, 10, 20), (3, 5, 20)]
    assert (type(images), type(targets)) == (tree.Rows, tree.Rows)


def test_predictions_become_readable_records() -> None:
    found = [{**ONE, "scores": torch.tensor([0.51234])}]
    record = {"class": "cat", "score": 0.5123, "box": [0.0, 0.0, 4.0, 4.0]}
    assert TASK.names(found, ("cat", "dog")) == [[record]]


def test_outputs_of_the_wrong_form_are_refused() -> None:
    names = {"model": "m", "dataset": "d"}
    assert TASK.check_outputs([{**ONE, "scores": torch.ones(1)}], 1, (), names) is None
    for outputs in (torch.zeros(1, 2), [ONE], []):
        with pytest.raises(UsageError, match="detection needs a list with a dict of boxes, labels, scores for each"):
            TASK.check_outputs(outputs, 1, (), names)
    with pytest.raises(UsageError, match="needs a dict of losses by name"):
        TASK.bind(lambda *_: torch.zeros(2), None).step(Batch([IMAGE], [ONE], None, None, 1))  # type: ignore[arg-type]


def test_objects_above_the_threshold_are_drawn_in_their_class_colour() -> None:
    boxes = torch.tensor([[2.0, 1.0, 8.0, 6.0], [10.0, 1.0, 18.0, 8.0]])
    found = {"boxes": boxes, "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.9, 0.2])}
    (picture,) = TASK.draw([IMAGE], [found], ("cat", "dog"))
    assert picture.size == (480, 240)
    seen = {"#{:02X}{:02X}{:02X}".format(*picture.getpixel((x, y))) for x in range(480) for y in range(24, 240)}
    assert COLOURS[0] in seen
    assert COLOURS[1] not in seen, "the score is below the threshold"
    masks = torch.zeros(2, 1, 10, 20)
    masks[0, 0, 2:4, 4:6] = 0.8
    masked = objects_drawn(IMAGE, {**found, "masks": masks}, ())
    assert masked.getpixel((5 * 24, 3 * 24)) == (106, 47, 0), "masks are drawn half transparent"
    assert masked.getpixel((9 * 24, 8 * 24)) == (0, 0, 0)


def test_pixels_are_drawn_in_the_colour_of_their_class() -> None:
    classes = torch.zeros(4, 6, dtype=torch.int64)
    classes[1, 2] = 2
    picture = classes_drawn(torch.zeros(1, 4, 6), classes)
    assert picture.getpixel((2 * 80 + 5, 1 * 80 + 5)) == (0, 57, 89)
    assert picture.getpixel((5, 5)) == (0, 0, 0)


class Dark(nn.Module):
    """Finds one box of a size that it learns, in each image."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.tensor(4.0))

    def forward(self, images: Any, targets: Any = None) -> Any:
        if targets is not None:
            sides = [own["boxes"][:, 2:] - own["boxes"][:, :2] for own in targets]
            return {"size": (torch.cat(sides) - self.size).square().mean(), "other": 0 * self.size}
        box = torch.stack([0 * self.size, 0 * self.size, self.size, self.size])[None]
        return [{"boxes": box, "labels": torch.tensor([0]), "scores": torch.ones(1)} for _ in images]


def samples(num: int) -> list[Any]:
    return [(torch.rand(3, 8, 8 + number), with_box(0, 0, 6, 6)) for number in range(num)]


def test_user_defined_model_and_dataset() -> None:
    run = api.run(
        model=Dark,
        dataset=lambda: Dataset(train=samples(12), targets="boxes", class_names=("cat",)),
        optimizer={"use": "sgd", "lr": 0.1},
        epochs=40,
        batch_size=3,
        split="70/30/0",
        save=False,
        quiet=True,
    )
    assert float(run.model.size.detach()) == pytest.approx(6, abs=0.05)
    assert run.metrics["validation/map/75"] == pytest.approx(1.0)
    assert "validation/loss" not in run.metrics
    found = run.predict(tree.Rows([torch.rand(3, 8, 9), torch.rand(3, 7, 7)]))
    assert [len(one["boxes"]) for one in found] == [1, 1]
    assert [record[0]["class"] for record in run.labels(found) or ()] == ["cat", "cat"]


def test_models_that_do_not_give_boxes_are_refused(wf: Any) -> None:
    result = wf("run", "--task", "detection", "--model", "mlp", "--dataset", "random")
    assert result.code == 2
    assert "detection" in result.stderr
    listed = wf("list", "models", "--fits", "task/detection").stdout
    assert "mlp" not in listed


def test_draw_is_refused_for_tasks_without_drawings(wf: Any, tmp_path: Any) -> None:
    assert wf("run", "--dataset", "iris", "--steps", 2, "--quiet", "--name", "x").code == 0
    refused = wf("predict", "x", "test", "--draw", "seen")
    assert (refused.code, refused.stdout) == (2, "")
    assert "cannot draw predictions into its inputs\n  leave out --draw" in refused.stderr
    assert not (tmp_path / "seen").exists()
