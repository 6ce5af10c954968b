"""Training in lower precision: torch's recipes, bit for bit, and close to float32."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from wf import Epochs, Loop
from wf.errors import UsageError
from wf.traits import OptimizerTraits
from wf_run.parts import precision
from wf_training.trainer import SupervisedTrainer

CPU = torch.device("cpu")
X = torch.linspace(-1, 1, 48).reshape(12, 4)
Y = X.sum(1, keepdim=True)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
EPS = {name: torch.finfo(dtype).eps for name, dtype in DTYPES.items()}


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def trained(model: nn.Module, scaler: Any, accumulate: int = 1, hooks: Any = ()) -> tuple[list[Tensor], Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = SupervisedTrainer(
        model,
        nn.MSELoss(),
        optimizer,
        StepLR(optimizer, 2, 0.5),
        "step",
        "validation/loss",
        scaler=scaler,
        accumulate=accumulate,
        batch_size=4,
    )
    Loop(trainer, hooks=hooks).run([(X, Y)], Epochs(6))
    return list(model.parameters()), optimizer


@pytest.mark.parametrize("name", DTYPES)
def test_forward_equals_torchs_autocast(name: str) -> None:
    model, plain = network(), network()
    precision.autocast_forward(model, name, CPU)
    with torch.autocast("cpu", DTYPES[name]):
        expected = plain(X)
    assert expected.dtype == DTYPES[name]
    assert torch.equal(model(X), expected.float())
    assert model(X).dtype == torch.float32, "loss and metrics get torch's default dtype"
    torch.testing.assert_close(model(X), plain(X), rtol=8 * EPS[name], atol=8 * EPS[name])  # a few roundings each
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_a_deep_copy_computes_with_its_own_weights() -> None:
    model = network()
    precision.autocast_forward(model, "bf16", CPU)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(twin(X), torch.zeros(12, 1))
    assert not torch.equal(model(X), twin(X))


@pytest.mark.parametrize("scale", [2.0**6, 2.0**20], ids=["as it is", "the first gradients overflow"])
def test_fp16_has_the_bits_of_torchs_recipe(scale: float) -> None:
    model, by_hand = network(), network()
    precision.autocast_forward(model, "fp16", CPU)
    scaler, recipe = (torch.amp.GradScaler("cpu", init_scale=scale) for _ in range(2))
    norms: list[float] = []

    class Clip:
        def on_gradients_ready(self, run: Loop) -> None:
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.5)))

    trained(model, scaler, hooks=[Clip()])
    optimizer, rates = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9), [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    expected = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        with torch.autocast("cpu", torch.float16):
            predictions = by_hand(X)
        loss = nn.functional.mse_loss(predictions.float(), Y)
        optimizer.zero_grad()
        recipe.scale(loss).backward()
        recipe.unscale_(optimizer)
        expected.append(float(nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)))
        recipe.step(optimizer)
        recipe.update()
    assert scaler.state_dict() == recipe.state_dict()
    assert (scaler.get_scale() < scale) == (scale == 2.0**20)
    assert norms == pytest.approx(expected, nan_ok=True)
    assert all(map(torch.equal, model.parameters(), by_hand.parameters()))


@pytest.mark.parametrize("name", DTYPES)
def test_training_is_close_to_float32(name: str) -> None:
    """Each product is rounded to 8 or 11 bits, and so are the gradients: 6 updates stay within a few eps."""
    model = network()
    precision.autocast_forward(model, name, CPU)
    found, _ = trained(model, torch.amp.GradScaler("cpu", init_scale=64.0) if name == "fp16" else None, accumulate=3)
    expected, _ = trained(network(), None)
    assert all(parameter.dtype == torch.float32 for parameter in found)
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * EPS[name])
    assert not all(map(torch.equal, found, expected))


def test_fp32_leaves_the_model_unchanged() -> None:
    model = network()
    precision.autocast_forward(model, "fp32", CPU)
    assert "forward" not in vars(model)
    assert precision.make_scaler("fp32", CPU) is precision.make_scaler("bf16", CPU) is None


@pytest.mark.parametrize("step", ["closure", "two_step", "create_graph"])
def test_fp16_is_refused_for_other_step_protocols(step: Any) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match=f"the step protocol {step}\n.*--precision bf16"):
        SupervisedTrainer(
            model,
            nn.MSELoss(),
            optimizer,
            None,
            "epoch",
            "",
            OptimizerTraits(step=step),
            scaler=torch.amp.GradScaler("cpu"),
        )


def test_tf32_is_on_during_the_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def settings() -> tuple[str, bool]:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = settings()
    with precision.products_in("tf32", CPU):
        assert settings() == before, "the CPU has no tf32"
    monkeypatch.setattr(precision, "_has_tf32", lambda device: True)
    precision.check_tf32("tf32", CPU)
    inside = []

    def failing() -> None:
        with precision.products_in("tf32", CPU):
            inside.append(settings())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert inside == [("high", True)]
    assert settings() == before


def test_tf32_by_torchs_newer_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """After that the older one, which torch compiles by, raises; the run gives back what the program had set."""
    monkeypatch.setattr(precision, "_has_tf32", lambda device: True)
    matmul, before = torch.backends.cuda.matmul, precision.products()
    assert before["float32_matmul"] == "highest"
    try:
        matmul.fp32_precision = "tf32"
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            torch.get_float32_matmul_precision()
        assert precision.products() == {**before, "float32_matmul": "high"}
        with precision.products_in("tf32", torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == "high"
        assert matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")
        matmul.fp32_precision = "none"
    assert precision.products() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tf32_is_close_to_float32() -> None:
    """Factors are rounded to 10 bits, sums are not."""
    device = torch.device("cuda")
    precision.check_tf32("tf32", device)
    left, right = torch.randn(2, 256, 256, device=device, generator=torch.Generator(device).manual_seed(0))
    with precision.products_in("tf32", device):
        product = left @ right
    torch.testing.assert_close(product, left @ right, rtol=1e-2, atol=0.1)
    assert not torch.equal(product, left @ right)
