"""The schedule that waits for a figure to stop improving."""

from __future__ import annotations

from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from wf.engine.figures import Monitor
from wf_optimizers.checks import require, require_not_negative


class Plateau(ReduceLROnPlateau):
    """Multiply the learning rate by `factor` when `monitor` has not improved for more than `patience` evaluations.

    It is stepped after an evaluation, with the monitored figure: ``step(value)``.

    Args:
        optimizer: The optimizer whose learning rate it sets.
        monitor: The figure it watches, such as ``validation/loss`` or, with its direction, ``validation/accuracy:max``.
        directions: Whether a larger figure is better, by its name without the split.
        mode: ``min``: smaller is better; ``max``: larger is; ``auto``: as the figure declares.
        factor: Factor applied at each change.
        patience: Number of evaluations without improvement before the rate is reduced.
        threshold: Relative improvement over the best figure that counts as better.
        cooldown: Number of evaluations after a change that are not counted.
        min_lr: Lower bound of the learning rate.

    Raises:
        UsageError: For a value out of range, or `mode` ``auto`` with a figure whose direction is not known.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str,
        directions: dict[str, bool],
        mode: Literal["auto", "min", "max"] = "auto",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        require(0 < factor < 1, "plateau", "factor", factor, "greater than 0 and less than 1")
        require_not_negative("plateau", patience=patience, threshold=threshold, cooldown=cooldown, min_lr=min_lr)
        watched = Monitor.read(monitor, directions)
        self.monitor = watched.figure
        if mode == "auto":
            mode = "max" if watched.direction("--scheduler.monitor", "plateau", mode=True) else "min"
        super().__init__(
            optimizer,
            mode=mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            cooldown=cooldown,
            min_lr=min_lr,
        )
