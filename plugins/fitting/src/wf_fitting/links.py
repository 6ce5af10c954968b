"""Whether dataset, model and loss fit together, by their traits, and the links that close gaps between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wf.declarations.task import Link
from wf.traits import LossTraits, ModelTraits


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How dataset, model and loss of a run fit together."""

    targets: str | None
    """The targets that the loss gets; None if the dataset declares none."""
    links: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def resolve(
    targets: str | None,
    num_classes: int | None,
    model: ModelTraits | None,
    loss: LossTraits | None,
    allowed: Sequence[str] | None = None,
    *,
    links: Sequence[Link],
) -> Fit | list[str]:
    """Find the links that make model and loss fit the targets.

    Args:
        targets: The form of the dataset's targets; None if undeclared, then no link changes them.
        num_classes: The dataset's number of classes; None if it has none or it is not known yet.
        model: The model's traits, None when unknown.
        loss: The loss's traits, None when unknown.
        allowed: The links that may be used; None for any.
        links: The available links, see `Tasks.links`.

    Returns:
        How they fit, or the mismatch as text.
    """
    if targets is None:
        why = "the dataset does not declare the form of its targets: nothing is checked, and no link is used"
        return Fit(targets=None, warnings=(why,))
    if loss is None:
        return Fit(targets=targets, warnings=("the loss declares no traits: nothing is checked",))
    given, target_link = _target_link(targets, num_classes, loss, links)
    if given is None:
        return [f"the loss takes {_words(loss.targets)} targets, the dataset has {targets}"]
    if target_link and allowed is not None and target_link not in allowed:
        return [
            f"the loss takes {_words(loss.targets)} targets, the dataset has {targets}, link '{target_link}' is off"
        ]
    prediction_link = _prediction_link(given, model, loss, links)
    if prediction_link is None:
        assert model is not None
        return [f"the loss takes {loss.predictions}, the model returns {model.predictions}"]
    warnings = []
    if model is None and not _goes("raw", loss.predictions, links):
        warnings.append(
            f"the model declares no traits, and the loss takes {loss.predictions}: no link is used between them"
        )
    found = [link for link in (prediction_link, target_link) if link]
    off = [link for link in found if allowed is not None and link not in allowed]
    warnings += [f"link '{link}' is off: the loss gets the model outputs" for link in off]
    return Fit(targets=given, links=tuple(link for link in found if link not in off), warnings=tuple(warnings))


def resolve_judged(
    targets: str | None,
    num_classes: int | None,
    model: ModelTraits | None,
    loss: LossTraits | None,
    allowed: Sequence[str] | None = None,
    *,
    links: Sequence[Link],
    trained: Fit,
) -> Fit | list[str]:
    """Find the links for evaluations, if a transform changes the form of the targets in training.

    The loss gets the dataset's own targets if it takes them, else the form that it gets in training. The model outputs
    are treated as in training.

    Args:
        targets: The form of the dataset's targets.
        num_classes: See `resolve`.
        model: See `resolve`.
        loss: See `resolve`.
        allowed: See `resolve`.
        links: See `resolve`.
        trained: How model and loss fit the targets that they get in training.

    Returns:
        How they fit, or the mismatch as text.
    """
    if targets is None:
        return Fit(targets=None, links=tuple(_before(trained, links)))
    wanted: list[LossTraits | None] = [loss]
    if loss is not None and loss.targets:
        forms = [form for form in (targets, trained.targets) if form in loss.targets]
        wanted = [replace(loss, targets=(form,)) for form in forms if form is not None]
    for one in wanted:
        found = resolve(targets, num_classes, model, one, allowed, links=links)
        if isinstance(found, Fit) and _before(found, links) == _before(trained, links):
            return found
    if isinstance(found, Fit):
        return [f"the loss gets {trained.targets} targets in training, and {targets} targets need other predictions"]
    return found


def _before(fit: Fit, links: Sequence[Link]) -> list[str]:
    """The links that change predictions."""
    return [link.name for link in links if link.of == "predictions" and link.name in fit.links]


def targets_that_fit(model: ModelTraits, loss: LossTraits, links: Sequence[Link]) -> list[str]:
    """The forms of targets for which a loss can take a model's outputs."""
    return [targets for targets in loss.targets or ("",) if _prediction_link(targets, model, loss, links) is not None]


def numbers_of_classes(targets: str, links: Sequence[Link]) -> tuple[int | None, ...]:
    """The numbers of classes to try if a dataset's is unknown: those that affect which losses fit."""
    special = {link.num_classes for link in links if link.fits("targets", targets) and link.num_classes is not None}
    return (*sorted(special), max(special) + 1) if special else (None,)


def _target_link(
    targets: str, num_classes: int | None, loss: LossTraits, links: Sequence[Link]
) -> tuple[str | None, str | None]:
    """The form of targets that the loss will get, and the link that makes it; (None, None) if no form fits."""
    if targets in loss.targets or not loss.targets:
        return targets, None
    for wanted in loss.targets:
        for link in links:
            if link.fits("targets", targets) and link.gives == wanted and link.num_classes in (None, num_classes):
                return wanted, link.name if link.target else None
    return None, None


def _prediction_link(targets: str, model: ModelTraits | None, loss: LossTraits, links: Sequence[Link]) -> str | None:
    """The link from the model's predictions to the loss's; empty if none is needed, None if none exists."""
    if model is None:
        return ""
    has, wants = model.predictions, loss.predictions
    if wants in (has, "raw"):
        return ""
    chosen = next((link for link in links if link.fits("predictions", has, targets) and link.gives == wants), None)
    return None if chosen is None else chosen.name if chosen.target else ""


def _goes(form: str, wanted: str, links: Sequence[Link]) -> bool:
    """Whether one form of predictions can always be used as another unchanged."""
    return any(link.fits("predictions", form) and link.gives == wanted and not link.target for link in links)


def _words(targets: Iterable[str]) -> str:
    return " or ".join(targets)
