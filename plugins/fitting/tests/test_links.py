"""Every combination of targets, model and loss."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from wf import Link
from wf.declarations.component import of_declaration
from wf.discovery.plugins import Plugin
from wf.registry import Registry
from wf.traits import LossTraits, ModelTraits
from wf_fitting.links import Fit, resolve_judged, targets_that_fit
from wf_fitting.links import resolve as resolve_with
from wf_fitting.tasks import Tasks, tasks_of

TARGETS = ("real", "class_index", "binary", "multilabel", "one_hot", "mask")
PREDICTIONS = ("raw", "real", "logits", "log_probs", "probs", "embeddings")
LINKS = tasks_of(Registry.discover(only_builtin=True)).links
NAMES = {"log-softmax", "softmax", "sigmoid", "log", "one-hot", "binary", "mean"}
"""Those that put something between."""


def plugin(*declared: Link) -> Plugin:
    components = tuple(map(of_declaration, declared))
    return Plugin(name="o", distribution="o", version="1", module="m", status="ok", components=components)


def resolve(*args: Any) -> Fit | list[str]:
    return resolve_with(*args, links=LINKS)


# (targets of the dataset, targets of the loss, classes) -> (targets for the loss, link); None for a mismatch
TARGET_LINKS = {
    ("class_index", "one_hot", 2): ("one_hot", "one-hot"),
    ("class_index", "one_hot", 3): ("one_hot", "one-hot"),
    ("class_index", "one_hot", None): ("one_hot", "one-hot"),
    ("class_index", "binary", 2): ("binary", "binary"),
}

# (predictions of the model, predictions of the loss) -> link; other pairs do not fit
PREDICTION_LINKS = {
    **{(given, given): "" for given in PREDICTIONS},
    **{(given, "raw"): "" for given in PREDICTIONS},
    ("raw", "real"): "",
    ("raw", "embeddings"): "",
    ("raw", "logits"): "",
    ("logits", "real"): "",
    ("log_probs", "real"): "",
    ("probs", "real"): "",
    ("log_probs", "logits"): "",
    ("raw", "log_probs"): "log-softmax",
    ("logits", "log_probs"): "log-softmax",
    ("probs", "log_probs"): "log",
    ("raw", "probs"): "sigmoid",
    ("logits", "probs"): "sigmoid",
}


@pytest.mark.parametrize("targets", TARGETS)
def test_every_combination_of_targets_and_predictions(targets: str) -> None:
    for wanted, classes, has, wants in itertools.product(TARGETS, (None, 2, 3), PREDICTIONS, PREDICTIONS):
        found = resolve(
            targets, classes, ModelTraits(predictions=has), LossTraits(predictions=wants, targets=(wanted,))
        )
        same = (targets, "") if targets == wanted else None
        given = same or TARGET_LINKS.get((targets, wanted, classes))
        link = PREDICTION_LINKS.get((has, wants))
        if given and given[0] in ("class_index", "mask") and link == "sigmoid":
            link = "softmax"
        if given and (has, wants) == ("log_probs", "logits") and given[0] not in ("class_index", "mask"):
            link = None  # only log_softmax leaves log-probabilities unchanged
        if given is None or link is None:
            assert isinstance(found, list), (targets, wanted, classes, has, wants)
            assert found[0].startswith("the loss takes ")
            continue
        assert isinstance(found, Fit), (targets, wanted, classes, has, wants)
        assert found.targets == given[0]
        assert found.links == tuple(filter(None, (link, given[1])))
        assert set(found.links) <= NAMES
        assert found.warnings == ()


def test_the_preferred_targets_win() -> None:
    both = LossTraits(predictions="logits", targets=("one_hot", "class_index"))
    assert resolve("class_index", 3, ModelTraits(), both) == Fit(targets="class_index")
    order = LossTraits(predictions="logits", targets=("one_hot", "binary"))
    assert resolve("class_index", 2, ModelTraits(), order) == Fit(targets="one_hot", links=("one-hot",))


def test_switched_off_links() -> None:
    nll = LossTraits(predictions="log_probs", targets=("class_index",))
    fit = resolve("class_index", 3, ModelTraits(), nll, [])
    assert fit == Fit(targets="class_index", warnings=("link 'log-softmax' is off: the loss gets the model outputs",))
    mse = LossTraits(predictions="real", targets=("real", "one_hot"))
    assert resolve("class_index", 3, ModelTraits(), mse, []) == [
        "the loss takes real or one_hot targets, the dataset has class_index, link 'one-hot' is off"
    ]
    assert resolve("class_index", 3, ModelTraits(), mse, ["one-hot"]) == Fit(targets="one_hot", links=("one-hot",))


@pytest.mark.parametrize(
    ("targets", "wants", "num_classes", "judged"),
    [
        (("class_index", "one_hot"), "logits", 3, Fit(targets="class_index")),
        (("one_hot",), "logits", 3, Fit(targets="one_hot", links=("one-hot",))),
        (("class_index", "one_hot"), "probs", 3, Fit(targets="one_hot", links=("sigmoid", "one-hot"))),
        (("binary", "one_hot"), "logits", 2, Fit(targets="one_hot", links=("one-hot",))),
        ((), "logits", 3, Fit(targets="class_index")),
    ],
    ids=["its own", "as trained", "its own would be read in another way", "not as one number", "any"],
)
def test_evaluations_with_other_targets_than_training(
    targets: tuple[str, ...], wants: str, num_classes: int, judged: Fit
) -> None:
    loss = LossTraits(predictions=wants, targets=targets)
    trained = resolve("one_hot", num_classes, ModelTraits(), loss)
    assert isinstance(trained, Fit)
    found = resolve_judged("class_index", num_classes, ModelTraits(), loss, links=LINKS, trained=trained)
    assert found == judged
    assert resolve_judged(None, num_classes, ModelTraits(), loss, links=LINKS, trained=trained) == Fit(
        targets=None, links=trained.links
    )


def test_evaluations_that_do_not_fit_the_trained_targets() -> None:
    loss = LossTraits(predictions="probs", targets=("class_index", "one_hot"))
    trained = resolve("one_hot", 3, ModelTraits(), loss)
    assert isinstance(trained, Fit)
    allowed = ["sigmoid", "softmax"]
    found = resolve_judged("class_index", 3, ModelTraits(), loss, allowed, links=LINKS, trained=trained)
    assert found == ["the loss takes one_hot targets, the dataset has class_index, link 'one-hot' is off"]


def test_components_without_traits_give_a_warning() -> None:
    nll = LossTraits(predictions="log_probs", targets=("class_index",))
    (warning,) = resolve("class_index", 3, None, nll).warnings  # type: ignore[union-attr]  # it fits
    assert "the model declares no traits" in warning
    (warning,) = resolve("real", None, ModelTraits(), None).warnings  # type: ignore[union-attr]  # it fits
    assert "the loss declares no traits" in warning
    logits = LossTraits(predictions="logits", targets=("class_index",))
    assert resolve("class_index", 3, None, logits) == Fit(targets="class_index")


def test_targets_that_fit_a_model_and_a_loss() -> None:
    focal = LossTraits(predictions="logits", targets=("class_index", "binary", "mask"))
    assert targets_that_fit(ModelTraits(), focal, LINKS) == ["class_index", "binary", "mask"]
    assert targets_that_fit(ModelTraits(predictions="log_probs"), focal, LINKS) == ["class_index", "mask"]
    assert targets_that_fit(ModelTraits(predictions="probs"), focal, LINKS) == []


def test_links_with_a_target_have_the_documented_names() -> None:
    assert {link.name for link in LINKS if link.target} == NAMES


def test_a_link_for_certain_targets_wins_over_a_general_one() -> None:
    own = Link(name="a", takes=("raw",), gives="x", target="m:f")
    special = Link(name="b", takes=("raw",), gives="x", target="m:f", targets=("t",))
    loss = LossTraits(predictions="x", targets=("t", "u"))
    links = Tasks(Registry([plugin(own, special)])).links
    assert resolve_with("t", None, ModelTraits(), loss, links=links) == Fit(targets="t", links=("b",))
    assert resolve_with("u", None, ModelTraits(), loss, links=links) == Fit(targets="u", links=("a",))
