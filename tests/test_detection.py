"""Detection and segmentation of drawn shapes with torchvision's models, from files in COCO's format to pictures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from runs import manifest, records, weights
from workspace import ROOT

import wf as wf_api
from wf_base import sample_uniform, stream, tree
from wf_torchvision.detection.detectors import build

DRAW = ROOT / "examples/draw_shapes.py"
SSD = "torchvision/ssdlite320_mobilenet_v3_large"
MODEL: dict[str, Any] = {"use": SSD, "image_size": 48, "max_objects": 20, "min_score": 0.1}
OPTIONS = (
    "--dataset",
    "coco",
    "--dataset.path",
    "shapes",
    "--batch-size",
    4,
    "--seed",
    3,
    "--device",
    "cpu",
    "--quiet",
)
OPTIONS += tuple(word for name, value in MODEL.items() if name != "use" for word in (f"--model.{name}", value))


def draw(folder: Path, train: int = 8, held_out: int = 4) -> Path:
    """A folder with drawn images, ``train.json`` and ``val.json``."""
    spec = importlib.util.spec_from_file_location("draw_shapes", DRAW)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir(exist_ok=True)
    for split, num, first in (("train", train, 0), ("val", held_out, 100)):
        (folder / f"{split}.json").write_text(json.dumps(module.draw(folder, num, first)))
    return folder


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return draw(tmp_path / "shapes")


def test_detection_has_the_bits_of_a_hand_written_loop(shapes: Path) -> None:
    from wf_torchvision.detection.coco import coco

    run = wf_api.run(
        dataset={"use": "coco", "path": str(shapes)},
        transform=["joint-flip"],
        model=MODEL,
        epochs=2,
        batch_size=4,
        seed=3,
        device="cpu",
        quiet=True,
        save=False,
    )
    torch.manual_seed(3)
    chosen = {name: value for name, value in MODEL.items() if name != "use"}
    model, samples = build(SSD.partition("/")[2], num_classes=2, **chosen), coco(shapes).train
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-3)
    for epoch in range(2):
        for ids in torch.randperm(8, generator=stream(3, "order", epoch)).split(4):
            images, targets = tree.Rows(), tree.Rows()
            for index, draws in zip(ids.tolist(), sample_uniform(3, epoch, ids, 1).flatten().tolist(), strict=True):
                image, own = samples[index]
                x0, y0, x1, y1 = own["boxes"].unbind(1)
                if draws < 0.5:
                    image, own = image.flip(-1), {**own, "boxes": torch.stack([128 - x1, y0, 128 - x0, y1], 1)}
                images.append(image.float() / 255)
                targets.append(own)
            optimizer.zero_grad()
            sum(model(images, targets).values()).backward()
            optimizer.step()
    for name, wanted in model.state_dict().items():
        assert torch.equal(run.model.state_dict()[name], wanted), name
    assert "validation/loss" not in run.metrics
    assert run.plan["monitor"] == "validation/map"
    assert {"train/map", "validation/map", "validation/map/50", "validation/map/recall/100"} <= set(run.metrics)


def test_boxes_are_predicted_and_drawn(wf: Any, shapes: Path, tmp_path: Path) -> None:
    done = wf("run", *OPTIONS, "--epochs", 1, "--keep", "best", "--model.min_score", 0.0, "--name", "x")
    assert done.code == 0, done.stderr
    logged = {name for one in records(tmp_path / "runs/x", "eval", "validation") for name in one}
    assert {"map", "map/50", "map/75"} <= logged
    with Image.open(shapes / "0003.png") as image:
        image.resize((200, 90)).save(tmp_path / "photo.jpg")
    found = wf("predict", "x", "photo.jpg", "--json", "--draw", "seen")
    assert found.code == 0, found.stderr
    assert "1 picture in seen" in found.stderr
    ((record, *_),) = [one["label"] for one in found.json()]
    assert set(record) == {"class", "score", "box"}
    assert record["class"] in ("disc", "square")
    boxes = torch.tensor([one["box"] for one in found.json()[0]["label"]])
    assert float(boxes[:, 2].max()) <= 200 + 1e-3
    assert float(boxes[:, 3].max()) <= 90 + 1e-3
    assert size_of(tmp_path / "seen/photo.png") == (400, 180)
    (shapes / "train.json").rename(tmp_path / "elsewhere.json")  # predicting a file needs no data
    assert json.loads(wf("predict", "x", "photo.jpg").stdout)[0] == record
    (tmp_path / "elsewhere.json").rename(shapes / "train.json")
    drawn = wf("predict", "x", "validation", "--draw", "seen")
    assert drawn.code == 0, drawn.stderr
    assert len(drawn.stdout.splitlines()) == 4
    assert sorted(file.name for file in (tmp_path / "seen").glob("validation-*")) == [
        f"validation-{number}.png" for number in range(4)
    ]
    model = wf_api.load_model(tmp_path / "runs/x")
    assert len(model([torch.zeros(3, 30, 40, dtype=torch.uint8)])) == 1
    (tmp_path / "file").write_text("")
    refused = wf("predict", "x", "photo.jpg", "--draw", "file")
    assert (refused.code, refused.stdout) == (4, "")
    assert "cannot write pictures into file" in refused.stderr


def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(wf: Any, shapes: Path) -> None:
    options = ("--transform", "joint-crop", "--transform", "joint-flip", "--epochs", 3, "--checkpoint-every", "3steps")
    proved = wf("prove-resume", *OPTIONS, *options, "--kill-at", 5, "--name", "proof", forks=True)
    assert proved.code == 0, proved.stdout + proved.stderr
    assert "killed after step 5, resumed from step 3" in proved.stdout


@pytest.mark.exhaustive
def test_a_two_stage_model_with_masks_resumes_to_the_bit(wf: Any, shapes: Path) -> None:
    options = ("--model", "torchvision/maskrcnn_resnet50_fpn", "--model.num_regions", 8, "--dataset.masks", "true")
    options += ("--metric", "map", "--metric.map.of", "masks", "--epochs", 2, "--workers", 2)
    proved = wf(
        "prove-resume",
        *OPTIONS,
        *options,
        "--checkpoint-every",
        "1steps",
        "--kill-at",
        3,
        "--name",
        "proof",
        forks=True,
    )
    assert proved.code == 0, proved.stdout + proved.stderr


@pytest.mark.exhaustive
def test_accumulation_and_processes_average_the_losses(wf: Any, ranks: Any, shapes: Path, tmp_path: Path) -> None:
    """Accumulated and in two processes; evaluations have the figures of all images in any process."""
    short = ("--epochs", 1, "--lr", 0.001)
    runs = {
        "parts": wf("run", *OPTIONS, *short, "--accumulate", 2, "--name", "parts"),
        "shared": ranks("run", *OPTIONS, *short, "--batch-size", 8, "--strategy", "ddp", "--name", "shared"),
    }
    for done in runs.values():
        assert done.code == 0, done.stderr
    for name in runs:
        assert manifest(tmp_path / "runs" / name)["steps"] == 1
        assert all(torch.isfinite(value).all() for value in weights(tmp_path / "runs" / name).values())
        judged = wf("evaluate", name, "--split", "validation", "--json").json()["metrics"]
        kept = manifest(tmp_path / "runs" / name)["metrics"]
        assert judged["validation/map"] == pytest.approx(kept["validation/map"], abs=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--model", "mlp"), 2, "detection needs a model that gives boxes, this one gives raw\n  models that fit: "),
        (("--transform", "flip"), 2, "it moves the pixels of images, but not the boxes targets of the dataset"),
        (("--metric", "accuracy"), 2, "the metric takes"),
        (("--loss", "ce"), 2, "models compute their own losses for task detection: leave the loss out"),
        (("--loss", "sum"), 2, "loss 'sum' does not fit dataset 'coco'"),
        (("--dataset.path", "elsewhere"), 4, "there is no file 'elsewhere' with annotations"),
        (("--model", "torchvision/resnet18", "--model.image_size", 48), 2, "detection needs a model that gives boxes"),
    ],
)
def test_components_that_do_not_fit_detection_are_refused(
    wf: Any, shapes: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    dataset = ("--dataset", "coco", "--dataset.path", "shapes", "--quiet")
    done = wf("run", *dataset, *words)
    assert (done.code, message in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_broken_annotation_ends_a_run_before_it_begins(wf: Any, shapes: Path, tmp_path: Path) -> None:
    document = json.loads((shapes / "train.json").read_text())
    document["annotations"][1]["bbox"] = [0, 0, 0, 9]
    (shapes / "train.json").write_text(json.dumps(document))
    done = wf("run", *OPTIONS, "--epochs", 1)
    number = document["annotations"][1]["id"]
    assert (done.code, done.stdout) == (4, "")
    assert f"shapes/train.json': annotation {number} of image" in done.stderr
    assert "bbox [0, 0, 0, 9] has no area" in done.stderr
    assert not (tmp_path / "runs").exists()
    skipped = wf("run", *OPTIONS, "--dataset.invalid", "skip", "--steps", 1, "--name", "x")
    assert skipped.code == 0, skipped.stderr
    assert "left out of the objects: 1 of no area" in skipped.stderr


def test_a_last_batch_of_one_image_is_refused_before_the_first_step(wf: Any, tmp_path: Path) -> None:
    draw(tmp_path / "shapes", train=5)
    done = wf("run", *OPTIONS, "--epochs", 1)
    assert done.code == 2, done.stderr
    assert "5 train samples in batches of 4 leave 1 for the last" in done.stderr


def test_the_class_of_each_pixel_is_learned_and_drawn(wf: Any, shapes: Path, tmp_path: Path) -> None:
    options = ("--dataset", "coco-masks", "--dataset.path", "shapes", "--dataset.image_size", 32, "--batch-size", 4)
    options += ("--model", "torchvision/lraspp_mobilenet_v3_large", "--transform", "joint-crop", "--quiet")
    done = wf("run", *options, "--epochs", 1, "--name", "x")
    assert done.code == 0, done.stderr
    assert {"validation/mean-iou", "validation/accuracy"} <= set(manifest(tmp_path / "runs/x")["metrics"])
    drawn = wf("predict", "x", "shapes/0001.png", "--draw", "seen")
    assert drawn.code == 0, drawn.stderr
    assert "%" in drawn.stdout
    assert size_of(tmp_path / "seen/0001.png") == (480, 480)


@pytest.mark.parametrize("dataset", ["coco", "coco-masks"])
def test_an_annotation_file_is_evaluated_without_the_training_data(wf: Any, shapes: Path, dataset: str) -> None:
    held_out = json.loads((shapes / "val.json").read_text())
    for number, image in enumerate(held_out["images"]):  # a box that even a detector of two steps finds
        whole, right, lower = [0, 0, image["width"], image["height"]], image["width"], image["height"]
        held_out["annotations"].append(
            {
                "id": 10_000 + number,
                "image_id": image["id"],
                "category_id": held_out["categories"][0]["id"],
                "bbox": whole,
                "segmentation": [[0, 0, right, 0, right, lower, 0, lower]],
            }
        )
    (shapes / "val.json").unlink()
    (shapes / "test.json").write_text(json.dumps(held_out))
    of_boxes = {**MODEL, "min_score": 0.0, "max_objects": 100}
    model = of_boxes if dataset == "coco" else {"use": "unet", "channels": [4]}
    data = {"use": dataset, "path": str(shapes), **({} if dataset == "coco" else {"image_size": 32})}
    place = shapes.parent / "run"
    wf_api.run(dataset=data, model=model, epochs=2, batch_size=7, seed=3, run_dir=place, device="cpu", quiet=True)
    expected = {name[5:]: value for name, value in manifest(place)["metrics"].items() if name.startswith("test/")}
    assert max(expected.values()) > 0
    (shapes / "train.json").unlink()
    found = wf("evaluate", place / "bundle", "--data", shapes / "test.json", "--json")
    assert found.code == 0, found.stderr
    own = {name.removeprefix("data/"): value for name, value in found.json()["metrics"].items()}
    assert (found.json()["samples"], own) == (4, pytest.approx(expected, rel=1e-5))

    unknown = json.loads((shapes / "test.json").read_text())
    unknown["categories"][0]["name"] = "hexagon"
    (shapes / "unknown.json").write_text(json.dumps(unknown))
    for file, code, message in (("unknown.json", 4, "hexagon"), ("", 2, "give a file like the training file (.json)")):
        refused = wf("evaluate", place / "bundle", "--data", shapes / file)
        assert (refused.code, message in refused.stderr) == (code, True), refused.stderr
