"""Parameters without a gradient."""

from __future__ import annotations

import torch
from torch import nn

from wf_run.parts.unused import unused_parameters


class Net(nn.Module):
    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.used, self.norm, self.drop = nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout()
        self.unused, self.frozen = nn.Linear(3, 3), nn.Linear(1, 1).requires_grad_(False)
        self.fails = fails

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.fails:
            raise RuntimeError("not in training")
        outputs: torch.Tensor = self.drop(self.norm(self.used(inputs)))
        return outputs


def test_unused_parameters_are_found_without_changing_the_model() -> None:
    model, generator = Net(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert unused_parameters(model, torch.rand(4, 3)) == ("unused.weight", "unused.bias")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())
    torch.set_rng_state(generator)


def test_the_trial_leaves_the_generator_unchanged() -> None:
    model, inputs, generator = Net(), torch.rand(4, 3), torch.get_rng_state()
    unused_parameters(model, inputs)
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_model_that_fails_in_the_trial_reports_none() -> None:
    assert unused_parameters(Net(fails=True), torch.rand(4, 3)) == ()
