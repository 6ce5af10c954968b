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
from wf_run.directory.rundir import Recorder, digest_of
from wf_run.resuming import drift
from wf_state import codec
from wf_state.differences import ABSENT, Difference, differences

SHOWN = 5
"""How many values of a part a message names."""
HEAVY = ("model", "loss", "optimizer", "modes")
"""Parts of torch's own protocol that hold most of a state; they are asked for it once."""
TRIED = ("optimizer", "scheduler")
"""Parts that are tried with their own state before step 1: it is small then, and nothing else of theirs has begun."""


def check_savable(loop: Loop, may_fail: Sequence[Any] = ()) -> None:
    """Refuse, before step 1, a run whose state cannot be saved, or differs on every call of state_dict().

    Encoding copies no tensor. The states of optimizer and scheduler are put back into them and must come out again; of
    other parts none is: one may take that for the sign that a run goes on.

    Args:
        loop: Ready to run.
        may_fail: Hooks without which the run goes on when they fail; they are left alone here.

    Raises:
        UsageError: Naming the part and the value.
    """
    for part in (loop.trainer, *loop.hooks):
        if hasattr(part, "state_dict") != hasattr(part, "load_state_dict"):
            raise UsageError(f"{type(part).__name__} has only one of state_dict and load_state_dict: it cannot go on")
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
    """Refuse a part that does not take its own state back; one may add to it, such as empty slots."""
    try:
        part.load_state_dict(copy.copy(state))  # some take out of it what they load
    except FAILURES as error:
        raise UsageError(
            f"the state of {_name(loop, name)} cannot be put back, so the run could not go on\n  {describe(error)}"
        ) from error
    found = [one for one in differences(state, _state_of(loop, name, part)) if one.before != ABSENT]
    if found:
        words = "\n  ".join(f"{_name(loop, name)}: {one}" for one in found[:SHOWN])
        raise UsageError(f"a state does not come back as it was saved, so the run could not go on\n  {words}")


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
        state: What was loaded.
        allowed: Names for `wf_run.resuming.drift`; ``state`` lets a run go on with the records as they are.

    Raises:
        UsageError: When lines that the checkpoint counts on are gone or others.
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
        f"{file} is not what it was at step {state['progress']['step']:,}: {wrong}\n"
        "  put it back as it was, or go on with what it is, which the manifest will say: --allow-drift state"
    )


def check_restored(loop: Loop, state: Mapping[str, Any], allowed: Collection[str] = ()) -> list[drift.Drift]:
    """Export a loaded state again, and compare it bit for bit.

    Args:
        loop: The restored loop.
        state: The loaded state.
        allowed: Names for `wf_run.resuming.drift`; ``state`` lets a run go on that differs.

    Returns:
        The allowed differences.

    Raises:
        UsageError: Naming each part and value that did not come back.
    """
    saved = {name: part for name, part in state["parts"].items() if part is not None}  # of a hook that could not say it
    found = _by_part(saved, loop.state_dict()["parts"])
    if found and not drift.is_allowed("state", allowed):
        raise UsageError(
            "\n  ".join(
                [
                    "the checkpoint's state did not come back as it was saved, so the run would go another way",
                    *_words(found, loop),
                    "let load_state_dict put back all that state_dict gives, or go on: --allow-drift state",
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
