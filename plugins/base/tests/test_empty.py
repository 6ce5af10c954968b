"""Models that are made on the meta device, and models that cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_base.training.empty import is_all_saved, is_empty, made_empty


class Net(nn.Module):
    """A layer, and what a test adds to it."""

    def __init__(self, add: Callable[[Net], object]) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        add(self)


def from_numpy(net: Net) -> None:
    net.register_buffer("fixed", torch.from_numpy(np.arange(3.0)))
    net.scale = nn.Parameter(torch.from_numpy(np.ones(2)), requires_grad=False)


def tied(net: Net) -> None:
    net.other = nn.Linear(3, 2)
    net.other.weight, net.alias = net.layer.weight, net.table


@pytest.mark.parametrize("add", [from_numpy, tied, lambda net: None])
def test_a_model_without_values(add: Callable[[Net], object]) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    made, why = made_empty(lambda: Net(add))
    assert not why
    assert is_empty(made)
    assert all(one.is_meta for one in (*made.parameters(), *made.buffers()))
    assert torch.equal(torch.get_rng_state(), before)
    assert not is_all_saved(made), "the table is in no checkpoint"
    whole = Net(add)
    assert [*made.state_dict()] == [*whole.state_dict()]
    flags = [(name, one.requires_grad, one.dtype, one.shape) for name, one in made.named_parameters()]
    assert flags == [(name, one.requires_grad, one.dtype, one.shape) for name, one in whole.named_parameters()]


class Holder:
    """Holds a tensor, and is no module."""

    def __init__(self) -> None:
        self.rows = [torch.zeros(4, 5)]


def drawn_on_the_host(net: Net) -> None:
    net.order = torch.randperm(4, device="cpu").tolist()


def with_a_holder(net: Net) -> None:
    net.holder = Holder()


def read(net: Net) -> None:
    net.scale = torch.rand(1).item()


def lazy(net: Net) -> None:
    net.more = nn.LazyLinear(2)


def shared(net: Net) -> None:
    net.register_buffer("part", net.table[:2])


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (read, "RuntimeError: Tensor.item() cannot be called on meta tensors"),
        (drawn_on_the_host, "it draws random numbers that do not follow torch.device"),
        (with_a_holder, "it keeps tensors that are neither parameters nor buffers, of shape [4, 5]"),
        (lazy, "it has lazy parameters, whose shapes follow from the first samples"),
        (shared, "tensors of it share memory"),
    ],
)
def test_a_model_that_needs_values_is_made_whole(add: Callable[[Net], object], reason: str) -> None:
    torch.manual_seed(0)
    made, why = made_empty(lambda: Net(add))
    drawn = torch.rand(1)
    assert why == reason
    assert not is_empty(made)
    torch.manual_seed(0)
    assert torch.equal(made.layer.weight, Net(add).layer.weight)
    assert torch.equal(drawn, torch.rand(1))


def test_a_finished_model_is_kept() -> None:
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    made, why = made_empty(lambda: model)
    assert made is model
    assert why == "its tensors do not follow torch.device"
    assert torch.equal(model.weight, before)


def test_tensors_that_code_keeps_are_named() -> None:
    kept: list[torch.Tensor] = []

    def add(net: Net) -> None:
        kept.extend([] if kept else [torch.zeros(2)])
        net.constant = kept[0]

    with pytest.raises(UsageError, match="keeps from one model to the next"):
        made_empty(lambda: Net(add))
    kept.clear()


def test_user_errors_are_raised() -> None:
    def fail() -> nn.Module:
        raise UsageError("no such layer")

    with pytest.raises(UsageError, match="no such layer"):
        made_empty(fail)
    assert made_empty(lambda: 1) == (1, "it is no torch.nn.Module")
