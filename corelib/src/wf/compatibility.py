"""How dataset, model and loss fit each other, by their traits; where a small step (a *link*) closes a gap, it is named.

`wf.rules` has the rules of all kinds, `wf.fitting` the error that names what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wf.errors import UsageError
from wf.task import Link, Task
from wf.traits import LossTraits, MetricTraits, ModelTraits

if TYPE_CHECKING:
    from wf.registry import Registry


RAW = "raw"
"""The predictions of a model that does nothing to its scores, see `wf.traits`."""


class Tasks:
    """The tasks and links that plugins brought, by what they are for.

    Args:
        registry: Where they are looked up.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._found: dict[tuple[str, str | None], Task | None] = {}

    def named(self, name: str) -> Task:
        """The task of a name.

        Raises:
            UsageError: For an unknown name, or one that two plugins bring.
        """
        task = self._registry.find("task", name).component.traits
        if not isinstance(task, Task):
            raise UsageError(f"task '{name}' is code of your own\n  give it by wf_tasks() of a plugin: -p FILE.py")
        return task

    def of(self, targets: str | None, loss: object = None, *, predictions: str | None = None) -> Task | None:
        """The task of targets of a form; None where no task has such targets.

        Args:
            targets: Their form.
            loss: What the loss says of itself.
            predictions: The predictions that it wants, where it is not there to say so.

        Raises:
            UsageError: When several plugins bring one.
        """
        wants = loss.predictions if isinstance(loss, LossTraits) else predictions
        key = (targets or "", wants)
        if key not in self._found:
            self._found[key] = self._of(*key)
        return self._found[key]

    def _of(self, targets: str, wants: str | None) -> Task | None:
        tasks = [task for task in self._all if targets in task.targets]
        names = list(dict.fromkeys(task.name for task in tasks if wants in task.predictions))
        names = names or list(dict.fromkeys(task.name for task in tasks if not task.predictions))
        if len(names) > 1:
            names = [name for name in names if self._registry.is_builtin("task", name)] or names
        if len(names) > 1:
            ways = " or ".join(f"--task {name}" for name in names)
            raise UsageError(f"targets '{targets}' are those of several tasks\n  say which: {ways}")
        return self.named(self._registry.own_choice("task", names[0])) if names else None

    @cached_property
    def _all(self) -> list[Task]:
        traits = [entry.component.traits for entry in self._registry.entries("task")]
        return [task for task in traits if isinstance(task, Task)]

    @cached_property
    def links(self) -> list[Link]:
        """The links, those that are for certain targets first.

        Raises:
            UsageError: When two plugins bring a link of one name.
        """
        names = self._registry.names("link")
        found = [self._registry.find("link", self._registry.own_choice("link", name)) for name in names]
        links = [entry.component.traits for entry in found if isinstance(entry.component.traits, Link)]
        return sorted(links, key=lambda link: not link.targets)

    def link(self, name: str) -> Link:
        """The link of a name."""
        return next(link for link in self.links if link.name == name)

    @property
    def forms(self) -> list[str]:
        """The forms of targets that tasks have or links give."""
        given = [link.gives for link in self.links if link.of == "targets"]
        return list(dict.fromkeys([*(form for task in self._all for form in task.targets), *given]))

    def unknown_forms(self, traits: Any) -> list[tuple[str, str, list[str]]]:
        """The forms in a component's traits that no task and no link brings.

        Args:
            traits: What it says about itself.

        Returns:
            Of each one what it is a form of (``targets`` or ``predictions``), itself, and those that there are; none
            where there are no tasks at all.
        """
        if not self._all:
            return []
        of_targets = {form for task in self._all for form in task.targets}
        of_predictions = {RAW, *(form for task in self._all for form in task.predictions)}
        for link in self.links:
            kinds = {"targets": of_targets, "predictions": of_predictions}
            kinds.get(link.of, set()).update((*link.takes, link.gives))
        said = getattr(traits, "targets", None) or ()
        targets = [said] if isinstance(said, str) else [*said]
        targets += [form for form in (getattr(traits, "gives_targets", None),) if form]
        found = [("targets", form, sorted(of_targets)) for form in targets if form not in of_targets]
        wanted = getattr(traits, "predictions", RAW)
        if isinstance(traits, MetricTraits):
            judged = [task for task in self._all if not targets or {*targets} & {*task.targets}]
            reads = {RAW, *(form for task in judged for form in task.reads)}
            of_predictions = reads if all(task.reads for task in judged) else {wanted}
        return [*found, *(("predictions", form, sorted(of_predictions)) for form in {wanted} - of_predictions)]

    def default_metrics(self, task: Task | None, targets: str | None) -> tuple[str, ...]:
        """The metrics of a run that names none: those of the task that judge such targets."""
        return tuple(name for name in (task.default_names("metric") if task else ()) if self._judges(name, targets))

    def _judges(self, metric: str, targets: str | None) -> bool:
        providers = self._registry.providers("metric", metric)
        traits = providers[0].component.traits if providers else None
        return not isinstance(traits, MetricTraits) or not traits.targets or targets in traits.targets


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the parts of a run go together."""

    targets: str | None
    """The targets that the loss gets; None where the dataset declares none."""
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
        targets: The dataset's; None where it declares none, so that nothing is put before the loss.
        num_classes: The dataset's, None where it has no classes or they are not known yet.
        model: The model's traits, None when unknown.
        loss: The loss's traits, None when unknown.
        allowed: The links that may be used; None for any.
        links: Those that there are, see `Tasks.links`.

    Returns:
        How they fit, or what does not fit, in words.
    """
    if targets is None:
        why = "the dataset does not say what its targets are: nothing is checked, and nothing is put before the loss"
        return Fit(targets=None, warnings=(why,))
    if loss is None:
        return Fit(targets=targets, warnings=("the loss does not say what it wants (no traits): nothing is checked",))
    given, target_link = _target_link(targets, num_classes, loss, links)
    if given is None:
        return [f"the loss wants {_words(loss.targets)} targets, the dataset has {targets}"]
    if target_link and allowed is not None and target_link not in allowed:
        return [
            f"the loss wants {_words(loss.targets)} targets, the dataset has {targets}, link '{target_link}' is off"
        ]
    prediction_link = _prediction_link(given, model, loss, links)
    if prediction_link is None:
        assert model is not None
        return [f"the loss wants {loss.predictions}, the model gives {model.predictions}"]
    warnings = []
    if model is None and not _goes("raw", loss.predictions, links):
        warnings.append(
            f"the model does not say what it gives (no traits) and the loss wants {loss.predictions}: "
            "nothing was put between them"
        )
    found = [link for link in (prediction_link, target_link) if link]
    off = [link for link in found if allowed is not None and link not in allowed]
    warnings += [f"link '{link}' is off: the loss gets what the model gives" for link in off]
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
    """Find the links for evaluations, where a transform gives other targets in training than the dataset has.

    The loss gets the dataset's own targets where it takes them, else the form that it gets in training. What the model
    gives is read as in training.

    Args:
        targets: The dataset's.
        num_classes: See `resolve`.
        model: See `resolve`.
        loss: See `resolve`.
        allowed: See `resolve`.
        links: See `resolve`.
        trained: How model and loss fit the targets that they get in training.

    Returns:
        How they fit, or what does not fit, in words.
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
        return [f"the loss gets {trained.targets} targets in training, and {targets} targets want other predictions"]
    return found


def _before(fit: Fit, links: Sequence[Link]) -> list[str]:
    """The links that change predictions."""
    return [link.name for link in links if link.of == "predictions" and link.name in fit.links]


def targets_that_fit(model: ModelTraits, loss: LossTraits, links: Sequence[Link]) -> list[str]:
    """The targets with which a loss can take what a model gives."""
    return [targets for targets in loss.targets or ("",) if _prediction_link(targets, model, loss, links) is not None]


def numbers_of_classes(targets: str, links: Sequence[Link]) -> tuple[int | None, ...]:
    """The numbers of classes that make a difference to which losses fit, where a dataset's is not known."""
    special = {link.num_classes for link in links if link.fits("targets", targets) and link.num_classes is not None}
    return (*sorted(special), max(special) + 1) if special else (None,)


def _target_link(
    targets: str, num_classes: int | None, loss: LossTraits, links: Sequence[Link]
) -> tuple[str | None, str | None]:
    """The targets that the loss will get, and the link that makes them; (None, None) when there is none."""
    if targets in loss.targets or not loss.targets:
        return targets, None
    for wanted in loss.targets:
        for link in links:
            if link.fits("targets", targets) and link.gives == wanted and link.num_classes in (None, num_classes):
                return wanted, link.name if link.target else None
    return None, None


def _prediction_link(targets: str, model: ModelTraits | None, loss: LossTraits, links: Sequence[Link]) -> str | None:
    """The link from the model's predictions to the loss's; empty for none needed, None for none known."""
    if model is None:
        return ""
    has, wants = model.predictions, loss.predictions
    if wants in (has, "raw"):
        return ""
    chosen = next((link for link in links if link.fits("predictions", has, targets) and link.gives == wants), None)
    return None if chosen is None else chosen.name if chosen.target else ""


def _goes(form: str, wanted: str, links: Sequence[Link]) -> bool:
    """Whether one form of predictions serves as another as it is, whatever the targets and without being asked for."""
    return any(link.fits("predictions", form) and link.gives == wanted and not link.target for link in links)


def _words(targets: Iterable[str]) -> str:
    return " or ".join(targets)
