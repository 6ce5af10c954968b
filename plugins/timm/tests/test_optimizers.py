"""The catalogue of timm's optimizers: each trains with wf's trainer, and continues from its saved state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.nn.functional import cross_entropy

from wf.declarations.component import REQUIRED
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf.traits import OptimizerTraits
from wf_base import Batch
from wf_state import codec
from wf_state.differences import differences
from wf_timm.optimizers import SECOND_ORDER, build, described, refused
from wf_timm.plugin import wf_components
from wf_training.trainer import SupervisedTrainer

CATALOGUE = next(one for one in wf_components() if one.kind == "optimizer")
WORKING = [name for name in CATALOGUE.names() if name not in CATALOGUE.refused()]


NEED_LR = ("csgdp", "sgdp")
"""They have no learning rate of their own."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs, targets = torch.rand(24, 1, 4, 4, generator=generator), torch.arange(24) % 3
    return Batch(inputs + targets.reshape(-1, 1, 1, 1), targets, None, None, 24)


def trainer_of(name: str, model: nn.Module, **options: Any) -> SupervisedTrainer:
    traits = CATALOGUE.member(name).traits
    assert isinstance(traits, OptimizerTraits)
    optimizer = build(name, list(model.parameters()), **options)
    return SupervisedTrainer(model, cross_entropy, optimizer, None, "epoch", "validation/loss", traits)


def test_all_101_are_listed_and_83_of_them_can_be_used() -> None:
    assert set(CATALOGUE.names()) == set(list_optimizers())
    assert len(CATALOGUE.names()) == 101
    assert len(WORKING) == 83


@pytest.mark.parametrize("name", WORKING)
def test_every_optimizer_trains_and_continues_from_its_state(name: str) -> None:
    model = network()
    options = {"lr": 0.1} if name in NEED_LR else {}
    trainer = trainer_of(name, model, **options)
    first = [trainer.train_step(batch()) for _ in range(2)]
    assert all(torch.isfinite(loss) for loss in first)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), network().parameters(), strict=True))
    copied = copy.deepcopy(model)
    state = copy.deepcopy(codec.decode(*codec.encode(trainer.optimizer.state_dict())))  # as from a file
    again = trainer_of(name, copied, **options)
    again.optimizer.load_state_dict(state)
    assert not list(differences(trainer.optimizer.state_dict(), again.optimizer.state_dict()))
    for _ in range(2):
        random = torch.get_rng_state()
        expected = trainer.train_step(batch())
        torch.set_rng_state(random)
        assert torch.equal(expected, again.train_step(batch()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copied.parameters(), strict=True))


@pytest.mark.parametrize("name", WORKING)
def test_options_can_be_written_and_are_timms(name: str) -> None:
    options = {option.name: option for option in from_signature(described(name)) if option.name != "params"}
    needed = {option.name for option in options.values() if option.default is REQUIRED}
    assert needed == ({"lr"} if name in NEED_LR else set())
    for option in options.values():
        assert option.help
        assert option.name in needed or convert(option, option.default, name) == option.default
    params, given = [nn.Parameter(torch.ones(2, 2))], dict.fromkeys(needed, 0.1)
    mine = build(name, params, **{key: one.default for key, one in options.items()} | given)
    theirs = create_optimizer_v2(params, name, **given, weight_decay=options["weight_decay"].default)
    assert isinstance(mine, type(theirs))
    assert mine.defaults == theirs.defaults


def test_second_order_optimizers_declare_create_graph() -> None:
    assert {name for name in WORKING if getattr(CATALOGUE.member(name).traits, "step", "") == "create_graph"} == {
        *SECOND_ORDER
    }


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamww", {}, "did you mean 'adamw'"),
        ("adamw", {"lr": -1.0}, "optimizer 'timm/adamw': Invalid learning rate"),
        ("bnbadam", {}, "cannot be used: it needs bitsandbytes"),
        ("kron", {}, "cannot be used: it needs opt_einsum"),
    ],
)
def test_invalid_names_and_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(name, [nn.Parameter(torch.ones(2))], **options)


def test_refused_ones_are_listed_with_the_reason() -> None:
    assert CATALOGUE.refused() == refused()
