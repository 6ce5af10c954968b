"""The classification datasets of torchvision, as the catalogue ``torchvision/<name>``.

`FORMS` lists how each one names its parts (``train=True``, ``split="valid"``, ...).
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor

from wf.errors import DataError, PluginError, UsageError, unknown
from wf.parameters import docstring_params
from wf_base import Dataset, Samples, TensorSamples
from wf_catalogues.members import option, parameters_of, stand_in
from wf_storage.downloads import timeout
from wf_torchvision.reader import ImageReader, check_bits, to_pixels

_MISSING = (OSError, RuntimeError, ValueError, EOFError)
"""Errors of torchvision for a dataset that is missing or cannot be downloaded; URLError is an OSError."""

_FLAG: Mapping[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}


def _split(**names: str) -> dict[str, dict[str, Any]]:
    return {split: {"split": name} for split, name in names.items()}


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a dataset of torchvision is read."""

    kind: str
    """The name of its class."""
    parts: Mapping[str, dict[str, Any]] = field(default_factory=lambda: {"train": {}})
    """The arguments of each of wf's splits; a dataset with one part is divided by wf."""
    in_memory: bool = False
    """Whether its images have one size and are in the attribute ``data``."""
    downloads: bool = True
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Its own options; the first value is the default."""


_TRAIN_TEST, _THREE = _split(train="train", test="test"), _split(train="train", validation="val", test="test")
FORMS: dict[str, Form] = {
    "caltech101": Form(kind="Caltech101"),
    "caltech256": Form(kind="Caltech256"),
    "cifar10": Form(kind="CIFAR10", parts=_FLAG, in_memory=True),
    "cifar100": Form(kind="CIFAR100", parts=_FLAG, in_memory=True),
    "clevr": Form(kind="CLEVRClassification", parts=_split(train="train", validation="val")),
    "country211": Form(kind="Country211", parts=_split(train="train", validation="valid", test="test")),
    "dtd": Form(kind="DTD", parts=_THREE),
    "emnist": Form(
        kind="EMNIST",
        parts=_FLAG,
        in_memory=True,
        choices={"split": ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")},
    ),
    "eurosat": Form(kind="EuroSAT"),
    "fashion-mnist": Form(kind="FashionMNIST", parts=_FLAG, in_memory=True),
    "fer2013": Form(kind="FER2013", downloads=False),
    "fgvc-aircraft": Form(
        kind="FGVCAircraft", parts=_THREE, choices={"annotation_level": ("variant", "family", "manufacturer")}
    ),
    "flowers102": Form(kind="Flowers102", parts=_THREE),
    "food101": Form(kind="Food101", parts=_TRAIN_TEST),
    "gtsrb": Form(kind="GTSRB", parts=_TRAIN_TEST),
    "imagenet": Form(kind="ImageNet", parts=_split(train="train", validation="val"), downloads=False),
    "imagenette": Form(
        kind="Imagenette",
        parts=_split(train="train", validation="val"),
        choices={"size": ("full", "320px", "160px")},
    ),
    "kmnist": Form(kind="KMNIST", parts=_FLAG, in_memory=True),
    "lfw-people": Form(
        kind="LFWPeople", parts={"train": {"split": "10fold"}}, choices={"image_set": ("funneled", "deepfunneled")}
    ),
    "mnist": Form(kind="MNIST", parts=_FLAG, in_memory=True),
    "oxford-pets": Form(kind="OxfordIIITPet", parts=_split(train="trainval", test="test")),
    "pcam": Form(kind="PCAM", parts=_THREE),
    "places365": Form(kind="Places365", parts=_split(train="train-standard", validation="val")),
    "qmnist": Form(kind="QMNIST", parts={"train": {"what": "train"}, "test": {"what": "test"}}, in_memory=True),
    "rendered-sst2": Form(kind="RenderedSST2", parts=_THREE),
    "semeion": Form(kind="SEMEION", in_memory=True),
    "stanford-cars": Form(kind="StanfordCars", parts=_TRAIN_TEST, downloads=False),
    "stl10": Form(kind="STL10", parts=_TRAIN_TEST, in_memory=True),
    "sun397": Form(kind="SUN397"),
    "svhn": Form(kind="SVHN", parts=_TRAIN_TEST, in_memory=True),
    "usps": Form(kind="USPS", parts=_FLAG, in_memory=True),
}
"""Every dataset that can be used, except ``fake``."""

_PIXELS = "its targets are images, which would have to be resized together with the inputs"
_BOXES = "its targets are boxes or points; wf's own dataset coco reads boxes, in the format of COCO"
_COCO = "wf's own datasets coco and coco-masks read such files"
_MOTION = "its targets are the motion between two images, and wf has no such task"
_STEREO = "its targets are depths of pairs of images, and wf has no such task"
_TEXT = "its targets are sentences, and wf has no such task"
_PAIRS = "its samples are pairs, and wf has no such task"
_VIDEO = "torchvision 0.29 can no longer read its videos without other libraries"
_FOLDER = "wf's own dataset image-folder reads such folders"
REFUSED: dict[str, str] = {
    **dict.fromkeys(("Cityscapes", "SBDataset", "VOCSegmentation"), _PIXELS),
    **dict.fromkeys(("Kitti", "VOCDetection", "WIDERFace"), _BOXES),
    **dict.fromkeys(("FlyingChairs", "FlyingThings3D", "HD1K", "KittiFlow", "Sintel"), _MOTION),
    **dict.fromkeys(("CREStereo", "CarlaStereo", "ETH3DStereo", "FallingThingsStereo", "InStereo2k"), _STEREO),
    **dict.fromkeys(("Kitti2012Stereo", "Kitti2015Stereo", "Middlebury2014Stereo"), _STEREO),
    **dict.fromkeys(("SceneFlowStereo", "SintelStereo"), _STEREO),
    **dict.fromkeys(("CocoCaptions", "Flickr30k", "Flickr8k", "SBU"), _TEXT),
    **dict.fromkeys(("LFWPairs", "PhotoTour"), _PAIRS),
    **dict.fromkeys(("HMDB51", "Kinetics", "UCF101"), _VIDEO),
    **dict.fromkeys(("DatasetFolder", "ImageFolder"), _FOLDER),
    "CocoDetection": _COCO,
    "CelebA": "its 40 labels per image are not supported yet; convert it to npz",
    "INaturalist": "its classes depend on the version of each part, so that train and validation differ",
    "LSUN": "it needs lmdb and one archive for each class, which torchvision does not download",
    "LSUNClass": "it is one class of LSUN, so there is nothing to classify",
    "MovingMNIST": "it has no targets",
    "Omniglot": "its two parts have different classes",
}
"""Datasets that cannot be used, by the names of their classes, with the reason."""


@dataclass(frozen=True)
class Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images that are read when they are requested and resized to one size."""

    samples: Any
    """torchvision's dataset."""
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The image float32 ``[3, H, W]`` from 0 to 1, and its class.

        Raises:
            DataError: When the file is damaged.
        """
        try:
            image, label = self.samples[index]
            check_bits(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"sample {index} of {type(self.samples).__name__} cannot be read: {error}") from error
        return to_pixels(image, self.size, 3).to(torch.float32).div_(255), int(label)

    def identity(self) -> list[Any]:
        """An identity of the images: dataset, part and classes."""
        return [type(self.samples).__name__, len(self.samples), _labels(self.samples)]


def build(
    name: str,
    data_dir: Path,
    root: Path | None = None,
    download: bool = True,
    image_size: int = 224,
    **choices: str,
) -> Dataset:
    """A classification dataset of torchvision, read by torchvision's own class.

    Args:
        name: Its name here, such as ``cifar100``.
        data_dir: The folder that is searched after `root`, and the default download folder.
        root: The folder that torchvision calls root.
        download: Whether to download missing data.
        image_size: The side to which images of differing sizes are resized, in pixels (bilinear).
        choices: Further options of the class.

    Returns:
        Targets ``class_index``, with the splits that the dataset has.

    Raises:
        DataError: If it is missing and cannot be downloaded.
        UsageError: For an unknown name or a size below 1.
    """
    form = _form(name)
    if image_size < 1:
        raise UsageError(f"dataset 'torchvision/{name}': image_size is {image_size}; it must be at least 1")
    given = {key: values[0] for key, values in form.choices.items()} | choices
    folders = tuple(dict.fromkeys(Path(one).expanduser() for one in (root, data_dir) if one is not None))
    found = {split: _open(name, form, {**part, **given}, folders, download) for split, part in form.parts.items()}
    first = found["train"]
    labels = _labels(first)
    names = _class_names(first, labels)
    samples = {
        split: _in_memory(one) if form.in_memory else Images(one, (image_size, image_size))
        for split, one in found.items()
    }
    return Dataset(
        train=samples["train"],
        validation=samples.get("validation"),
        test=samples.get("test"),
        targets="class_index",
        class_names=names,
        target_tensor=None if labels is None or form.in_memory else torch.tensor(labels, dtype=torch.int64),
        reader=_reader(samples["train"], image_size),
    )


def fake(size: int = 1000, image_size: int = 64, num_classes: int = 10, random_offset: int = 0) -> Dataset:
    """torchvision's FakeData: noise with random classes, for tests without a network.

    Args:
        size: The number of samples.
        image_size: The side of an image in pixels.
        num_classes: The number of classes.
        random_offset: Added to the number of a sample to seed its noise.

    Raises:
        UsageError: For a number out of range.
    """
    if min(size, image_size) < 1 or num_classes < 2:
        raise UsageError("dataset 'torchvision/fake': size and image_size must be at least 1, num_classes at least 2")
    made = torchvision.datasets.FakeData(size, (3, image_size, image_size), num_classes, random_offset=random_offset)
    return Dataset(
        train=Images(made, (image_size, image_size)),
        targets="class_index",
        class_names=[str(index) for index in range(num_classes)],
    )


def names() -> list[str]:
    """The classes of every dataset of the installed torchvision."""
    found = [getattr(torchvision.datasets, name) for name in torchvision.datasets.__all__]
    return [one.__name__ for one in found if inspect.isclass(one) and one is not torchvision.datasets.VisionDataset]


def make(name: str, **options: Any) -> Dataset:
    """The member with a name, see `build` and `fake`."""
    return fake(**options) if name == "fake" else build(name, **options)


def described(name: str) -> Callable[..., Dataset | None]:
    """The object with the signature and docstring of one dataset."""
    if name == "fake":
        return fake
    form = _form(name)
    theirs = parameters_of(build)
    kept = [theirs[key] for key in ("data_dir", "root", "download", *([] if form.in_memory else ["image_size"]))]
    choices = [option(key, Literal[values], values[0]) for key, values in form.choices.items()]
    text = (build.__doc__ or "").partition("\n")[0]
    help = {**docstring_params(build), **dict.fromkeys(form.choices, "Which of them.")}
    return stand_in(getattr(torchvision.datasets, form.kind), [*kept, *choices], text, help)


def _form(name: str) -> Form:
    if name not in FORMS:
        raise UsageError(unknown("torchvision dataset", name, [*FORMS, "fake"]))
    return FORMS[name]


def _open(name: str, form: Form, arguments: dict[str, Any], folders: Sequence[Path], download: bool) -> Any:
    """One part of a dataset, from the first folder that has it."""
    kind = getattr(torchvision.datasets, form.kind)
    if "download" in inspect.signature(kind).parameters:
        arguments = {**arguments, "download": False}
    for folder in folders:
        with contextlib.suppress(*_MISSING), contextlib.redirect_stdout(sys.stderr), _naming_library(form):
            return kind(str(folder), **arguments)
    why = "and torchvision cannot download it" if not form.downloads else "and downloading is off"
    if form.downloads and download:
        print(f"{form.kind} is not on this machine: downloading it to {folders[0]}", file=sys.stderr)
        try:
            with contextlib.redirect_stdout(sys.stderr), timeout(), _naming_library(form):
                folders[0].mkdir(parents=True, exist_ok=True)
                return kind(str(folders[0]), **{**arguments, "download": True})
        except _MISSING as error:
            why = f"and could not be downloaded: {str(error).strip() or type(error).__name__}"
    looked = "\n".join(f"    {folder}" for folder in folders)
    raise DataError(
        f"{form.kind} was not found {why}\n  looked in:\n{looked}\n  what to do:\n"
        f"    check which files torchvision.datasets.{form.kind} expects\n"
        "    name the folder that holds it: --dataset.root DIR, or WF_DATA_DIR for all data"
    )


def _reader(samples: Samples, image_size: int) -> ImageReader:
    """A reader that reads files like these samples."""
    if isinstance(samples, TensorSamples):
        channels, *size = samples.inputs.shape[1:]
        return ImageReader(size, channels, whole=samples.inputs.dtype == torch.uint8)
    return ImageReader((image_size, image_size), 3, whole=False)


def _in_memory(samples: Any) -> TensorSamples:
    data = torch.as_tensor(samples.data)
    if data.ndim == 3:
        data = data.unsqueeze(1)
    elif data.shape[-1] == 3:
        data = data.permute(0, 3, 1, 2)
    labels = _labels(samples)
    assert labels is not None
    first = 1 if type(samples).__name__ == "EMNIST" and samples.split == "letters" else 0  # its classes begin at 1
    return TensorSamples(data.contiguous(), torch.tensor(labels, dtype=torch.int64) - first)


def _labels(samples: Any) -> list[int] | None:
    """The class of every sample, if torchvision knows it without reading the images."""
    pairs = getattr(samples, "_samples", None)  # of files and classes
    if isinstance(pairs, list) and pairs and isinstance(pairs[0], tuple) and isinstance(pairs[0][1], int):
        return [int(pair[1]) for pair in pairs]
    for name in ("targets", "_labels", "labels", "y"):
        found = getattr(samples, name, None)
        if found is not None and len(found) == len(samples):
            values = torch.as_tensor(np.asarray(found)).flatten() if not isinstance(found, Tensor) else found
            if values.ndim > 1:
                values = values[:, 0]  # QMNIST: the class comes first
            if len(values) == len(samples):
                return [int(value) for value in values]
    return None


def _class_names(samples: Any, labels: list[int] | None) -> list[str]:
    found = getattr(samples, "classes", None) or getattr(samples, "categories", None)
    found = found or list(getattr(samples, "class_to_idx", ()))
    if type(samples).__name__ == "EMNIST" and samples.split == "letters":
        found = list(found or [])[1:]
    names = [one if isinstance(one, str) else str(one[0]) for one in found or []]
    num_classes = max(labels) + 1 if labels else 0
    if type(samples).__name__ == "PCAM":
        names = ["no tumour", "tumour"]
    return names if len(names) >= max(num_classes, 2) else [str(index) for index in range(num_classes)]


@contextlib.contextmanager
def _naming_library(form: Form) -> Iterator[None]:
    """Name a missing library: some datasets need libraries that torchvision does not install."""
    try:
        yield
    except ImportError as error:
        raise PluginError(f"torchvision reads {form.kind} with another library: {error}") from error
