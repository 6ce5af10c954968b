from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wf.engine.leaving import EvaluationLeft
from wf.errors import UsageError
from wf.registry import Registry
from wf_base import BaseTrainer, Dataset, Metric, TaskRuntime, TensorSamples, Term
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
    given: dict[str, Any] = {"metrics": {"count": Count()}, "metric_forms": {"count": "labels"}}
    given |= {"outputs": outputs, "data": data, "strategy": strategy}
    return DefaultEvaluator(model or net(), loss, **{**given, **options})


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


def test_average_batch_leaves_out_batches_without_counted_targets() -> None:
    """Evaluated in several batches at once, too."""
    ignored = int(Y[-1])
    dataset = Dataset(train=TensorSamples(X, Y), targets="class_index", class_names=["a", "b", "c"])
    each = functional.cross_entropy(logits(), Y, reduction="none")[ignored != Y]
    for size in (1, 4):
        alone = evaluator(Weighted(torch.ones(3), ignore_index=ignored), average="batch", batch_size=BATCH * size)
        alone._data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=1)
        alone._batch_size, alone._part_size = size, 1
        assert alone.evaluate("train")["loss"] == pytest.approx(each.mean().item(), rel=1e-6)


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


class Terms(nn.Module):
    """A loss of terms that count samples, the targets of a class and themselves, and of a sum."""

    figures = ("mean", "counted", "own", "summed")

    def total_weight(self, targets: Tensor) -> dict[str, Tensor]:
        return {"counted": (targets == 1).sum()}

    def forward(self, predictions: Tensor, targets: Tensor) -> dict[str, Term]:
        ones = targets == 1
        return {
            "mean": Term(value=predictions.square().mean(), factor=0.5),
            "counted": Term(value=predictions[ones].sum() / ones.sum(), factor=torch.tensor(2.0)),
            "own": Term(value=predictions[:, 0].mean(), weight=predictions[:, 0].abs().sum()),
            "summed": Term(value=predictions.sum(), factor=0.25, reduction="sum"),
        }


@pytest.mark.parametrize("batch_size", [None, 8, 3, 1])
def test_terms_are_means_over_what_each_of_them_counts(batch_size: int | None) -> None:
    """In batches of one, some have no target that counts."""
    found = evaluator(Terms(), batch_size=batch_size).evaluate("train")
    outputs, size = logits().double(), min(batch_size or 8, 8)
    own, weights = zip(*((part[:, 0].mean(), part[:, 0].abs().sum()) for part in outputs.split(size)), strict=True)
    expected = {
        "loss/mean": outputs.square().mean(),
        "loss/counted": outputs[Y == 1].sum() / (Y == 1).sum(),
        "loss/own": sum(value * weight for value, weight in zip(own, weights, strict=True)) / sum(weights),
        "loss/summed": outputs.sum() / NUM,
    }
    total = sum(factor * value for factor, value in zip((0.5, 2, 1, 0.25), expected.values(), strict=True))
    assert list(found) == ["loss", *expected, "count-right", "count-seen"]
    for name, value in {**expected, "loss": total}.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5), name


def test_average_batch_gives_each_batch_and_each_of_its_terms_the_same_weight() -> None:
    found = evaluator(Terms(), average="batch").evaluate("train")
    parts = logits().double().split(BATCH)
    assert found["loss/mean"] == pytest.approx(float(sum(part.square().mean() for part in parts) / 4), rel=1e-5)
    assert found["loss/own"] == pytest.approx(float(sum(part[:, 0].mean() for part in parts) / 4), rel=1e-5)
    assert found["loss/summed"] == pytest.approx(float(logits().double().sum() / 4), rel=1e-5)


class Half(LocalStrategy):
    """One of two processes, and what the other one adds to sums."""

    def __init__(self, others: list[Any]) -> None:
        super().__init__(torch.device("cpu"))
        self.world_size, self.others = 2, others
        self.summed: list[Any] = []

    def sum(self, tensors: Any) -> list[Tensor]:
        self.summed = [tensor.tolist() for tensor in tensors]
        return [tensor + torch.tensor(other) for tensor, other in zip(tensors, self.others, strict=True)]

    def gather(self, tensor: Tensor) -> Tensor:
        return tensor


@pytest.mark.parametrize("average", ["sample", "batch"])
def test_processes_add_up_what_they_have(average: Any) -> None:
    """Of an evaluation by batches, each has its share of a batch."""
    dataset = Dataset(train=TensorSamples(X, Y), targets="class_index", class_names=["a", "b", "c"])
    split = split_dataset(dataset, "100/0/0", 0, shuffle=False)
    data = RunData(dataset, split, batch_size=BATCH, rank=0, world_size=2)
    losses = functional.cross_entropy(logits(), Y, reduction="none").double()
    own = [losses[number : min(number + BATCH, NUM) : 2] for number in range(0, NUM, BATCH)]
    others = [losses[number + 1 : min(number + BATCH, NUM) : 2] for number in range(0, NUM, BATCH)]

    def sums(parts: Any) -> list[Any]:
        if average == "sample":
            return [float(sum(part.sum() for part in parts)), float(sum(map(len, parts)))]
        return [[float(part.mean() / 2) for part in parts], [0.5] * len(parts)]

    strategy = Half(sums(others))
    judge = evaluator(nn.CrossEntropyLoss(), data=data, strategy=strategy, metrics={}, metric_forms={}, average=average)
    found = judge.evaluate("train")
    for summed, expected in zip(strategy.summed, sums(own), strict=True):
        assert summed == pytest.approx(expected, rel=1e-5)
    whole = losses.mean() if average == "sample" else torch.stack([part.mean() for part in losses.split(BATCH)]).mean()
    assert found["loss"] == pytest.approx(float(whole), rel=1e-5)
    assert judge.fraction == pytest.approx(sum(map(len, own)) * 2 / NUM)


def test_processes_average_the_batches_by_what_each_of_them_counts() -> None:
    """The other process has other numbers of counted targets in each batch, and in one none at all."""
    dataset = Dataset(train=TensorSamples(X, Y), targets="class_index", class_names=["a", "b", "c"])
    split = split_dataset(dataset, "100/0/0", 0, shuffle=False)
    losses = torch.where(Y == 1, 0.0, functional.cross_entropy(logits(), Y, reduction="none")).double()
    sums, counts = (
        [float(own[number + 1 : min(number + 3, NUM) : 2].sum()) for number in range(0, NUM, 3)]
        for own in (losses, (Y != 1).double())
    )
    data = RunData(dataset, split, batch_size=3, rank=0, world_size=2)
    judge = evaluator(
        Weighted(torch.ones(3), ignore_index=1),
        data=data, strategy=Half([sums, counts]), metrics={}, metric_forms={}, average="batch",
    )  # fmt: skip
    each = [part for part in zip(losses.split(3), (Y != 1).split(3), strict=True) if part[1].any()]
    assert len(each) < -(-NUM // 3) or 0 in counts
    expected = torch.stack([own.sum() / counted.sum() for own, counted in each]).mean()
    assert judge.evaluate("train")["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_padding_samples_of_a_process_are_not_counted() -> None:
    dataset = Dataset(train=TensorSamples(X[:9], Y[:9]), targets="class_index", class_names=["a", "b", "c"])
    split = split_dataset(dataset, "100/0/0", 0, shuffle=False)
    data = RunData(dataset, split, batch_size=BATCH, rank=1, world_size=2)
    calls: list[int] = []

    def loss(predictions: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(targets))
        return functional.cross_entropy(predictions, targets)

    class Sees(Gives):
        def update(self, predictions: Tensor, targets: Tensor) -> None:
            self.given += len(targets)

        def sync(self, strategy: Any) -> None: ...

        def reset(self) -> None:
            self.given = 0

    strategy = Half([0.0, 0.0])
    metrics = {"count": Sees(0)}
    judge = evaluator(loss, data=data, strategy=strategy, batch_size=BATCH, metrics=metrics)
    found = judge.evaluate("train")
    assert calls == [4, 1], "the ninth sample is the other one's, and both must make as many calls"
    assert strategy.summed[1] == found["count"] == 4
    assert judge.fraction == pytest.approx(8 / 9)


def test_how_far_an_evaluation_is_and_in_which_order_metrics_get_samples() -> None:
    fractions: list[float] = []
    given: list[tuple[list[int], str]] = []

    class Sees(Metric):
        def update(self, predictions: Tensor, targets: Tensor) -> None:
            raise AssertionError

        def update_samples(self, predictions: Tensor, targets: Tensor, ids: Tensor, split: str) -> None:
            fractions.append(judge.fraction)
            given.append((ids.tolist(), split))
            assert len(predictions) == len(targets) == len(ids)

        def compute(self) -> float:
            return 0.0

    judge = evaluator(functional.cross_entropy, metrics={"sees": Sees()}, batch_size=10)
    judge.evaluate("train")
    assert fractions == pytest.approx([0, 10 / NUM, 20 / NUM])
    assert judge.fraction == pytest.approx(1)
    assert given == [(list(range(begin, min(begin + 10, NUM))), "train") for begin in (0, 10, 20)]


def test_an_evaluation_of_one_sample_is_whole() -> None:
    dataset = Dataset(train=TensorSamples(X[:1], Y[:1]), targets="class_index", class_names=["a", "b", "c"])
    data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=BATCH)
    judge = evaluator(nn.CrossEntropyLoss(), data=data)
    assert judge.evaluate("train")["loss"] == pytest.approx(functional.cross_entropy(logits()[:1], Y[:1]).item())
    assert judge.fraction == 1


def test_a_preview_has_the_names_of_the_figures_and_no_effects() -> None:
    class Drawing(nn.Module):
        """Counts its calls and draws from every generator."""

        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.seen: list[int] = []

        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            self.calls += 1
            self.seen.append(len(targets))
            noise = torch.rand(()) + random.random() + np.random.random()
            return functional.cross_entropy(predictions + noise, targets)

    loss, model = Drawing(), net().train()
    count = Count()
    judge = evaluator(loss, model, metrics={"count": count}, batch_size=BATCH)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]  # an array
    found = judge.preview("train")
    assert list(found) == ["loss", "count-right", "count-seen"]
    assert (found["count-seen"], loss.seen, loss.calls.item()) == (2 * BATCH, [BATCH, BATCH], 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # type: ignore[union-attr]  # as above
    assert model.training


def test_an_evaluation_that_is_left_changes_nothing() -> None:
    class Counting(nn.Module):
        """Counts its calls, and draws."""

        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            self.calls += 1
            return functional.cross_entropy(predictions + torch.rand(()), targets)

    def leave() -> None:
        asked.append(loss.calls.item())
        if len(asked) == 3:
            raise EvaluationLeft

    loss, model, asked = Counting(), net().train(), []
    judge = evaluator(loss, model, batch_size=BATCH)
    before, expected = torch.get_rng_state(), evaluator(Counting(), model, batch_size=BATCH).evaluate("train")
    judge.between_batches = leave
    with pytest.raises(EvaluationLeft):
        judge.evaluate("train")
    assert (asked, loss.calls.item()) == ([0, 1, 2], 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert judge.evaluate("train") == expected


def test_a_preview_leaves_nothing_in_the_metrics() -> None:
    told: list[str] = []

    class Tells(Gives):
        def reset(self) -> None:
            told.append("reset")

        def compute(self) -> float:
            told.append("compute")
            return 1.0

    evaluator(nn.CrossEntropyLoss(), metrics={"tells": Tells(1.0)}).preview("train")
    assert told == ["reset", "compute", "reset"]


def test_evaluation_uses_inference_mode() -> None:
    seen: list[tuple[bool, bool]] = []

    class Net(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
            return super().forward(inputs)

    evaluator(nn.CrossEntropyLoss(), Net(4, 3)).evaluate("train")
    dividing = LocalStrategy(torch.device("cpu"))
    dividing.mesh = object()  # type: ignore[attr-defined]  # as of a strategy that divides the model
    evaluator(nn.CrossEntropyLoss(), Net(4, 3), strategy=dividing).evaluate("train")
    assert seen == [(True, False), (False, False)]


class Own(BaseTrainer):
    """Computes its loss itself."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.models: list[nn.Module] = []

    def compute_loss(self, batch: Any) -> Tensor:
        self.models.append(self.model)
        return functional.cross_entropy(self.model(batch.inputs), batch.targets)


@pytest.mark.parametrize("judged", [False, True])
def test_without_a_loss_the_trainer_judges_the_bare_model(judged: bool) -> None:
    """Once a batch, or twice if metrics want its outputs; in parts of the run's size."""
    wrapped = nn.Identity()
    trainer, model, calls = Own(wrapped), net(), []
    model.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    given: dict[str, Any] = {} if judged else {"metrics": {}, "metric_forms": {}}
    judge = evaluator(None, model, trainer=trainer, batch_size=16, **given)  # type: ignore[arg-type]  # no loss
    found = judge.evaluate("train")
    assert found["loss"] == pytest.approx(functional.cross_entropy(logits(), Y).item(), rel=1e-6)
    assert trainer.models == [model] * 4
    assert trainer.model is wrapped
    assert calls == ([16, 8, 8, 10, 8, 2] if judged else [8, 8, 8, 2])
    assert judge.figures.keys() == ({"loss", "loss/*", "count*"} if judged else {"loss", "loss/*"})


@pytest.mark.parametrize("batch_size", [8, 16])
@pytest.mark.parametrize("average", ["sample", "batch"])
def test_the_trainer_says_what_its_loss_counts(batch_size: int, average: Any) -> None:
    class Weighs(Own):
        def weights(self, batch: Any) -> Any:
            return {"loss": float((batch.targets != 1).sum())}

        def compute_loss(self, batch: Any) -> Any:
            return functional.cross_entropy(self.model(batch.inputs), batch.targets, ignore_index=1)

    model = net()
    judge = evaluator(None, model, trainer=Weighs(model), batch_size=batch_size, average=average)  # type: ignore[arg-type]  # no loss
    parts = zip(logits().split(BATCH), Y.split(BATCH), strict=True)
    each = [functional.cross_entropy(outputs, targets, ignore_index=1).item() for outputs, targets in parts]
    whole = functional.cross_entropy(logits(), Y, ignore_index=1).item()
    assert judge.evaluate("train")["loss"] == pytest.approx(
        whole if average == "sample" else np.average(each), rel=1e-6
    )


def test_means_are_exact_beyond_single_precision() -> None:
    values = torch.tensor([[2.0**24], [1.0]])
    dataset = Dataset(train=TensorSamples(values, torch.tensor([0, 1])), targets="class_index", class_names=["a", "b"])
    data = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=1)
    judge = evaluator(lambda outputs, targets: outputs.mean(), nn.Identity(), data=data, metrics={}, metric_forms={})
    assert judge.evaluate("train")["loss"] == (2**24 + 1) / 2


@pytest.mark.parametrize("initialized", [True, False])
def test_the_generators_of_all_gpus_are_put_back_if_they_are_in_use(
    monkeypatch: pytest.MonkeyPatch, initialized: bool
) -> None:
    """The run may train on another than torch's current one."""
    put_back: list[list[Tensor]] = []
    states = [torch.arange(3), torch.arange(4)]
    judge = evaluator(nn.CrossEntropyLoss())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: initialized)
    monkeypatch.setattr("torch.cuda.get_rng_state_all", lambda: states)
    monkeypatch.setattr("torch.cuda.set_rng_state_all", put_back.append)
    judge.evaluate("train")
    assert put_back == ([states] if initialized else [])


def test_a_task_whose_models_compute_their_loss_in_training_has_metrics_alone() -> None:
    class Task(TaskRuntime):
        needs_loss = False

        def bind(self, model: Any, loss: Any) -> Any:
            return SimpleNamespace(step=fail, weights=fail)

    def fail(batch: Any) -> Any:
        raise AssertionError("an evaluation is no training")

    judge = evaluator(None, outputs=Task("class_index"), metrics={"one": Gives(1.0)})  # type: ignore[arg-type]  # no loss
    assert judge.evaluate("train") == {"one": 1.0}
    assert judge.figures == {"one*": None}


def test_a_trainer_that_derives_from_nothing_may_compute_its_loss() -> None:
    class Bare:
        def __init__(self, model: nn.Module) -> None:
            self.model = model

        compute_loss = Own.compute_loss
        models: ClassVar[list[nn.Module]] = []

    model = net()
    found = evaluator(None, model, trainer=Bare(model)).evaluate("train")  # type: ignore[arg-type]  # no loss
    assert found["loss"] == pytest.approx(functional.cross_entropy(logits(), Y).item(), rel=1e-6)


@pytest.mark.parametrize("trainer", [None, BaseTrainer, object()])
def test_a_run_without_any_loss_has_metrics_alone(trainer: Any) -> None:
    made = BaseTrainer.__new__(BaseTrainer) if trainer is BaseTrainer else trainer
    judge = evaluator(None, trainer=made)  # type: ignore[arg-type]  # no loss
    right = int((logits().argmax(1) == Y).sum())
    assert judge.evaluate("train") == {"count-right": right, "count-seen": NUM}
    assert judge.figures == {"count*": None}


def test_metrics_are_of_all_processes_and_these_take_batches_of_the_size_asked_for() -> None:
    told: list[Any] = []
    sizes: list[int] = []

    class Tells(Gives):
        def update(self, predictions: Tensor, targets: Tensor) -> None:
            sizes.append(len(targets))

        def sync(self, strategy: Any) -> None:
            told.append(strategy)

    dataset = Dataset(train=TensorSamples(X, Y), targets="class_index", class_names=["a", "b", "c"])
    split = split_dataset(dataset, "100/0/0", 0, shuffle=False)
    data = RunData(dataset, split, batch_size=BATCH, rank=0, world_size=2)
    strategy = Half([0.0, 0.0])
    evaluator(
        nn.CrossEntropyLoss(), data=data, strategy=strategy, metrics={"tells": Tells(1.0)}, batch_size=20
    ).evaluate("train")
    assert told == [strategy]
    assert sizes == [10, 3]


def test_the_declared_figures_are_those_of_loss_and_metrics() -> None:
    class Says(Gives):
        figures: ClassVar[dict[str, bool]] = {"": True, "low": False}

    judge = evaluator(Terms(), metrics={"odd": Says(1.0), "open": Gives(1.0)})
    own = {f"loss/{name}{end}": None for name in Terms.figures for end in ("", "-*", "/*")}
    assert judge.figures == {"loss": False, **own, "odd": True, "odd-low": False, "open*": None}


@pytest.mark.parametrize(
    ("options", "world_size", "words"),
    [
        ({"batch_size": 0}, 1, "the evaluator's batch_size is 0; it must be at least 1"),
        *(
            (
                {"batch_size": size, "average": "batch"}, 1,
                f"the evaluator's batch_size is {size}; it must be a multiple of the run's, 8"
            ) for size in (-8, 12)
        ),
        ({"batch_size": 1}, 2, "the evaluator's batch_size is 1, of 2 processes together; make it larger"),
        *(({"batch_size": size}, 1, None) for size in (1, 12, None)),
        ({"batch_size": 16, "average": "batch"}, 1, None),
        ({"batch_size": 2}, 2, None),
        ({"batch_size": 12, "average": "batch"}, 2, None),
    ],
)  # fmt: skip
def test_the_batch_size_of_evaluations(options: dict[str, Any], world_size: int, words: str | None) -> None:
    strategy = LocalStrategy(torch.device("cpu"))
    strategy.world_size = world_size
    if words is None:
        asked = options["batch_size"]
        size = BATCH if world_size > 1 and "average" in options else 4 * BATCH if asked is None else asked
        assert evaluator(nn.CrossEntropyLoss(), strategy=strategy, **options)._batch_size == size
        return
    with pytest.raises(UsageError) as caught:
        evaluator(nn.CrossEntropyLoss(), strategy=strategy, **options)
    assert str(caught.value) == words


def test_batches_that_cannot_be_split_have_the_size_of_the_run() -> None:
    dataset = Dataset(train=TensorSamples({"x": X}, Y), targets="class_index", class_names=["a", "b", "c"])
    tree = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=BATCH)
    assert tree.spec.input_shape is None
    assert evaluator(nn.CrossEntropyLoss(), data=tree)._batch_size == BATCH
    assert evaluator(nn.CrossEntropyLoss(), data=tree, batch_size=20)._batch_size == 20
    samples = torch.utils.data.TensorDataset(X, Y)
    dataset = Dataset(
        train=samples, targets="class_index", class_names=["a", "b", "c"], collate=torch.utils.data.default_collate
    )
    collated = RunData(dataset, split_dataset(dataset, "100/0/0", 0, shuffle=False), batch_size=BATCH)
    assert (collated.collates, collated.spec.input_shape) == (True, None)
    assert evaluator(nn.CrossEntropyLoss(), data=collated)._batch_size == BATCH


def test_a_metric_without_a_form_gets_the_outputs_themselves() -> None:
    given: list[Tensor] = []

    class Sees(Gives):
        def update(self, predictions: Tensor, targets: Tensor) -> None:
            given.append(predictions)

    judge = evaluator(nn.CrossEntropyLoss(), metrics={"sees": Sees(1.0)}, metric_forms={})
    assert judge.fraction == 0.0
    judge.evaluate("train")
    assert torch.equal(torch.cat(given), logits())


def test_outputs_that_cannot_be_divided_are_refused() -> None:
    class Pooled(nn.Linear):
        def forward(self, inputs: Tensor) -> Any:
            return {"all": super().forward(inputs).sum(0)} if len(inputs) > 8 else super().forward(inputs)

    with pytest.raises(UsageError) as caught:
        evaluator(nn.CrossEntropyLoss(), Pooled(4, 3), metrics={}, metric_forms={}, batch_size=16).evaluate("train")
    assert "{all: float32 [3]} for 16 samples" in str(caught.value)
    assert "remove --evaluator.batch_size" in str(caught.value)
