"""Checks that a run's state can be saved, and that restoring gives the saved state."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from wf.blame import FAILURES, blame
from wf.discovery.modules import describe
from wf.engine.loop import Loop
from wf.errors import UsageError
from wf.protocols import Stateful
from wf_run.directory.recorder import Recorder
from wf_run.resuming import drift
from wf_state import codec
from wf_state.differences import ABSENT, Difference, differences
from wf_storage.checksums import digest_of

SHOWN = 5
"""The number of values of a part named in a message."""
HEAVY = ("model", "loss", "optimizer", "modes")
"""Parts with torch's own state protocol that hold most of a state; their state is read only once."""
TRIED = ("optimizer", "scheduler")
"""Parts whose loading is tested with their own state before step 1, when it is small and without side effects."""


def check_savable(loop: Loop, may_fail: Sequence[Any] = ()) -> None:
    """Refuse, before step 1, a run whose state cannot be saved, or differs on every call of state_dict().

    Encoding copies no tensor. The states of optimizer and scheduler are loaded back and must come out unchanged; other
    parts are not tested, because they may take a load for the start of a resumed run.

    Args:
        loop: The loop, ready to run.
        may_fail: Hooks without which the run continues if they fail; they are not checked.

    Raises:
        UsageError: Naming the part and the value.
    """
    for part in (loop.trainer, *loop.hooks):
        if hasattr(part, "state_dict") != hasattr(part, "load_state_dict"):
            raise UsageError(
                f"{type(part).__name__} has only one of state_dict and load_state_dict: it cannot be resumed"
            )
    for name, part in loop.stateful().items():
        if not any(part is one for one in may_fail):
            _check_part(loop, name, part)


def _check_part(loop: Loop, name: str, part: Stateful) -> None:
    state = _state_of(loop, name, part)
    try:
        codec.encode(state)
    except codec.CodecError as error:
        raise UsageError(f"the state of {_name(loop, name)} cannot be saved\n  {error}") from error
    if name in TRIED:
        _try_to_load(loop, name, part, copy.deepcopy(state))
    if name not in HEAVY and (found := list(islice(differences(state, _state_of(loop, name, part)), SHOWN))):
        words = [f"{_name(loop, name)}: {one}" for one in found]
        raise UsageError("\n  ".join(["state_dict() returns something different on every call", *words]))


def _try_to_load(loop: Loop, name: str, part: Stateful, state: dict[str, Any]) -> None:
    """Refuse a part that cannot load its own state; adding to the state, such as empty slots, is allowed."""
    try:
        part.load_state_dict(copy.copy(state))  # some remove what they load
    except FAILURES as error:
        raise UsageError(
            f"the state of {_name(loop, name)} cannot be loaded back, so the run could not be resumed\n"
            f"  {describe(error)}"
        ) from error
    found = [one for one in differences(state, _state_of(loop, name, part)) if one.before != ABSENT]
    if found:
        words = "\n  ".join(f"{_name(loop, name)}: {one}" for one in found[:SHOWN])
        raise UsageError(f"a state changes when it is saved and loaded, so the run could not be resumed\n  {words}")


def _state_of(loop: Loop, name: str, part: Stateful) -> dict[str, Any]:
    try:
        return dict(part.state_dict())
    except FAILURES as error:
        blame(error, f"{loop.part_name(name)}, at state_dict")
        raise


def check_records(file: Path, state: Mapping[str, Any], allowed: Collection[str] = ()) -> None:
    """Refuse records that do not match a checkpoint, before anything is changed.

    Args:
        file: ``metrics.jsonl``.
        state: The loaded state.
        allowed: Names for `wf_run.resuming.drift`; ``state`` accepts the records as they are.

    Raises:
        UsageError: If lines that belong to the checkpoint are missing or changed.
    """
    hooks = [part for name, part in state["parts"].items() if name.startswith(f"hook/{Recorder.__name__}") and part]
    saved = next((part for part in hooks if "bytes" in part), None)
    if saved is None or drift.is_allowed("state", allowed):
        return
    size, num_bytes = file.stat().st_size if file.exists() else 0, saved["bytes"]
    # Checkpoints of older versions have no checksum.
    if size >= num_bytes and saved.get("sha256") in (None, digest_of(file, num_bytes).hexdigest()):
        return
    wrong = f"{size:,} of {num_bytes:,} bytes are there" if size < num_bytes else "lines of it were changed"
    raise UsageError(
        f"{file} has changed since step {state['progress']['step']:,}: {wrong}\n"
        "  restore it, or resume anyway, which the manifest will record: --allow-drift state"
    )


def check_restored(loop: Loop, state: Mapping[str, Any], allowed: Collection[str] = ()) -> list[drift.Drift]:
    """Export a loaded state again, and compare it bit for bit.

    Args:
        loop: The restored loop.
        state: The loaded state.
        allowed: Names for `wf_run.resuming.drift`; ``state`` accepts differences.

    Returns:
        The allowed differences.

    Raises:
        UsageError: Naming each part and value that differs.
    """
    # None: the hook could not give its state
    saved = {name: part for name, part in state["parts"].items() if part is not None}
    found = _by_part(saved, loop.state_dict()["parts"])
    if found and not drift.is_allowed("state", allowed):
        raise UsageError(
            "\n  ".join(
                [
                    "the restored state differs from the checkpoint, so the run would diverge",
                    *_words(found, loop),
                    "make load_state_dict restore everything that state_dict returns, "
                    "or resume anyway: --allow-drift state",
                ]
            )
        )
    apart = [(f"{name}.{one.path} {one.before}", one.after) for name, several in found.items() for one in several]
    apart += [(name, "not in the run") for name in saved if name not in loop.stateful()]
    apart += [("not in the checkpoint", name) for name in loop.stateful() if name not in state["parts"]]
    return [drift.Drift(name="state", level="error", before=before, now=now) for before, now in apart]


def _by_part(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Difference]]:
    found = {name: list(islice(differences(before[name], after[name]), SHOWN)) for name in before if name in after}
    return {name: several for name, several in found.items() if several}


def _words(found: Mapping[str, list[Difference]], loop: Loop) -> list[str]:
    return [f"{_name(loop, name)}: {one}" for name, several in found.items() for one in several]


def _name(loop: Loop, name: str) -> str:
    """A part's name in messages and in checkpoints."""
    return f"{loop.part_name(name)} ({name})"
