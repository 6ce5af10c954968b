"""The small real datasets inside scikit-learn; they need no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from wf_base import Dataset, TensorSamples
from wf_datasets.images.image_reader import ImageReader
from wf_datasets.tables.table_reader import TableReader


def digits() -> Dataset:
    """Handwritten digits: 1,797 images of 8x8 pixels, 10 classes.

    Returns:
        Inputs float32 ``[1797, 1, 8, 8]`` from 0 to 1, targets ``class_index``. Source: UCI, Alpaydin and Kaynak 1998.
    """
    bunch = _load("load_digits")
    images = torch.from_numpy(bunch.images).to(torch.float32).div_(16).unsqueeze(1)
    return _classes(bunch, images, feature_names=())


def iris() -> Dataset:
    """Fisher's irises: 150 flowers, 4 measurements in cm, 3 species.

    Returns:
        Inputs float32 ``[150, 4]``, targets ``class_index``. Source: UCI, Fisher 1936.
    """
    return _classes(_load("load_iris"))


def wine() -> Dataset:
    """Wines: 178 analyses, 13 measures, 3 growers.

    Returns:
        Inputs float32 ``[178, 13]``, targets ``class_index``. Source: UCI, Aeberhard and Forina 1992.
    """
    return _classes(_load("load_wine"))


def breast_cancer() -> Dataset:
    """Breast tumours: 569 cases, 30 measures, malignant (class 0) or benign (class 1).

    Returns:
        Inputs float32 ``[569, 30]``, targets ``class_index``. Source: UCI, Wolberg, Mangasarian and others 1995.
    """
    return _classes(_load("load_breast_cancer"))


def breast_cancer_binary() -> Dataset:
    """The same tumours with a target of 0 or 1: malignant or not.

    Returns:
        Inputs float32 ``[569, 30]``, targets ``binary``, 1 for the 212 malignant ones.
    """
    dataset = breast_cancer()
    assert isinstance(dataset.train, TensorSamples)
    malignant = (dataset.train.targets == dataset.class_names.index("malignant")).to(torch.float32)
    return Dataset(
        train=TensorSamples(dataset.train.inputs, malignant),
        targets="binary",
        class_names=("benign", "malignant"),
        feature_names=dataset.feature_names,
        reader=dataset.reader,
    )


PROPERTIES = {"even": (0, 2, 4, 6, 8), "prime": (2, 3, 5, 7), "round": (0, 6, 8, 9), "above 4": (5, 6, 7, 8, 9)}
"""The labels of `digits_multilabel`, each with its digits; ``round`` means with a closed loop."""


def digits_multilabel() -> Dataset:
    """The same handwritten digits with four independent labels: even, prime, round and above 4.

    The labels follow from the digit; one is round when it has a closed loop: 0, 6, 8 and 9.

    Returns:
        Inputs float32 ``[1797, 1, 8, 8]`` from 0 to 1, targets ``multilabel [1797, 4]``.
    """
    dataset = digits()
    assert isinstance(dataset.train, TensorSamples)
    table = torch.tensor([[float(digit in having) for having in PROPERTIES.values()] for digit in range(10)])
    return Dataset(
        train=TensorSamples(dataset.train.inputs, table[dataset.train.targets]),
        targets="multilabel",
        class_names=tuple(PROPERTIES),
        reader=dataset.reader,
    )


def diabetes() -> Dataset:
    """Diabetes patients: 442 cases, 10 raw measures, the progression of the disease after one year: a regression.

    Returns:
        Inputs float32 ``[442, 10]``, targets ``real [442, 1]`` from 25 to 346. Source: Efron and others 2004.
    """
    bunch = _load("load_diabetes", scaled=False)
    inputs = torch.from_numpy(bunch.data).to(torch.float32)
    targets = torch.from_numpy(bunch.target).to(torch.float32).unsqueeze(1)
    names = tuple(map(str, bunch.feature_names))
    return Dataset(
        train=TensorSamples(inputs, targets),
        targets="real",
        feature_names=names,
        target_names=("progression",),
        reader=_reader(names),
    )


def _load(function: str, **options: Any) -> Any:
    from sklearn import datasets  # half a second, needed by these only

    return getattr(datasets, function)(**options)


def _classes(bunch: Any, inputs: torch.Tensor | None = None, feature_names: tuple[str, ...] | None = None) -> Dataset:
    names = tuple(map(str, bunch.feature_names)) if feature_names is None else feature_names
    inputs = torch.from_numpy(bunch.data).to(torch.float32) if inputs is None else inputs
    return Dataset(
        train=TensorSamples(inputs, torch.from_numpy(bunch.target).to(torch.int64)),
        targets="class_index",
        class_names=tuple(str(name) for name in bunch.target_names),
        feature_names=names,
        reader=_reader(names) if names else ImageReader((8, 8), 1),
    )


def _reader(feature_names: Sequence[str]) -> TableReader:
    """A reader of tables with these columns, for predictions."""
    return TableReader([{"name": name} for name in feature_names])
