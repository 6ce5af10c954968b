"""Linear warm-up, alone or on top of another schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from wf import Nested
from wf.errors import UsageError
from wf.traits import SchedulerTraits
from wf_building.built import traits_of
from wf_optimizers.checks import require


class LinearWarmup(LRScheduler):
    """Multiply the learning rate by a factor that rises linearly from `start_factor` to 1 over the first steps.

    ``lr(k) = schedule(k) * (start_factor + (1 - start_factor) * min(k, num_steps) / num_steps)`` after k updates, where
    ``schedule`` is `then`, or the optimizer's learning rate. `then` counts from the beginning of the run: a cosine ends
    with the run, a milestone at epoch 30 is the run's epoch 30, and after the warm-up the learning rate is
    exactly that of `then`.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        num_steps: Updates until the full learning rate is reached.
        steps_per_epoch: Updates per epoch, for a `then` that changes per epoch.
        start_factor: Factor of the very first update.
        then: The schedule to warm up; by default the optimizer's constant learning rate.

    Raises:
        UsageError: For a value out of range, or a `then` that needs evaluations.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        num_steps: int,
        steps_per_epoch: int,
        start_factor: float = 0.01,
        then: Annotated[LRScheduler | None, Nested("scheduler")] = None,
    ) -> None:
        require(num_steps >= 1, "linear-warmup", "num_steps", num_steps, "at least 1")
        require(steps_per_epoch >= 1, "linear-warmup", "steps_per_epoch", steps_per_epoch, "at least 1")
        require(0 < start_factor <= 1, "linear-warmup", "start_factor", start_factor, "greater than 0 and at most 1")
        self.num_steps, self.start_factor, self.then = num_steps, start_factor, then
        self.steps_per_then = 1 if _interval(then) == "step" else steps_per_epoch
        self.target_lrs: list[float | Tensor] = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group after `last_epoch` updates."""
        done = min(self.last_epoch, self.num_steps) / self.num_steps
        factor = self.start_factor + (1 - self.start_factor) * done
        return [lr * factor for lr in self.target_lrs] if done < 1 else list(self.target_lrs)

    def step(self, epoch: int | None = None) -> None:
        """Advance by one update."""
        if self.then is not None and not self._is_initial and (self.last_epoch + 1) % self.steps_per_then == 0:
            self._step_then(self.then)
        super().step(epoch)

    def _step_then(self, then: LRScheduler) -> None:
        """Step the other schedule on its own learning rates, because many compute the next rate from the last."""
        for group, lr in zip(self.optimizer.param_groups, self.target_lrs, strict=True):
            group["lr"] = lr
        then.step()
        self.target_lrs = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The position, the other schedule's learning rates and its state."""
        return {
            "last_epoch": self.last_epoch,
            "step_count": self._step_count,
            "target_lrs": list(self.target_lrs),
            "then": None if self.then is None else self.then.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave; the optimizer restores its learning rates itself."""
        self.last_epoch, self._step_count = state_dict["last_epoch"], state_dict["step_count"]
        self.target_lrs = list(state_dict["target_lrs"])
        self._last_lr = self.get_lr()
        if self.then is not None:
            self.then.load_state_dict(state_dict["then"])


def _interval(then: LRScheduler | None) -> str:
    traits = traits_of(then)
    interval = traits.interval if isinstance(traits, SchedulerTraits) else "epoch"
    if interval == "evaluation" or isinstance(then, ReduceLROnPlateau):
        raise UsageError(
            "linear-warmup: then must change with steps or epochs, not with evaluations\n"
            "  use cosine, onecycle, step or multistep, or no warm-up with plateau"
        )
    return interval
