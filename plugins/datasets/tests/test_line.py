import pytest
import torch

from wf.errors import UsageError
from wf_datasets.line import line


def test_default_has_the_bits_of_the_hand_written_line() -> None:
    x = torch.arange(0, 1, 0.02).unsqueeze(1)
    dataset = line()
    assert torch.equal(dataset.train.inputs, x)
    assert torch.equal(dataset.train.targets, 0.7 * x + 0.3)
    assert (len(dataset.train), dataset.targets, dataset.num_classes) == (50, "real", None)


def test_weight_bias_and_step_options() -> None:
    x = torch.arange(0, 1, 0.01).unsqueeze(1)
    dataset = line(weight=0.3, bias=0.9, step=0.01)
    assert torch.equal(dataset.train.targets, 0.3 * x + 0.9)
    assert len(dataset.train) == 100


def test_negative_step_goes_downwards() -> None:
    assert line(start=1.0, end=0.0, step=-0.25).train.inputs.flatten().tolist() == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("options", [{"step": 0.0}, {"end": 0.0}, {"step": -0.1}, {"bias": float("nan")}])
def test_no_points_is_a_usage_error(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="line: "):
        line(**options)
