"""The catalogue: its index, options and refused members."""

from __future__ import annotations

import random
import subprocess
import sys
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_optimizer import get_supported_optimizers, load_optimizer
from torch import nn

from wf.declarations.component import REQUIRED
from wf.declarations.values import VALUES
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf.registry import Registry
from wf_building.builder import Builder
from wf_building.built import note_traits
from wf_pytorch_optimizer.index import GROUPS, index
from wf_pytorch_optimizer.members import MENDED, REFUSED, WRAPPERS, build, described, member
from wf_pytorch_optimizer.plugin import wf_components

CATALOGUE = wf_components()[0]
REGISTRY = Registry.discover()


def test_index_is_up_to_date() -> None:
    kept = files("wf_pytorch_optimizer").joinpath("index.txt").read_text(encoding="utf-8")
    assert kept == index(), "regenerate it: python -m wf_pytorch_optimizer.index"


def test_at_least_125_of_the_librarys_128_are_there() -> None:
    supported = get_supported_optimizers()
    assert len(supported) == 128
    assert len(set(supported) - set(CATALOGUE.refused())) >= 125
    assert set(CATALOGUE.names()) == {*supported, *WRAPPERS}


def test_names_equal_the_librarys() -> None:
    assert member("adabelief").kind is load_optimizer("adabelief")


def test_groups_name_members_and_are_declared() -> None:
    assert {name for names in GROUPS.values() for name in names} <= set(CATALOGUE.names())
    assert set(GROUPS) | {"plain"} == set(CATALOGUE.groups)


def test_listing_imports_neither_torch_nor_the_library() -> None:
    code = """
import sys
from wf_pytorch_optimizer.plugin import wf_components
names = [name for catalogue in wf_components() for name in catalogue.names()]
print(len(names), [name for name in sys.modules if name.startswith(("torch", "pytorch_optimizer", "numpy"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(CATALOGUE.names())} []\n"


@pytest.mark.parametrize("name", [name for name in CATALOGUE.names() if name not in REFUSED])
def test_every_option_is_documented_and_its_default_is_a_value_of_its_type(name: str) -> None:
    options = from_signature(described(name))
    assert {"params", "model", "param_groups"} & {option.name for option in options}
    for option in options:
        assert option.help
        if option.default is REQUIRED:
            assert (option.source or option.name) in VALUES
        else:
            assert convert(option, option.default, name) == option.default


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be used: .*; use "):
        REGISTRY.find("optimizer", f"pytorch-optimizer/{name}")


def test_bsam_still_raises_the_loss() -> None:
    """The reason why bsam is refused; if this test fails, the library may have fixed it."""
    weight = nn.Parameter(torch.full((4,), 2.0))
    optimizer = load_optimizer("bsam")([weight], num_data=100, lr=0.1)  # type: ignore[call-arg]  # its own

    def evaluate() -> Any:
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = (weight**2).sum()
            loss.backward()
        return loss.detach()

    torch.manual_seed(0)
    first = evaluate()
    for _ in range(20):
        evaluate()
        optimizer.step(evaluate)
    assert evaluate() > first


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adabelief", {"lr": -1.0}, "'pytorch-optimizer/adabelief': learning rate must be positive"),
        ("adabelief", {"betas": (2.0, 0.9)}, r"beta1 must be in the range \[0.0, 1.0\)"),
        ("spectralsphere", {}, r"only matrices, but 1 of 2 parameters are no matrices; the first has shape \[2\]"),
        ("lorarite", {"model": nn.Linear(3, 2)}, "only pairs of LoRA factors"),
        ("adammini", {"model": nn.Linear(3, 2)}, "only the model's parameters; use a loss without parameters"),
        ("sam", {"base": torch.optim.SGD([torch.zeros(1)]), "lr": 0.1}, "set base.lr"),
        ("adabeleif", {}, "did you mean 'adabelief'"),
    ],
)
def test_invalid_options_and_parameters_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    params = list(nn.Linear(3, 2).parameters())
    with pytest.raises(UsageError, match=message):
        build(name, params=params, **options)


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("accsgd", "kappa", 0, "Input should be greater than 0"),
        ("galore", "rank", 0, "Input should be greater than 0"),
        ("radam", "n_sma_threshold", 3, "greater than or equal to 4"),
        ("lbfgs", "line_search_fn", "wolfe", "'strong_wolfe'"),
        ("lion", "lr", "fast", "wants float, not 'fast'"),
        ("lion", "lrr", 1, "did you mean 'lr'"),
        (
            "lorarite",
            "lora_l_dim",
            -1,
            r"lora_l_dim=-1 of shape \[2, 3\] and lora_r_dim=-1 of shape \[4, 2\] must both",
        ),
        ("lorarite", "lora_r_dim", 2, r"lora_r_dim is 2, but a factor has the shape \[4, 2\]"),
    ],
)
def test_a_wrong_option_is_refused_before_the_first_step(name: str, option: str, value: Any, message: str) -> None:
    model: nn.Module = nn.Linear(3, 2)
    if name == "lorarite":
        model = nn.ParameterDict({"lora_a": torch.zeros(2, 3), "lora_b": torch.zeros(4, 2)})
    builder = Builder(REGISTRY, {"params": list(model.parameters()), "model": model})
    with pytest.raises(UsageError, match=message):
        builder.build("optimizer", {"use": f"pytorch-optimizer/{name}", option: value})


def test_corrected_options_exist_in_the_library() -> None:
    for name, options in MENDED.items():
        assert set(options) <= set(member(name).theirs)


def test_splus_switches_modes_with_parameters_without_updates() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    splus: Any = build("splus", params=[used, unused])
    for _ in range(2):
        splus.eval()
        assert torch.equal(unused, torch.ones(2))
        splus.train()
        used.sum().backward()
        splus.step()
    assert splus.param_groups[0]["params"][1] is unused
    assert not torch.equal(used, torch.ones(2))


@pytest.mark.parametrize("name", ["adalomo", "trac"])
def test_scalar_parameters_are_refused_where_the_optimizer_fails(name: str) -> None:
    model = nn.ParameterList([nn.Parameter(torch.zeros(()))])
    values = {"params": list(model), **({"model": model} if name == "adalomo" else {})}
    with pytest.raises(UsageError, match=r"give the scalar the shape \[1\]"):
        build(name, **values)


def test_wrappers_refuse_a_base_with_modes() -> None:
    params = list(nn.Linear(3, 2).parameters())
    base: Any = build("schedulefreesgd", params=params)
    note_traits(base, CATALOGUE.member("schedulefreesgd").traits)
    with pytest.raises(UsageError, match=r"its base must be a plain optimizer.*train and eval modes"):
        build("lookahead", params=params, base=base)


def test_an_enum_and_a_dtype_are_chosen_by_name() -> None:
    params = list(nn.Linear(3, 2).parameters())
    scion = build("scion", params=params, norm_type="sign")
    assert type(scion.param_groups[0]["norm_type"]) is int
    kron = build("kron", params=params, seed=1, mu_dtype="bfloat16")
    assert kron.param_groups[0]["mu_dtype"] is torch.bfloat16


def test_kron_leaves_the_global_generators_unchanged() -> None:
    model = nn.Linear(3, 2)
    kron = build("kron", params=list(model.parameters()), seed=1)
    model(torch.ones(1, 3)).sum().backward()
    before = random.getstate(), str(np.random.get_state())
    kron.step()
    assert (random.getstate(), str(np.random.get_state())) == before


def test_no_closure_and_no_tensor_among_the_options() -> None:
    assert "clip_lambda" not in {option.name for option in from_signature(described("adopt"))}
    assert "exclude" not in {option.name for option in from_signature(described("magma"))}
