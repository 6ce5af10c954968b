"""Images in channels-last memory: the same network up to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from wf import Epochs, Loop
from wf.errors import UsageError
from wf_training.layout import lay_out
from wf_training.trainer import SupervisedTrainer

X = torch.linspace(-1, 1, 4 * 3 * 8 * 8).reshape(4, 3, 8, 8)
Y = torch.tensor([0, 1, 2, 1])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))


def trained(*, channels_last: bool) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SupervisedTrainer(
        model, nn.CrossEntropyLoss(), optimizer, None, "epoch", "", channels_last=channels_last, input_shape=(3, 8, 8)
    )
    Loop(trainer).run([(X, Y)] * 3, Epochs(2))
    return model


def test_a_network_in_channels_last_is_near_the_plain_one() -> None:
    """Convolutions add in another order, so the last bits of float32 differ."""
    found, expected = trained(channels_last=True), trained(channels_last=False)
    assert list(found.state_dict()) == list(expected.state_dict())
    torch.testing.assert_close(dict(found.state_dict()), dict(expected.state_dict()), rtol=1e-4, atol=1e-5)
    weight = found.state_dict()["0.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_layers_get_images_in_channels_last_memory() -> None:
    model, seen = network(), []
    lay_out(model)
    lay_out(model)  # the trainer's class has prepared it before the trainer is made

    def look(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    model[0].register_forward_pre_hook(look)
    torch.testing.assert_close(model(X), network()(X), rtol=1e-5, atol=1e-6)
    copy.deepcopy(model)(X)
    assert seen == [True, True]
    assert len(model._forward_pre_hooks) == 1


def test_channels_last_is_refused_for_samples_other_than_images() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match=r"for images \[C, H, W\], but a sample has shape \[2\]"):
        SupervisedTrainer(model, nn.MSELoss(), optimizer, None, "epoch", "", channels_last=True, input_shape=(2,))
