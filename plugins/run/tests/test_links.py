from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wf.errors import UsageError
from wf.registry import Registry
from wf_base.task import task_of
from wf_base.training.objective import total_weight
from wf_run.parts.links import LinkedLoss, check_outputs
from wf_run.parts.links import link_loss as link_loss_with

LOGITS, CLASSES = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


REGISTRY = Registry.discover(only_builtin=True)


def link_loss(loss: Any, links: list[str], num_classes: int, **more: Any) -> Any:
    return link_loss_with(loss, links, REGISTRY, {"num_classes": num_classes}, **more)


def test_a_link_that_needs_a_missing_run_value() -> None:
    with pytest.raises(UsageError, match="link 'one-hot' needs the run value 'num_classes', which this run does not"):
        link_loss_with(nn.MSELoss(), ["one-hot"], REGISTRY, {})


@pytest.mark.parametrize(
    ("loss", "links", "expected"),
    [
        (functional.nll_loss, ["log-softmax"], functional.cross_entropy(LOGITS, CLASSES)),
        (functional.mse_loss, ["softmax", "one-hot"], ((LOGITS.softmax(1) - torch.eye(3)[CLASSES]) ** 2).mean()),
        (functional.binary_cross_entropy, ["sigmoid", "one-hot"],
         functional.binary_cross_entropy_with_logits(LOGITS, torch.eye(3)[CLASSES])),
    ],
)  # fmt: skip
def test_links_convert_predictions_and_targets(loss: Any, links: list[str], expected: Tensor) -> None:
    linked = link_loss(loss, links, 3)
    torch.testing.assert_close(linked(LOGITS, CLASSES), expected)


def test_a_loss_without_links_is_not_wrapped() -> None:
    loss = nn.CrossEntropyLoss()
    assert link_loss(loss, [], 3) is loss


def test_binary_link_with_a_single_logit() -> None:
    loss = link_loss(nn.BCEWithLogitsLoss(), ["binary"], 2, single_logit=True)
    targets = torch.tensor([0, 1, 1, 0, 1, 0])
    expected = functional.binary_cross_entropy_with_logits(LOGITS[:, 0], targets.float())
    assert torch.equal(loss(LOGITS[:, :1], targets), expected)


def test_reduction_none_becomes_the_mean_over_samples() -> None:
    class Weighted(nn.CrossEntropyLoss):
        def total_weight(self, targets: Tensor) -> Tensor:
            assert self.weight is not None
            return self.weight[targets].sum()

    weight = torch.tensor([1.0, 5.0, 0.5])
    loss = link_loss(Weighted(weight, reduction="none"), [], 3)
    assert isinstance(loss, LinkedLoss)
    assert (loss.links, loss.reduction) == (("mean",), "mean")
    expected = functional.cross_entropy(LOGITS, CLASSES, weight, reduction="none").mean()
    torch.testing.assert_close(loss(LOGITS, CLASSES), expected)
    assert total_weight(loss, CLASSES) is None, "the mean divides by the samples, whatever weights the loss has"
    assert total_weight(Weighted(weight), CLASSES) is not None


def test_tasks_read_labels_and_probabilities_from_outputs() -> None:
    classes = task_of("class_index", "logits", single_logit=False)
    assert classes.read(LOGITS, "labels").equal(LOGITS.argmax(1))
    torch.testing.assert_close(classes.read(LOGITS, "probs"), LOGITS.softmax(1))
    assert classes.read(LOGITS, "raw") is LOGITS
    single = task_of("class_index", "raw", single_logit=True)
    assert single.read(torch.tensor([[-1.0], [2.0]]), "labels").tolist() == [0, 1]
    torch.testing.assert_close(single.read(torch.zeros(2, 1), "probs"), torch.full((2, 2), 0.5))
    given_probs = task_of("binary", "probs", single_logit=True)
    assert given_probs.read(torch.tensor([[0.4], [0.6]]), "labels").tolist() == [0, 1]
    labels = task_of("multilabel", "logits", single_logit=False)
    assert labels.read(torch.tensor([[-1.0, 1.0]]), "labels").tolist() == [[0, 1]]
    numbers = task_of("multilabel", "real", single_logit=False)
    assert numbers.read(torch.tensor([[0.4, 0.6]]), "labels").tolist() == [[0, 1]]
    assert numbers.read(torch.tensor([[-0.5, 1.5]]), "probs").tolist() == [[0, 1]]
    log_probs = task_of("class_index", "log_probs", single_logit=False)
    torch.testing.assert_close(log_probs.read(LOGITS.log_softmax(1), "probs"), LOGITS.softmax(1))
    assert task_of("binary", "logits", single_logit=True).classes(torch.tensor([0.0, 1.0])).dtype == torch.int64


NAMES = {"model": "net", "dataset": "d"}


@pytest.mark.parametrize(
    ("model", "targets", "shape", "message"),
    [
        (nn.Linear(4, 2), "class_index", [3], "3 classes needs"),
        (nn.Linear(5, 3), "class_index", [3], "cannot take inputs"),
        (nn.Linear(4, 2), "real", [1], r"1 output\(s\) needs"),
        (nn.LSTM(4, 3), "class_index", [3], "returns tuple, not a tensor"),
        (nn.Linear(4, 2), "mask", [2, 6, 6], r"needs \[2, 2, 6, 6\]"),
    ],
)
def test_check_outputs_refuses(model: nn.Module, targets: str, shape: list[int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_outputs(model, torch.zeros(2, 4), task_of(targets), shape, NAMES)


def test_check_outputs_leaves_model_and_generator_unchanged() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1), nn.Flatten(0))
    before = torch.get_rng_state()
    check_outputs(
        model, torch.randn(2, 4, generator=torch.Generator()), task_of("binary", single_logit=True), [1], NAMES
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert isinstance(model[1], nn.BatchNorm1d)
    assert model[1].running_mean is not None
    assert not model[1].running_mean.any()
    model(torch.ones(3, 4)).sum().backward()  # layers that the trial initialised can be trained


def test_check_outputs_refuses_a_model_that_changes_its_inputs() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))
    with pytest.raises(UsageError, match="model 'net' changes its inputs in place"):
        check_outputs(model, torch.zeros(2, 4), task_of("class_index"), [3], NAMES)
