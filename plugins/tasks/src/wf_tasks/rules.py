"""Which datasets, transforms, models, losses and metrics fit each other, by tasks and links. Imports nothing heavy."""

from __future__ import annotations

from wf import Verdict
from wf.declarations.rule import FITS, SILENT
from wf.traits import LossTraits, MetricTraits, ModelTraits, TransformTraits
from wf_fitting.links import numbers_of_classes, resolve, resolve_judged, targets_that_fit
from wf_fitting.parts import DIMS, SHAPES, Known, Part, samples_words

OPEN_TARGETS = Verdict(None, ("which targets the dataset has depends on its data",))
OPEN_SAMPLES = Verdict(None, ("what the dataset's samples are depends on its data",))


def dataset_has_targets(part: Part, known: Known) -> Verdict:
    """Of a dataset: its targets must be of a form that the task has."""
    has = known.targets or getattr(part.traits, "targets", None)
    task = known.task
    if task is None or not task.targets or has in task.targets:
        return FITS
    if has is None:
        return OPEN_TARGETS
    return Verdict(False, (f"{task.name} has {' or '.join(task.targets)} targets, the dataset has {has}",))


def takes_samples(part: Part, known: Known) -> Verdict:
    """Of a model or a transform."""
    traits = part.traits
    if not isinstance(traits, (ModelTraits, TransformTraits)):
        return SILENT
    if traits.inputs == "any":
        return FITS
    if known.samples is None:  # most datasets are of numbers
        return FITS if traits.inputs == "numbers" else OPEN_SAMPLES
    if known.samples.tokens == (traits.inputs == "tokens"):
        accepted = DIMS.get(traits.inputs, known.samples.dims)
        if known.samples.dims <= accepted:
            return FITS
        if known.samples.dims & accepted:
            return Verdict(None, (f"it fits where a sample is {SHAPES[traits.inputs]}",))
    wanted = samples_words(traits.inputs)
    return Verdict(False, (f"the {part.kind} takes {wanted} and would get {known.samples.words}",))


def keeps_targets_in_place(part: Part, known: Known) -> Verdict:
    """Of a transform: it gets the inputs alone, so that targets that lie in the images stay where they are."""
    traits = part.traits
    if known.task is None or not known.task.spatial:  # where it is not known: few datasets have such targets
        return FITS
    if not isinstance(traits, TransformTraits):
        return SILENT
    if traits.moves is False or traits.joint or (traits.masks and known.task.per == "pixel"):
        return FITS
    if traits.moves is None:
        return Verdict(None, ("it does not say whether it moves pixels, which the targets would not follow",))
    return Verdict(
        False,
        (
            f"it moves the pixels of images, and the {known.targets or known.task.name} targets of the dataset would "
            "stay where they are",
            "leave it out, or move image and targets together in a dataset of your own",
        ),
    )


def takes_targets(part: Part, known: Known) -> Verdict:
    """Of a transform that gets targets: it must take those that there are."""
    traits, has = part.traits, known.trained or known.targets
    if not isinstance(traits, TransformTraits):
        return SILENT
    if not traits.targets or has in traits.targets:
        return FITS
    if has is None:
        return OPEN_TARGETS
    return Verdict(False, (f"the transform takes {' or '.join(traits.targets)} targets and would get {has}",))


def predicts_per(part: Part, known: Known) -> Verdict:
    """Of a model: a task says whether it needs a prediction a pixel or one a sample."""
    traits = part.traits
    if not isinstance(traits, ModelTraits):
        return SILENT
    if traits.per == "any":
        return FITS
    if known.task is None:
        return FITS if traits.per == "sample" else OPEN_TARGETS  # most datasets need one a sample
    wanted = known.task.per
    if wanted in ("any", traits.per):
        return FITS
    what = f"{known.targets} targets need" if known.targets else f"{known.task.name} needs"
    return Verdict(False, (f"{what} a prediction a {wanted}, the model gives one a {traits.per}",))


def loss_takes_predictions(part: Part, known: Known) -> Verdict:
    """Of a loss: it takes the targets and what the model gives, by links where needed."""
    traits = part.traits
    if not isinstance(traits, LossTraits):
        return SILENT
    if known.trained is not None:  # then the dataset's own are for evaluations alone, see `loss_takes_given_targets`
        return FITS
    if known.targets is None:
        return OPEN_TARGETS if known.model is None else FITS  # see `loss_takes_what_model_gives`
    links = known.all_links
    numbers = (known.num_classes,) if known.num_classes else numbers_of_classes(known.targets, links)
    tried = {
        number: resolve(known.targets, number, known.model, traits, known.links, links=links) for number in numbers
    }
    misfits = [tuple(found) for found in tried.values() if isinstance(found, list)]
    if misfits and len(misfits) < len(tried):
        fit = [number for number, found in tried.items() if not isinstance(found, list)]
        words = " or ".join("two" if number == 2 else str(number) for number in fit)
        return Verdict(None, (f"it fits where there are {words} classes",))
    return Verdict(False, misfits[0]) if misfits else FITS


def loss_takes_given_targets(part: Part, known: Known) -> Verdict:
    """Of a loss: where a transform gives other targets in training, it must take these, and evaluate without them."""
    traits = part.traits
    if known.trained is None:
        return FITS
    if not isinstance(traits, LossTraits):
        return SILENT
    if traits.targets and known.trained not in traits.targets:
        wants = " or ".join(traits.targets)
        return Verdict(False, (f"the loss wants {wants} targets, and in training the transform gives {known.trained}",))
    links, facts = known.all_links, (known.num_classes, known.model, traits, known.links)
    fit = resolve(known.trained, *facts, links=links)
    if not isinstance(fit, list) and known.targets is not None:
        fit = resolve_judged(known.targets, *facts, links=links, trained=fit)
    return Verdict(False, tuple(fit)) if isinstance(fit, list) else FITS


def loss_takes_what_model_gives(part: Part, known: Known) -> Verdict:
    """Of a loss where the targets are not known: there must be some with which it takes what the model gives."""
    traits = part.traits
    if not isinstance(traits, LossTraits):
        return SILENT
    if known.targets is not None or known.trained is not None:
        return FITS
    if known.model is None:
        return OPEN_TARGETS
    if targets_that_fit(known.model, traits, known.all_links):
        return FITS
    return Verdict(False, (f"the loss wants {traits.predictions}, the model gives {known.model.predictions}",))


def metric_judges_targets(part: Part, known: Known) -> Verdict:
    """Of a metric: it is for targets of the dataset's form."""
    traits = part.traits
    if not isinstance(traits, MetricTraits):
        return SILENT
    if not traits.targets or known.targets in traits.targets:
        return FITS
    if known.targets is None:
        return OPEN_TARGETS
    return Verdict(
        False, (f"the metric judges {' or '.join(traits.targets)} targets, the dataset has {known.targets}",)
    )


def metric_reads_predictions(part: Part, known: Known) -> Verdict:
    """Of a metric: what it reads from what the model gives must be there."""
    traits = part.traits
    if not isinstance(traits, MetricTraits) or known.loss is None or metric_judges_targets(part, known).fits is False:
        return SILENT
    if known.task is None or not known.task.reads or traits.predictions in known.task.reads:
        return FITS
    return Verdict(False, (f"the metric judges {traits.predictions}, and task '{known.task.name}' tells none",))
