"""A compiled forward: close to the plain one, and used only in training."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wf import Epochs, Loop
from wf.errors import UsageError
from wf_training.compiling import compiled
from wf_training.trainer import SupervisedTrainer

X = torch.linspace(-1, 1, 32).reshape(8, 4)
BATCHES = [(X, X.sum(1, keepdim=True)), (X[:3], X[:3].sum(1, keepdim=True))]

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)


def trained(batches: list[Any], *, compile: bool) -> tuple[dict[str, Tensor], list[str]]:
    """The weights after an epoch, and their names as the trainer's model has them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SupervisedTrainer(model, nn.MSELoss(), optimizer, None, "epoch", "", compile=compile)
    Loop(trainer).run(batches, Epochs(1))
    return model.state_dict(), list(model.state_dict())


@pytest.mark.exhaustive  # inductor takes its time
@needs_compiler
@pytest.mark.filterwarnings("default")  # from modules that inductor imports
def test_a_compiled_run_is_near_a_plain_one() -> None:
    """Fused kernels round differently: the last bits of float32 differ."""
    weights, names = trained(BATCHES, compile=True)
    plain, expected_names = trained(BATCHES, compile=False)
    assert names == expected_names
    torch.testing.assert_close(weights, plain, rtol=1e-5, atol=1e-6)
    assert not all(torch.equal(weights[name], plain[name]) for name in names), "nothing was compiled"


def test_the_saved_and_evaluated_model_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fake(model: nn.Module, **options: Any) -> Any:
        asked.append(options)
        return lambda inputs: model(inputs)

    monkeypatch.setattr(torch, "compile", fake)
    model = nn.Linear(4, 1)
    wrapped = compiled(model, "max-autotune")
    assert torch.equal(wrapped(X), model(X))
    assert wrapped.train(False).training is model.training is False
    assert asked == [{"dynamic": False, "mode": "max-autotune"}]
    assert list(model.state_dict()) == ["weight", "bias"]


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UsageError, match=r"C\+\+ compiler, but there is no 'no-such-compiler'\n.*variable CXX"):
        compiled(nn.Linear(1, 1), True)


def test_a_model_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(inputs: Tensor) -> Tensor:
        raise torch._dynamo.exc.Unsupported("this and that")

    monkeypatch.setattr(torch, "compile", lambda model, **options: refuse)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(UsageError, match=r"cannot be compiled: Unsupported: this and that\n.*--trainer\.compile"):
        compiled(nn.Linear(4, 1), True)(X)
