from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from wf.errors import UsageError
from wf_datasets.synthetic import synthetic


def test_classification_can_be_learned() -> None:
    dataset = synthetic(seed=1)
    x, y = dataset.train.inputs, dataset.train.targets
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1000, 20), torch.float32, (1000,), torch.int64)
    assert dataset.class_names == ("0", "1", "2")
    student = LogisticRegression(max_iter=200).fit(x[:800], y[:800])
    assert student.score(x[800:], y[800:]) > 0.85


def test_regression_without_noise_is_linear() -> None:
    dataset = synthetic(seed=1, task="regression", noise=0.0)
    x, y = dataset.train.inputs, dataset.train.targets
    assert (dataset.targets, y.shape, y.dtype) == ("real", (1000, 1), torch.float32)
    weights = torch.linalg.lstsq(x, y).solution
    torch.testing.assert_close(x @ weights, y, atol=1e-4, rtol=0)
    assert float(y.std()) == pytest.approx(1, abs=0.1)


def test_multilabel() -> None:
    dataset = synthetic(seed=1, task="multilabel", classes=4)
    y = dataset.train.targets
    assert (dataset.targets, y.shape, y.dtype, len(dataset.class_names)) == ("multilabel", (1000, 4), torch.float32, 4)
    assert set(y.unique().tolist()) == {0.0, 1.0}


def test_image_shape() -> None:
    assert synthetic(seed=1, num_samples=7, input_shape=(3, 8, 8)).train.inputs.shape == (7, 3, 8, 8)


def test_data_depend_on_the_seed_option_alone() -> None:
    torch.manual_seed(1)
    first = synthetic(seed=5).train
    torch.manual_seed(2)
    second = synthetic(seed=5).train
    assert torch.equal(first.inputs, second.inputs)
    assert torch.equal(first.targets, second.targets)
    assert not torch.equal(first.inputs, synthetic(seed=6).train.inputs)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"input_shape": ()}, "input_shape"),
        ({"input_shape": (3, 0)}, "input_shape"),
        ({"classes": 1}, "classes"),
        ({"classes": 0, "task": "multilabel"}, "classes"),
        ({"noise": -1.0}, "noise"),
        ({"noise": float("inf")}, "noise"),
    ],
)
def test_bad_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        synthetic(seed=1, **options)
