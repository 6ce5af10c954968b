"""Hidden matrices as a group, inferred traits of optimizers, and separate weights for training and evaluation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import step_protocols
import torch
from step_protocols import ScheduleFree
from torch import Tensor, nn

import wf
from wf import Epochs, Every, Loop
from wf.errors import UsageError
from wf.traits import OptimizerTraits
from wf_run.parts.optimizers import OptimizerModes, param_groups, shown_traits
from wf_state import codec

X = torch.linspace(-1, 1, 8).unsqueeze(1)


def names(model: nn.Module, group: dict[str, Any]) -> list[str]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return [known[id(parameter)] for parameter in group["params"]]


def test_hidden_matrices_form_a_group() -> None:
    model = nn.Sequential(
        nn.Embedding(5, 4), nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4), nn.LSTM(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
    )
    model[4].bias.requires_grad_(False)
    params = [parameter for parameter in model.parameters() if parameter.requires_grad]
    scale = nn.Parameter(torch.ones(3, 3))  # a parameter of the loss
    hidden, others = param_groups(model, [*params, scale])
    assert (hidden["hidden"], others["hidden"]) == (True, False)
    assert names(model, hidden) == ["1.weight", "3.weight_ih_l0", "3.weight_hh_l0", "4.weight"]
    assert names(model, {"params": others["params"][:-1]}) == [
        *("0.weight", "1.bias", "2.weight", "2.bias", "3.bias_ih_l0", "3.bias_hh_l0", "5.weight", "5.bias")
    ]
    assert others["params"][-1] is scale


def test_the_matrix_of_a_single_layer_counts_as_hidden() -> None:
    model = nn.Linear(3, 2)
    assert [names(model, group) for group in param_groups(model, list(model.parameters()))] == [["weight"], ["bias"]]


def test_traits_are_inferred_from_live_optimizers() -> None:
    params = [nn.Parameter(torch.ones(1))]
    assert shown_traits(torch.optim.SGD(params)) == OptimizerTraits()
    assert shown_traits(torch.optim.LBFGS(params)) == OptimizerTraits(step="closure")
    assert shown_traits(ScheduleFree(params)) == OptimizerTraits(modes=True)


class Averaging:
    """A trainer of one number; the evaluated weight is the mean of all weights so far."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.model.weight)
        self.optimizer = ScheduleFree(self.model.parameters(), lr=0.3)
        self.modes = OptimizerModes(self.optimizer)

    def train_step(self, batch: Any) -> Tensor:
        self.optimizer.zero_grad()
        loss = (self.model(batch.inputs) - 3 * batch.inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @property
    def weight(self) -> float:
        return self.model.weight.item()


class Watch:
    """An evaluator and a checkpointer that record the weight that they see."""

    def __init__(self, trainer: Averaging) -> None:
        self.trainer = trainer
        self.judged: list[float] = []
        self.saved: list[float] = []
        self.states: list[Any] = []

    def evaluate(self, split: str) -> dict[str, float]:
        self.judged.append(self.trainer.weight)
        return {"loss": abs(self.trainer.weight - 2.0)}

    def save(self, state: Any, progress: Any, metrics: Any) -> str:
        self.saved.append(self.trainer.weight)
        self.states.append(copy.deepcopy(codec.decode(*codec.encode(state))))
        return "here"

    def load(self, which: str = "latest") -> Any:
        losses = [state["metrics"].get("validation/loss", 9.0) for state in self.states]
        return self.states[losses.index(min(losses))] if which == "best" else self.states[-1]


def looped(trainer: Averaging, watch: Watch | None, **settings: Any) -> Loop:
    parts = {"model": trainer.model, "optimizer": trainer.optimizer, "modes": trainer.modes}
    return Loop(trainer, watch, watch, parts=parts, modes=trainer.modes, **settings)


def test_evaluation_weights_are_evaluated_and_saved() -> None:
    plain, watched = Averaging(), Averaging()
    weights: list[tuple[float, float]] = []

    class Steps:
        def on_step_end(self, run: Loop) -> None:
            weights.append((plain.weight, watched.weight))

    watch = Watch(watched)
    settings = {"eval_every": Every(1, "steps"), "checkpoint_every": Every(1, "steps")}
    loop = looped(watched, watch, **settings)
    for epoch in range(1, 5):
        looped(plain, None).run([(X, X)], Epochs(1))
        plain.modes.to_train()
        loop.hooks = (Steps(),)
        loop.run([(X, X)], Epochs(epoch))
        assert watched.weight == watch.saved[-1], "a run ends with the evaluated weights"
    assert all(one == other for one, other in weights), "evaluating and saving changed the training"
    assert len(set(watch.saved)) == 4
    assert watch.judged == watch.saved
    assert not {weight for pair in weights[1:] for weight in pair} & set(watch.saved)


def test_a_resumed_run_continues_from_the_training_weights() -> None:
    straight = Averaging()
    looped(straight, None).run([(X, X)], Epochs(6))
    halted = Averaging()
    watch = Watch(halted)
    looped(halted, watch).run([(X, X)], Epochs(3))
    resumed = Averaging()
    loop = looped(resumed, Watch(resumed))
    loop.load_state_dict(watch.load())
    assert resumed.weight == watch.saved[-1]
    loop.run([(X, X)], Epochs(6))
    assert resumed.weight == straight.weight


def test_restored_best_weights_are_not_switched_again() -> None:
    trainer = Averaging()
    watch = Watch(trainer)
    loop = looped(trainer, watch, keep="best", final_splits=("validation",)).run([(X, X)], Epochs(12))
    best = min(watch.judged[:-1], key=lambda weight: abs(weight - 2.0))
    assert best != watch.judged[-2], "the last weights must not be the best ones here"
    assert trainer.weight == best == watch.judged[-1]
    assert loop.metrics["validation/loss"] == abs(best - 2.0)


def test_an_error_in_an_evaluation_restores_the_training_weights() -> None:
    trainer = Averaging()
    loop = looped(trainer, Watch(trainer)).run([(X, X)], Epochs(2))
    trainer.modes.to_train()
    loop.finished = loop._judging = False
    before = trainer.weight

    class Failing:
        def evaluate(self, split: str) -> dict[str, float]:
            raise ZeroDivisionError

    loop.evaluator = Failing()
    with pytest.raises(ZeroDivisionError):
        loop.evaluate(["validation"])
    assert trainer.weight == before


def test_an_optimizer_of_the_model_alone_refuses_a_trainable_loss() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(predictions * self.scale, targets)

    settings: dict[str, Any] = {"loss": Scaled, "save": False, "quiet": True, "steps": 1}
    plugins = [step_protocols.__file__]
    with pytest.raises(
        UsageError, match="optimizer 'of-model' trains only the model, but loss 'scaled' has its own parameters"
    ):
        wf.run(optimizer="of-model", plugins=plugins, **settings)
    wf.run(optimizer="of-groups", plugins=plugins, **settings)


def test_a_live_lbfgs_is_stepped_with_a_closure() -> None:
    def make(params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(params, lr=0.1, max_iter=2)

    exp = wf.run(optimizer=make, save=False, quiet=True, steps=3)
    assert exp.loop.progress.step == 3
