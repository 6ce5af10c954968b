import json
import logging
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from wf.errors import DataError, UsageError
from wf_base.data import as_float, split_dataset
from wf_datasets.images.image_folder import ImageFiles, image_folder
from wf_datasets.images.image_reader import Form, ImageReader, PixelReader, read_image


def paint(file: Path, colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (12, 8)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)
    return file


def album(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        for index in range(count):
            paint(folder / name / f"{index:03}.png", (10 * index, 0, 255))
    return folder


def test_folders_are_classes(tmp_path: Path) -> None:
    dataset = image_folder(album(tmp_path, {"dog": 3, "cat": 2}), image_size=16)
    assert (list(dataset.class_names), dataset.targets, len(dataset.train)) == (["cat", "dog"], "class_index", 5)
    assert dataset.target_tensor is not None
    assert dataset.target_tensor.tolist() == [0, 0, 1, 1, 1]
    assert [dataset.train[index][1] for index in range(5)] == [0, 0, 1, 1, 1]
    assert isinstance(dataset.train, torch.utils.data.Dataset)
    image, label = dataset.train[4]
    assert (image.shape, image.dtype, label) == ((3, 16, 16), torch.float32, 1)
    assert [round(float(value) * 255) for value in image[:, 3, 5]] == [20, 0, 255]


def test_images_are_read_when_asked_for(tmp_path: Path) -> None:
    dataset = image_folder(album(tmp_path, {"a": 2, "b": 2}))
    (tmp_path / "b" / "001.png").write_bytes(b"broken")
    assert dataset.train[0][0].shape == (3, 64, 64)
    with pytest.raises(DataError, match=r"001\.png' cannot be read"):
        dataset.train[3]
    (tmp_path / "b" / "001.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"001\.png' cannot be read: it is empty\n"):
        dataset.train[3]


def test_image_identity_is_name_size_and_class(tmp_path: Path) -> None:
    def identity_of(folder: Path) -> list[tuple[str, int, int]]:
        samples = image_folder(folder).train
        assert isinstance(samples, ImageFiles)
        return samples.identity()

    first = identity_of(album(tmp_path / "here", {"a": 2, "b": 1}))
    assert [(name, label) for name, _, label in first] == [("a/000.png", 0), ("a/001.png", 0), ("b/000.png", 1)]
    assert identity_of(album(tmp_path / "there", {"a": 2, "b": 1})) == first
    paint(tmp_path / "here" / "a" / "001.png", size=(40, 30))
    assert [one != other for one, other in zip(identity_of(tmp_path / "here"), first, strict=True)] == [
        False,
        True,
        False,
    ]


def test_size_and_channels(tmp_path: Path) -> None:
    folder = album(tmp_path, {"a": 1, "b": 1})
    assert image_folder(folder, image_size=(8, 12)).train[0][0].shape == (3, 8, 12)
    assert image_folder(folder, image_size=4, channels=1).train[0][0].shape == (1, 4, 4)
    with pytest.raises(UsageError, match="image_size"):
        image_folder(folder, image_size=(0, 4))
    with pytest.raises(UsageError, match="at most 16,384 pixels a side"):
        image_folder(folder, image_size=(4, 100_000))


def test_pixels_keep_their_position(tmp_path: Path) -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 1), (0, 255, 0))
    image.save(tmp_path / "one.png")
    tensor = read_image(tmp_path / "one.png", Form((2, 3), 3))
    assert torch.nonzero(tensor).tolist() == [[1, 1, 2]]
    assert float(tensor.max()) == 1.0


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_the_first_of_several_frames_is_read(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black", "black")]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / f"a.{ending}", Form((4, 4), 3)).min() > 0.95


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.new(mode, (5, 5)).save(file)
    for channels in (1, 3):
        assert read_image(file, Form((4, 4), channels)).shape == (channels, 4, 4)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.paste((255, 255, 255), (0, 0, 10, 10))
    image.save(tmp_path / "turned.jpg", exif=exif)
    tensor = read_image(tmp_path / "turned.jpg", Form((20, 10), 1))
    assert float(tensor[0, :8].mean()) > 0.9
    assert float(tensor[0, 12:].mean()) < 0.1


def test_split_folders(tmp_path: Path) -> None:
    for split, counts in {"train": {"a": 3, "b": 2}, "val": {"b": 1}, "test": {"a": 1, "b": 2}}.items():
        album(tmp_path / split, counts)
    dataset = image_folder(tmp_path, image_size=4)
    assert isinstance(dataset.validation, ImageFiles)
    assert isinstance(dataset.test, ImageFiles)
    assert (len(dataset.train), dataset.validation.labels, dataset.test.labels) == (5, (1,), (0, 1, 1))
    assert list(dataset.class_names) == ["a", "b"]


def test_folders_beside_train_are_refused_or_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "validation", "spare"):
        album(tmp_path / split, {"a": 1, "b": 1})
    with caplog.at_level(logging.WARNING):
        dataset = image_folder(tmp_path)
    assert (dataset.validation is not None, dataset.test) == (True, None)
    assert "skipped beside 'train': spare" in caplog.text
    album(tmp_path / "val", {"a": 1})
    with pytest.raises(DataError, match="both a folder 'val' and a folder 'validation'"):
        image_folder(tmp_path)


def test_train_can_be_a_class_name(tmp_path: Path) -> None:
    assert list(image_folder(album(tmp_path, {"train": 2, "bus": 2})).class_names) == ["bus", "train"]


def test_unknown_class_in_test(tmp_path: Path) -> None:
    album(tmp_path / "train", {"cat": 1, "dog": 1})
    album(tmp_path / "test", {"cats": 1})
    with pytest.raises(DataError, match=r"(?s)unknown class 'cats'.*did you mean 'cat'"):
        image_folder(tmp_path)


def test_extensions_and_folders_inside_classes(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "x" / "deep.PNG")
    paint(tmp_path / "a" / "one.bmp")
    paint(tmp_path / "b" / "two.png")
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    train = image_folder(tmp_path).train
    assert isinstance(train, ImageFiles)
    assert [file.name for file in train.files] == ["one.bmp", "deep.PNG", "two.png"]
    assert len(image_folder(tmp_path, extensions=("png",)).train) == 2


def test_splits_are_stratified(tmp_path: Path) -> None:
    dataset = image_folder(album(tmp_path, {"a": 20, "b": 10}), image_size=4)
    splits = split_dataset(dataset, "80/10/10", seed=1, shuffle=True)
    labels = [label for _, label in (splits.samples["test"][index] for index in range(3))]
    assert sorted(labels) == [0, 0, 1]


def test_image_files_can_be_pickled_for_workers(tmp_path: Path) -> None:
    train = image_folder(album(tmp_path, {"a": 1, "b": 1}), image_size=4).train
    assert torch.equal(pickle.loads(pickle.dumps(train))[1][0], train[1][0])


def test_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folders"):
        image_folder(tmp_path)
    paint(tmp_path / "one.png")
    with pytest.raises(DataError, match="has 1 images but no folders"):
        image_folder(tmp_path)
    paint(tmp_path / "a" / "one.png")
    with pytest.raises(DataError, match="only one class: 'a'"):
        image_folder(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"no image in '.*b'; looked for \.jpg"):
        image_folder(tmp_path)


def test_empty_split(tmp_path: Path) -> None:
    album(tmp_path / "train", {"a": 1, "b": 1})
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test' has no class folders"):
        image_folder(tmp_path)


def test_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album(tmp_path / "photos", {"a": 1, "b": 1})
    with pytest.raises(DataError, match=r"(?s)no folder.*did you mean 'photos'"):
        image_folder(tmp_path / "photo")
    with pytest.raises(DataError, match="is a file"):
        image_folder(tmp_path / "photos" / "a" / "000.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(image_folder(Path("~/photos")).train) == 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp"])
def test_damaged_images(tmp_path: Path, suffix: str) -> None:
    whole = paint(tmp_path / f"whole{suffix}", size=(64, 64))
    for name, content in {
        "cut": whole.read_bytes()[: len(whole.read_bytes()) // 2],
        "empty": b"",
        "text": b"hm",
    }.items():
        file = tmp_path / f"{name}{suffix}"
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}{suffix}' cannot be read"):
            read_image(file, Form((8, 8), 3))


def ramp(kind: type, top: float) -> np.ndarray[Any, np.dtype[Any]]:
    return (np.linspace(0, top, 64).reshape(8, 8)).astype(kind)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_read_as_such(tmp_path: Path, name: str, channels: int) -> None:
    Image.fromarray(ramp(np.uint16, 65535)).save(tmp_path / name)
    image = read_image(tmp_path / name, Form((8, 8), channels))
    assert image.shape == (channels, 8, 8)
    assert torch.allclose(image[0].flatten(), torch.linspace(0, 1, 64), atol=2e-5)
    assert torch.equal(image[0], image[-1])


def test_big_endian_sixteen_bits(tmp_path: Path) -> None:
    header = b"P5 8 8 65535\n"
    (tmp_path / "a.pgm").write_bytes(header + ramp(np.uint16, 65535).astype(">u2").tobytes())
    assert torch.allclose(
        read_image(tmp_path / "a.pgm", Form((8, 8), 1)).flatten(), torch.linspace(0, 1, 64), atol=2e-5
    )


def test_floats_from_0_to_1_or_refused(tmp_path: Path) -> None:
    Image.fromarray(ramp(np.float32, 1)).save(tmp_path / "a.tif")
    assert torch.allclose(read_image(tmp_path / "a.tif", Form((8, 8), 1)).flatten(), torch.linspace(0, 1, 64))
    for kind, top in ((np.float32, 255), (np.float32, np.nan), (np.int32, 255)):
        Image.fromarray(ramp(kind, top) if top == top else np.full((8, 8), top, kind)).save(tmp_path / "b.tif")
        with pytest.raises(DataError, match=r"the value of white is unknown"):
            read_image(tmp_path / "b.tif", Form((8, 8), 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_white_is_1_and_black_is_0_in_every_mode(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (8, 8), "white")
    image.paste((0, 0, 0), (0, 0, 4, 8))
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.convert(mode).save(file, **({"transparency": b"\x00\xff"} if mode == "P" else {}))
    for channels in (1, 3):
        read = read_image(file, Form((8, 8), channels))
        assert read[:, :, :4].max() < 0.01
        assert read[:, :, 4:].min() > 0.99


def test_damaged_and_huge_images_are_refused(tmp_path: Path) -> None:
    good = paint(tmp_path / "good.png", size=(64, 64)).read_bytes()
    Image.effect_noise((64, 64), 90).save(tmp_path / "good.jpg", exif=b"Exif\0\0broken")
    jpeg = (tmp_path / "good.jpg").read_bytes()
    size = (20_000).to_bytes(4, "big") * 2
    head = good[:16] + size + good[24:29]
    bomb = head + zlib.crc32(head[12:29]).to_bytes(4, "big") + good[33:]
    cases = [b"", b"no image", good[:40], good[:60], jpeg[: len(jpeg) // 2], bomb]
    reader = ImageReader((8, 8), 3)
    for number, data in enumerate(cases):
        file = tmp_path / f"{number}.png"
        file.write_bytes(data)
        with pytest.raises(DataError, match="cannot be read"):
            reader.read(file)
    with pytest.raises(DataError, match="cannot be read"):
        reader.read(tmp_path / "gone.png")


def test_hidden_files_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    album(tmp_path, {"a": 2, "b": 2})
    for name in (".DS_Store", "._000.png", ".hidden/000.png", "__MACOSX/000.png", "Thumbs.db"):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_bytes(b"junk")
    with caplog.at_level(logging.WARNING):
        assert len(image_folder(tmp_path, image_size=4).train) == 4
        assert caplog.text == ""
        (tmp_path / "a" / "notes.txt").write_text("hm")
        (tmp_path / "a" / "photo.heic").write_bytes(b"hm")
        assert len(image_folder(tmp_path, image_size=4).train) == 4
    assert "skipped 2 files that are not images (.heic, .txt)" in caplog.text


def test_prediction_reads_images_as_training_does(tmp_path: Path) -> None:
    dataset = image_folder(album(tmp_path, {"a": 2, "b": 2}), image_size=(4, 6), channels=1)
    assert dataset.reader is not None
    reader = ImageReader(**json.loads(json.dumps(dataset.reader.description())))
    assert isinstance(dataset.train, ImageFiles)
    for index, file in enumerate(dataset.train.files):
        assert torch.equal(reader.read(file)[0], dataset.train[index][0])
        pixels = PixelReader((4, 6), 1).read(file)
        assert pixels.dtype == torch.uint8
        assert torch.equal(as_float(pixels), reader.read(file))


def test_learned_classes_are_used_on_reload(tmp_path: Path) -> None:
    album(tmp_path, {"a": 1, "b": 2})
    learned = {"class_names": ["b", "a"]}
    dataset = image_folder(tmp_path, image_size=4, learned=learned)
    assert isinstance(dataset.train, ImageFiles)
    assert (dataset.class_names, dataset.train.labels) == (["b", "a"], (1, 0, 0))
    (tmp_path / "a").rename(tmp_path / "wolf")
    with pytest.raises(DataError, match="unknown class 'wolf'"):
        image_folder(tmp_path, image_size=4, learned=learned)


def test_folders_train_and_val_are_the_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        album(tmp_path / split, {"a": 10, "b": 10})
    dataset = image_folder(tmp_path, image_size=4)
    splits = split_dataset(dataset, "70/15/15", 0, shuffle=True)
    assert {split: len(samples) for split, samples in splits.samples.items()} == {"train": 20, "validation": 20}


def striped(file: Path, size: tuple[int, int]) -> Path:
    """Red on the left, green in the middle, blue on the right, a third each; of a high image from top to bottom."""
    width, height = size
    image = Image.new("RGB", size)
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        if width > height:
            image.paste(colour, (number * width // 3, 0, (number + 1) * width // 3, height))
        else:
            image.paste(colour, (0, number * height // 3, width, (number + 1) * height // 3))
    image.save(file)
    return file


@pytest.mark.parametrize("size", [(90, 30), (30, 90)])
def test_fit_crops_pads_or_squashes_other_shapes(tmp_path: Path, size: tuple[int, int]) -> None:
    file = striped(tmp_path / "image.png", size)
    turned = (0, 2, 1) if size[1] > size[0] else (0, 1, 2)

    def read(**options: Any) -> Any:
        return read_image(file, Form((30, 30), 3, **options)).permute(*turned)

    cut, whole, squashed = read(fit="crop"), read(fit="pad"), read(fit="squash")
    assert cut[1].eq(1).all()
    assert cut[0].eq(0).all()
    assert [round(float(one)) for one in squashed[:, 15, 5]] == [1, 0, 0]
    assert [round(float(one)) for one in whole[:, 15, 5]] == [1, 0, 0]
    assert whole[:, :9].eq(0).all()
    assert whole[:, 21:].eq(0).all()
    assert torch.equal(read(fit="crop", resize_size=30), cut)
    larger = read(fit="crop", resize_size=40)
    assert larger[1].eq(1).all()


@pytest.mark.parametrize("shape", [(7, 13), (13, 7), (1, 1)])
def test_every_image_is_fitted_to_the_requested_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    for size in [(1, 1), (3, 500), (200, 1), (17, 5)]:
        file = paint(tmp_path / f"{size}.png", size=size)
        for fit in ("crop", "pad", "squash"):
            assert read_image(file, Form(shape, 3, fit)).shape == (3, *shape)


def test_a_reader_survives_its_description(tmp_path: Path) -> None:
    file = striped(tmp_path / "image.png", (90, 30))
    for options in ({}, {"fit": "pad"}, {"fit": "crop", "resize_size": 20}, {"reduce": True}):
        reader = ImageReader((10, 10), 3, **options)
        again = ImageReader(**json.loads(json.dumps(reader.description())))
        assert torch.equal(reader.read(file), again.read(file))


def test_a_class_without_images_in_a_split_gives_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    album(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    album(tmp_path / "val", {"a": 1})
    dataset = image_folder(tmp_path)
    assert dataset.validation is not None
    assert "it has no image of 'b', 'c'" in caplog.text


def test_a_resize_size_that_does_not_cover_the_image(tmp_path: Path) -> None:
    folder = album(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(UsageError, match="resize_size is 20; it must be at least 64"):
        image_folder(folder, resize_size=20)
    assert image_folder(folder, resize_size=20, fit="squash").train[0][0].shape == (3, 64, 64)


def photo(file: Path, size: tuple[int, int], orientation: int = 1) -> Path:
    """A smooth picture, as a JPEG."""
    across, down = np.meshgrid(np.linspace(0, 6, size[0]), np.linspace(0, 4, size[1]))
    pixels = np.stack([127 + 127 * np.sin(across), 127 + 127 * np.cos(down), 20 * (across + down)], axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file, exif=exif, quality=95)
    return file


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_reduce_decodes_large_jpegs_at_a_smaller_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Any, orientation: int
) -> None:
    sizes = []
    upright = ImageOps.exif_transpose
    monkeypatch.setattr(ImageOps, "exif_transpose", lambda image: sizes.append(image.size) or upright(image))
    for size, reduced in (((1200, 800), (300, 200)), ((800, 1200), (200, 300)), ((200, 150), (200, 150))):
        file = photo(tmp_path / "photo.jpg", size, orientation)
        whole = read_image(file, Form((96, 80), 3, fit))
        parts = read_image(file, Form((96, 80), 3, fit, reduce=True))
        assert sizes == [size, reduced]
        assert (whole - parts).abs().max() < 0.04  # ten steps of 255 where the picture is steepest
        sizes.clear()
    drawn = paint(tmp_path / "drawn.png", size=(1200, 800))
    assert torch.equal(
        read_image(drawn, Form((96, 80), 3, fit)), read_image(drawn, Form((96, 80), 3, fit, reduce=True))
    )


def test_cached_images_are_decoded_once(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", {"a": 3, "b": 2})
    plain = image_folder(folder, image_size=16).train
    cached = image_folder(folder, image_size=16, cache=tmp_path / "cache").train
    assert isinstance(plain, ImageFiles)
    assert isinstance(cached, ImageFiles)
    assert cached.identity() == plain.identity()  # a run with a cache resumes one without
    another = pickle.loads(pickle.dumps(cached))  # as workers receive it
    first = [another[index] for index in range(5)]
    for file in cached.files:
        stat = file.stat()
        file.write_bytes(bytes(stat.st_size))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = image_folder(folder, image_size=16, cache=tmp_path / "cache").train
    for index in range(5):
        for samples in (cached, again):
            assert torch.equal(samples[index][0], first[index][0])
            assert samples[index][1] == first[index][1]
    with pytest.raises(DataError, match="cannot be read"):
        plain[0]


def test_a_cache_detects_changed_files_other_sizes_and_torn_rows(tmp_path: Path) -> None:
    folder, cache = album(tmp_path / "photos", {"a": 2, "b": 1}), tmp_path / "cache"

    def images(**options: Any) -> list[torch.Tensor]:
        samples = image_folder(folder, cache=cache, **options).train
        return [samples[index][0] for index in range(3)]

    small, large = images(image_size=16), images(image_size=32)
    assert {image.shape for image in large} == {(3, 32, 32)}
    paint(folder / "a" / "000.png", (1, 2, 3))
    changed = images(image_size=16)
    assert not torch.equal(changed[0], small[0])
    assert torch.equal(changed[1], small[1])
    for file in cache.iterdir():
        torn = bytearray(file.read_bytes())
        torn[-100:] = bytes(100)  # of the last row
        file.write_bytes(torn)
    assert all(map(torch.equal, images(image_size=16), changed))
    assert all(map(torch.equal, images(image_size=32), images(image_size=32)))


def test_images_of_more_than_8_bits_are_not_cached(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", {"a": 1, "b": 1})
    Image.fromarray(np.full((8, 12), 1000, dtype=np.uint16)).save(folder / "a" / "000.png")
    for _ in range(2):
        images = image_folder(folder, image_size=8, cache=tmp_path / "cache").train
        assert torch.allclose(images[0][0], torch.tensor(1000 / 65535))


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    folder = album(tmp_path / "photos", {"a": 1, "b": 1})
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be used.*\n.*0 MB; choose another folder with --dataset.cache"):
        image_folder(folder, cache=tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""
