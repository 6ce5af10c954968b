"""Datasets in the format of COCO: samples and errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from wf.errors import DataError, UsageError
from wf_torchvision.detection.coco import PhotoReader, SizedPhotoReader, coco, coco_masks, read_photo

Document = dict[str, Any]
SQUARE = [[4, 2, 10, 2, 10, 8, 4, 8]]


def document(first: int = 0) -> Document:
    """Two images of 20x10 pixels: one with a cat and a dog, one with nothing."""
    return {
        "images": [
            {"id": first + 1, "file_name": f"{first + 1}.png", "width": 20, "height": 10},
            {"id": first + 2, "file_name": f"{first + 2}.png", "width": 20, "height": 10},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 11, "image_id": first + 1, "category_id": 7, "bbox": [4, 2, 6, 6], "segmentation": SQUARE},
            {
                "id": 12,
                "image_id": first + 1,
                "category_id": 3,
                "bbox": [0, 0, 20, 10],
                "segmentation": {"size": [10, 20], "counts": [0, 200]},
            },
        ],
    }


def write(file: Path, content: Document, images: Path | None = None) -> Path:
    """The file, and its images beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    folder = images or file.parent
    folder.mkdir(parents=True, exist_ok=True)
    for one in content["images"]:
        pixels = np.full((10, 20, 3), one["id"] % 256 if isinstance(one.get("id"), int) else 0, dtype=np.uint8)
        if isinstance(one.get("file_name"), str) and one["file_name"]:
            Image.fromarray(pixels).save(folder / one["file_name"])
    return file


def test_a_file_is_read_as_images_boxes_and_masks(tmp_path: Path) -> None:
    dataset = coco(write(tmp_path / "a.json", document()), masks=True)
    assert list(dataset.class_names) == ["cat", "dog"], "in the order of their ids"
    assert (dataset.task, dataset.targets, dataset.validation) == ("detection", "boxes", None)
    (image, found), (_, nothing) = dataset.train[0], dataset.train[1]
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 10, 20))
    assert found["boxes"].tolist() == [[4, 2, 10, 8], [0, 0, 20, 10]]
    assert found["labels"].tolist() == [1, 0]
    assert found["masks"].sum((1, 2)).tolist() == [36, 200]
    assert bool(found["masks"][0, 2:8, 4:10].all())
    assert {key: tuple(own.shape) for key, own in nothing.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "masks": (0, 10, 20),
    }
    assert "masks" not in coco(tmp_path / "a.json").train[0][1]


def test_a_compressed_encoding_is_a_mask_too(tmp_path: Path) -> None:
    content, mask = document(), np.zeros((10, 20), dtype=np.uint8, order="F")
    mask[3, 5] = 1
    code = rle.encode(mask)
    shape = {"size": code["size"], "counts": code["counts"].decode()}
    content["annotations"][0]["segmentation"] = shape
    found = coco(write(tmp_path / "a.json", content), masks=True).train[0][1]["masks"][0]
    assert found.nonzero().tolist() == [[3, 5]]
    shape["counts"] = shape["counts"][:-1]
    with pytest.raises(DataError, match=r"image 1 \('.*1\.png'\) has a segmentation that cannot be decoded"):
        coco(write(tmp_path / "b.json", content), masks=True).train[0]


def test_splits_are_several_files(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        write(tmp_path / f"plain/{split}.json", document(first))
        write(tmp_path / f"own/annotations/instances_{split}2017.json", document(first), tmp_path / f"own/{split}2017")
    (tmp_path / "own/annotations/captions_train2017.json").write_text("{}")
    named = coco(tmp_path / "plain/train.json", validation=tmp_path / "plain/val.json", images=tmp_path / "plain")
    assert named.test is None
    for dataset in (coco(tmp_path / "plain"), coco(tmp_path / "own"), named):
        assert dataset.validation is not None
        assert int(dataset.train[0][0][0, 0, 0]) == 1
        assert int(dataset.validation[0][0][0, 0, 0]) == 101


def test_the_class_of_each_pixel(tmp_path: Path) -> None:
    dataset = coco_masks(write(tmp_path / "a.json", document()), image_size=(5, 10))
    assert list(dataset.class_names) == ["background", "cat", "dog"]
    image, classes = dataset.train[0]
    assert (tuple(image.shape), tuple(classes.shape)) == ((3, 5, 10), (5, 10))
    assert classes[2, 3] == 2, "the dog is smaller, so it is in front"
    assert classes[0, 0] == 1
    assert dataset.train[1][1].unique().tolist() == [0]
    with pytest.raises(UsageError, match="at least 1"):
        coco_masks(tmp_path / "a.json", image_size=0)


def test_learned_classes_are_used_on_reload(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", document())
    assert coco(file, learned={"class_names": ["dog", "cat"]}).train[0][1]["labels"].tolist() == [0, 1]
    masks = coco_masks(file, learned={"class_names": ["background", "dog", "cat"]})
    assert list(masks.class_names) == ["background", "dog", "cat"]
    with pytest.raises(DataError, match="unknown class 'dog'"):
        coco(file, learned={"class_names": ["cat"]})


def changed(change: Callable[[Document], Any]) -> Document:
    content = document()
    change(content)
    return content


BROKEN: dict[str, tuple[Callable[[Document], Any], str]] = {
    "a box beyond the image": (
        lambda one: one["annotations"][0].update(bbox=[15, 2, 8, 4]),
        r"annotation 11 of image 1 \('1.png'\): bbox \[15, 2, 8, 4\] is not inside the image of 20x10 pixels",
    ),
    "a box before the image": (
        lambda one: one["annotations"][1].update(bbox=[-3, 0, 8, 4]),
        "annotation 12 of image 1 .* not inside the image",
    ),
    "no area": (
        lambda one: one["annotations"][0].update(bbox=[1, 1, 0, 5]),
        r"annotation 11 of image 1 .*: bbox \[1, 1, 0, 5\] has no area: its width is 0, its height 5",
    ),
    "an empty annotation": (lambda one: one["annotations"][0].update(bbox=[]), "annotation 11 of image 1 .* no bbox"),
    "no bbox": (lambda one: one["annotations"][0].pop("bbox"), "annotation 11 of image 1 .*: it has no bbox"),
    "no numbers": (
        lambda one: one["annotations"][0].update(bbox=[1, 2, "3", 4]),
        r'annotation 11 .*: bbox is \[1, 2, "3", 4\], not four numbers: x, y, width, height',
    ),
    "not finite": (
        lambda one: one["annotations"][0].update(bbox=[1, 2, float("nan"), 4]),
        "annotation 11 .*not four numbers",
    ),
    "an unknown category": (
        lambda one: one["annotations"][0].update(category_id=99),
        r"annotation 11 of image 1 has the unknown category 99\n  categories: 3 \(cat\), 7 \(dog\)",
    ),
    "a category that is no number": (lambda one: one["annotations"][0].update(category_id=[7]), "unknown category"),
    "an unknown image": (
        lambda one: one["annotations"][0].update(image_id=5),
        "annotation 11 belongs to image 5, which the file does not list",
    ),
    "no id": (
        lambda one: one["annotations"][0].update(bbox=[], id=None) or one["annotations"][0].pop("id"),
        "annotation number 0 in the list, which has no id, of image 1",
    ),
    "no objects": (lambda one: one.update(annotations=[]), "no object in any of its 2 images"),
    "no images": (lambda one: one.update(images=[]), "lists no images"),
    "no list": (lambda one: one.pop("categories"), "not in the format of COCO: it has no list 'categories'"),
    "two images": (lambda one: one["images"][1].update(id=1), "two images with the id 1: '1.png' and '2.png'"),
    "an image without a name": (lambda one: one["images"][1].pop("file_name"), "image 2 has no file_name"),
    "an image without a size": (lambda one: one["images"][1].pop("width"), "image 2 .* no width and height"),
    "an image id": (lambda one: one["images"][1].update(id="x"), "image number 1 in the list has the id 'x'"),
    "two categories": (lambda one: one["categories"][1].update(id=7), "has two categories 7"),
    "two names": (lambda one: one["categories"][1].update(name="dog"), "has two categories 'dog'"),
    "a category without a name": (lambda one: one["categories"][1].pop("name"), "a category needs an integer id"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_errors_in_a_file_are_named(case: str, tmp_path: Path) -> None:
    change, message = BROKEN[case]
    with pytest.raises(DataError, match=message) as raised:
        coco(write(tmp_path / "a.json", changed(change)))
    assert "a.json'" in str(raised.value)
    assert raised.value.exit_code == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], "it has no segmentation"),
        (None, "it has no segmentation"),
        ([[1, 2, 3, 4]], "not a list of polygons"),
        ([[1, 2, 3, 4, "5", 6]], "not a list of polygons"),
        ({"size": [20, 10], "counts": [200]}, r"not encoded for \[10, 20\] pixels"),
        ({"size": [10, 20], "counts": [5]}, "does not count the pixels of the image"),
    ],
)
def test_invalid_segmentations_are_refused_with_masks(shape: Any, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", changed(lambda one: one["annotations"][0].update(segmentation=shape)))
    with pytest.raises(DataError, match=f"annotation 11 of image 1 .*{message}"):
        coco(file, masks=True)
    assert len(coco(file).train[0][1]["boxes"]) == 2, "boxes need no segmentation"


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file '.*a\.json' with annotations"):
        coco(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"neither train\.json nor annotations/instances_train"):
        coco(tmp_path)
    (tmp_path / "a.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"a\.json' is not JSON: .*line 1 column 13"):
        coco(tmp_path / "a.json")
    file = write(tmp_path / "a.json", document())
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"a\.json': image 2 is missing: '.*2\.png'\n.*--dataset.images"):
        coco(file)
    for name in ("train2017", "train2014"):
        write(tmp_path / f"annotations/instances_{name}.json", document())
    with pytest.raises(DataError, match=r"several annotation files of one split: instances_train2014\.json, "):
        coco(tmp_path)


def test_invalid_objects_are_skipped_on_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = document()
    content["annotations"] += [
        {"id": 13, "image_id": 2, "category_id": 7, "bbox": [0, 0, 0, 5]},
        {"id": 14, "image_id": 2, "category_id": 7, "bbox": [30, 0, 5, 5]},
        {"id": 15, "image_id": 2, "category_id": 7, "bbox": [1, 1, 5, 5], "iscrowd": 1},
    ]
    with caplog.at_level(logging.WARNING, "wf.torchvision"):
        dataset = coco(write(tmp_path / "a.json", content), invalid="skip")
    assert [len(dataset.train[place][1]["boxes"]) for place in (0, 1)] == [2, 0]
    assert "left out of the objects: 1 of no area, 1 outside of the image, 1 crowds" in caplog.text


def test_a_box_that_rounding_puts_beyond_the_edge_is_cut_off(tmp_path: Path) -> None:
    content = changed(lambda one: one["annotations"][0].update(bbox=[14.5, -0.5, 6, 5]))
    assert coco(write(tmp_path / "a.json", content)).train[0][1]["boxes"][0].tolist() == [14.5, 0, 20, 4.5]


def test_images_are_turned_to_the_size_of_their_annotations(tmp_path: Path) -> None:
    pixels = np.zeros((10, 20, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert read_photo(tmp_path / "a.png").size == (10, 20)
    assert read_photo(tmp_path / "a.png", (10, 20)).getpixel((9, 0)) == (255, 255, 255)
    assert read_photo(tmp_path / "a.png", (20, 10)).getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(DataError, match=r"a\.png' has 10x20 pixels, but its annotations are for 30x20\n.*resized"):
        read_photo(tmp_path / "a.png", (30, 20))


def test_images_of_other_modes(tmp_path: Path) -> None:
    for mode, name in (("CMYK", "a.jpg"), ("P", "b.png"), ("L", "c.png"), ("RGBA", "d.png"), ("1", "e.png")):
        Image.new(mode, (6, 4)).save(tmp_path / name)
        (image,) = PhotoReader().read(tmp_path / name)
        assert (tuple(image.shape), image.dtype) == ((3, 4, 6), torch.uint8)
        assert SizedPhotoReader((2, 3)).read(tmp_path / name).shape == (1, 3, 2, 3)
        (row,) = PhotoReader().from_records([{"image": (tmp_path / name).read_bytes()}])
        assert torch.equal(row, image)
        rows = SizedPhotoReader((2, 3)).from_records([{"image": tmp_path / name}, {"image": Image.new(mode, (6, 4))}])
        assert rows.shape == (2, 3, 2, 3)
    Image.fromarray(np.zeros((4, 6), dtype=np.uint16)).save(tmp_path / "f.png")
    (tmp_path / "g.png").write_bytes(b"no image")
    for name, why in (("f.png", "more than 8 bits"), ("g.png", "cannot identify"), ("h.png", "No such file")):
        with pytest.raises(DataError, match=rf"{name}' cannot be read: .*{why}"):
            PhotoReader().read(tmp_path / name)
