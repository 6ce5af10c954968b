"""The learning rate in the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from wf import Hook, Loop

if TYPE_CHECKING:
    from torch.optim import Optimizer


class LearningRateLog(Hook):
    """Adds the learning rate to each record: ``lr``, or ``lr/0``, ``lr/1``, ... with several parameter groups.

    It is the rate when the record is made, after the update and any scheduler change at that step. A
    parameter group without a learning rate, in an optimizer that finds its own step sizes, is skipped.

    Args:
        optimizer: The optimizer; None for a trainer without one, which adds nothing.
    """

    figures: ClassVar[dict[str, bool | None]] = {"train/lr": None, "train/lr/*": None}

    def __init__(self, optimizer: Optimizer | None) -> None:
        self.optimizer = optimizer

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Add it; a rate that is a tensor is read here, at a sync point."""
        groups = self.optimizer.param_groups if self.optimizer is not None else []
        for index, group in enumerate(groups):
            if group.get("lr") is not None:
                record["lr" if len(groups) == 1 else f"lr/{index}"] = float(group["lr"])
