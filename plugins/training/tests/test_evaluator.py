from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wf.errors import UsageError
from wf.registry import Registry
from wf_base import Dataset, Metric, TensorSamples
from wf_base.data import split_dataset
from wf_base.metric import as_metric
from wf_base.task import task_of
from wf_data.serving import RunData
from wf_run.parts.links import link_loss
from wf_training.evaluator import DefaultEvaluator
from wf_training.strategies import LocalStrategy

NUM, BATCH = 26, 8  # three full batches and one of two samples
REGISTRY = Registry.discover(only_builtin=True)
GENERATOR = torch.Generator().manual_seed(3)
X, Y = torch.randn(NUM, 4, generator=GENERATOR), torch.randint(0, 3, (NUM,), generator=GENERATOR)
WEIGHT = torch.tensor([1.0, 10.0, 0.5])


class Weighted(nn.CrossEntropyLoss):
    """A class-weighted loss that declares its weights."""

    def total_weight(self, targets: Tensor) -> Tensor:
        counted = targets != self.ignore_index
        assert self.weight is not None
        return (self.weight[torch.where(counted, targets, 0)] * counted).sum()


class Count(Metric):
    """How many samples there were, and how many of them were right."""

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.add("right", (predictions == targets).sum())
        self.append("seen", targets)

    def compute(self) -> dict[str, Tensor]:
        return {"right": self.total("right"), "seen": torch.tensor(len(self.values("seen")))}


def evaluator(
    loss: Callable[[Tensor, Tensor], Tensor], model: nn.Module | None = None, **options: Any
) -> DefaultEvaluator:
    dataset = Dataset(train=TensorSamples(X, Y), targets="class_index", class_names=["a", "b", "c"])
    data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=BATCH)
    outputs, strategy = task_of("class_index", "logits", single_logit=False), LocalStrategy(torch.device("cpu"))
    forms: dict[str, Any] = {"metrics": {"count": Count()}, "metric_forms": {"count": "labels"}}
    return DefaultEvaluator(model or net(), loss, outputs=outputs, data=data, strategy=strategy, **{**forms, **options})


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))


def logits() -> Tensor:
    with torch.inference_mode():
        return net().eval()(X)  # type: ignore[no-any-return]  # torch's calls give Any


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (nn.CrossEntropyLoss(), functional.cross_entropy(logits(), Y)),
        (nn.CrossEntropyLoss(reduction="sum"), functional.cross_entropy(logits(), Y)),
        (Weighted(WEIGHT), functional.cross_entropy(logits(), Y, WEIGHT)),
        (Weighted(WEIGHT, ignore_index=1), functional.cross_entropy(logits(), Y, WEIGHT, ignore_index=1)),
        (Weighted(WEIGHT, reduction="sum"), functional.cross_entropy(logits(), Y, WEIGHT, reduction="sum") / NUM),
        (
            link_loss(Weighted(WEIGHT, reduction="none"), [], REGISTRY, {}),
            functional.cross_entropy(logits(), Y, WEIGHT, reduction="sum") / NUM,
        ),
    ],
    ids=["mean", "sum", "weighted", "ignoring", "weighted sum", "weighted none"],
)
def test_the_loss_is_over_the_whole_split(loss: Any, expected: Tensor) -> None:
    assert evaluator(loss).evaluate("train")["loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_without_counted_targets_has_no_weight() -> None:
    loss = Weighted(torch.ones(3), ignore_index=int(Y[-1]))
    counted = functional.cross_entropy(logits(), Y, ignore_index=int(Y[-1])).item()
    dataset = Dataset(train=TensorSamples(X, Y), targets="class_index", class_names=["a", "b", "c"])
    alone = evaluator(loss)
    alone._data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=1)
    assert alone.evaluate("train")["loss"] == pytest.approx(counted, rel=1e-6)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), Weighted(WEIGHT)], ids=["mean", "weighted"])
def test_average_batch_gives_the_last_short_batch_the_same_weight(loss: Any) -> None:
    each = [loss(x, y).item() for x, y in zip(logits().split(BATCH), Y.split(BATCH), strict=True)]
    assert evaluator(loss, average="batch").evaluate("train")["loss"] == pytest.approx(sum(each) / 4, rel=1e-6)


def test_metrics_are_reset_for_each_evaluation() -> None:
    judge = evaluator(nn.CrossEntropyLoss())
    expected = {"count-right": int((logits().argmax(1) == Y).sum()), "count-seen": NUM}
    for _ in range(2):
        figures = judge.evaluate("train")
        assert {name: figures[name] for name in expected} == expected


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_keeps_generator_and_mode(training: bool) -> None:
    class Drawing(nn.Module):
        """A loss that draws, as one with random negatives does."""

        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            return functional.cross_entropy(predictions + torch.rand(()), targets)

    model = net().train(training)
    before = torch.get_rng_state()
    evaluator(Drawing(), model).evaluate("train")
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training is training
    assert all(module.training is training for module in model.modules())


def test_the_mode_is_restored_after_a_failure() -> None:
    def fail(predictions: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no")

    model = net().train()
    with pytest.raises(RuntimeError, match="no"):
        evaluator(fail, model).evaluate("train")
    assert model.training
    with pytest.raises(UsageError, match="available: train"):
        evaluator(nn.CrossEntropyLoss()).evaluate("test")


def test_evaluation_uses_the_buffers_of_process_0() -> None:
    """Each process has its own running means; the evaluated and saved model must be one."""

    class Second(LocalStrategy):
        """Process 1 of two; all tensors of process 0 are 7, and it adds nothing to sums."""

        def __init__(self) -> None:
            super().__init__(torch.device("cpu"))
            self.rank, self.world_size = 1, 2

        def gather(self, tensor: Tensor) -> Tensor:
            return torch.cat([torch.full_like(tensor, 7), tensor])

    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    judge = evaluator(nn.CrossEntropyLoss(), model)
    judge._strategy = Second()
    judge._metrics = []
    judge.evaluate("train")
    assert isinstance(model[1], nn.BatchNorm1d)
    assert model[1].running_mean is not None
    assert model[1].running_mean.tolist() == [7, 7, 7]


@pytest.mark.parametrize(("batch_size", "seen"), [(None, [26]), (16, [16, 10]), (5, [5, 5, 5, 5, 5, 1])])
def test_batch_size_applies_to_the_model_and_not_to_the_loss(batch_size: int | None, seen: list[int]) -> None:
    class Net(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            by_model.append(len(inputs))
            return super().forward(inputs)

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        by_loss.append(len(targets))
        return functional.cross_entropy(predictions, targets)

    by_model: list[int] = []
    by_loss: list[int] = []
    figures = evaluator(loss, Net(4, 3), batch_size=batch_size).evaluate("train")
    assert by_model == seen
    assert by_loss == ([8, 8, 8, 2] if batch_size != 5 else seen)
    assert figures["count-seen"] == NUM


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 12, "average": "batch"}])
def test_an_invalid_batch_size_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="batch_size is"):
        evaluator(nn.CrossEntropyLoss(), **options)


class Gives(Metric):
    """A metric that returns a given value."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def update(self, predictions: Tensor, targets: Tensor) -> None: ...

    def compute(self) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("given", "figures"),
    [
        (torch.tensor(0.5), {"odd": 0.5}),
        (np.float32(0.5), {"odd": 0.5}),
        (np.array([0.5, 1.0]), {"odd": [0.5, 1.0]}),
        (3, {"odd": 3}),
        ([torch.tensor(0.5), 1.0], {"odd": [0.5, 1.0]}),
        ({"low": 0.5, "high": torch.tensor([1.0])}, {"odd-low": 0.5, "odd-high": [1.0]}),
        ({"a": {"b": 1.0}}, {"odd-a-b": 1.0}),
        (math.inf, {"odd": math.inf}),
    ],
)
def test_a_metric_may_give_numbers_of_any_kind(given: Any, figures: dict[str, Any]) -> None:
    found = evaluator(functional.cross_entropy, metrics={"odd": Gives(given)}).evaluate("train")
    assert {name: value for name, value in found.items() if name != "loss"} == figures


@pytest.mark.parametrize("given", [None, "0.5", 1j, object(), [None], {"a": None}])
def test_a_value_that_is_not_a_figure_names_its_metric(given: Any) -> None:
    with pytest.raises(UsageError, match=r"metric 'odd' gave .* which is not a figure"):
        evaluator(functional.cross_entropy, metrics={"odd": Gives(given)}).evaluate("train")


def test_two_figures_of_one_name_are_refused() -> None:
    metrics = {"odd": Gives({"low": 1.0}), "odd-low": Gives(2.0)}
    with pytest.raises(UsageError, match="metric 'odd-low' returns the figure 'odd-low', which already exists"):
        evaluator(functional.cross_entropy, metrics=metrics).evaluate("train")


class Duck:
    """The minimal metric of plugins.md."""

    def __init__(self) -> None:
        self.seen = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.seen += len(targets)

    def compute(self) -> int:
        return self.seen


def test_a_metric_without_reset_is_copied_for_each_evaluation() -> None:
    judge = evaluator(functional.cross_entropy, metrics={"seen": as_metric(Duck(), "metric 'seen'", 1)})
    assert [judge.evaluate("train")["seen"] for _ in range(2)] == [NUM, NUM]


@pytest.mark.parametrize(
    ("made", "world_size", "words"),
    [(object(), 1, "it has no update and no compute"), (Duck(), 2, "it has no reset and sync")],
)
def test_objects_that_are_not_metrics_are_refused(made: Any, world_size: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        as_metric(made, "metric 'odd'", world_size)
