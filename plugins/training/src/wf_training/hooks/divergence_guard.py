"""The guard against divergence."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from wf import FromRun, Hook, Loop
from wf.engine.figures import LOSS
from wf.errors import DivergedError, GoBack, UsageError
from wf_base import Batch
from wf_base.shards import local
from wf_training.learning_rates import rates, scale_rates

_CAUSE = "most often the learning rate is too large{lr}, or the inputs are not scaled"
_REMEDY = (
    "try a smaller --lr{lr}, --transform standardize (normalize for images read from files), or --hook +gradient-clip"
)
_IGNORED = "all are ignored or masked, and a mean over none of them is 0 / 0"
_BACK = "or let the run go back to a checkpoint: --checkpoint-every 1epochs --hook.divergence-guard.rollback 3"


class DivergenceGuard(Hook):
    """Ends the run, or goes back, if a loss is not finite, and warns once if the training loss keeps rising.

    It reads the records of the loop, so it costs nothing per step, and a checkpoint is never committed after a loss
    that was not finite. Weights that are not finite are noticed when their checkpoint is committed. With `rollback` the
    run then continues from its newest checkpoint with finite weights, with every learning rate multiplied by
    `lr_factor` (``lr_factor ** 2`` the second time from there), including those of a scheduler; everything else,
    including ``metrics.jsonl``, is restored, and each rollback is a record in ``manifest.json``. It needs checkpoints
    at short intervals: ``--checkpoint-every``.

    Rising means: `patience` records in a row are each higher than every record before them, and
    the last is at least `factor` times the level before the rise. Losses that only fluctuate around a level
    have such a streak with probability ``1 / ((patience - 1) * patience!)`` for any distribution and any length
    of the run (1 in 480 for 5, the chance of successive records in exchangeable draws), even without `factor`,
    and never if they stay within a factor of `factor`.

    Args:
        factor: Ratio of the loss to the level before the rise.
        patience: Number of consecutive records that must be higher than all before.
        rollback: Maximum number of rollbacks; 0 ends the run at the first loss that is not finite.
        lr_factor: Factor on the learning rates at each rollback.
        optimizer: Has the learning rates.
        scheduler: Sets the learning rates.
        params: The trained parameters.
        data: The splits, to look for a batch in which no target counts.

    Raises:
        UsageError: For an option out of range, or a `rollback` without a learning rate.
    """

    figures: ClassVar[dict[str, bool | None]] = {}
    """It reads records without adding to them."""

    def __init__(
        self,
        factor: float = 2.0,
        patience: int = 5,
        rollback: int = 0,
        lr_factor: float = 0.5,
        optimizer: Annotated[Any, FromRun("optimizer")] = None,
        scheduler: Annotated[Any, FromRun("scheduler")] = None,
        params: Annotated[list[Tensor] | None, FromRun("params")] = None,
        data: Annotated[Any, FromRun("data")] = None,
    ) -> None:
        if not factor > 1:
            raise UsageError(f"divergence-guard: factor is {factor:g}; it must be larger than 1")
        if patience < 2:
            raise UsageError(f"divergence-guard: patience is {patience}; it must be at least 2")
        if rollback < 0:
            raise UsageError(f"divergence-guard: rollback is {rollback}; it must be 0 or more")
        if not 0 < lr_factor < 1:
            raise UsageError(f"divergence-guard: lr_factor is {lr_factor:g}; it must be larger than 0 and less than 1")
        self.factor, self.patience, self.rollback, self.lr_factor = factor, patience, rollback, lr_factor
        self.optimizer, self.scheduler, self.params, self.data = optimizer, scheduler, params, data
        self.highest: float | None = None
        self.before_rise: float | None = None
        self.num_rises = 0
        self.warned = False
        self.last_finite: tuple[int, float] | None = None

    def on_run_start(self, run: Loop) -> None:
        """Check that the optimizer has a learning rate."""
        if self.rollback and not rates(self.optimizer):
            raise UsageError(
                "divergence-guard: the optimizer has no learning rate, and a rollback without a smaller one "
                "diverges again\n  remove rollback, or use an optimizer with a learning rate, such as adam"
            )

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Check the losses since the last record."""
        losses = [record[name] for name in ("running_loss", "loss", "epoch_loss") if name in record]
        bad = next((loss for loss in losses if not math.isfinite(loss)), None)
        self._check(run, "training loss is", bad, record.get("lr"), lambda: self._without_targets(run))
        if "running_loss" in record:
            self.last_finite = (run.progress.step, record["running_loss"])
            self._watch(record["running_loss"], record.get("lr"))

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Check the loss of an evaluated split."""
        loss = metrics.get("loss")
        self._check(run, f"{split} loss is", loss if isinstance(loss, float) and not math.isfinite(loss) else None)

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        """Check whether the checkpoint's model is finite; buffers (such as masks) may hold infinities, weights not."""
        if run.agree(not _is_finite(run, place)):
            known = self.params is not None
            finite = known and all(bool(torch.isfinite(local(parameter)).all()) for parameter in self.params or ())
            self._check(run, "weights are", None if finite else math.nan)

    def on_run_end(self, run: Loop) -> None:
        """Report rollbacks at the end, too."""
        if run.rollbacks:
            last = run.rollbacks[-1]
            times = _times(len(run.rollbacks))
            run.notes["went back"] = f"{times}, the last time from step {last['from_step']:,} to {last['to_step']:,}"

    def state_dict(self) -> dict[str, Any]:
        """The history of losses that it needs."""
        return {
            "highest": self.highest,
            "before_rise": self.before_rise,
            "num_rises": self.num_rises,
            "warned": self.warned,
            "last_finite": None if self.last_finite is None else list(self.last_finite),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.highest, self.before_rise = state["highest"], state["before_rise"]
        self.num_rises, self.warned = state["num_rises"], state["warned"]
        last = state["last_finite"]
        self.last_finite = None if last is None else (last[0], last[1])

    def _watch(self, loss: float, lr: float | None) -> None:
        if self.highest is None or loss > self.highest:
            if self.num_rises == 0:
                self.before_rise = self.highest
            self.num_rises += self.highest is not None
            self.highest = loss
        else:
            self.num_rises = 0
        start = self.before_rise
        if self.warned or self.num_rises < self.patience or start is None:
            return
        if loss - start >= (self.factor - 1) * abs(start):
            self.warned = True
            logging.getLogger("wf").warning(
                "the loss is rising: %s -> %s over %d records\n  %s\n  %s",
                *(_text(start), _text(loss), self.num_rises, *_advice(lr)),
            )

    def _check(
        self,
        run: Loop,
        what: str,
        bad: float | None,
        lr: float | None = None,
        why: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """End the run, or go back, if something is not finite in any process; `why` gives the cause, if it is known."""
        if not run.agree(bad is not None):
            return
        cause = why()
        message = self._message(run, what, bad, lr, cause)
        if cause or len(run.rollbacks) >= self.rollback:  # the same batch would come again
            raise DivergedError(message)
        before, number = rates(self.optimizer), len(run.rollbacks) + 1

        def lower(times: int) -> dict[str, Any]:
            scale_rates(self.optimizer, self.scheduler, self.lr_factor**times)
            return self._say(run, message.partition("\n")[0], before, number)

        raise GoBack(message, lower)

    def _say(self, run: Loop, reason: str, before: list[float], number: int) -> dict[str, Any]:
        """Report that the run continues from another step; returns the content of its record."""
        after, step = rates(self.optimizer), run.progress.step
        logging.getLogger("wf").warning(
            "%s\n  the run continues from step %d with learning rate %s instead of %s (%d of %d times)",
            *(reason, step, _rates(after), _rates(before), number, self.rollback),
        )
        return {"reason": reason, "lr_before": before, "lr_after": after}

    def _without_targets(self, run: Loop) -> Sequence[str]:
        """The cause and its remedy, if no target counts in the batch with the first loss that is not finite."""
        progress, step = run.progress, run.bad_step
        number = -1 if step is None else progress.batch - 1 - (progress.step - step)
        is_gone = number < 0 or getattr(self.data, "places", {}).get("train") in (None, "stream")  # a stream has passed
        batch = None if is_gone else next(self.data.epoch(progress.epoch, number), None)
        if run.agree(batch is None) or not (names := _terms_of_none(run, batch)):  # several processes ask together
            return ()
        return (
            f"no target{names}counts in batch {number + 1} of the epoch (step {step}): {_IGNORED}",
            "such batches are rarer with a larger --batch-size; or leave out samples without targets",
        )

    def _message(self, run: Loop, what: str, bad: float | None, lr: float | None, cause: Sequence[str]) -> str:
        found = "in another process" if bad is None else f"({bad})"
        lines = [f"the {what} not finite {found} at step {run.progress.step}, epoch {run.progress.epoch + 1}"]
        if self.last_finite is None:
            lines.append("no training loss before it was seen to be finite")
        else:
            step, value = self.last_finite
            lines.append(f"the training loss was last seen finite at step {step}: {_text(value)}")
        if run.rollbacks:
            lines.append(f"the run has gone back {_times(len(run.rollbacks))} already")
        if cause:
            return "\n  ".join([lines[0], *cause, *lines[1:]])
        return "\n  ".join([*lines, *_advice(lr), *([] if self.rollback else [_BACK])])


def _terms_of_none(run: Loop, batch: Batch | None) -> str:
    """The terms of the loss of which no target counts in a batch, in words; empty if there are none.

    Of several processes a target of any of them counts.
    """
    weigh = getattr(run.trainer, "weights", None)
    weights = (weigh(batch) if weigh is not None and batch is not None else None) or {}
    empty = [name for name, weight in weights.items() if not run.agree(bool(weight != 0))]
    return "" if not empty else " " if empty == [LOSS] else f" of {' and '.join(empty)} "


def _is_finite(run: Loop, place: str) -> bool:
    """Whether the model in a checkpoint is finite, according to the checkpointer."""
    is_finite = getattr(run.checkpointer, "is_finite", None)
    return is_finite is None or bool(is_finite(place))


def _advice(lr: float | None) -> tuple[str, str]:
    known = lr is not None and lr > 0
    return (
        _CAUSE.format(lr=f" ({lr:g})" if known else ""),
        _REMEDY.format(lr=f" ({lr / 10:g})" if known and lr is not None else ""),
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _rates(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _text(loss: float) -> str:
    return f"{loss:.1f}" if 100 <= abs(loss) < 1e6 else f"{loss:.5g}"
