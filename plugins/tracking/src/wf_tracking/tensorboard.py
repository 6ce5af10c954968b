"""TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf import Hook, Loop
from wf.errors import SaveError, UsageError
from wf.protocols import Strategy
from wf_storage import files

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Hook):
    """Writes the run's figures under ``<run directory>/tensorboard``; view them with ``tensorboard --logdir runs``.

    Training records are named ``train/loss`` and so on, evaluations ``validation/accuracy`` and so on, values per class
    ``test/recall/0``, ``test/recall/1``. The horizontal axis is the number of completed updates. After a resume, what
    an earlier process wrote beyond that point is hidden. Without a run directory nothing is written.

    Args:
        run_dir: The run directory, or None.
        strategy: Only the first process writes.

    Raises:
        UsageError: If the package tensorboard is not installed.
    """

    told_last = True

    def __init__(self, run_dir: Path | None, strategy: Strategy) -> None:
        self.folder = run_dir / "tensorboard" if run_dir is not None and strategy.rank == 0 else None
        self._writer: SummaryWriter | None = None

    def on_run_start(self, run: Loop) -> None:
        """Open the event file."""
        if self.folder is not None:
            resumed = run.progress.step > 0
            self._writer = _open(self.folder, run.progress.step + 1 if resumed else None)

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """Write a training record."""
        self._write("train", record, run.progress.step)

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """Write an evaluation."""
        self._write(split, metrics, run.progress.step)

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        """Flush the event file up to the checkpoint."""
        if self._writer is not None:
            self._writer.flush()

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """Close the event file."""
        self._close()

    def on_run_end(self, run: Loop) -> None:
        """Close the event file."""
        self._close()

    def _write(self, split: str, figures: Mapping[str, Any], step: int) -> None:
        if self._writer is not None:
            for name, value in _scalars(figures):
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _scalars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number by name; list items by their index."""
    for name, value in figures.items():
        if isinstance(value, (list, tuple)):
            yield from _scalars({f"{name}/{index}": member for index, member in enumerate(value)})
        elif isinstance(value, (int, float)):
            yield name, float(value)


def _open(folder: Path, purge_step: int | None) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            f"the hook 'tensorboard' needs the package tensorboard ({error})\n"
            "  install it: pip install tensorboard; or remove the hook: --hook no:tensorboard"
        ) from error
    try:
        files.make_own_folder(folder)
    except OSError as error:
        raise SaveError(f"cannot write {folder}: {error.strerror}") from error
    return SummaryWriter(str(folder), purge_step=purge_step)
