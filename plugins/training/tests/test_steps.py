"""The step protocols: each has the bits of a hand-written loop, and repeated evaluations leave no trace."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from step_protocols import Curvature, Sharpness
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from wf import Epochs, Loop
from wf.errors import UsageError
from wf.traits import OptimizerTraits
from wf_base import Batch
from wf_training.plugin import wf_components
from wf_training.steps import UPDATES
from wf_training.trainer import SupervisedTrainer

X = torch.linspace(-1, 1, 12).reshape(6, 2)
Y = X.sum(1, keepdim=True) ** 2


class Noisy(torch.optim.SGD):
    """Draws random numbers between two evaluations."""

    drawn: list[Tensor]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        assert closure is not None
        closure()
        self.drawn.append(torch.rand(1))
        closure()
        super().step()


def network(dropout: float = 0.0, *, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(3)
    middle: list[nn.Module] = [nn.BatchNorm1d(4)] if norm else []
    return nn.Sequential(nn.Linear(2, 4), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 1))


def trained(
    model: nn.Module, optimizer: Any, step: Any, num_epochs: int = 5, hooks: Any = (), scheduler: Any = None
) -> list[float]:
    """The losses that the loop reads."""
    trainer = SupervisedTrainer(
        model, nn.MSELoss(), optimizer, scheduler, "epoch", "validation/loss", OptimizerTraits(step=step)
    )
    losses: list[float] = []

    class Watch:
        def on_step_end(self, run: Loop) -> None:
            assert not run.loss.requires_grad
            losses.append(float(run.loss))

    torch.manual_seed(11)
    Loop(trainer, hooks=[Watch(), *hooks]).run([(X, Y)], Epochs(num_epochs))
    return losses


def assert_same_weights(model: nn.Module, other: nn.Module) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_the_declared_step_protocols_are_the_implemented_ones() -> None:
    (declared,) = [component.traits for component in wf_components() if component.name == "supervised"]
    assert declared is not None
    assert declared.steps == ("plain", *UPDATES)  # type: ignore[union-attr]  # of a trainer


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_closure_has_the_bits_of_a_hand_written_loop(line_search: str | None) -> None:
    model, by_hand = network(), network()
    losses = trained(model, torch.optim.LBFGS(model.parameters(), lr=0.5, line_search_fn=line_search), "closure")
    optimizer = torch.optim.LBFGS(by_hand.parameters(), lr=0.5, line_search_fn=line_search)
    expected = []
    for _ in range(5):

        def closure() -> Any:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(by_hand(X), Y)
            loss.backward()
            return loss.detach()

        expected.append(float(optimizer.step(closure)))
    assert losses == expected
    assert losses[-1] < losses[0]
    assert_same_weights(model, by_hand)


def test_two_step_has_the_bits_of_a_hand_written_loop() -> None:
    model, by_hand = network(), network()
    losses = trained(model, Sharpness(model.parameters(), lr=0.1), "two_step")
    optimizer = Sharpness(by_hand.parameters(), lr=0.1)

    def compute() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(by_hand(X), Y)
        loss.backward()
        return loss

    expected = []
    for _ in range(5):
        expected.append(float(compute().detach()))
        optimizer.step(torch.enable_grad()(compute))
    assert losses == expected
    assert_same_weights(model, by_hand)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_create_graph_has_the_bits_of_a_hand_written_loop() -> None:
    model, by_hand = network(), network()
    losses = trained(model, Curvature(model.parameters(), lr=0.1), "create_graph")
    optimizer, expected = Curvature(by_hand.parameters(), lr=0.1), []
    torch.manual_seed(11)
    for _ in range(5):
        loss = nn.functional.mse_loss(by_hand(X), Y)
        optimizer.zero_grad()
        loss.backward(create_graph=True)
        optimizer.step()
        expected.append(loss.item())
    optimizer.zero_grad()
    assert losses == expected
    assert_same_weights(model, by_hand)


def test_create_graph_releases_the_graph() -> None:
    model = network()
    seen: list[weakref.ref[Any]] = []

    class Keep:
        def on_gradients_ready(self, run: Loop) -> None:
            grads = [param.grad for param in model.parameters() if param.grad is not None]
            assert all(grad.grad_fn is not None for grad in grads)
            seen.extend(weakref.ref(grad) for grad in grads)

    gc.collect()
    gc.disable()
    try:
        trained(model, Curvature(model.parameters(), lr=0.1), "create_graph", num_epochs=3, hooks=[Keep()])
    finally:
        gc.enable()
    assert len(seen) == 12
    assert all(reference() is None for reference in seen), "a graph is kept after its step"
    assert all(param.grad is None for param in model.parameters())


@pytest.mark.parametrize("kind", ["closure", "two_step"])
def test_repeated_evaluations_of_a_batch_use_the_same_random_draws(kind: str) -> None:
    """With dropout, a second evaluation at the same weights gives the same loss, and each step draws anew."""
    model = network(dropout=0.5)
    losses: list[float] = []

    class Twice(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            assert closure is not None
            losses.extend(float(closure()) for _ in range(2))

    reported = trained(model, Twice(model.parameters(), lr=0.1), kind, num_epochs=4)
    assert losses[::2] == losses[1::2] == reported
    assert len(set(reported)) == 4, "every step must draw anew"


def test_random_draws_of_the_optimizer_are_not_repeated() -> None:
    model = network(dropout=0.5)
    optimizer = Noisy(model.parameters(), lr=0.1)
    optimizer.drawn = []
    trained(model, optimizer, "closure", num_epochs=4)
    assert len({float(number) for number in optimizer.drawn}) == 4
    torch.manual_seed(11)
    network(dropout=0.5).train()
    torch.manual_seed(11)
    expected = []
    for _ in range(4):
        nn.functional.dropout(torch.ones(6, 4))
        expected.append(torch.rand(1))
    assert optimizer.drawn == expected


def test_buffers_are_updated_by_the_first_evaluation_only() -> None:
    model = network(norm=True)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    expected = network(norm=True)
    expected(X)
    trained(model, optimizer, "closure", num_epochs=1)
    for name, value in expected.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], value), name


def test_repeated_evaluations_leave_no_trace_of_a_module_that_replaces_its_buffers() -> None:
    class Average(nn.Module):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))

        def forward(self, values: Tensor) -> Tensor:
            self.mean = 0.5 * self.mean + values.detach().mean(0) + 1
            return values - self.mean

    model = nn.Sequential(Average(), nn.Linear(2, 1))
    expected, attributes = Average(), set(vars(model))
    for _ in range(3):
        expected(X)
    trained(model, torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4), "closure", num_epochs=3)
    assert torch.equal(model[0].mean, expected.mean)  # type: ignore[arg-type]  # torch's stubs allow modules, too
    assert set(vars(model)) == attributes


def several_terms(predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"fit": nn.functional.mse_loss(predictions, targets), "size": predictions.square().mean()}


class Watching(torch.optim.SGD):
    """Keeps the losses that the closure returns."""

    losses: list[Any]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        assert closure is not None
        self.losses = [closure(), closure()]


@pytest.mark.parametrize("num_processes", [None, 1, 2])
@pytest.mark.parametrize("loss", [nn.MSELoss(), several_terms])
def test_the_optimizer_gets_the_loss_of_all_processes_as_one_number(num_processes: int | None, loss: Any) -> None:
    def add(values: list[Tensor]) -> list[Tensor]:
        asked.append(values)
        return [value + 4 for value in values]  # the other process has a loss of 4

    asked: list[Any] = []
    strategy: Any = SimpleNamespace(world_size=num_processes, device=X.device, bare=lambda model: model, sum=add)
    model = network()
    optimizer = Watching(model.parameters(), lr=0.1)
    trainer = SupervisedTrainer(
        *(model, loss, optimizer, None, "epoch", "", OptimizerTraits(step="closure")),
        strategy=None if num_processes is None else strategy,
    )
    own = loss(model(X), Y)
    own = own if isinstance(own, Tensor) else own["fit"] + own["size"]
    found = trainer.train_step(Batch(X, Y, None, None, 6))
    assert (found if isinstance(found, Tensor) else found["loss"]) == own, "each process reports its own"
    assert optimizer.losses == [own if num_processes != 2 else (own + 4) / 2] * 2
    assert len(asked) == (2 if num_processes == 2 else 0)


def test_gradients_are_announced_in_every_evaluation() -> None:
    model = network()
    norms: list[float] = []

    class Clip:
        def on_gradients_ready(self, run: Loop) -> None:
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)

    class Look(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            assert closure is not None
            for _ in range(3):
                closure()
                grads = [param.grad for param in model.parameters() if param.grad is not None]
                norms.append(float(torch.stack([grad.norm() for grad in grads]).norm()))

    trained(model, Look(model.parameters(), lr=0.1), "closure", num_epochs=1, hooks=[Clip()])
    assert norms == pytest.approx([1e-3] * 3, rel=1e-3)


@pytest.mark.parametrize(("kind", "make"), [("closure", torch.optim.LBFGS), ("two_step", Sharpness)])
def test_a_schedule_is_stepped_without_a_warning(kind: str, make: Any) -> None:
    model = network()
    optimizer = make(model.parameters(), lr=0.1)
    trained(model, optimizer, kind, num_epochs=3, scheduler=StepLR(optimizer, 1, 0.5))
    assert optimizer.param_groups[0]["lr"] == 0.1 * 0.5**3


class Sides(nn.Module):
    """A model of two tensors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.left, self.right = nn.Linear(1, 4), nn.Linear(1, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.tanh(self.left(left) - self.right(right)).sum(1, keepdim=True)


@pytest.mark.parametrize("inputs", [{"left": X[:, :1], "right": X[:, 1:]}, (X[:, :1], X[:, 1:])])
def test_a_model_of_several_tensors_has_the_bits_of_a_hand_written_loop(inputs: Any) -> None:
    model, by_hand = Sides(), Sides()
    norms, losses, expected = [], [], []

    class Clip:
        def on_gradients_ready(self, run: Loop) -> None:
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.1))

        def on_step_end(self, run: Loop) -> None:
            losses.append(run.loss)

    trainer = SupervisedTrainer(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), 0.1), None, "epoch", "")
    Loop(trainer, hooks=[Clip()]).run([Batch(inputs, Y, None, None, 6)], Epochs(4))
    optimizer = torch.optim.SGD(by_hand.parameters(), 0.1)
    for _ in range(4):
        loss = nn.functional.mse_loss(by_hand(X[:, :1], X[:, 1:]), Y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(by_hand.parameters(), 0.1)
        optimizer.step()
        expected.append(loss.detach())
    assert losses == expected
    assert not any(loss.requires_grad for loss in losses)
    assert len(norms) == 4
    assert_same_weights(model, by_hand)


@pytest.mark.parametrize("several", [False, True], ids=["one tensor", "several tensors"])
def test_a_plain_step_calls_nothing_of_wf_besides_itself_after_the_first(several: bool) -> None:
    """A step of a small model takes as long as a few of these calls."""
    model = Sides() if several else network()
    trainer = SupervisedTrainer(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), 0.1), None, "epoch", "")
    batch = Batch((X[:, :1], X[:, 1:]) if several else X, Y, None, None, 6)
    trainer.train_step(batch)
    called: list[str] = []

    def profile(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_globals["__name__"].startswith("wf"):
            called.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        trainer.train_step(batch)
    finally:
        sys.setprofile(before)
    assert called == ["train_step", *(["of_trees", "call"] if several else []), "clear"]


def test_a_loss_of_several_terms_has_them_in_every_step() -> None:
    model = network()
    trainer = SupervisedTrainer(model, several_terms, torch.optim.SGD(model.parameters(), 0.1), None, "epoch", "")
    for _ in range(3):
        expected = several_terms(model(X), Y)
        found = trainer.train_step(Batch(X, Y, None, None, 6))
        assert found == {"loss": sum(expected.values()), "loss/fit": expected["fit"], "loss/size": expected["size"]}


def test_the_share_of_a_process_weights_the_loss_in_every_step() -> None:
    strategy: Any = SimpleNamespace(world_size=2, device=X.device, bare=lambda model: model, sum=lambda values: values)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SupervisedTrainer(model, nn.MSELoss(), optimizer, None, "epoch", "", strategy=strategy)
    for _ in range(3):
        expected = 0.5 * nn.functional.mse_loss(model(X), Y)
        assert trainer.train_step(Batch(X, Y, None, None, 6, share=0.5)) == expected


def test_an_optimizer_clears_gradients_in_its_own_way() -> None:
    class Own(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            calls.append("class")
            super().zero_grad(set_to_none)

    calls: list[str] = []
    model = network()
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    clear, plain.zero_grad = plain.zero_grad, lambda: [calls.append("object"), clear()]  # type: ignore[method-assign]  # as a library may
    trained(model, Own(model.parameters(), lr=0.1), "plain", 3)
    trained(model, plain, "plain", 3)
    assert calls == ["class"] * 3 + ["object"] * 3


def test_gradients_of_parameters_that_join_the_optimizer_late_are_cleared() -> None:
    model, by_hand = network(), network()
    batch = Batch(X, Y, None, None, 6)
    optimizer, other = (torch.optim.SGD(one[0].parameters(), lr=0.1) for one in (model, by_hand))
    trainer = SupervisedTrainer(model, nn.MSELoss(), optimizer, None, "epoch", "")
    for number in range(5):
        trainer.train_step(batch)
        other.zero_grad()
        nn.functional.mse_loss(by_hand(X), Y).backward()
        other.step()
        if number == 2:
            optimizer.add_param_group({"params": list(model[3].parameters())})
            other.add_param_group({"params": list(by_hand[3].parameters())})
    assert_same_weights(model, by_hand)


def test_an_optimizer_that_never_evaluates_its_batch_is_refused() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step = lambda closure: None  # type: ignore[assignment,method-assign,misc]  # it forgets to call it
    with pytest.raises(UsageError, match=r"SGD.step\(closure\) never called its closure, .*\n.*step=\"plain\""):
        trained(model, optimizer, "closure")
