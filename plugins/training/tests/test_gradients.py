"""Gradients of a batch in parts equal the gradients of the whole batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from step_protocols import Curvature, Sharpness
from torch import Tensor, nn

from wf import Epochs, Loop
from wf.registry import Registry
from wf.traits import OptimizerTraits
from wf_base import Batch, Supervised
from wf_base.training.gradients import Gradients
from wf_data.batches.shares import Shares
from wf_losses.cross_entropy import CrossEntropyLoss, WeightedCrossEntropyLoss
from wf_losses.focal import FocalLoss
from wf_run.parts.links import link_loss
from wf_training.trainer import SupervisedTrainer

IGNORED = -100
REGISTRY = Registry.discover(only_builtin=True)


class Masked(nn.Module):
    """A user-defined loss: in a part without counted targets it is 0 / 0, and its gradients are nan."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        counted = targets != IGNORED
        losses = nn.functional.cross_entropy(predictions, targets.clamp(0), reduction="none")
        return (losses * counted).sum() / counted.sum()

    def total_weight(self, targets: Tensor) -> Tensor:
        return (targets != IGNORED).sum()


LOSSES: dict[str, Callable[[], Any]] = {
    "ce": nn.CrossEntropyLoss,
    "ce, ignored": CrossEntropyLoss,
    "ce, summed": lambda: CrossEntropyLoss(reduction="sum"),
    "ce, mean by link": lambda: link_loss(CrossEntropyLoss(reduction="none"), [], REGISTRY, {}),
    "weighted-ce": lambda: WeightedCrossEntropyLoss([8, 3, 1]).double(),
    "focal": FocalLoss,
    "one's own": Masked,
    "mse": lambda: link_loss(nn.MSELoss(), ["one-hot"], REGISTRY, {"num_classes": 3}),
}


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batch(num: int = 11, ignored: tuple[int, ...] = ()) -> Batch:
    torch.manual_seed(0)
    targets = torch.randint(3, (num,))
    targets[list(ignored)] = IGNORED
    return Batch(torch.randn(num, 5), targets, None, None, num)


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


def gradients(loss: Any, given: Batch, part_size: int | None) -> tuple[Tensor, list[Tensor]]:
    model = network()
    value = Gradients(Supervised(model, loss), part_size)(given)
    assert isinstance(value, Tensor)
    return value, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("part_size", [1, 4, 5])
def test_gradients_of_parts_add_up_to_the_whole_batch(name: str, part_size: int) -> None:
    ignored = (0, 1, 2, 3, 4, 9) if name not in ("ce", "mse", "ce, mean by link") else ()
    given, loss = batch(ignored=ignored), LOSSES[name]()
    value, found = gradients(loss, given, part_size)
    whole, expected = gradients(loss, given, None)
    assert not value.requires_grad
    torch.testing.assert_close(value, whole, rtol=1e-13, atol=0)
    assert len(found) == 4
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_a_batch_without_counted_targets_gives_nan_in_parts_too() -> None:
    value, _ = gradients(CrossEntropyLoss(), batch(4, ignored=(0, 1, 2, 3)), 2)
    assert torch.isnan(value)


def test_one_part_has_the_bits_of_the_undivided_batch() -> None:
    given, loss = batch(4), WeightedCrossEntropyLoss([8, 3, 1])
    assert gradients(loss, given, 4)[0] == gradients(loss, given, None)[0]
    assert all(map(torch.equal, gradients(loss, given, 4)[1], gradients(loss, given, None)[1]))


@pytest.mark.parametrize(
    ("step", "optimizer"),
    [
        ("plain", lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)),
        ("closure", lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=3)),
        ("two_step", lambda params: Sharpness(params, lr=0.1)),
        ("create_graph", lambda params: Curvature(params, lr=0.1)),
    ],
)
def test_every_step_protocol_accumulates_parts(step: Any, optimizer: Any) -> None:
    def trained(accumulate: int) -> tuple[list[Tensor], list[float], int]:
        model, losses, told = network(), [], []

        class Watch:
            def on_gradients_ready(self, run: Loop) -> None:
                told.append(run.progress.step)

            def on_step_end(self, run: Loop) -> None:
                losses.append(float(run.loss))

        trainer = SupervisedTrainer(
            model,
            nn.CrossEntropyLoss(),
            optimizer(model.parameters()),
            None,
            "epoch",
            "validation/loss",
            OptimizerTraits(step=step),
            accumulate=accumulate,
            batch_size=4,
        )
        torch.manual_seed(2)
        Loop(trainer, hooks=[Watch()]).run([batch(), batch(8)], Epochs(2))
        return list(model.parameters()), losses, len(told)

    found, expected = trained(3), trained(1)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-12)
    assert found[1] == pytest.approx(expected[1], rel=1e-10)
    assert found[2] == expected[2], "hooks get on_gradients_ready once per evaluation"


def test_processes_share_gradients_with_the_last_part_only() -> None:
    seen: list[str] = []

    class Shared(nn.Linear):
        @contextmanager
        def no_sync(self) -> Iterator[None]:
            seen.append("apart")
            yield
            seen.append("together")

        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(f"{len(inputs)} forward")
            return super().forward(inputs)

    Gradients(Supervised(Shared(5, 3), nn.CrossEntropyLoss()), 4)(batch(9))
    part = ["apart", "4 forward", "together"]
    assert seen == [*part, *part, "1 forward"]


class Rank:
    """One of several processes, which are threads here."""

    device = torch.device("cpu")

    def __init__(self, rank: int, barrier: threading.Barrier, board: list[Any]) -> None:
        self.rank, self.world_size, self._barrier, self._board = rank, barrier.parties, barrier, board

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self._board[self.rank] = tensors
        self._barrier.wait(20)
        total = [
            torch.stack([torch.as_tensor(one) for one in parts]).sum(0) for parts in zip(*self._board, strict=True)
        ]
        self._barrier.wait(20)
        return total


@settings(deadline=None)
@examples(
    name=st.sampled_from(sorted(LOSSES)),
    num=st.integers(1, 12),
    world=st.integers(2, 4),
    size=st.sampled_from([None, 4]),
    ignored=st.sets(st.integers(0, 10), max_size=4),
)
def test_processes_with_unequal_shares_give_the_gradients_of_the_whole(
    name: str, num: int, world: int, size: int | None, ignored: set[int]
) -> None:
    """Also if a process has no sample, or none with a counted target; the mean of their losses is the loss."""
    plain = name in ("ce", "mse", "ce, mean by link")
    whole = batch(num, () if plain else tuple(place for place in ignored if place < num - 1))
    loss, expected = gradients(LOSSES[name](), whole, None)
    barrier, board = threading.Barrier(world), [None] * world
    models = [network() for _ in range(world)]

    def of_rank(rank: int) -> Tensor:
        torch.set_default_dtype(torch.float64)
        positions = torch.arange(num)
        own = positions[Shares(rank, world).is_own(positions, num, num + 1)]
        share = world * Shares(rank, world).num(num) / num
        part = Batch(whole.inputs[own], whole.targets[own], None, None, len(own), share=share, whole_size=num)
        objective = Supervised(models[rank], LOSSES[name]())
        value = Gradients(objective, size, strategy=Rank(rank, barrier, board))(part)
        assert isinstance(value, Tensor)
        return value

    with ThreadPoolExecutor(world) as pool:
        losses = list(pool.map(of_rank, range(world)))
    by_rank = [[one.grad for one in model.parameters() if one.grad is not None] for model in models]
    found = [torch.stack(same).mean(0) for same in zip(*by_rank, strict=True)]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.stack(losses).mean(), loss, rtol=1e-9, atol=1e-12)
