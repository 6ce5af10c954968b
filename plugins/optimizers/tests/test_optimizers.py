"""The optimizers are torch's own, with validated options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_optimizers.adam import adam, adamw
from wf_optimizers.rmsprop import rmsprop
from wf_optimizers.sgd import sgd

Build = Callable[..., torch.optim.Optimizer]

CASES: list[tuple[Build, type[torch.optim.Optimizer], dict[str, Any]]] = [
    (sgd, torch.optim.SGD, {"lr": 1e-2}),
    (sgd, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}),
    (sgd, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    (adam, torch.optim.Adam, {}),
    (adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1, "amsgrad": True}),
    (adamw, torch.optim.AdamW, {}),
    (adamw, torch.optim.AdamW, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1, "amsgrad": True}),
    (rmsprop, torch.optim.RMSprop, {}),
    (rmsprop, torch.optim.RMSprop, {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.5, "centered": True}),
]


def _model() -> nn.Module:
    torch.manual_seed(42)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def _train(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    inputs = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(("build", "kind", "options"), CASES)
def test_bits_of_torch(build: Build, kind: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    mine, theirs = _model(), _model()
    optimizer, reference = build(list(mine.parameters()), **options), kind(theirs.parameters(), **options)
    assert type(optimizer) is kind
    assert optimizer.defaults == reference.defaults
    for left, right in zip(_train(mine, optimizer), _train(theirs, reference), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("build", [sgd, adam, adamw, rmsprop])
@pytest.mark.parametrize("option", ["foreach", "fused"])
def test_foreach_and_fused_equal_the_plain_update(build: Build, option: str) -> None:
    """foreach does the same operations; a fused kernel rounds differently, so the last bits of float32 differ."""
    if (build, option) == (rmsprop, "fused"):
        pytest.skip("torch has no fused rmsprop")
    plain, faster = _model(), _model()
    optimizer = build(list(faster.parameters()), **{option: True})
    assert optimizer.param_groups[0][option] is True
    expected, found = _train(plain, build(list(plain.parameters()))), _train(faster, optimizer)
    if option == "foreach":
        assert all(map(torch.equal, found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", [sgd, adam, adamw])
def test_foreach_and_fused_together_are_refused(build: Build) -> None:
    params = list(_model().parameters())
    with pytest.raises(UsageError, match=r"together.*\n.*leave out"):
        build(params, foreach=True, fused=True)


def test_sgd_default_is_1e_2() -> None:
    assert sgd(list(_model().parameters())).defaults == torch.optim.SGD(_model().parameters(), lr=1e-2).defaults


BAD: list[tuple[Build, str, float]] = [
    *[(build, "lr", value) for build in (sgd, adam, adamw, rmsprop) for value in (0.0, -1.0, float("nan"))],
    *[(build, "weight_decay", -0.1) for build in (sgd, adam, adamw, rmsprop)],
    *[(build, "eps", -1e-8) for build in (adam, adamw, rmsprop)],
    (sgd, "lr", float("inf")),
    (sgd, "momentum", 1.0),
    (sgd, "momentum", -0.1),
    (sgd, "dampening", 1.5),
    (rmsprop, "momentum", 1.0),
    (rmsprop, "alpha", 1.0),
]


@pytest.mark.parametrize(("build", "option", "value"), BAD)
def test_values_out_of_range(build: Build, option: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"{option} is {value}; it must be") as error:
        build(list(_model().parameters()), **{option: value})
    assert str(error.value).startswith(f"{build.__name__}: ")


@pytest.mark.parametrize("build", [adam, adamw])
@pytest.mark.parametrize(("betas", "place"), [((1.0, 0.999), 0), ((0.9, -0.1), 1)])
def test_betas_out_of_range(build: Build, betas: tuple[float, float], place: int) -> None:
    with pytest.raises(UsageError, match=rf"betas\[{place}\] is {betas[place]}"):
        build(list(_model().parameters()), betas=betas)


@pytest.mark.parametrize("options", [{"nesterov": True}, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}])
def test_nesterov_needs_momentum(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="nesterov needs momentum"):
        sgd(list(_model().parameters()), **options)


@pytest.mark.parametrize("build", [sgd, adam, adamw, rmsprop])
def test_no_trainable_parameters_are_refused(build: Build) -> None:
    with pytest.raises(UsageError, match="no trainable parameters"):
        build([])
