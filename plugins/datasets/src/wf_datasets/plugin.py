"""Declares the datasets, transforms and samplers of this package."""

from __future__ import annotations

from typing import Any

from wf import Component, Kind, RunValue, hookimpl
from wf.traits import DatasetTraits, TransformTraits

_REAL = DatasetTraits(targets="real", inputs="vector")
_IMAGES = DatasetTraits(targets="class_index", inputs="image", reader="wf_datasets.images.image_reader:PixelReader")
_TABLE, _IMAGE_FILE = "wf_datasets.tables.table_reader:TableReader", "wf_datasets.images.image_reader:ImageReader"
_MASKS = "wf_datasets.images.mask_folder:MaskReader"
_STANDARDIZED_CLASSES = DatasetTraits(
    targets="class_index", inputs="vector", transforms=("standardize",), reader=_TABLE
)
_NUMBERS = TransformTraits(inputs="numbers", gives="same", moves=False)
_IMAGE = TransformTraits(inputs="image", gives="same", moves=False)
_BORDER = TransformTraits(inputs="image", gives="same", moves=True)
_AUGMENTATION = TransformTraits(inputs="image", gives="same", train_only=True, moves=True, masks=True)
_MIXED: dict[str, Any] = {"joint": "batch", "train_only": True, "gives": "same"}
_JOINT = TransformTraits(
    train_only=True, inputs="image", gives="same", moves=True, joint=True, targets=("boxes", "mask")
)
_SHARES: dict[str, Any] = {"targets": ("class_index", "one_hot"), "gives_targets": "one_hot"}

DATASETS = [
    Component(
        "dataset",
        "line",
        "wf_datasets.line:line",
        "points of a straight line",
        traits=_REAL,
        plain="wf_datasets.plain:line",
    ),
    Component(
        "dataset",
        "random",
        "wf_datasets.synthetic:synthetic",
        "synthetic samples, labelled by a random linear teacher",
        aliases=("synthetic",),
        traits=DatasetTraits(),
    ),
    Component(
        "dataset",
        "csv",
        "wf_datasets.tables.csv_file:csv_file",
        "a table in a text file",
        traits=DatasetTraits(
            inputs="vector",
            transforms=("standardize",),
            files=(".csv", ".tsv"),
            reader=_TABLE,
        ),
        plain="wf_datasets.plain:csv_file",
    ),
    Component(
        "dataset",
        "series",
        "wf_datasets.tables.series:series",
        "time series in a table, cut into windows and the values that follow them",
        traits=DatasetTraits(
            targets="real",
            inputs="sequence",
            transforms=("standardize",),
            reader="wf_datasets.tables.series_reader:SeriesReader",
            divides="--dataset.validation and --dataset.test, shares of the time",
        ),
    ),
    Component(
        "dataset",
        "npz",
        "wf_datasets.npz:npz",
        "two arrays in a NumPy .npz file",
        traits=DatasetTraits(files=(".npz",), reader="wf_datasets.array_reader:ArrayReader"),
    ),
    Component(
        "dataset",
        "image-folder",
        "wf_datasets.images.image_folder:image_folder",
        "image files, one folder per class",
        aliases=("imagefolder",),
        traits=DatasetTraits(targets="class_index", inputs="image", files=("/",), reader=_IMAGE_FILE, model="cnn"),
    ),
    Component(
        "dataset",
        "mask-folder",
        "wf_datasets.images.mask_folder:mask_folder",
        "image files with a mask each: a segmentation",
        aliases=("maskfolder",),
        traits=DatasetTraits(targets="mask", inputs="image", reader=_MASKS),
    ),
    Component(
        "dataset",
        "digits",
        "wf_datasets.bundled:digits",
        "1,797 handwritten digits of 8x8 pixels (offline)",
        traits=DatasetTraits(targets="class_index", inputs="image", reader=_IMAGE_FILE),
        default=True,
        plain="wf_datasets.plain:digits",
    ),
    Component(
        "dataset",
        "iris",
        "wf_datasets.bundled:iris",
        "150 irises, 4 measures, 3 species (offline)",
        traits=_STANDARDIZED_CLASSES,
        plain="wf_datasets.plain:iris",
    ),
    Component(
        "dataset",
        "wine",
        "wf_datasets.bundled:wine",
        "178 wines, 13 measures, 3 growers (offline)",
        traits=_STANDARDIZED_CLASSES,
        plain="wf_datasets.plain:wine",
    ),
    Component(
        "dataset",
        "breast-cancer",
        "wf_datasets.bundled:breast_cancer",
        "569 tumours, 30 measures, malignant or benign (offline)",
        traits=_STANDARDIZED_CLASSES,
        plain="wf_datasets.plain:breast_cancer",
    ),
    Component(
        "dataset",
        "breast-cancer-binary",
        "wf_datasets.bundled:breast_cancer_binary",
        "569 tumours, 30 measures, 1 for a malignant one: a binary target (offline)",
        traits=DatasetTraits(targets="binary", inputs="vector", transforms=("standardize",), reader=_TABLE),
        plain="wf_datasets.plain:breast_cancer_binary",
    ),
    Component(
        "dataset",
        "digits-multilabel",
        "wf_datasets.bundled:digits_multilabel",
        "1,797 handwritten digits, each even, prime, round, above 4 or not: several labels (offline)",
        traits=DatasetTraits(targets="multilabel", inputs="image", reader=_IMAGE_FILE),
    ),
    Component(
        "dataset",
        "shapes",
        "wf_datasets.images.shapes:shapes",
        "synthetic images of squares, rings and crosses, with masks: a segmentation",
        traits=DatasetTraits(targets="mask", inputs="image", reader=_MASKS),
    ),
    Component(
        "dataset",
        "authors",
        "wf_datasets.authors:authors",
        "2,100 sentences by Carroll, Milton or Shakespeare: a text classification (offline)",
        traits=DatasetTraits(targets="class_index", inputs="tokens"),
    ),
    Component(
        "dataset",
        "diabetes",
        "wf_datasets.bundled:diabetes",
        "442 patients, 10 measures, progression a year later: a regression (offline)",
        traits=DatasetTraits(targets="real", inputs="vector", transforms=("standardize",), reader=_TABLE),
        plain="wf_datasets.plain:diabetes",
    ),
    Component(
        "dataset",
        "mnist",
        "wf_datasets.images.mnist:mnist",
        "70,000 handwritten digits of 28x28 pixels",
        traits=_IMAGES,
        plain="wf_datasets.plain:mnist",
    ),
    Component(
        "dataset",
        "fashion-mnist",
        "wf_datasets.images.mnist:fashion_mnist",
        "70,000 pieces of clothing of 28x28 pixels",
        aliases=("fmnist", "fashionmnist"),
        traits=_IMAGES,
        plain="wf_datasets.plain:fashion_mnist",
    ),
    Component(
        "dataset",
        "cifar10",
        "wf_datasets.images.cifar:cifar10",
        "60,000 colour images of 32x32 pixels, 10 classes",
        aliases=("cifar-10",),
        traits=_IMAGES,
    ),
]

TRANSFORMS = [
    Component(
        "transform",
        "standardize",
        "wf_datasets.transforms.standardize:Standardize",
        "zero mean and unit variance, measured on the train split",
        traits=_NUMBERS,
    ),
    Component(
        "transform",
        "standardize-targets",
        "wf_datasets.transforms.standardize:StandardizeTargets",
        "train on targets of zero mean and unit variance; metrics and predictions are in the original units",
        traits=TransformTraits(inputs="any", gives="same", of="targets", targets=("real",)),
    ),
    Component("transform", "scale", "wf_datasets.transforms.affine:Scale", "inputs * factor + offset", traits=_NUMBERS),
    Component(
        "transform",
        "normalize",
        "wf_datasets.transforms.affine:Normalize",
        "subtract a given mean and divide by a given deviation, per channel",
        traits=_IMAGE,
    ),
    Component("transform", "pad", "wf_datasets.transforms.pad:Pad", "a border around images", traits=_BORDER),
    Component(
        "transform",
        "flip",
        "wf_datasets.transforms.augment:Flip",
        "mirror images at random (train only)",
        traits=_AUGMENTATION,
    ),
    Component(
        "transform",
        "crop",
        "wf_datasets.transforms.augment:Crop",
        "shift images at random within a border (train only)",
        traits=_AUGMENTATION,
    ),
    Component(
        "transform",
        "joint-flip",
        "wf_datasets.transforms.joint:JointFlip",
        "mirror images, boxes and masks at random (train only)",
        traits=_JOINT,
    ),
    Component(
        "transform",
        "joint-crop",
        "wf_datasets.transforms.joint:JointCrop",
        "random crops of images, with their boxes and masks (train only)",
        traits=_JOINT,
    ),
    Component(
        "transform",
        "joint-resize",
        "wf_datasets.transforms.joint:JointResize",
        "images, boxes and masks resized at random to one of several sizes (train only)",
        traits=_JOINT,
    ),
    Component(
        "transform",
        "mixup",
        "wf_datasets.transforms.mix:MixUp",
        "weighted means of two samples and of their classes (train only; Zhang et al. 2018)",
        traits=TransformTraits(inputs="numbers", **_MIXED, **_SHARES),
    ),
    Component(
        "transform",
        "cutmix",
        "wf_datasets.transforms.mix:CutMix",
        "a rectangle from another image, classes weighted by area (train only; Yun et al. 2019)",
        traits=TransformTraits(inputs="image", **_MIXED, **_SHARES),
    ),
]

SAMPLERS = [
    Component("sampler", "balanced", "wf_datasets.samplers:Balanced", "equally many samples of each class"),
    Component("sampler", "weighted", "wf_datasets.samplers:Weighted", "samples drawn by a weight per class"),
    Component(
        "sampler",
        "length-grouped",
        "wf_datasets.samplers:LengthGrouped",
        "batches of samples of similar length, which need little padding",
    ),
]


@hookimpl
def wf_components() -> list[Component]:
    """The datasets, transforms and samplers of this package."""
    return [*DATASETS, *TRANSFORMS, *SAMPLERS]


@hookimpl
def wf_kinds() -> list[Kind]:
    """Samplers."""
    return [Kind(name="sampler", summary="chooses the train samples of an epoch and their order")]


@hookimpl
def wf_values() -> list[RunValue]:
    """The size of images that a model with pretrained weights requires, and the classes and lengths of samples."""
    images = "wf_datasets.images.image_reader"
    size, side = (
        "height and width of images that the model requires",
        "the shorter side of an image before the centre crop",
    )
    return [
        RunValue(name="image_size", type="tuple[int, int]", summary=size, provider=f"{images}:image_size"),
        RunValue(name="resize_size", type="int", summary=side, provider=f"{images}:resize_size"),
        RunValue(
            name="train_targets",
            type="torch.Tensor",
            summary="the class of each train sample, int64 [N]",
            provider="wf_datasets.samplers:train_targets",
        ),
        RunValue(
            name="train_lengths",
            type="torch.Tensor",
            summary="the length of each train sample, int64 [N]",
            provider="wf_datasets.samplers:train_lengths",
        ),
    ]
