"""The failure policy for hooks: the run ends, or continues without the hook and reports it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from wf.discovery.modules import describe
from wf_building.built import Built, origin_of

if TYPE_CHECKING:
    from wf.engine.loop import Loop
    from wf_run.directory.rundir import RunDirectory


class HookFailures:
    """Names the parts of a run, and decides without which hooks it may continue.

    Args:
        parts: The parts, by kind.
        on_error: The policy of each hook by name.
        rank: The rank of this process; None for a single process.
        watching: The names of the hooks that only observe: once the run has begun it continues without them after any
            error, even one of `wf.errors`.
    """

    def __init__(
        self,
        parts: Mapping[str, Built | list[Built]],
        on_error: Mapping[str, str],
        rank: int | None = None,
        watching: Collection[str] = (),
    ) -> None:
        self._parts = [
            (kind, built) for kind, made in parts.items() for built in (made if isinstance(made, list) else [made])
        ]
        self._on_error, self._rank, self._watching = dict(on_error), rank, frozenset(watching)
        self._directory: RunDirectory | None = None
        self._new: list[dict[str, Any]] = []
        self.disabled: list[dict[str, Any]] = []
        """A record of each hook that was disabled, as in ``manifest.json``."""

    def begin(self, run: Loop, directory: RunDirectory | None, step: int) -> None:
        """Start a run, or resume one after a step: disabled hooks are tried again, and the records up to that step are
        kept."""
        self._directory, self._new = directory, []
        before = directory.manifest.get("disabled_hooks", []) if directory else []
        self.disabled = [record for record in before if record["step"] <= step]
        self._write(run)

    def name_of(self, part: Any) -> str:
        """The name of a part in messages: ``hook 'tensorboard' of wf-tracking``."""
        found = self._find(part)
        return f"{found[0]} '{found[1].name}' of {origin_of(found[1].entry)}" if found else type(part).__name__

    def watches(self, part: Any) -> bool:
        """Whether a part only observes, so that the run continues without it after any error."""
        found = self._find(part)
        return found is not None and found[0] == "hook" and found[1].name in self._watching

    def __call__(self, run: Loop, part: Any, event: str, error: BaseException) -> bool:
        """Whether the run continues without a failed part; if so the failure is recorded and reported."""
        found = self._find(part)
        if found is None or found[0] != "hook" or self._on_error.get(found[1].name) != "disable":
            return False
        if all(record["hook"] != found[1].name for record in self._new):
            self._disable(run, found[1], event, error)
        return True

    def _disable(self, run: Loop, hook: Built, event: str, error: BaseException) -> None:
        details = "".join(traceback.format_exception(error)).rstrip()
        record = {
            "hook": hook.name,
            "plugin": hook.entry.provider if hook.entry else "own code",
            "event": event,
            "step": run.progress.step,
            "error": describe(error),
            "traceback": details,
        }
        self.disabled.append(record)
        self._new.append(record)
        self._write(run)
        logging.getLogger("wf").warning(
            '%s failed at %s of step %d%s; the run continues without it (on_error = "disable")\n  %s\n%s',
            *(self.name_of(hook.value), event, run.progress.step),
            "" if self._rank is None else f" in process {self._rank}",
            record["error"],
            f"  its traceback is in {self._directory.path / 'manifest.json'}" if self._directory else details,
            extra={"of_process": True},
        )

    def _write(self, run: Loop) -> None:
        if self._directory is not None:
            self._directory.update_manifest(disabled_hooks=self.disabled)
        if self.disabled:
            run.notes["disabled hooks"] = "; ".join(
                f"{record['hook']}, at {record['event']} of step {record['step']:,}: {record['error']}"
                for record in self.disabled
            )

    def _find(self, part: Any) -> tuple[str, Built] | None:
        return next(((kind, built) for kind, built in self._parts if built.value is part), None)
