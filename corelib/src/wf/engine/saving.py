"""The checkpoints of a run: one is written while training goes on, or fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from wf.blame import FAILURES
from wf.discovery.modules import describe
from wf.engine.cadence import Every
from wf.errors import SaveError

if TYPE_CHECKING:
    from wf.engine.loop import Loop

Place = tuple[int, int, str | None, int]
"""The identity of a checkpoint: epoch, step, why the run ended, and how many evaluations are owed."""
NOWHERE: Place = (-1, -1, None, 0)


class Saving:
    """The newest checkpoint of a run, and the one that is being written.

    Args:
        run: The loop.
        tell: Calls the listeners of an event.
        failed: Whether the run should go on without a checkpoint that could not be written.
        done: Called, by any thread, when one has been written.
    """

    def __init__(
        self, run: Loop, tell: Callable[..., None], failed: Callable[[Loop, SaveError], bool], done: Callable[[], None]
    ) -> None:
        self._run, self._tell, self._failed, self._done = run, tell, failed, done
        self.at = NOWHERE
        """The identity of the newest checkpoint."""
        self.unsaved: SaveError | None = None
        """Why the newest one could not be written; None if it could."""
        self._writing: Future[str] | None = None
        self.start_clock()

    def start_clock(self) -> None:
        """Count the minutes until the next checkpoint from now on."""
        self._time = time.monotonic()

    def is_time(self, cadence: Every | None) -> bool:
        """Whether the minutes of a cadence are over; several processes decide it together."""
        if cadence is None or cadence.unit != "minutes":
            return False
        return self._run.agree(time.monotonic() - self._time >= cadence.num * 60)

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written, or `wait` has not yet told of its end."""
        return self._writing is not None

    @property
    def is_written(self) -> bool:
        """Whether that checkpoint is complete, or has failed."""
        return self._writing is not None and self._writing.done()

    def begin(self, at: Place, save: Callable[[], str | Future[str]]) -> None:
        """Begin a checkpoint.

        Args:
            at: Its identity.
            save: See `wf.protocols.Checkpointer.save`.

        Raises:
            SaveError: If it cannot be written and the run should not go on without it.
        """
        self.at = at
        self.start_clock()
        before, self._run.phase = self._run.phase, "saving"
        try:
            saved = save()
        except SaveError as error:
            self._not_saved(error)
            return
        finally:
            self._run.phase = before
        if not isinstance(saved, Future):
            self._saved(saved)
            return
        self._writing = saved
        if self._run.agree is bool:  # several processes must all pause at the same step
            saved.add_done_callback(lambda _: self._done())

    def wait(self) -> None:
        """Wait until no checkpoint is being written, and tell the listeners.

        Raises:
            SaveError: As for `begin`.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        before, self._run.phase = self._run.phase, "saving"
        try:
            place = writing.result()
        except SaveError as error:
            self._not_saved(error)
        else:
            self._saved(place)
        finally:
            self._run.phase = before

    def wait_after(self, error: BaseException) -> None:
        """Wait for a checkpoint before the run ends with an error; a failed checkpoint must not hide the error.

        After an interrupt it does not wait: a checkpoint being written will be complete or absent.
        """
        if self._run.agree is not bool or isinstance(error, KeyboardInterrupt):  # other processes may be anywhere
            return
        try:
            self.wait()
        except FAILURES as another:
            error.add_note(f"the checkpoint that was being written failed too: {describe(another)}")

    def _saved(self, place: str) -> None:
        self.unsaved, self._run.saved_step = None, self.at[1]
        self._tell("on_checkpoint_end", self._run, place)

    def _not_saved(self, error: SaveError) -> None:
        self.at, self.unsaved = NOWHERE, error
        if not self._failed(self._run, error):
            raise error
