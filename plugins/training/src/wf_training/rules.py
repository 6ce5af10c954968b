"""Rules for which optimizers and schedulers a trainer supports. Imports nothing heavy."""

from __future__ import annotations

from wf import Verdict
from wf.declarations.rule import FITS, SILENT
from wf.engine.figures import Monitor
from wf.traits import OptimizerTraits, SchedulerTraits
from wf_fitting.parts import Facts, Part, listed

OPEN_TRAINER = Verdict(None, ("the trainer declares no traits",))


def trainer_steps(part: Part, known: Facts) -> Verdict:
    """For an optimizer: the trainer takes one, and supports its step protocol."""
    if known.taken is not None and "optimizer" not in known.taken:
        return Verdict(False, ("the trainer takes no optimizer", "remove it"))
    traits, trainer = part.traits, known.trainer
    if not isinstance(traits, OptimizerTraits):
        return SILENT
    if trainer is None:
        return OPEN_TRAINER
    if traits.step in trainer.steps:
        return FITS
    drives = listed(trainer.steps) or "no steps"
    return Verdict(False, (f"it needs the step protocol '{traits.step}', the trainer supports {drives}",))


def trainer_takes_scheduler(part: Part, known: Facts) -> Verdict:
    """For a scheduler: the trainer takes one."""
    if known.taken is None:
        return OPEN_TRAINER
    return FITS if "scheduler" in known.taken else Verdict(False, ("the trainer takes no scheduler", "remove it"))


def has_evaluations(part: Part, known: Facts) -> Verdict:
    """For a scheduler: if it is stepped after evaluations, there must be some."""
    traits = part.traits
    if not isinstance(traits, SchedulerTraits):
        return SILENT
    if traits.interval != "evaluation":
        return FITS
    splits = known.evaluated
    if splits is None or (splits and (part.watched is None or Monitor.read(part.watched).read_after(splits))):
        return FITS
    waits = f"it waits for {part.watched or 'an evaluation'}, but the run evaluates {listed(splits) or 'nothing'}"
    advice = "see --eval-splits and --split, or set --scheduler.monitor"
    return Verdict(False, (f"{waits} during training", advice))
