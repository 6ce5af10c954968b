"""Frozen modules are not trained and compute the same function in every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import weights
from torch import Tensor, nn

import wf
from wf.errors import UsageError
from wf_base.training.heads import head_of
from wf_training.freezing import freeze

CNN: dict[str, Any] = {"model": {"use": "cnn", "channels": [4], "dropout": 0.5}, "quiet": True, "batch_size": 100}


def network() -> nn.Sequential:
    """A backbone with a norm, a norm without parameters, dropout, and a head."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    return nn.Sequential(body, nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3))


def trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def names(model: nn.Module, modules: list[nn.Module]) -> list[str]:
    return [name for name, module in model.named_modules() if module in modules]


def test_the_backbone_is_everything_except_the_head() -> None:
    model = network()
    frozen = freeze(model, "backbone")
    assert trained(model) == ["4.weight", "4.bias"]
    assert names(model, frozen) == ["0", "0.0", "0.1", "1"], "dropout before the head belongs to the head"


@pytest.mark.parametrize(
    ("chosen", "expected", "modules"),
    [
        ("0", ["4.weight", "4.bias"], ["0"]),
        (["0.0"], ["0.1.weight", "0.1.bias", "4.weight", "4.bias"], ["0.0"]),
        (["4", "0.1"], ["0.0.weight", "0.0.bias"], ["0.1", "4"]),
        ("4.weight", ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "4.bias"], []),
        (None, ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "4.weight", "4.bias"], []),
    ],
)
def test_modules_and_parameters_are_frozen_by_name(chosen: Any, expected: list[str], modules: list[str]) -> None:
    model = network()
    assert names(model, freeze(model, chosen)) == modules
    assert trained(model) == expected


def test_a_module_named_backbone_wins_over_the_keyword() -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "neck": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    freeze(model, "backbone")
    assert trained(model) == ["neck.weight", "neck.bias", "head.weight", "head.bias"]


def test_a_head_that_shares_its_weight_is_trained() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5))
    model[2].weight = model[0].weight
    frozen = freeze(model, "backbone")
    assert trained(model) == ["0.weight", "2.bias"]
    assert names(model, frozen) == ["1"]


def test_a_model_may_name_its_head() -> None:
    class Named(nn.Sequential):
        def get_classifier(self) -> nn.Module:
            return self[0]

    model = Named(nn.Linear(2, 2), nn.Linear(2, 2))
    assert head_of(model) == [model[0]]
    freeze(model, "backbone")
    assert trained(model) == ["0.weight", "0.bias"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("0.2.convv", r"unknown module '0\.2\.convv' of the model\n.*\n?  available: .*backbone"),
        ("bakbone", "did you mean 'backbone'"),
        (["0.1.wieght"], r"did you mean '0\.1\.weight'"),
        ("", "unknown module ''"),
        (["0", "4"], "0, 4: that is the whole model"),
    ],
)
def test_invalid_names_to_freeze_are_refused(chosen: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        freeze(network(), chosen)


def test_a_single_layer_has_no_backbone() -> None:
    with pytest.raises(UsageError, match="no backbone, only a head"):
        freeze(nn.Linear(3, 2), "backbone")


def test_a_run_trains_the_head_alone() -> None:
    """The frozen norm keeps its running means, also after evaluations; the optimizer gets the head's parameters."""
    modes: list[bool] = []

    class Modes(wf.Hook):
        def on_step_end(self, run: wf.Loop) -> None:
            modes.extend(module.training for module in exp.model.modules() if isinstance(module, nn.BatchNorm2d))
            assert any(module.training for module in exp.model.modules() if isinstance(module, nn.Dropout))

    settings: dict[str, Any] = {"optimizer": "adamw", "epochs": 3, "save": False, **CNN}
    exp = wf.build(trainer={"use": "supervised", "freeze": "backbone"}, hook=[Modes()], **settings)
    before = {name: value.clone() for name, value in exp.model.state_dict().items()}
    head = {f"{name}.{part}" for name in names(exp.model, head_of(exp.model)) for part in ("weight", "bias")}
    exp.fit()
    changed = {name for name, value in exp.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == head
    assert modes
    assert not any(modes)
    parameters = [parameter for group in exp.loop.trainer.optimizer.param_groups for parameter in group["params"]]  # type: ignore[attr-defined]  # of the supervised one
    assert len(parameters) == len(head)


def test_freeze_is_written_to_the_run_file(tmp_path: Path) -> None:
    wf.run(trainer={"use": "supervised", "freeze": ["0"]}, steps=2, run_dir=tmp_path / "run", **CNN)
    assert 'freeze = ["0"]' in (tmp_path / "run" / "run.toml").read_text()
    model = wf.load_model(tmp_path / "run")
    assert isinstance(model(torch.zeros(2, 1, 8, 8)), Tensor)


def test_invalid_values_and_names_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="'freeze' wants str or list"):
        wf.run(trainer={"use": "supervised", "freeze": 3}, save=False, **CNN)
    with pytest.raises(UsageError, match="unknown module 'layer1'"):
        wf.run(trainer={"use": "supervised", "freeze": "layer1"}, save=False, **CNN)


class Changes(wf.Hook):
    """Notes after which steps the first kernel and the running means of the first norm had changed."""

    def __init__(self) -> None:
        self.kernel: list[int] = []
        self.means: list[int] = []

    def on_run_start(self, run: wf.Loop) -> None:
        self.model: Any = run.parts["model"]
        self.before = self._now()

    def on_step_end(self, run: wf.Loop) -> None:
        now = self._now()
        for noted, one, other in zip((self.kernel, self.means), self.before, now, strict=True):
            if not torch.equal(one, other):
                noted.append(run.progress.step)
        self.before = now

    def _now(self) -> tuple[Tensor, Tensor]:
        return self.model[0].weight.detach().clone(), self.model[1].running_mean.clone()


@pytest.mark.parametrize(("until", "last"), [("7steps", 7), ("1epochs", 4), (1, 4)])
def test_freeze_until_trains_the_modules_afterwards(until: str | int, last: int) -> None:
    changes, options = Changes(), {"use": "supervised", "freeze": "backbone", "freeze_until": until}
    settings: dict[str, Any] = {**CNN, "batch_size": 400, "steps": 10, "save": False}
    exp = wf.run(trainer=options, hook=[changes], optimizer="adamw", **settings)
    assert changes.kernel == changes.means == list(range(last + 1, 11))
    assert all(parameter.requires_grad for parameter in exp.model.parameters())
    held = wf.run(trainer={**options, "freeze_until": "90steps"}, optimizer="adamw", **settings)
    good = wf.run(trainer={"use": "supervised", "freeze": "backbone"}, optimizer="adamw", **settings)
    assert all(torch.equal(good.model.state_dict()[name], one) for name, one in held.model.state_dict().items())


@pytest.mark.parametrize(("until", "stop"), [("6steps", 1), ("6steps", 2), ("2epochs", 2)])
def test_a_run_with_freeze_until_resumes_to_the_bit(wf: Any, tmp_path: Path, until: str, stop: int) -> None:
    plan = ("--model", "cnn", "--model.channels", "[4]", "--batch-size", 400, "--quiet", "--hook", "+ema")
    frozen = ("--trainer.freeze", "backbone", "--trainer.freeze_until", until, "--hook.ema.decay", 0.5)
    assert wf("run", *plan, *frozen, "--epochs", 3, "--name", "whole").code == 0
    assert wf("run", *plan, *frozen, "--epochs", stop, "--name", "half").code == 0
    resumed = wf("resume", "half", "--epochs", 3, "--quiet")
    assert resumed.code == 0, resumed.stderr
    whole, half = (weights(tmp_path / "runs" / name) for name in ("whole", "half"))
    assert all(torch.equal(whole[name], half[name]) for name in whole)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"freeze": "0", "freeze_until": "5min"}, "counts epochs or steps"),
        ({"freeze_until": "2epochs"}, "'freeze' is not"),
        ({"freeze": "0", "freeze_until": "soon"}, "is not a cadence"),
    ],
)
def test_invalid_freeze_until_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wf.run(trainer={"use": "supervised", **options}, save=False, **CNN)
