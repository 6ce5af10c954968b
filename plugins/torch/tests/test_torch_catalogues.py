"""The catalogues hold all of torch, and every member takes part in a run or is refused with a reason."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
import torch
from torch.nn.modules import loss as torch_losses
from torch.optim import lr_scheduler

import wf
from wf.declarations.component import REQUIRED
from wf.declarations.values import VALUES
from wf.errors import UsageError
from wf.parameters import convert, from_signature
from wf.registry import Registry
from wf.traits import LossTraits
from wf_torch.index import MODULES, index
from wf_torch.plugin import wf_components

CATALOGUES = {catalogue.kind: catalogue for catalogue in wf_components()}
REGISTRY = Registry.discover()
MEMBERS = [
    pytest.param(kinds, name, id=f"{kinds}-{name}") for kinds, module in MODULES.items() for name in module.MEMBERS
]
DATA: dict[str, Any] = {
    "real": {"use": "random", "task": "regression", "num_samples": 40},
    "class_index": "iris",
    "binary": "breast-cancer",
    "multilabel": {"use": "random", "task": "multilabel", "num_samples": 40},
    "one_hot": "iris",
}
"""A dataset with each kind of targets; one_hot is what the link makes of class indices."""
OPTIONS: dict[str, dict[str, Any]] = {
    "ChainedScheduler": {"schedulers": [{"use": "torch/LinearLR"}, {"use": "torch/ExponentialLR", "gamma": 0.9}]},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.9},
    "MultiStepLR": {"milestones": [1, 3]},
    "OneCycleLR": {"max_lr": 0.01},
    "SequentialLR": {
        "schedulers": [{"use": "torch/LinearLR"}, {"use": "multistep", "milestones": [2]}],
        "milestones": [2],
    },
    "StepLR": {"step_size": 2},
}
"""Options that have no default."""


def run(**settings: Any) -> Any:
    plain: dict[str, Any] = {"dataset": "iris", "epochs": 4, "batch_size": 50, "model": {"use": "mlp", "hidden": [8]}}
    return wf.run(save=False, quiet=True, **{**plain, **settings})


@pytest.mark.parametrize("kinds", MODULES)
def test_the_index_is_up_to_date(kinds: str) -> None:
    kept = files("wf_torch").joinpath(f"{kinds}.txt").read_text(encoding="utf-8")
    assert kept == index(kinds), "regenerate it: python -m wf_torch.index"


def test_the_catalogues_hold_the_whole_of_torch() -> None:
    optimizers = {name.lower() for name, one in vars(torch.optim).items() if inspect.isclass(one)} - {"optimizer"}
    assert set(CATALOGUES["optimizer"].names()) == optimizers
    assert set(CATALOGUES["scheduler"].names()) == set(lr_scheduler.__all__) - {"LRScheduler"}
    assert set(CATALOGUES["loss"].names()) == set(torch_losses.__all__)
    assert {kind: (len(one.names()), len(one.refused())) for kind, one in CATALOGUES.items()} == {
        "optimizer": (15, 1),
        "scheduler": (15, 2),
        "loss": (23, 9),
    }


def test_listing_does_not_import_torch() -> None:
    code = """
import sys
from wf_torch.plugin import wf_components
print(sum(len(one.names()) for one in wf_components()), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "53 False\n"


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, catalogue in CATALOGUES.items() for name in catalogue.refused()]
)
def test_refused_members_say_why(kind: str, name: str) -> None:
    with pytest.raises(
        UsageError, match=f"'torch/{name}' cannot be used: it |'torch/{name}' cannot be used: torch has"
    ):
        REGISTRY.find(kind, f"torch/{name}")


@pytest.mark.parametrize(("kinds", "name"), MEMBERS)
def test_every_option_is_described_and_its_default_is_a_value_of_its_type(kinds: str, name: str) -> None:
    for option in from_signature(MODULES[kinds].described(name)):
        assert option.help, option.name
        assert "\n" not in option.help
        assert ":" not in option.help.replace(": ", "", 3), f"markup: {option.help}"
        if option.default is REQUIRED:
            assert (option.source or option.name) in {*VALUES, *OPTIONS.get(name, {})}
        else:
            assert repr(convert(option, option.default, name)) == repr(option.default)


@pytest.mark.parametrize("name", MODULES["optimizers"].MEMBERS)
def test_every_optimizer_trains(name: str) -> None:
    own = {"lr": 0.01} if name == "lbfgs" else {}  # a whole step along a curvature of few samples may be far too long
    exp = run(optimizer={"use": f"torch/{name}", **own})
    losses = [record["epoch_loss"] for record in exp.history if "epoch_loss" in record]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", MODULES["schedulers"].MEMBERS)
def test_every_schedule_changes_the_learning_rate(name: str) -> None:
    seen: list[float] = []

    class Watch(wf.Hook):
        def on_step_end(self, run: wf.Loop) -> None:
            seen.append(run.trainer.optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]  # the supervised one

    evaluations = {"patience": 0, "threshold": 10.0} if name == "ReduceLROnPlateau" else {}
    scheduler = {"use": f"torch/{name}", **OPTIONS.get(name, {}), **evaluations}
    run(optimizer="torch/sgd", scheduler=scheduler, epochs=7, hook=[Watch()])
    assert len(set(seen)) > 1
    assert all(0 <= lr <= 0.1 for lr in seen)


@pytest.mark.parametrize("reduction", ["mean", pytest.param("none", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", MODULES["losses"].MEMBERS)
def test_every_loss_goes_down_on_each_of_its_targets(name: str, reduction: str) -> None:
    traits = REGISTRY.find("loss", f"torch/{name}").component.traits
    assert isinstance(traits, LossTraits)
    if name == "KLDivLoss" and reduction == "mean":  # torch warns about them
        reduction = "batchmean"
    for targets in traits.targets:
        if targets == "mask":  # see below
            continue
        loss = {"use": f"torch/{name}", "reduction": reduction}
        exp = run(dataset=DATA[targets], loss=loss, epochs=8, eval_splits=[])
        losses = [record["epoch_loss"] for record in exp.history if "epoch_loss" in record]
        assert all(map(math.isfinite, losses))
        assert losses[-1] < losses[0], targets


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
def test_mask_losses_leave_out_ignored_pixels(name: str) -> None:
    made = MODULES["losses"].build(name)
    predictions = torch.randn(2, 3, 4, 4).log_softmax(1).requires_grad_()
    targets = torch.randint(3, (2, 4, 4))
    targets[0, 0] = -100
    made(predictions, targets).backward()
    assert made.total_weight(targets) == 28


def test_a_written_run_file_repeats_nested_options(tmp_path: Any) -> None:
    scheduler = {"use": "torch/SequentialLR", **OPTIONS["SequentialLR"]}
    loss = {"use": "torch/CrossEntropyLoss", "weight": [1.0, 2.0, 1.0]}
    settings: dict[str, Any] = {"dataset": "iris", "optimizer": "torch/muon", "loss": loss, "scheduler": scheduler}
    wf.run(run_dir=tmp_path / "run", quiet=True, steps=2, **settings)
    text = (tmp_path / "run" / "run.toml").read_text()
    assert wf.build(tmp_path / "run" / "run.toml", save=False).run_file() == text
