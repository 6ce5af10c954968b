"""How dataset, model and loss fit each other, by their traits; where a small step (a *link*) closes a gap, it is named.

`wf.rules` has the rules of all kinds, `wf.fitting` the error that names what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wf.traits import LossTraits, ModelTraits

LINKS: dict[str, str] = {
    "log-softmax": "logits become log-probabilities",
    "softmax": "logits become probabilities that add up to 1",
    "sigmoid": "each logit becomes a probability",
    "log": "probabilities become log-probabilities",
    "one-hot": "a class index becomes a row of zeros with a single one",
    "binary": "a class index of two classes becomes 0 or 1, for a single logit",
    "mean": "the loss of each sample becomes their mean",
}
"""What wf may put between the model and the loss, and what each link does."""


@dataclass(frozen=True)
class Defaults:
    """The names of a loss and of metrics."""

    loss: str
    metrics: tuple[str, ...]


DEFAULTS: dict[str, Defaults] = {
    "real": Defaults("mse", ("mae", "r2")),
    "class_index": Defaults("ce", ("accuracy",)),
    "binary": Defaults("bce-logits", ("accuracy",)),
    "multilabel": Defaults("bce-logits", ("accuracy", "f1")),
    "one_hot": Defaults("ce", ()),
    "mask": Defaults("ce", ("accuracy", "mean-iou")),
}
"""The loss and metrics of a run that names none, by the dataset's targets."""

EMBEDDING_SIZE = 64
"""Numbers of an embedding, unless the model's own option says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the parts of a run go together."""

    targets: str
    """The targets that the loss gets."""
    links: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def resolve(
    targets: str,
    num_classes: int | None,
    model: ModelTraits | None,
    loss: LossTraits | None,
    allowed: Sequence[str] | None = None,
) -> Fit | list[str]:
    """Find the links that make model and loss fit the targets.

    Args:
        targets: The dataset's.
        num_classes: The dataset's, None where it has no classes or they are not known yet.
        model: The model's traits, None when unknown.
        loss: The loss's traits, None when unknown.
        allowed: The links that may be used; None for any.

    Returns:
        How they fit, or what does not fit, in words.
    """
    if loss is None:
        return Fit(targets=targets, warnings=("the loss does not say what it wants (no traits): nothing is checked",))
    given, target_link = _target_link(targets, num_classes, loss)
    if given is None:
        return [f"the loss wants {_words(loss.targets)} targets, the dataset has {targets}"]
    if target_link and allowed is not None and target_link not in allowed:
        return [
            f"the loss wants {_words(loss.targets)} targets, the dataset has {targets}, link '{target_link}' is off"
        ]
    prediction_link = _prediction_link(given, model, loss)
    if prediction_link is None:
        assert model is not None
        return [f"the loss wants {loss.predictions}, the model gives {model.predictions}"]
    warnings = []
    if model is None and loss.predictions not in ("logits", "real"):
        warnings.append(
            f"the model does not say what it gives (no traits) and the loss wants {loss.predictions}: "
            "nothing was put between them"
        )
    links = [link for link in (prediction_link, target_link) if link]
    off = [link for link in links if allowed is not None and link not in allowed]
    warnings += [f"link '{link}' is off: the loss gets what the model gives" for link in off]
    return Fit(targets=given, links=tuple(link for link in links if link not in off), warnings=tuple(warnings))


def default_metrics(targets: str, loss: LossTraits | None) -> tuple[str, ...]:
    """The metrics of a run that names none; where the loss trains embeddings there are no labels to judge."""
    return () if trains_embeddings(loss) else DEFAULTS[targets].metrics


def trains_embeddings(loss: object) -> bool:
    """Whether a loss with such traits makes embeddings of what the model gives: no class can be read from it."""
    return isinstance(loss, LossTraits) and loss.predictions == "embeddings"


def targets_that_fit(model: ModelTraits, loss: LossTraits) -> list[str]:
    """The targets with which a loss can take what a model gives."""
    return [targets for targets in loss.targets if _prediction_link(targets, model, loss) is not None]


def num_outputs(targets: str, num_classes: int | None, num_targets: int) -> int:
    """How many numbers the model must give for one sample.

    Args:
        targets: What the loss gets.
        num_classes: The dataset's classes.
        num_targets: The columns of the targets, for a regression.
    """
    if targets == "real":
        return num_targets
    return 1 if targets == "binary" else num_classes or num_targets


def _target_link(targets: str, num_classes: int | None, loss: LossTraits) -> tuple[str | None, str | None]:
    """The targets that the loss will get, and the link that makes them; (None, None) when there is none."""
    if targets in loss.targets:
        return targets, None
    if targets == "class_index":
        for wanted in loss.targets:
            if wanted == "binary" and num_classes == 2:
                return "binary", "binary"
            if wanted == "one_hot":
                return "one_hot", "one-hot"
    return None, None


def _prediction_link(targets: str, model: ModelTraits | None, loss: LossTraits) -> str | None:
    """The link from the model's predictions to the loss's; empty for none needed, None for none known."""
    if model is None:
        return ""
    has, wants = model.predictions, loss.predictions
    if has == wants or wants == "raw":
        return ""
    known = {
        ("raw", "real"): "",
        ("raw", "embeddings"): "",
        ("raw", "logits"): "",
        ("logits", "real"): "",
        ("log_probs", "real"): "",
        ("probs", "real"): "",
        ("log_probs", "logits"): "" if targets in ("class_index", "mask") else None,
        ("raw", "log_probs"): "log-softmax",
        ("logits", "log_probs"): "log-softmax",
        ("probs", "log_probs"): "log",
        ("raw", "probs"): "softmax" if targets in ("class_index", "mask") else "sigmoid",
        ("logits", "probs"): "softmax" if targets in ("class_index", "mask") else "sigmoid",
    }
    return known.get((has, wants))


def _words(targets: Iterable[str]) -> str:
    return " or ".join(targets)
