"""Every optimizer trains with wf's trainer, and continues from its saved state bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from wf.registry import Registry
from wf.traits import OptimizerTraits
from wf_base import Batch
from wf_building.builder import Builder
from wf_pytorch_optimizer.members import build
from wf_pytorch_optimizer.plugin import wf_components
from wf_run.parts.optimizers import OptimizerModes, param_groups
from wf_state import codec
from wf_training.trainer import SupervisedTrainer

CATALOGUE = wf_components()[0]
WORKING = [name for name in CATALOGUE.names() if name not in CATALOGUE.refused()]
STEPS = 60
FALL = 0.8
"""A run of `STEPS` batches brings the loss below this share of its start (2.33)."""

SAMPLE = (
    *("adahessian", "adalomo", "adammini", "alig", "conda", "emonavi", "flashadamw", "galore", "gsam", "lbfgs", "lion"),
    *("lomo", "lookahead", "lorarite", "magma", "muon", "prodigy", "ranger21", "sam", "sara", "schedulefreeadamw"),
    *("schedulefreewrapper", "scion", "sophiah", "splus", "trac", "wsam"),
)
"""At least one of each way in which they are made, stepped and saved."""

DEFAULTS = (
    *("adabelief", "adadelta", "adahessian", "adamuon", "adatam", "aida", "alice", "alig", "apollo", "came"),
    *(
        "dadaptadam",
        "dadaptsgd",
        "emonavi",
        "exadam",
        "focus",
        "lbfgs",
        "lorarite",
        "mars",
        "muon",
        "muonclip",
        "nadam",
    ),
    *("nero", "padam", "prodigy", "rmsprop", "schedulefreeadamw", "schedulefreesgd", "sgdsai", "sm3", "vsgd", "yogi"),
)
"""Those that train with the defaults; for the others the learning rate is 0.01 unless one of these says otherwise."""

LARGER = {
    0.1: (
        *("accsgd", "adago", "adalomo", "adamod", "aggmo", "apollodqn", "fromage", "normuon", "radam", "ranger"),
        *("scalableshampoo", "schedulefreeradam", "scion", "scionlight", "shampoo", "spectralsphere", "tam"),
    ),
    1.0: (
        *("adai", "asgd", "avagrad", "gravity", "lomo", "msvag", "pid", "pnm", "qhm", "sgd", "sgdp", "sgdw", "sophiah"),
        *("splus", "srmm"),
    ),
}

OPTIONS: dict[str, dict[str, Any]] = {
    "a2grad": {"beta": 1.0, "lips": 1.0},
    "adafactor": {"relative_step": False, "lr": 0.1},
    "adamg": {"p": 0.5},
    "dadaptadagrad": {"d0": 1e-3},
    "dadaptlion": {"d0": 3e-3, "lr": 0.2},
    "kate": {"lr": 1e-4},
    "lars": {"lr": 10.0},
    "sara": {"threshold": 1.0, "lr": 0.01, "lambda_rank": 1e-3},
    **{name: {} for name in DEFAULTS},
    **{name: {"lr": lr} for lr, names in LARGER.items() for name in names},
}

LATE: dict[str, dict[str, Any]] = {
    **{name: {"update_proj_gap": 5} for name in ("apollo", "conda", "fira", "galore")},
    "splus": {"inverse_steps": 5},
    "scalableshampoo": {"start_preconditioning_step": 3, "preconditioning_compute_steps": 4, "block_size": 16},
    "alice": {"update_interval": 5, "rank": 8, "leading_basis": 4},
    "spam": {"update_proj_gap": 5, "warmup_epoch": 3, "density": 0.5},
    "stablespam": {"update_proj_gap": 5, "t_max": 20},
    "soap": {"precondition_frequency": 3},
    "sara": {"threshold": 0.1, "progressive_iter": 8, "lambda_rank": 1e-3},
    "kron": {"balance_prob": 0.5},
}
"""Options with which what happens seldom happens around the place where the run is saved."""


class Factors(nn.Module):
    """A frozen network with a trainable pair of LoRA factors beside each matrix."""

    def __init__(self) -> None:
        super().__init__()
        for number, (rows, columns) in enumerate([(32, 64), (10, 32)]):
            fixed = nn.Parameter(torch.randn(rows, columns) / columns**0.5, requires_grad=False)
            self.register_parameter(f"fixed_{number}", fixed)
            self.register_parameter(f"lora_a_{number}", nn.Parameter(torch.randn(8, columns) / columns**0.5))
            self.register_parameter(f"lora_b_{number}", nn.Parameter(torch.zeros(rows, 8)))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs
        for number in range(2):
            fixed, left, right = (getattr(self, f"{name}_{number}") for name in ("fixed", "lora_a", "lora_b"))
            hidden = (hidden.relu() if number else hidden) @ (fixed + right @ left).T
        return hidden


class Training:
    """Training of a small network on digits with one optimizer."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        digits = load_digits()
        self.inputs = torch.tensor(digits.data, dtype=torch.float32) / 16
        self.targets = torch.tensor(digits.target)
        self.name, self.model = name, make_model(name)
        self.optimizer = make(name, self.model, options)
        traits = CATALOGUE.member(name).traits
        assert isinstance(traits, OptimizerTraits)
        self.modes = OptimizerModes(self.optimizer) if traits.modes else None
        self.trainer = SupervisedTrainer(
            self.model, cross_entropy, self.optimizer, None, "epoch", "validation/loss", traits
        )
        if self.modes:
            self.modes.to_train()

    def steps(self, start: int, stop: int) -> None:
        for number in range(start, stop):
            torch.manual_seed(number)
            rows = torch.randperm(len(self.inputs))[:128] if self.name != "lbfgs" else torch.arange(len(self.inputs))
            self.trainer.train_step(Batch(self.inputs[rows], self.targets[rows], rows, None, len(rows)))

    def loss(self) -> float:
        if self.modes:
            self.modes.to_eval()
        with torch.no_grad():
            loss = cross_entropy(self.model(self.inputs), self.targets).item()
        if self.modes:
            self.modes.to_train()
        return loss


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "lorarite":
        return Factors()
    bias = name != "spectralsphere"
    return nn.Sequential(nn.Linear(64, 32, bias=bias), nn.ReLU(), nn.Linear(32, 10, bias=bias))


def make(name: str, model: nn.Module, options: dict[str, Any]) -> Any:
    params = [param for param in model.parameters() if param.requires_grad]
    values = {"params": params, "model": model, "total_steps": STEPS, "seed": 3}
    builder = Builder(REGISTRY, {**values, "param_groups": param_groups(model, params)})
    return builder.build("optimizer", {"use": f"pytorch-optimizer/{name}", **options}).value


REGISTRY = Registry.discover()


def every(names: list[str]) -> list[Any]:
    """All names; those outside the sample only in `make catalogue`."""
    return [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.catalogue) for name in names]


def test_the_tables_of_this_test_name_working_members() -> None:
    assert {*SAMPLE, *OPTIONS, *LATE} <= set(WORKING)


@pytest.mark.parametrize("name", every(WORKING))
def test_trains(name: str) -> None:
    training = Training(name, OPTIONS.get(name, {"lr": 0.01}))
    before = training.loss()
    training.steps(0, STEPS)
    assert training.loss() < FALL * before


@pytest.mark.parametrize("name", every(WORKING))
def test_training_continues_from_saved_state_with_the_same_bits(name: str) -> None:
    options = LATE.get(name, {})
    one = Training(name, options)
    one.steps(0, 7)
    weights = copy.deepcopy(one.model.state_dict())
    document, tensors = codec.encode(one.optimizer.state_dict())
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}

    other = Training(name, options)
    other.model.load_state_dict(weights)
    other.optimizer.load_state_dict(codec.decode(document, {key: tensor.clone() for key, tensor in tensors.items()}))
    document_again, tensors_again = codec.encode(other.optimizer.state_dict())
    assert document_again == document
    assert tensors_again.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert tensors_again[key].dtype == tensor.dtype
        assert torch.equal(tensors_again[key], tensor)

    one.steps(7, 27)
    other.steps(7, 27)
    for left, right in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("base", [pytest.param("sgd", marks=pytest.mark.catalogue), "pytorch-optimizer/lion"])
@pytest.mark.parametrize(
    "name", ["friendlysam", "gsam", "lookahead", "looksam", "magma", "orthograd", "sam", "schedulefreewrapper", "trac"]
)
def test_a_wrapper_trains_around_another_optimizer(name: str, base: str) -> None:
    training = Training(name, {"base": {"use": base, "lr": 0.5 if base == "sgd" else 0.01}})
    before = training.loss()
    training.steps(0, STEPS)
    assert training.loss() < FALL * before


def test_sam_takes_an_sgd_step_at_the_ascended_point() -> None:
    """One step of SAM by hand: ascend by rho, and step with the gradient at that point."""
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    sgd = torch.optim.SGD([weight], lr=0.1)
    sam: Any = build("sam", params=[weight], base=sgd, rho=0.5)

    def evaluate() -> Tensor:
        sam.zero_grad()
        loss = (weight**2).sum() / 2  # its gradient is the weight
        with torch.enable_grad():
            loss = (weight**2).sum() / 2
            loss.backward()
        return loss.detach()

    evaluate()
    sam.step(evaluate)
    led = torch.tensor([[3.0, 4.0]]) * (1 + 0.5 / 5)
    assert torch.allclose(weight.detach(), torch.tensor([[3.0, 4.0]]) - 0.1 * led)


def test_lomo_equals_sgd() -> None:
    one, other = Training("lomo", {"lr": 0.1}), Training("sgd", {"lr": 0.1})
    one.steps(0, 5)
    other.steps(0, 5)
    for left, right in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(left, right, rtol=0, atol=1e-7)


def test_muon_treats_the_hidden_matrices_apart() -> None:
    training = Training("muon", {})
    groups = {group["use_muon"]: group["params"] for group in training.optimizer.param_groups}
    layers = [module for module in training.model.modules() if isinstance(module, nn.Linear)]
    assert [id(param) for param in groups[True]] == [id(layers[0].weight)]
    assert len(groups[False]) == 3


def test_galore_projects_matrices() -> None:
    training = Training("galore", {"rank": 4, "lr": 0.01})
    training.steps(0, 2)
    weight = training.model[0].weight  # type: ignore[index]  # Sequential
    assert training.optimizer.state[weight]["exp_avg"].numel() == 4 * 64
