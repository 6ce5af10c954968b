"""The summary of a model, and that it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import wf
from wf_base import Batch
from wf_run.cli.summing_up import count, text_of
from wf_run.summary import summarize


def batch_of(inputs: Any, size: int) -> Any:
    return Batch(inputs, torch.zeros(size), None, None, size)


def test_shapes_parameters_and_operations_of_each_layer() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
    found = summarize(model, batch_of(torch.zeros(2, 1, 8, 8), 2))
    assert [(layer.name, layer.type, layer.output, layer.num_params, layer.flops) for layer in found.layers] == [
        ("0", "Conv2d", "4 x 8 x 8", 40, 2 * 64 * 4 * 9),
        ("1", "ReLU", "4 x 8 x 8", 0, 0),
        ("2", "Flatten", "256", 0, 0),
        ("3", "Linear", "10", 2570, 2 * 256 * 10),
    ]
    assert (found.num_params, found.num_trained, found.num_bytes) == (2610, 2610, 4 * 2610)
    assert (found.flops, found.is_whole) == (2 * 64 * 4 * 9 + 2 * 256 * 10, True)


def test_frozen_and_shared_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    found = summarize(model, batch_of(torch.zeros(1, 4), 1))
    assert [layer.num_params for layer in found.layers] == [20, 4]
    assert (found.num_params, found.num_trained, found.flops) == (24, 20, 64)
    assert "24 parameters, 20 of them trained, 96 B, 64 FLOPs a sample forward" in text_of(found)


class Pair(nn.Module):
    """Takes and returns a dict; has a parameter outside its submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(30))
        self.unused = nn.Linear(5, 5)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        for block in self.blocks:
            left = block(left)
        return {"logits": left * self.scale, "mask": right}


def test_a_deep_model_is_shown_by_its_outer_modules() -> None:
    inputs = {"left": torch.zeros(1, 3), "right": torch.zeros(1, 2, 2)}
    found = summarize(Pair(), batch_of(inputs, 1), max_rows=40)
    assert [layer.name for layer in found.layers] == [*(f"blocks.{number}" for number in range(30)), "unused"]
    assert {(layer.num_params, layer.flops, layer.output) for layer in found.layers[:-1]} == {(24, 36, "3")}
    assert found.layers[-1].output == "-"
    few = summarize(Pair(), batch_of(inputs, 1), max_rows=1)
    assert [(layer.name, layer.output) for layer in few.layers] == [("", "logits 3, mask 2 x 2")]
    assert few.layers[0].num_params == found.num_params == 3 + 30 * 24 + 30
    assert text_of(few).splitlines()[1].split()[:2] == ["model", "Pair"]


def test_operations_that_torch_does_not_count_are_noted() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs, _ = self.cell(inputs)
            return self.head(outputs[:, -1])  # type: ignore[no-any-return]  # a module's call is of Any

    found = summarize(Recurrent(), batch_of(torch.zeros(1, 5, 4), 1))
    assert not found.is_whole
    assert "at least 32 FLOPs a sample forward" in text_of(found)


def test_the_summary_keeps_generators_modes_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before, state = torch.get_rng_state(), {name: value.clone() for name, value in model.state_dict().items()}

    def draw(module: nn.Module, *_: Any) -> None:
        torch.rand(3)
        model.get_buffer("1.running_mean").add_(1)

    model.register_forward_hook(draw)
    summarize(model, batch_of(torch.ones(2, 4), 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert all(module.training for module in model.modules())
    assert len(model._forward_hooks) == 1
    assert not model[0]._forward_hooks


RUNS: dict[str, dict[str, Any]] = {
    "images": {"dataset": "digits", "model": "cnn", "transform": ["+crop"]},
    "masks": {"dataset": "shapes"},
    "texts": {"dataset": "authors"},
    "regression": {"dataset": "diabetes"},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_run_has_the_same_bits_after_its_summary(settings: dict[str, Any]) -> None:
    histories = []
    for look in (False, True):
        run = wf.build(save=False, quiet=True, steps=3, **settings)
        if look:
            found = run.summary()
            assert found.num_params == sum(weight.numel() for weight in run.model.parameters())
            assert found.flops
        histories.append(run.fit().history)
    assert histories[0] == histories[1]


def test_summary_on_the_command_line(wf: Any) -> None:
    result = wf("run", "--dataset", "iris", "--model", "linear", "--dry-run", "--summary", "--quiet")
    assert result.code == 0
    assert result.stderr.splitlines() == [
        *["layer  type     output  parameters  FLOPs", "0      Flatten  4                -      -"],
        *["1      Linear   3               15     24", "15 parameters, 60 B, 24 FLOPs a sample forward", ""],
    ]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1.00 k"), (12_345, "12.3 k"), (999_600, "1.00 M")]
)
def test_counts_have_three_digits(number: float, text: str) -> None:
    assert count(number) == text
