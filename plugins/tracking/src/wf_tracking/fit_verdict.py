"""Underfitting, overfitting, or neither."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from wf import FromRun, Hook, Loop
from wf.engine.figures import divided, is_number
from wf_base import TensorSamples
from wf_base.data import ServedData
from wf_base.task import TaskRuntime
from wf_base.training.objective import outcome_of
from wf_tracking.course import Course, left_behind, losses_of
from wf_tracking.drawing.history import records_of

POOR = 0.5
"""Relative train error above which the model underfits: it explains less than half of the trivial error."""
GAP = 0.1
"""The smallest difference of relative errors that matters: a tenth of the trivial error."""
RATIO = 1.5
"""The smallest ratio of held-out to train error that counts as clearly worse."""
NUM_STANDARD_ERRORS = 2.0
"""Differences within this many standard errors may be chance: about 95 % of chance differences are smaller."""

NEAR = 0.85
"""Ratio to the guessing loss above which the train loss counts as near it, however many answers are right."""

_NO_SHARE = "; no {} was measured, which would say more than the loss (--metric +NAME adds to the usual metrics)"
_ADVICE = {
    "next to nothing learned yet": "more epochs or a larger learning rate may help",
    "diverging": "a smaller --lr or scaled inputs (--transform +standardize) may help",
    "underfitting": "a larger model, more epochs or another learning rate may help, if inputs are informative enough",
    "overfitting": "more data, augmentation, weight decay, dropout, a smaller model or early stopping may help",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How well the model fits."""

    verdict: Literal[
        "underfitting",
        "overfitting",
        "neither",
        "unknown",
        "still improving",
        "next to nothing learned yet",
        "diverging",
    ]
    reason: str
    """The figures behind the verdict, for messages."""
    advice: str = ""
    """Advice."""
    train: float | None = None
    """The relative error on train: 1 for a predictor that ignores the inputs, 0 for a perfect one."""
    held_out: float | None = None
    """The same on the held-out split."""

    def __str__(self) -> str:
        advice = self.advice or _ADVICE.get(self.verdict)
        name = "neither underfitting nor overfitting" if self.verdict == "neither" else self.verdict
        return f"{name}: {self.reason}" + (f"; {advice}" if advice else "")


class FitVerdict(Hook):
    """Says at the end of a run whether the model underfits, overfits, or neither, and why.

    It compares the weights that the run keeps on train and on test (on validation if there is no test split). Every
    figure is divided by that of the best predictor that ignores the inputs, so that one rule covers all tasks: ``error
    / trivial error`` is 1 for a model no better than that predictor and 0 for a perfect one. The task names the figures
    to use and the error of the trivial predictor; the direction of a figure is declared by its metric. For classes the
    error is 1 - accuracy and the trivial predictor always predicts train's most frequent class; for numbers the error
    is 1 - R2, else mse or mae, else the loss, and the trivial predictor always predicts train's mean (mae: median;
    loss: the better of the two). Each label of multilabel targets counts separately, and so does each pixel of masks.
    If no accuracy is measured the loss is compared with that of always predicting train's class frequencies.
    - underfitting: train's relative error is above 0.5, whatever the other split says. It is called diverging if the
      loss (on validation, else over train's epochs) was larger at the end than at the beginning, and than the loss of
      a constant prediction.
    - overfitting: otherwise, if the held-out relative error is larger than train's by more than 0.1, is more than
      1.5 times train's, and the difference exceeds two standard errors for splits of that size.
    - next to nothing learned yet: otherwise, if train's loss is at least 0.85 times that of always predicting the class
      frequencies: answers may be right, but the model is hardly more confident than one that guesses.
    - still improving: otherwise, if the loss (on validation, else over train's epochs) was still falling. Either it
      fell in every evaluation, of at least three, and the last quarter of them lowered it by more than 0.01 times the
      guessing loss; or, of at least four that scatter, the last quarter lowered it by more than 0.05 times that loss.
      Where the loss still falls, the advice on an underfitting run is to train longer, too.
    - neither: otherwise. Unknown: figures are missing, and the rest does not decide; the reason says why. The rule
      cannot distinguish a model that is too weak from inputs that say little about the targets. Accuracy does not show
      how confident a model is in its errors: if train's loss is above that of always predicting the class frequencies,
      the reason says so.

    If the run keeps its last weights and these are clearly worse than the best by the run's monitor, that is said, too:
    by more than a tenth of the best figure and, as far as these are known, by more than two standard errors of it and,
    for a loss, by more than 0.01 times the guessing loss.

    Args:
        data: The run's data: its targets, for the trivial predictor, and the sizes of the splits.
        loss: The loss, for the loss of a constant prediction; None if the run has none.
        outputs: How the model's predictions are interpreted.
        num_outputs: The number of model outputs per sample; if it differs from the number of targets, there is no
            constant prediction.
        directions: Whether a larger figure is better, by name without the split.
    """

    def __init__(
        self,
        data: ServedData,
        loss: Callable[[Tensor, Tensor], Any] | None,
        outputs: TaskRuntime,
        num_outputs: Annotated[int | None, FromRun("num_outputs")] = None,
        directions: Annotated[dict[str, bool] | None, FromRun("directions")] = None,
    ) -> None:
        self.data, self.loss, self.outputs, self.num_outputs = data, loss, outputs, num_outputs
        self.directions = {"loss": False, **(directions or {})}
        self.verdict: Verdict | None = None

    def on_run_end(self, run: Loop) -> None:
        """Judge, and store the verdict as a note, which the command line prints at the end."""
        records = records_of(run)
        self.verdict = self.judge(run.metrics, losses_of(run, records))
        run.notes["fit"] = str(self.verdict)
        if best := left_behind(run, records, self._error_of(run), self._guessing_loss()):
            run.notes["best weights"] = best

    def judge(self, metrics: dict[str, Any], losses: Course = Course()) -> Verdict:  # noqa: B008 - frozen
        """The verdict on the figures of the splits, such as ``{"train/accuracy": 0.9, "test/accuracy": 0.8}``.

        Args:
            metrics: The figures.
            losses: The loss over the run.
        """
        found = self._by_figures(metrics)
        if found.verdict not in ("underfitting", "neither"):
            return found
        guessing = self._guessing_loss()
        if found.verdict == "underfitting" and (rose := losses.rose(guessing)):
            return replace(found, verdict="diverging", reason=f"{rose}; {found.reason}")
        if fell := losses.fell(guessing):
            found = replace(found, reason=f"{fell}; {found.reason}", advice=losses.advice)
        if found.verdict == "underfitting":
            return found
        if near := self._nearness(metrics, guessing):
            return replace(_with(found, near), verdict="next to nothing learned yet")
        return replace(found, verdict="still improving") if fell else found

    def _error_of(self, run: Loop) -> float:
        """The standard error of the monitored figure if it is a fraction of correct answers; else 0."""
        split, name = divided(run.monitor)
        value = run.metrics.get(run.monitor)
        if not self.outputs.counts(name) or not is_number(value):
            return 0.0
        share = min(max(float(value), 0.0), 1.0)
        return math.sqrt(share * (1 - share) / max(self.data.num_samples(split), 1))

    def _by_figures(self, metrics: dict[str, Any]) -> Verdict:
        """The verdict from the final figures alone."""
        figures, share = self.outputs.judged_by, self._share
        held_out = "test" if any(name.startswith("test/") for name in metrics) else "validation"
        for splits in (("train", held_out), ("train",)):
            for name in figures:
                values = {split: metrics.get(f"{split}/{name}") for split in splits}
                if all(is_number(value) for value in values.values()):
                    found = self._compare(name, values)
                    if share is not None and name == "loss":
                        return _with(found, _NO_SHARE.format(share))
                    worried = share is not None and found.verdict != "underfitting"
                    return _with(found, self._worry(metrics)) if worried else found
        if share is not None:
            return _unknown(f"it needs a finite {share} on train and on test or validation, or the loss")
        return _unknown(f"it needs a finite {' or '.join(figures)} on train and on test or validation")

    @property
    def _share(self) -> str | None:
        """The task's figure that is a fraction of correct answers, such as accuracy; None if it has none."""
        return next(filter(self.outputs.counts, self.outputs.judged_by), None)

    def _compare(self, name: str, values: dict[str, Any]) -> Verdict:
        """The rule, on one figure of train and, if available, of a held-out split."""
        errors: dict[str, float] = {}
        larger = self.directions.get(name)
        if larger is None:
            return _unknown(f"it is unknown whether a larger {name} is better")
        for split, value in values.items():
            trivial = self._trivial_error(name, split)
            if trivial is None or not trivial > 0:
                why = "is unknown" if trivial is None else "is zero"
                return _unknown(f"the error in {name} of a predictor that ignores the inputs {why} on {split}")
            errors[split] = self.outputs.error(name, value, larger) / trivial
        figures = ", ".join(f"{split} {name} {value:.4g}" for split, value in values.items())
        relative = " and ".join(f"{error:.2f}" if error < 100 else f"{error:.3g}" for error in errors.values())
        reason = f"{figures} (error {relative} times that of a constant prediction)"
        train, *others = errors.values()
        held_out = others[0] if others else None
        margin = NUM_STANDARD_ERRORS * math.hypot(
            *(self._standard_error(name, split, errors[split]) for split in errors)
        )
        found: Literal["underfitting", "overfitting", "neither"] = "neither"
        if train > POOR:
            found = "underfitting"
        elif held_out is None:
            return _unknown(f"{reason}; without validation or test, overfitting would not show")
        elif held_out - train > max(GAP, margin) and held_out > RATIO * train:
            found = "overfitting"
        return Verdict(verdict=found, reason=reason, train=train, held_out=held_out)

    def _trivial_error(self, name: str, split: str) -> float | None:
        """The error of the best constant prediction on `split`; None if unknown."""
        if name == "loss":
            return self._trivial_loss(split)
        train, targets = _targets(self.data, "train"), _targets(self.data, split)
        return self.outputs.baseline(name, train, targets, self.data.spec)

    def _mean_loss(self, constant: Tensor, targets: Tensor) -> float | None:
        """The loss of a constant prediction ``[K]``; None if the model does not output K numbers."""
        if self.loss is None or self.num_outputs not in (None, len(constant)):
            return None
        return _mean_loss(self.loss, constant, targets, self.data.batch_size)

    def _guessing_loss(self) -> float | None:
        """The train loss of the best constant prediction; None if unknown."""
        return self._trivial_error("loss", "train")

    def _nearness(self, metrics: dict[str, Any], guessing: float | None) -> str:
        """Remark that train's loss is near the guessing loss; empty if it is not, or unknown."""
        found = metrics.get("train/loss", math.nan)
        if self._share is None or not is_number(found) or not guessing or guessing <= 0:
            return ""
        if not NEAR * guessing <= found <= guessing:
            return ""
        return f"; the train loss, {found:.4g}, is {found / guessing:.2f} times that of a constant prediction"

    def _worry(self, metrics: dict[str, Any]) -> str:
        """Remark that train's loss is worse than that of a constant prediction; empty if it is not, or unknown."""
        found, constant = metrics.get("train/loss", math.nan), self._guessing_loss()
        if not is_number(found) or constant is None or found <= constant:
            return ""
        return f"; but the train loss, {found:.4g}, is above that of a constant prediction, {constant:.4g}"

    def _trivial_loss(self, split: str) -> float | None:
        """The loss of the best constant prediction; None if unknown."""
        train, targets = self._known_targets("train"), self._known_targets(split)
        if train is None or targets is None:
            return None
        losses = [self._mean_loss(constant, targets) for constant in self.outputs.constants(train, self.data.spec)]
        return min((value for value in losses if value is not None), default=None)

    def _known_targets(self, split: str) -> Tensor | None:
        """The targets of a split; for samples on disk only if they are readily available."""
        targets = _targets(self.data, split)
        return self.outputs.supposed(self.data.spec) if targets is None else targets

    def _standard_error(self, name: str, split: str, error: float) -> float:
        """The standard error of a relative error: binomial for a fraction of right answers, else of a mean square."""
        num_samples = max(self.data.num_samples(split), 1)
        if not self.outputs.counts(name):
            return abs(error) * math.sqrt(2 / num_samples)  # for normal residuals; an absolute error varies less
        trivial = self._trivial_error(name, split) or 1.0
        share = min(max(error * trivial, 1 / num_samples), 1.0)  # zero errors among n samples is not certainty
        return math.sqrt(share * (1 - share) / num_samples) / trivial


def _with(found: Verdict, more: str) -> Verdict:
    return replace(found, reason=found.reason + more)


def _unknown(reason: str) -> Verdict:
    return Verdict(verdict="unknown", reason=reason)


def _targets(data: ServedData, split: str) -> Tensor | None:
    samples = data.samples(split)
    return samples.targets if isinstance(samples, TensorSamples) else None


def _in_all(loss: Any) -> Tensor:
    """A loss, or the sum of its terms."""
    return loss if isinstance(loss, Tensor) else outcome_of(loss).loss


@torch.no_grad()
def _mean_loss(
    loss: Callable[[Tensor, Tensor], Any], constant: Tensor, targets: Tensor, batch_size: int
) -> float | None:
    """The loss of predicting `constant` ``[K]`` for every sample; None if it is not a mean over the samples.

    A mean does not change if every sample is duplicated; a sum does, and could not be compared.
    """
    if isinstance(loss, torch.nn.Module):
        home = next(itertools.chain(loss.parameters(), loss.buffers()), targets)
        constant, targets = constant.to(home.device), targets.to(home.device)
    dtype = targets.dtype if targets.is_floating_point() else torch.get_default_dtype()
    batches = targets.split(batch_size)
    rows = [constant.to(dtype).repeat(len(batch), *(1 for _ in constant.shape)) for batch in batches]
    losses = [_in_all(loss(row, batch)) for row, batch in zip(rows, batches, strict=True)]
    twice = _in_all(loss(torch.cat([rows[0], rows[0]]), torch.cat([batches[0], batches[0]])))
    if twice.ndim or not torch.isclose(losses[0], twice, rtol=1e-4):
        return None
    return sum(float(value) * len(batch) for value, batch in zip(losses, batches, strict=True)) / len(targets)
