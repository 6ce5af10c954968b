"""Parameter groups: matching, training as in a hand-written loop, and errors."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import weights
from torch import nn

import wf
from wf.errors import UsageError
from wf.traits import OptimizerTraits
from wf_run.parts.groups import Grouping, regroup

PLAN: dict[str, Any] = {"dataset": "iris", "model": {"use": "mlp", "hidden": [8, 8]}, "save": False, "quiet": True}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(2, 2), nn.LayerNorm(2)


class Stages(nn.Module):
    """A stem, two lists of blocks, a norm and a head, like a residual network or a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 2))
        self.stem, self.first_norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.layer1 = nn.Sequential(Block(), Block())
        self.layer2 = nn.ModuleList([Block()])
        self.last_norm = nn.LayerNorm(2)
        self.fc = nn.Linear(2, 3)


def grouped(model: nn.Module, loss: Any = None, **table: Any) -> list[dict[str, Any]]:
    grouping = Grouping.read(table)
    assert grouping is not None
    modules = [model] if loss is None else [model, loss]
    params = [param for module in modules for param in module.parameters() if param.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1.0, weight_decay=0.5)
    made = regroup(optimizer, grouping, OptimizerTraits(), model, loss, name="adamw")
    assert [len(one.names) for one in made] == [len(group["params"]) for group in optimizer.param_groups]
    return [
        {"names": one.names, **{key: group[key] for key in ("lr", "weight_decay", "betas")}}
        for one, group in zip(made, optimizer.param_groups, strict=True)
    ]


def by_name(groups: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {name: group[key] for group in groups for name in group["names"]}


def test_the_first_matching_group_applies() -> None:
    groups = [
        {"match": "layer1.1", "lr_scale": 0.5, "betas": [0.8, 0.9]},
        {"match": ["layer1.*", "*.norm.bias"], "lr": 3, "weight_decay": 0},
        {"match": "loss.*", "weight_decay": 0.25},
    ]
    loss = nn.PReLU()
    rates = by_name(grouped(Stages(), loss, group=groups), "lr")
    assert (rates["layer1.1.norm.bias"], rates["layer1.0.linear.weight"], rates["layer2.0.norm.bias"]) == (0.5, 3, 3)
    assert rates["layer2.0.norm.weight"] == rates["fc.bias"] == rates["loss.weight"] == 1
    found = grouped(Stages(), loss, group=groups)
    assert by_name(found, "betas")["layer1.1.linear.bias"] == (0.8, 0.9)
    assert by_name(found, "weight_decay")["loss.weight"] == 0.25
    assert by_name(found, "weight_decay")["layer1.0.linear.bias"] == 0


def test_head_and_backbone() -> None:
    rates = by_name(grouped(Stages(), group=[{"match": "backbone.*", "lr_scale": 0.1}]), "lr")
    assert {name for name, rate in rates.items() if rate == 1} == {"fc.weight", "fc.bias"}
    own = nn.ModuleDict({"backbone": nn.Linear(1, 1), "neck": nn.Linear(1, 1), "out": nn.Linear(1, 1)})
    rates = by_name(grouped(own, group=[{"match": "backbone.*", "lr_scale": 0.1}]), "lr")
    assert [name for name, rate in rates.items() if rate != 1] == ["backbone.weight", "backbone.bias"]


def test_layers_decay_from_the_head_on() -> None:
    rates = by_name(grouped(Stages(), layer_decay=0.5), "lr")
    depths = {"fc": 0, "last_norm": 1, "layer2.0": 1, "layer1.1": 2, "layer1.0": 3, "stem": 4, "first_norm": 4}
    for name, rate in rates.items():
        layer = next((one for one in depths if name.startswith(one)), "stem")
        assert rate == 0.5 ** depths[layer], name
    plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 2))
    assert [group["lr"] for group in grouped(plain, layer_decay=0.5)] == [0.25, 0.5, 1.0]


def test_no_decay_of_norms_and_biases() -> None:
    groups = grouped(Stages(), decay_norms=False, group=[{"match": "head", "lr_scale": 2, "weight_decay": 1}])
    decays = by_name(groups, "weight_decay")
    assert {name for name, decay in decays.items() if decay == 0} == {
        name for name, one in Stages().named_parameters() if one.ndim == 1
    }
    assert decays["fc.weight"] == 1
    assert len(groups) == 4


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"group": [{"match": "fcc", "lr_scale": 2}]}, "unknown parameters 'fcc' of the model\n  did you mean 'fc'"),
        ({"group": [{"match": "fc", "lr_scale": 2}, {"match": "fc.bias", "lr": 1}]}, "group 'fc.bias' is empty"),
        ({"group": [{"match": "fc", "momentum": 2}]}, "unknown option 'momentum' of optimizer.group 'fc'"),
        ({"group": [{"match": "fc"}]}, "changes nothing"),
        ({"group": [{"lr_scale": 2}]}, "match names the parameters"),
        ({"group": [{"match": "fc", "lr_scale": -1}]}, "must be a number of at least 0, not -1"),
        ({"group": [{"match": "fc", "lr_scale": float("nan")}]}, "must be a number"),
        ({"group": [{"match": "fc", "lr_scale": 2, "lr": 1}]}, "set lr or lr_scale"),
        ({"group": "fc"}, "is a list of tables"),
        ({"layer_decay": 0}, "greater than 0"),
        ({"decay_norms": "no"}, "must be true or false"),
    ],
)  # fmt: skip
def test_invalid_groups_are_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        grouped(Stages(), **table)


def test_frozen_parameters_belong_to_no_group() -> None:
    options = {"trainer": {"use": "supervised", "freeze": "1"}, "steps": 1}
    with pytest.raises(UsageError, match="'1' matches only parameters that are not trained"):
        wf.run(**PLAN, **options, optimizer={"use": "adam", "group": [{"match": "1", "lr_scale": 0.1}]})


@pytest.mark.parametrize("name", ["torch/lbfgs", "torch/muon"])
def test_optimizers_without_groups_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="use another optimizer, such as adamw"):
        wf.run(**PLAN, steps=1, optimizer={"use": name, "decay_norms": False})


def test_groups_train_like_a_hand_written_loop() -> None:
    table = {"use": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "decay_norms": False}
    first = wf.build(**PLAN, steps=8, optimizer={**table, "group": [{"match": "backbone", "lr_scale": 0.1}]})
    model, data = first.model, first.data
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first.fit()
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(start)
    names = dict(model.named_parameters())
    head = list(names)[-1].rpartition(".")[0]
    groups = [
        {
            "params": [param],
            "lr": 0.1 * (1 if name.startswith(head) else 0.1),
            "weight_decay": 0.01 * (param.ndim > 1),
        }
        for name, param in names.items()
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    for batch in islice(chain.from_iterable(map(data.epoch, range(8))), 8):
        loss = nn.functional.cross_entropy(model(batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(trained[name], tensor) for name, tensor in model.state_dict().items())


def test_a_resumed_run_with_groups_is_the_same_and_explained(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        'dataset = "iris"\n[model]\nuse = "mlp"\nhidden = [8]\n[optimizer]\nuse = "adamw"\nlayer_decay = 0.5\n'
        'decay_norms = false\n[[optimizer.group]]\nmatch = "head"\nlr_scale = 2\n'
        '[scheduler]\nuse = "step"\nstep_size = 1\n'
    )
    assert wf("run", "plan.toml", "--epochs", 4, "--quiet", "--name", "whole").code == 0
    assert wf("run", "plan.toml", "--epochs", 2, "--quiet", "--name", "half").code == 0
    resumed = wf("resume", "half", "--epochs", 4, "--quiet")
    assert resumed.code == 0, resumed.stderr
    one, other = (weights(tmp_path / "runs" / name) for name in ("whole", "half"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    found = wf("explain", "plan.toml", "--json").json()["groups"]
    assert [(one["group"], one["options"]["lr"]) for one in found] == [
        ("the rest, 1 layer before the last", 0.0005),
        ("the rest, 1 layer before the last, norms and biases", 0.0005),
        ("head, last layer", 0.002),
        ("head, last layer, norms and biases", 0.002),
    ]
    assert "optimizer  head, last layer " in wf("explain", "plan.toml").stdout
    assert 'group = [{ match = "head", lr_scale = 2 }]' in (tmp_path / "runs" / "whole" / "run.toml").read_text()
