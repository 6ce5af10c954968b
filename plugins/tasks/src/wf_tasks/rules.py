"""Rules for datasets, transforms, models, losses and metrics, by tasks and links. Imports nothing heavy."""

from __future__ import annotations

from wf import Verdict
from wf.declarations.rule import FITS, SILENT
from wf.traits import LossTraits, MetricTraits, ModelTraits, TransformTraits
from wf_fitting.links import numbers_of_classes, resolve, resolve_judged, targets_that_fit
from wf_fitting.parts import DIMS, SHAPES, Facts, Part, samples_words

OPEN_TARGETS = Verdict(None, ("the form of the targets depends on the data",))
OPEN_SAMPLES = Verdict(None, ("the form of the samples depends on the data",))


def dataset_has_targets(part: Part, known: Facts) -> Verdict:
    """For a dataset: its targets must have a form of its task."""
    has = known.targets or getattr(part.traits, "targets", None)
    task = known.task
    if task is None or not task.targets or has in task.targets:
        return FITS
    if has is None:
        return OPEN_TARGETS
    return Verdict(False, (f"{task.name} has {' or '.join(task.targets)} targets, the dataset has {has}",))


def takes_samples(part: Part, known: Facts) -> Verdict:
    """For a model or a transform: it must take the run's samples."""
    traits = part.traits
    if not isinstance(traits, (ModelTraits, TransformTraits)):
        return SILENT
    if traits.inputs == "any":
        return FITS
    if known.samples is None:  # most datasets have numeric samples
        return FITS if traits.inputs == "numbers" else OPEN_SAMPLES
    if known.samples.tokens == (traits.inputs == "tokens"):
        accepted = DIMS.get(traits.inputs, known.samples.dims)
        if known.samples.dims <= accepted:
            return FITS
        if known.samples.dims & accepted:
            return Verdict(None, (f"it fits if a sample is {SHAPES[traits.inputs]}",))
    wanted = samples_words(traits.inputs)
    return Verdict(False, (f"the {part.kind} takes {wanted} but would get {known.samples.words}",))


def keeps_targets_in_place(part: Part, known: Facts) -> Verdict:
    """For a transform: it gets only the inputs, so it must not move pixels if targets are positions in the image."""
    traits = part.traits
    if known.task is None or not known.task.spatial:  # if unknown, it fits: few datasets have such targets
        return FITS
    if not isinstance(traits, TransformTraits):
        return SILENT
    if traits.moves is False or traits.joint or (traits.masks and known.task.per == "pixel"):
        return FITS
    if traits.moves is None:
        return Verdict(None, ("it does not declare whether it moves pixels, without moving the targets",))
    return Verdict(
        False,
        (
            f"it moves the pixels of images, but not the {known.targets or known.task.name} targets of the dataset",
            "remove it, or move image and targets together in your own dataset",
        ),
    )


def takes_targets(part: Part, known: Facts) -> Verdict:
    """For a joint transform: it must take the targets of the run."""
    traits, has = part.traits, known.trained or known.targets
    if not isinstance(traits, TransformTraits):
        return SILENT
    if not traits.targets or has in traits.targets:
        return FITS
    if has is None:
        return OPEN_TARGETS
    return Verdict(False, (f"the transform takes {' or '.join(traits.targets)} targets but would get {has}",))


def predicts_per(part: Part, known: Facts) -> Verdict:
    """For a model: the task needs one prediction per pixel or per sample."""
    traits = part.traits
    if not isinstance(traits, ModelTraits):
        return SILENT
    if traits.per == "any":
        return FITS
    if known.task is None:
        return FITS if traits.per == "sample" else OPEN_TARGETS  # most datasets need one per sample
    wanted = known.task.per
    if wanted in ("any", traits.per):
        return FITS
    what = f"{known.targets} targets need" if known.targets else f"{known.task.name} needs"
    return Verdict(False, (f"{what} one prediction per {wanted}, the model returns one per {traits.per}",))


def gives_what_the_task_needs(part: Part, known: Facts) -> Verdict:
    """For a model: it computes its own losses if the task needs that, and only then."""
    wanted = known.task.gives if known.task else None
    if wanted is None:
        return _gives_of_no_other_task(part, known)
    if not isinstance(part.traits, ModelTraits):
        return Verdict(None, (f"it does not say whether it gives {wanted}",))
    if part.traits.predictions == wanted:
        return FITS
    assert known.task is not None
    return Verdict(
        False, (f"{known.task.name} needs a model that gives {wanted}, this one gives {part.traits.predictions}",)
    )


def _gives_of_no_other_task(part: Part, known: Facts) -> Verdict:
    """For a model: it must not compute losses for another task."""
    if known.task is None or not isinstance(part.traits, ModelTraits):
        return FITS
    owners = _tasks_of_own_losses(part.traits, known)
    if not owners:
        return FITS
    given, wants = part.traits.predictions, " or ".join(owners)
    return Verdict(False, (f"the model returns {given}, as task {wants} needs, not {known.task.name}",))


def _tasks_of_own_losses(model: ModelTraits | None, known: Facts) -> list[str]:
    """The tasks whose models compute their own losses; empty if the model needs a loss."""
    return known.tasks.whose_models_give(model.predictions) if known.tasks and model else []


def loss_takes_predictions(part: Part, known: Facts) -> Verdict:
    """For a loss: it takes the targets and the model's outputs, through links if needed."""
    traits = part.traits
    if not isinstance(traits, LossTraits):
        return SILENT
    if (
        known.trained is not None
    ):  # then the dataset's own targets are for evaluations only, see `loss_takes_given_targets`
        return FITS
    if known.task is not None and known.task.gives is not None:
        return Verdict(False, (f"models compute their own losses for task {known.task.name}: leave the loss out",))
    if known.targets is None:
        return OPEN_TARGETS if known.model is None else FITS  # see `loss_takes_what_model_gives`
    if _tasks_of_own_losses(known.model, known):
        return FITS  # see `gives_what_the_task_needs`
    links = known.all_links
    numbers = (known.num_classes,) if known.num_classes else numbers_of_classes(known.targets, links)
    tried = {
        number: resolve(known.targets, number, known.model, traits, known.links, links=links) for number in numbers
    }
    misfits = [tuple(found) for found in tried.values() if isinstance(found, list)]
    if misfits and len(misfits) < len(tried):
        fit = [number for number, found in tried.items() if not isinstance(found, list)]
        words = " or ".join("two" if number == 2 else str(number) for number in fit)
        return Verdict(None, (f"it fits if there are {words} classes",))
    return Verdict(False, misfits[0]) if misfits else FITS


def loss_takes_given_targets(part: Part, known: Facts) -> Verdict:
    """For a loss: if a transform changes the form of targets in training, it must take both forms."""
    traits = part.traits
    if known.trained is None:
        return FITS
    if not isinstance(traits, LossTraits):
        return SILENT
    if traits.targets and known.trained not in traits.targets:
        wants = " or ".join(traits.targets)
        return Verdict(
            False, (f"the loss takes {wants} targets, but in training the transform produces {known.trained}",)
        )
    links, facts = known.all_links, (known.num_classes, known.model, traits, known.links)
    fit = resolve(known.trained, *facts, links=links)
    if not isinstance(fit, list) and known.targets is not None:
        fit = resolve_judged(known.targets, *facts, links=links, trained=fit)
    return Verdict(False, tuple(fit)) if isinstance(fit, list) else FITS


def loss_takes_what_model_gives(part: Part, known: Facts) -> Verdict:
    """For a loss, if the targets are unknown: it must take the model's outputs with some form of targets."""
    traits = part.traits
    if not isinstance(traits, LossTraits):
        return SILENT
    if known.targets is not None or known.trained is not None:
        return FITS
    if known.model is None:
        return OPEN_TARGETS
    if owners := _tasks_of_own_losses(known.model, known):
        return Verdict(False, (f"the model computes its own losses, for task {' or '.join(owners)}",))
    if targets_that_fit(known.model, traits, known.all_links):
        return FITS
    return Verdict(False, (f"the loss takes {traits.predictions}, the model returns {known.model.predictions}",))


def metric_judges_targets(part: Part, known: Facts) -> Verdict:
    """For a metric: it takes the dataset's form of targets."""
    traits = part.traits
    if not isinstance(traits, MetricTraits):
        return SILENT
    if not traits.targets or known.targets in traits.targets:
        return FITS
    if known.targets is None:
        return OPEN_TARGETS
    return Verdict(False, (f"the metric takes {' or '.join(traits.targets)} targets, the dataset has {known.targets}",))


def metric_reads_predictions(part: Part, known: Facts) -> Verdict:
    """For a metric: the task must provide its form of predictions."""
    traits = part.traits
    if not isinstance(traits, MetricTraits) or known.loss is None or metric_judges_targets(part, known).fits is False:
        return SILENT
    if known.task is None or not known.task.reads or traits.predictions in known.task.reads:
        return FITS
    return Verdict(False, (f"the metric takes {traits.predictions}, which task '{known.task.name}' does not provide",))
