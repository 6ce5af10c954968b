from collections.abc import Callable

import pytest
import torch

from wf_base import Dataset
from wf_datasets import bundled


@pytest.mark.parametrize(
    ("factory", "shape", "counts", "first_name"),
    [
        (bundled.iris, (150, 4), [50, 50, 50], "setosa"),
        (bundled.wine, (178, 13), [59, 71, 48], "class_0"),
        (bundled.breast_cancer, (569, 30), [212, 357], "malignant"),
        (bundled.digits, (1797, 1, 8, 8), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180], "0"),
    ],
)
def test_bundled_classification_datasets(
    factory: Callable[[], Dataset], shape: tuple[int, ...], counts: list[int], first_name: str
) -> None:
    dataset = factory()
    x, y = dataset.train.inputs, dataset.train.targets
    assert (x.shape, x.dtype, y.dtype, dataset.targets) == (shape, torch.float32, torch.int64, "class_index")
    assert y.bincount().tolist() == counts
    assert (dataset.num_classes, dataset.class_names[0]) == (len(counts), first_name)
    assert all(type(name) is str for name in (*dataset.class_names, *dataset.feature_names))
    assert len(dataset.feature_names) == (shape[1] if len(shape) == 2 else 0)


def test_digits_go_from_0_to_1() -> None:
    inputs = bundled.digits().train.inputs
    assert (float(inputs.min()), float(inputs.max())) == (0.0, 1.0)


def test_diabetes_is_a_regression_on_raw_measures() -> None:
    dataset = bundled.diabetes()
    x, y = dataset.train.inputs, dataset.train.targets
    assert (x.shape, y.shape, y.dtype, dataset.targets) == ((442, 10), (442, 1), torch.float32, "real")
    assert dataset.feature_names[:3] == ("age", "sex", "bmi")
    assert x[0, :3].tolist() == pytest.approx([59, 2, 32.1])
    assert (float(y.min()), float(y.max())) == (25.0, 346.0)
