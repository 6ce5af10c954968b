"""Underfitting, overfitting, or neither."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from wf import Hook, Loop
from wf.runtime import TensorSamples
from wf.runtime.serving import RunData

POOR = 0.5
"""Relative error on train above which a fit is poor: it removes less than half of what knowing nothing leaves."""
GAP = 0.1
"""The least difference of the relative errors that matters: a tenth of what there is to learn."""
RATIO = 1.5
"""The held-out error is clearly worse than train's only from this multiple on."""
NUM_STANDARD_ERRORS = 2.0
"""A difference within this many standard errors may be chance: about 95 % of chance differences are smaller."""

_LABELS = ("class_index", "binary", "one_hot")
_FIGURES = {"labels": ("accuracy",), "real": ("r2", "mse", "mae", "loss")}
_ADVICE = {
    "underfitting": "a larger model, more epochs or another learning rate may help, if the inputs say enough",
    "overfitting": "more data, augmentation, weight decay, dropout, a smaller model or early stopping may help",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How well the model fits."""

    verdict: Literal["underfitting", "overfitting", "neither", "unknown"]
    reason: str
    """The figures that it rests on, in words."""
    train: float | None = None
    """The relative error on train: 1 for a predictor that knows nothing of the inputs, 0 for a perfect one."""
    held_out: float | None = None
    """The same on the held-out split."""

    def __str__(self) -> str:
        advice = _ADVICE.get(self.verdict)
        name = "neither underfitting nor overfitting" if self.verdict == "neither" else self.verdict
        return f"{name}: {self.reason}" + (f"; {advice}" if advice else "")


class FitVerdict(Hook):
    """Says at the end of a run whether the model underfits, overfits, or neither, and what that rests on.

    It compares the weights that the run keeps on train and on test (on validation where there is no test). Every
    figure is made relative to the best predictor that knows nothing of the inputs, so that one rule serves all:
    ``error / trivial error``, 1 is no better than that predictor and 0 is perfect. For classes the error is
    1 - accuracy and the trivial predictor always says train's most frequent class; for numbers the error is 1 - R2,
    else mse or mae, else the loss, and the trivial predictor always says train's mean (mae: median; loss: the better
    of the two).

    - underfitting: train's relative error is above 0.5, whatever the other split says.
    - overfitting: otherwise, and the held-out relative error is larger than train's by more than 0.1, is more than
      1.5 times train's, and the difference is beyond two standard errors for splits of that size.
    - neither: otherwise. Unknown: figures are missing, and what there is does not decide; the reason says why.

    The rule cannot tell a model that is too weak from inputs that say little about the targets.

    Args:
        data: The run's data: its targets, for the trivial predictor, and the sizes of the splits.
        loss: The loss, for a regression that has no metric.
    """

    def __init__(self, data: RunData, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.data, self.loss = data, loss
        self.verdict: Verdict | None = None

    def on_run_end(self, run: Loop) -> None:
        """Judge, and note it: the command line prints notes at the end."""
        self.verdict = self.judge(run.metrics)
        run.notes["fit"] = str(self.verdict)

    def judge(self, metrics: dict[str, Any]) -> Verdict:
        """The verdict on the figures of the splits, as ``{"train/accuracy": 0.9, "test/accuracy": 0.8}``."""
        kind = "labels" if self.data.targets in _LABELS else self.data.targets
        if kind not in _FIGURES:
            return _unknown(f"there is no rule for {self.data.targets} targets")
        held_out = "test" if any(name.startswith("test/") for name in metrics) else "validation"
        for splits in (("train", held_out), ("train",)):
            for name in _FIGURES[kind]:
                values = {split: metrics.get(f"{split}/{name}") for split in splits}
                if all(_is_number(value) for value in values.values()):
                    return self._compare(name, values)
        return _unknown(f"it takes {' or '.join(_FIGURES[kind])} of train and of test or validation, finite")

    def _compare(self, name: str, values: dict[str, Any]) -> Verdict:
        """The rule, on one figure of train and, where there is one, of a held-out split."""
        errors: dict[str, float] = {}
        for split, value in values.items():
            trivial = self._trivial_error(name, split)
            if trivial is None or not trivial > 0:
                why = "cannot be known" if trivial is None else "is zero"
                return _unknown(f"the {name} of a predictor that knows nothing of the inputs {why} on {split}")
            errors[split] = (1 - value if name in ("accuracy", "r2") else value) / trivial
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
            return _unknown(f"{reason}; without validation or test overfitting would not show")
        elif held_out - train > max(GAP, margin) and held_out > RATIO * train:
            found = "overfitting"
        return Verdict(verdict=found, reason=reason, train=train, held_out=held_out)

    def _trivial_error(self, name: str, split: str) -> float | None:
        """The error of the best constant prediction on `split`, None when it cannot be known."""
        if name == "r2":
            return 1.0
        train, targets = _targets(self.data, "train"), _targets(self.data, split)
        if train is None or targets is None:
            return self._trivial_class_error() if name == "accuracy" else None
        if name == "accuracy":
            train, targets = _labels(train), _labels(targets)
            return float((targets != train.mode().values).double().mean())
        mean, median = train.double().mean(0), train.double().median(0).values
        if name == "mse":
            return float((targets - mean).square().mean())
        if name == "mae":
            return float((targets - median).abs().mean())
        losses = [_mean_loss(self.loss, constant, targets) for constant in (mean, median)]
        return min((value for value in losses if value is not None), default=None)

    def _trivial_class_error(self) -> float | None:
        """Of samples on disk, which are not all read again: by train's class counts, or as if classes were even."""
        counts = self.data.spec.class_counts or (1,) * len(self.data.class_names)
        return 1 - max(counts) / sum(counts) if counts else None

    def _standard_error(self, name: str, split: str, error: float) -> float:
        """Of a relative error, from the number of samples: binomial for accuracy, else that of a mean square."""
        num_samples = max(self.data.num_samples(split), 1)
        if name != "accuracy":
            return abs(error) * math.sqrt(2 / num_samples)  # normal residuals; an absolute error scatters less
        trivial = self._trivial_error(name, split) or 1.0
        share = min(max(error * trivial, 1 / num_samples), 1.0)  # no error among n is not certainty
        return math.sqrt(share * (1 - share) / num_samples) / trivial


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _unknown(reason: str) -> Verdict:
    return Verdict(verdict="unknown", reason=reason)


def _targets(data: RunData, split: str) -> Tensor | None:
    samples = data.samples(split)
    return samples.targets if isinstance(samples, TensorSamples) else None


def _labels(targets: Tensor) -> Tensor:
    """Class indices ``[N]`` of class_index, binary or one_hot targets."""
    return targets.argmax(1) if targets.ndim == 2 and targets.shape[1] > 1 else targets.flatten()


@torch.no_grad()
def _mean_loss(loss: Callable[[Tensor, Tensor], Tensor], constant: Tensor, targets: Tensor) -> float | None:
    """The loss of predicting `constant` ``[K]`` always, None when it is no mean over the samples.

    A mean stays the same when every sample is there twice; a sum does not, and could not be compared.
    """
    if isinstance(loss, torch.nn.Module):
        home = next(itertools.chain(loss.parameters(), loss.buffers()), targets)
        constant, targets = constant.to(home.device), targets.to(home.device)
    predictions = constant.to(targets.dtype).expand_as(targets).contiguous()
    once = loss(predictions, targets)
    twice = loss(torch.cat([predictions, predictions]), torch.cat([targets, targets]))
    if once.ndim or not torch.isclose(once, twice, rtol=1e-4):
        return None
    return float(once)
