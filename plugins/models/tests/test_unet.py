"""The network for segmentation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wf.errors import UsageError
from wf_models.unet import UNet


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 24, 24), (2, 9, 14), (3, 33, 11)])
def test_unet_gives_one_prediction_per_pixel(shape: tuple[int, int, int]) -> None:
    model = UNet(shape, 5)
    scores = model(torch.rand(2, *shape))
    assert scores.shape == (2, 5, *shape[1:])
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_all_scales_reach_the_output() -> None:
    """Changing one pixel changes its output and, through the lowest stage, outputs beyond the reach of the highest."""
    torch.manual_seed(0)
    model = UNet((1, 32, 32), 1, channels=[4, 4, 4]).eval()
    inputs = torch.rand(1, 1, 32, 32)
    changed = inputs.clone()
    changed[0, 0, 16, 16] += 1
    difference = (model(changed) - model(inputs)).abs()[0, 0]
    assert difference[16, 16] > 0
    assert difference[16, 16 + 9] > 0, "two 3x3 convolutions twice reach 4 pixels at the full size"
    assert difference[0, 0] == 0


def test_one_stage_is_a_plain_network() -> None:
    assert UNet((1, 3, 3), 2, channels=[4])(torch.rand(1, 1, 3, 3)).shape == (1, 2, 3, 3)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5,), {}, r"takes images \[channels, height, width\]"),
        ((1, 7, 8), {}, "at least 8x8 pixels with 3 stages"),
        ((1, 8, 8), {"channels": []}, "channels is"),
        ((1, 8, 8), {"channels": [4, 0]}, "channels is"),
    ],
)
def test_invalid_shapes_and_options_are_refused(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        UNet(shape, 2, **options)
