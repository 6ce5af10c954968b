"""Gradients of a batch in parts equal the gradients of the whole batch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from step_protocols import Curvature, Sharpness
from torch import Tensor, nn

from wf import Epochs, Loop
from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import OptimizerTraits
from wf_base import Batch, Outcome, Supervised, Term
from wf_base.training.gradients import Gradients
from wf_data.batches.shares import Shares
from wf_losses.combined import SumLoss
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


def batch(num: int = 11, ignored: Sequence[int] = ()) -> Batch:
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


class Several:
    """An objective of terms that count samples, targets and tokens, and of one that is a sum."""

    def __init__(self, model: nn.Module, *, late: bool = False) -> None:
        self.model, self.late = model, late
        self.factor = torch.tensor(0.5, requires_grad=True)

    def weights(self, batch: Batch) -> dict[str, Tensor | float]:
        found: dict[str, Tensor | float] = {
            "counted": (batch.targets != IGNORED).sum(),
            "tokens": float(batch.size * 3),
        }
        return {} if self.late else found

    def step(self, batch: Batch) -> Outcome:
        outputs, targets = self.model(batch.inputs), batch.targets
        counted = targets != IGNORED
        each = nn.functional.cross_entropy(outputs, targets.clamp(0), reduction="none")
        terms = {
            "counted": Term(value=(each * counted).sum() / counted.sum(), factor=self.factor, weight=counted.sum()),
            "tokens": Term(value=outputs.square().mean(), factor=3.0),
            "samples": Term(value=outputs.abs().sum(1).mean()),
            "summed": Term(value=outputs.sum(), factor=0.25, reduction="sum"),
        }
        return Outcome(terms, outputs)


def of_several(given: Batch, part_size: int | None, **options: Any) -> tuple[Any, list[Tensor]]:
    model = network()
    objective = Several(model)
    value = Gradients(objective, part_size, **options)(given)
    assert objective.factor.grad is not None
    return value, [*(one.grad for one in model.parameters() if one.grad is not None), objective.factor.grad]


@pytest.mark.parametrize("part_size", [1, 4, 5, 11])
def test_terms_are_each_weighted_by_what_they_count(part_size: int) -> None:
    given = batch(ignored=(0, 1, 2, 9))
    value, found = of_several(given, part_size)
    whole, expected = of_several(given, None)
    assert list(whole) == ["loss", "loss/counted", "loss/tokens", "loss/samples", "loss/summed"]
    assert not any(figure.requires_grad for figure in (*value.values(), *whole.values()))
    by_hand = [one.value * one.factor for one in Several(network()).step(given).terms.values()]
    torch.testing.assert_close(whole["loss"], torch.stack(by_hand).sum().detach())
    torch.testing.assert_close(value, whole, rtol=1e-12, atol=1e-15)
    assert len(found) == 5
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("of_tree", "learned"), [(False, True), (True, True), (False, False)])
def test_a_term_that_counts_nothing_in_a_part_leaves_the_gradients_of_the_others(of_tree: bool, learned: bool) -> None:
    """Also one that has an output, and so parameters, to itself: these have a gradient of 0 then."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.body, self.one, self.other = nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(7, 3)

        def forward(self, inputs: Tensor) -> Any:
            hidden = self.body(inputs).tanh()
            return {"one": self.one(hidden), "other": self.other(hidden)} if of_tree else self.one(hidden)

    def trained(part_size: int | None) -> list[Tensor]:
        model = Heads()
        if not of_tree:
            del model.other
        leaves = ["one", "other"] if of_tree else None
        parts, names = [Masked(), nn.CrossEntropyLoss(ignore_index=-1)], ["ignoring", "plain"]
        loss = SumLoss(parts, names=names, of=leaves, learned=learned)
        targets = {"one": given.targets, "other": given.targets.clamp(0)} if of_tree else given.targets
        if not of_tree:
            loss.parts[1] = lambda outputs, targets: nn.functional.cross_entropy(outputs, targets.clamp(0))
        objective = Supervised(model, loss)
        value = Gradients(objective, part_size)(given._replace(targets=targets))
        assert isinstance(value, dict)
        assert all(one.grad is not None for one in model.parameters())
        trained = (*model.parameters(), *loss.parameters())
        return [value["loss"], value["loss/ignoring"], *(one.grad for one in trained if one.grad is not None)]

    given = batch(ignored=(0, 1, 2, 3, 8))
    torch.testing.assert_close(trained(4), trained(None), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("names", [("one", "other"), ("one",)])
def test_an_objective_that_shows_no_outputs_sees_to_parts_without_weight_itself(names: tuple[str, ...]) -> None:
    class Hidden:
        def __init__(self, model: nn.Module) -> None:
            self.model = model

        def weights(self, batch: Batch) -> dict[str, Tensor]:
            return dict.fromkeys(names, (batch.targets != IGNORED).sum())

        def step(self, batch: Batch) -> Outcome:
            outputs, counted = self.model(batch.inputs), batch.targets != IGNORED
            num = counted.sum().clamp(1)
            one, other = (outputs.square().sum(1) * counted).sum() / num, outputs.sum(1)
            other = (other * counted).sum() / num if "other" in names else other.mean()
            return Outcome({"one": Term(value=one), "other": Term(value=other)})

    def trained(part_size: int | None) -> list[Tensor]:
        model = network()
        Gradients(Hidden(model), part_size)(batch(ignored=(0, 1, 2, 3, 8)))
        return [one.grad for one in model.parameters() if one.grad is not None]

    torch.testing.assert_close(trained(4), trained(None), rtol=1e-11, atol=1e-14)


class Counting:
    """The losses of two heads, which a model would compute itself; one is a mean over numbers known to the host."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.heads = nn.ModuleDict({"one": nn.Linear(5, 3), "other": nn.Linear(5, 3)})

    def weights(self, batch: Batch) -> dict[str, float]:
        return {"one": float((batch.targets != IGNORED).sum())}

    def step(self, batch: Batch) -> Outcome:
        one, other = (head(batch.inputs).square().sum(1) for head in self.heads.values())
        counted = batch.targets != IGNORED
        return Outcome(
            {"one": Term(value=(one * counted).sum() / max(int(counted.sum()), 1)), "other": Term(value=other.mean())}
        )

    def trained(self, given: Batch, *options: Any) -> tuple[Any, list[Tensor | None]]:
        value = Gradients(self, *options)(given)
        return value, [one.grad for one in self.heads.parameters()]


def test_a_process_without_weight_uses_every_parameter() -> None:
    """Processes wait for the gradient of each; the model's outputs, which could have one of 0, are unknown."""
    _, found = Counting().trained(batch(ignored=range(11)), None, None, Others())
    assert all(one is not None for one in found)
    assert [bool(one.any()) for one in found if one is not None] == [False, False, True, True]


def test_a_batch_without_anything_to_count_is_the_same_in_parts() -> None:
    given = batch(ignored=range(11))
    whole, expected = Counting().trained(given)
    for options in ((4,), (None, None, Alone())):
        value, found = Counting().trained(given, *options)
        torch.testing.assert_close(value, whole, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(found[2:], expected[2:], rtol=1e-11, atol=1e-14)
    assert float(whole["loss/one"]) == 0


def test_the_weight_of_a_single_term_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(tensor: Tensor) -> Any:
        raise AssertionError("the host waits for the device")

    for name in ("tolist", "item", "__bool__", "__float__"):
        monkeypatch.setattr(Tensor, name, wait)
    gradients(Masked(), batch(ignored=(0, 1, 2, 3, 8)), 4)


def test_a_loss_keeps_its_precision_in_parts() -> None:
    given = batch()
    model = network().float()
    value = Gradients(Supervised(model, Masked()), 4)(given._replace(inputs=given.inputs.float()))
    assert isinstance(value, Tensor)
    assert value.dtype == torch.float32


def test_parts_of_unequal_samples_are_weighted_as_they_are() -> None:
    """A batch that was read in parts has them already."""
    given = batch(ignored=(0, 1, 2, 9))
    sizes = (2, 1, 8)
    parts = [
        Batch(inputs, targets, None, None, len(targets))
        for inputs, targets in zip(given.inputs.split(sizes), given.targets.split(sizes), strict=True)
    ]
    value, found = of_several(given._replace(inputs=None, targets=None, parts=parts), None)
    whole, expected = of_several(given, None)
    torch.testing.assert_close(value, whole, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


class Alone:
    """One of two processes, whose sums are known: the other has the same."""

    device, world_size = torch.device("cpu"), 2

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        assert all(tensor.dtype == torch.float64 for tensor in tensors)
        return [2 * tensor for tensor in tensors]


@pytest.mark.parametrize("part_size", [None, 8])
def test_processes_with_equal_shares_compute_their_local_loss(part_size: int | None) -> None:
    """And a sum times the number of processes, which average their gradients."""
    given = batch(ignored=(0, 1, 2, 9))
    value, found = of_several(given, part_size, strategy=Alone())
    whole, expected = of_several(given, None)
    whole["loss"] += 0.25 * whole["loss/summed"]
    whole["loss/summed"] *= 2
    torch.testing.assert_close(value, whole, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found[-1], expected[-1])


@pytest.mark.parametrize("ignored", [(), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)])
@pytest.mark.parametrize("part_size", [None, 8])
def test_a_process_with_a_share_of_zero_adds_no_loss_and_no_gradient(
    part_size: int | None, ignored: tuple[int, ...]
) -> None:
    given = batch(ignored=ignored)._replace(share=0.0, whole_size=1)
    value, found = of_several(given, part_size, strategy=Others())
    assert {name: float(figure) for name, figure in value.items()} == dict.fromkeys(value, 0.0)
    assert not any(gradient.any() for gradient in found)


class Others(Alone):
    """The other process has all samples."""

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        assert not any(tensor.any() for tensor in tensors)
        return [tensor + 5 for tensor in tensors]


def test_weights_are_added_up_on_the_device_of_the_processes() -> None:
    class Elsewhere(Alone):
        device = torch.device("meta")

        def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
            assert [tensor.device for tensor in tensors] == [self.device] * 2
            return [torch.tensor(22.0), torch.tensor(66.0)]

    value, _ = of_several(batch(), None, strategy=Elsewhere())
    torch.testing.assert_close(value, of_several(batch(), None, strategy=Alone())[0])


def test_a_weight_known_after_the_forward_is_refused_with_accumulation() -> None:
    given, objective = batch(), Several(network(), late=True)
    for options in ({"part_size": 4}, {"strategy": Alone()}):
        with pytest.raises(UsageError) as caught:
            Gradients(objective, **options)(given)  # type: ignore[arg-type]  # mixed
        assert str(caught.value) == (
            "term 'counted' of the loss has its weight only after the forward, but accumulation and several "
            "processes need it before\n"
            "  compute it from the targets in weights(batch), or train with --accumulate 1 in one process"
        )
    assert "loss/counted" in Gradients(objective)(given)


def test_a_loss_without_a_gradient_is_refused() -> None:
    given = batch()
    objective = Supervised(network(), lambda outputs, targets: outputs.detach().sum())
    with pytest.raises(
        UsageError, match="returned a tensor without a gradient\n  it must be computed from the predictions"
    ):
        Gradients(objective)(given)


@pytest.mark.parametrize("part_size", [None, 4])
def test_a_scaled_loss_scales_the_gradients_alone(part_size: int | None) -> None:
    scaler = SimpleNamespace(scale=lambda loss: loss * 8)
    value, found = of_several(batch(), part_size, scaler=scaler)
    whole, expected = of_several(batch(), None)
    torch.testing.assert_close(value, whole, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found, [8 * gradient for gradient in expected], rtol=1e-11, atol=1e-14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("create_graph", [False, True])
def test_the_graph_of_the_gradients_is_kept_where_it_is_wanted(create_graph: bool) -> None:
    model = network()
    for part_size in (None, 4):
        value = Gradients(Supervised(model, nn.CrossEntropyLoss()), part_size)(batch(), create_graph=create_graph)
        assert isinstance(value, Tensor)
        assert not value.requires_grad
        grads = [one.grad for one in model.parameters() if one.grad is not None]
        assert [gradient.requires_grad for gradient in grads] == [create_graph] * 4
        for one in model.parameters():
            one.grad = None


def test_warnings_in_a_backward_pass_are_shown() -> None:
    model = network()
    model[0].weight.register_hook(lambda gradient: warnings.warn("another", UserWarning, stacklevel=1))  # type: ignore[union-attr]  # a linear one's
    with pytest.warns(UserWarning, match="another"):
        Gradients(Supervised(model, nn.CrossEntropyLoss()))(batch(), create_graph=True)


def test_only_a_batch_that_is_one_part_of_one_process_is_not_divided() -> None:
    given, objective = batch(8), Supervised(network(), nn.CrossEntropyLoss())
    assert not Gradients(objective).divides(given)
    assert not Gradients(objective, 8).divides(given)
    assert Gradients(objective, 7).divides(given)
    assert Gradients(objective, strategy=Alone()).divides(given)
    assert not Gradients(objective, 4, strategy=SimpleNamespace(world_size=1)).divides(batch(4))  # type: ignore[arg-type]  # a part of one
    one, two = batch(3), batch(5)
    assert Gradients(objective).divides(given._replace(parts=[one, two]))
    assert not Gradients(objective, 4).divides(given._replace(parts=[given]))


def test_a_part_of_several_processes_is_divided_among_them() -> None:
    seen: list[int] = []

    class Net(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(len(inputs))
            return super().forward(inputs)

    Gradients(Supervised(Net(5, 3), nn.CrossEntropyLoss()), 5, strategy=Alone())(batch(7))
    assert seen == [3, 3, 1]


def test_custom_batches_without_parts_or_share_are_accepted() -> None:
    """They know neither parts nor a share."""
    given = batch()
    own = SimpleNamespace(inputs=given.inputs, targets=given.targets, size=given.size)
    for part_size in (None, 4):
        value = Gradients(Supervised(network(), nn.CrossEntropyLoss()), part_size, strategy=Alone())(own)  # type: ignore[arg-type]  # like one
        expected, _ = gradients(nn.CrossEntropyLoss(), given, None)
        torch.testing.assert_close(value, expected)
