"""Images with a mask each, in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wf.errors import DataError, UsageError, WfError
from wf_datasets.images.image_folder import image_folder
from wf_datasets.images.mask_folder import IGNORED, mask_folder

MASK = np.array([[0, 1, 1, 255], [2, 2, 1, 0]], dtype=np.uint8)


def save(file: Path, image: Image.Image, **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)


def write(folder: Path, name: str = "a/1", mask: np.ndarray[Any, Any] = MASK, size: tuple[int, int] = (2, 4)) -> None:
    image = np.zeros((*size, 3), dtype=np.uint8)
    save(folder / "images" / f"{name}.jpg", Image.fromarray(image))
    save(folder / "masks" / f"{name}.png", Image.fromarray(mask))


def test_masks_keep_their_values_and_are_as_large_as_their_images(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "b", np.full((2, 4), 2, np.uint8))
    data = mask_folder(tmp_path, (2, 4))
    assert (data.class_names, data.targets, len(data.train)) == (["0", "1", "2"], "mask", 2)
    image, mask = data.train[0]
    assert image.shape == (3, 2, 4)
    assert mask.tolist() == np.where(MASK == 255, IGNORED, MASK.astype(int)).tolist()
    _, padded = mask_folder(tmp_path, (4, 4), fit="pad").train[0]
    assert padded[[0, 3]].eq(IGNORED).all()
    assert torch.equal(padded[1:3], mask)
    _, cropped = mask_folder(tmp_path, (2, 2)).train[0]
    assert torch.equal(cropped, mask[:, 1:3])
    assert set(mask_folder(tmp_path, 7, fit="squash").train[0][1].unique().tolist()) == {IGNORED, 0, 1, 2}


def test_values_and_names_of_classes(tmp_path: Path) -> None:
    write(tmp_path, mask=np.array([[0, 0, 255, 255]] * 2, dtype=np.uint8))
    with pytest.raises(DataError, match=r"only one class: 0 besides 255.*\n.*--dataset.values '\[0, 255\]'"):
        mask_folder(tmp_path)
    data = mask_folder(tmp_path, (2, 4), values=[0, 255], class_names=["no", "yes"])
    assert data.class_names == ["no", "yes"]
    assert data.train[0][1].tolist() == [[0, 0, 1, 1]] * 2
    again = mask_folder(tmp_path, (2, 4), learned={"class_names": ["no", "yes"], "reader": data.reader.description()})  # type: ignore[union-attr]  # it has one
    assert torch.equal(again.train[0][1], data.train[0][1])
    with pytest.raises(DataError, match="pixels of value 255, which is no class: the classes have 0, 1"):
        mask_folder(tmp_path, class_names=["no", "yes"], ignore=None).train[0]
    for wrong in ({"values": [0]}, {"values": [0, 0]}):
        with pytest.raises(UsageError, match="values"):
            mask_folder(tmp_path, class_names=["no", "yes"], **wrong)


def test_palettes_sixteen_bits_and_rotated_photos(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "images/1.jpg", Image.new("RGB", (4, 2)), exif=exif)
    upright = np.rot90(MASK, -1)
    palette = Image.fromarray(upright.copy())
    palette.putpalette(list(range(256)) * 3)
    save(tmp_path / "masks/1.png", palette)
    save(tmp_path / "images/2.png", Image.new("L", (2, 4)))
    save(tmp_path / "masks/2.tif", Image.fromarray(upright.astype(np.uint16)))
    save(tmp_path / "images/3.png", Image.new("L", (2, 4)))
    save(tmp_path / "masks/3.png", Image.fromarray(upright > 0))
    data = mask_folder(tmp_path, (4, 2))
    assert torch.equal(data.train[0][1], data.train[1][1])
    assert data.train[2][1].unique().tolist() == [0, 1]


def test_splits_in_folders(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / split)
    data = mask_folder(tmp_path)
    assert data.validation is not None
    assert data.test is not None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "masks/a/1.png").rename(folder / "masks/a/2.png"), r"has no mask '.*masks/a/1.png'"),
        (lambda folder: write(folder, size=(3, 4)), "has 4x3 pixels, but its mask .* has 4x2"),
        (lambda folder: save(folder / "masks/a/1.png", Image.new("RGB", (4, 2))), "has the mode RGB; a mask has one"),
        (lambda folder: (folder / "masks/a/1.png").write_bytes(b""), "mask '.*1.png' cannot be read"),
        (lambda folder: (folder / "images/a/1.jpg").rename(folder / "images/a/1.txt"), "no image in"),
        (lambda folder: (folder / "masks").rename(folder / "labels"), r"no folder 'masks'\n.*--dataset.masks"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, spoil: Any, message: str) -> None:
    write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(WfError, match=message):
        mask_folder(tmp_path).train[0]


def test_image_folder_refuses_images_and_masks_as_classes(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match="--dataset mask-folder"):
        image_folder(tmp_path)


def test_image_folder_names_links_to_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name / "1.png", Image.new("RGB", (4, 2)))
    (tmp_path / "a" / "2.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"2.png' is a link to 'gone.png', which does not exist"):
        image_folder(tmp_path)
