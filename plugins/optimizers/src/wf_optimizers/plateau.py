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
        optimizer: Whose learning rate it sets.
        monitor: The figure it watches, as ``validation/loss`` or, with its direction, ``validation/accuracy:max``.
        directions: Whether a larger figure is better, by its name without the split.
        mode: ``min``: smaller is better; ``max``: larger is; ``auto``: as the metric says of itself.
        factor: Factor of a change.
        patience: Evaluations without improvement that are put up with.
        threshold: Share of the best figure by which a better one must differ to count.
        cooldown: Evaluations after a change during which none is counted.
        min_lr: Learning rate below which it does not go.

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
