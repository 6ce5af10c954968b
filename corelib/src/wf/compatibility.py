"""Whether dataset, model, loss and metrics fit each other, from their traits, before step 1.

Where a known small step closes a gap (a *link*), it is named; where none does, the error names what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wf.errors import UsageError
from wf.registry import Registry
from wf.traits import DatasetTraits, LossTraits, MetricTraits, ModelTraits

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
    "multilabel": Defaults("bce-logits", ("accuracy",)),
    "one_hot": Defaults("ce", ()),
    "mask": Defaults("ce", ("accuracy",)),
}
"""The loss and metrics of a run that names none, by the dataset's targets."""


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


def check(
    registry: Registry,
    targets: str,
    num_classes: int | None,
    names: Mapping[str, str],
    model: ModelTraits | None,
    loss: LossTraits | None,
    metrics: Mapping[str, MetricTraits | None],
    allowed: Sequence[str] | None = None,
) -> Fit:
    """As `resolve`, with every mismatch at once as one error.

    Args:
        registry: Where the components that would fit are looked up.
        targets: The dataset's.
        num_classes: The dataset's, if any.
        names: The names of ``dataset``, ``model`` and ``loss``, for messages.
        model: The model's traits.
        loss: The loss's traits.
        metrics: The traits of each metric by name.
        allowed: The links that may be used.

    Raises:
        UsageError: Naming what does not fit and what does.
    """
    fit = resolve(targets, num_classes, model, loss, allowed)
    lines = []
    if isinstance(fit, list):
        lines = [f"loss '{names['loss']}' does not fit dataset '{names['dataset']}' and model '{names['model']}'"]
        lines += [
            *fit,
            f"losses that fit: {', '.join(losses_that_fit(registry, targets, num_classes, model, allowed)) or 'none'}",
        ]
    wrong = [name for name, traits in metrics.items() if not _metric_fits(traits, targets)]
    if wrong:
        lines.append(f"metrics that do not fit {targets} targets: {', '.join(wrong)}")
        lines.append(f"metrics that fit: {', '.join(metrics_that_fit(registry, targets)) or 'none'}")
    if lines:
        raise UsageError("\n  ".join(lines))
    assert isinstance(fit, Fit)
    return fit


def losses_that_fit(
    registry: Registry,
    targets: str,
    num_classes: int | None = None,
    model: ModelTraits | None = None,
    allowed: Sequence[str] | None = None,
) -> list[str]:
    """The names of the losses that fit, those that say nothing left out; `allowed` as for `resolve`."""
    model = model or ModelTraits()
    return [
        entry.component.name
        for entry in registry.entries("loss")
        if isinstance(entry.component.traits, LossTraits)
        and isinstance(resolve(targets, num_classes, model, entry.component.traits, allowed), Fit)
    ]


def metrics_that_fit(registry: Registry, targets: str) -> list[str]:
    """The names of the metrics that can judge `targets`."""
    entries = registry.entries("metric")
    return [entry.component.name for entry in entries if _metric_fits(entry.component.traits, targets)]


def dataset_targets(traits: object) -> str | None:
    """The targets that a dataset declares, None when only its data tell."""
    return traits.targets if isinstance(traits, DatasetTraits) else None


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


def _metric_fits(traits: object, targets: str) -> bool:
    return not isinstance(traits, MetricTraits) or not traits.targets or targets in traits.targets


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
