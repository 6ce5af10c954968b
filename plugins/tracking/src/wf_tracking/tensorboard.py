"""TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from wf import FromRun, Loop
from wf.errors import UsageError
from wf.protocols import Strategy
from wf_storage import files
from wf_storage.logger import Logger
from wf_storage.records import FILE, Record

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MAX_SCALARS = 20
"""The longest list whose numbers are scalars; longer ones, and lists of lists, are images."""


class TensorBoard(Logger):
    """Writes the run's figures under ``<run directory>/tensorboard``; view them with ``tensorboard --logdir runs``.

    Training records are named ``train/loss`` and so on, evaluations ``validation/accuracy`` and so on, values per class
    ``test/recall/0``, ``test/recall/1``. The horizontal axis is the number of completed updates. The last confusion
    matrix of each split, lists of more than 20 numbers, and the curves of the run are images, drawn at the end, and the
    run file is a text. A resumed run writes all its records again and hides what an earlier process wrote. Without a
    run directory nothing is written.

    Args:
        run_dir: The run directory, or None.
        strategy: Only the first process writes.
        class_names: The names on a confusion matrix.

    Raises:
        UsageError: If the package tensorboard is not installed.
    """

    def __init__(
        self,
        run_dir: Path | None,
        strategy: Strategy,
        class_names: Annotated[list[str] | None, FromRun("class_names")] = None,
    ) -> None:
        super().__init__(run_dir, strategy)
        self._class_names = class_names
        self._writer: SummaryWriter | None = None
        self._records: list[Record] = []
        """The last record of each split that has lists."""

    def begin(self, run: Loop, records: Sequence[Record]) -> int:
        """Open a new event file, which hides and repeats the records of older ones."""
        assert self.run_dir is not None
        self._close()
        again = 0 if records else run.progress.step + 1
        self._writer = _open(self.run_dir / "tensorboard", again if run.progress.step > 0 else None)
        run_file = self.run_dir / "run.toml"
        if run_file.is_file():
            self._writer.add_text("run file", f"```toml\n{run_file.read_text(encoding='utf-8')}\n```", 0)
        return 0

    def log(self, record: Record) -> None:
        """Write a record."""
        assert self._writer is not None
        for name, value in record.numbers.items():
            self._writer.add_scalar(name, value, record.step)
        for name, values in record.lists.items():
            for place, value in _few(values):
                self._writer.add_scalar(f"{name}/{place}", value, record.step)
        if record.lists:
            self._records = [one for one in self._records if one.split != record.split] + [record]

    def end(self, run: Loop, error: BaseException | None) -> None:
        """Draw the images and close the event file."""
        if error is None:
            self._draw(run)
        self._close()

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        """Flush the event file up to the checkpoint."""
        if self._writer is not None:
            self._writer.flush()

    def _draw(self, run: Loop) -> None:
        """Add the curves and the last lists as images."""
        from wf_charts.pictures import as_figure
        from wf_tracking.drawing.lists import list_chart
        from wf_tracking.drawing.plots import Curves

        assert self._writer is not None
        assert self.run_dir is not None
        if (self.run_dir / FILE).exists():
            for chart in Curves(self.run_dir).charts():
                self._writer.add_figure(f"curves/{chart.name}", as_figure(chart), run.progress.step)
        for record in self._records:
            for name, values in record.lists.items():
                if not list(_few(values)):
                    chart = list_chart(name, values, self._class_names)
                    self._writer.add_figure(name, as_figure(chart), record.step)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _few(values: Sequence[Any]) -> Iterator[tuple[int, float]]:
    """The numbers of a short list, each with its place."""
    if len(values) <= MAX_SCALARS and not any(isinstance(value, list) for value in values):
        for place, value in enumerate(values):
            if isinstance(value, (int, float)):
                yield place, float(value)


def _open(folder: Path, purge_step: int | None) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            f"the hook 'tensorboard' needs the package tensorboard ({error})\n"
            "  install it: pip install tensorboard; or remove the hook: --hook no:tensorboard"
        ) from error
    files.make_own_folder(folder)
    return SummaryWriter(str(folder), purge_step=purge_step)
