"""Whether a run's state can be saved, and whether it comes back as it was saved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from wf import drift
from wf.blame import FAILURES, blame
from wf.errors import UsageError
from wf.loop import Loop
from wf.protocols import Stateful
from wf.runtime import codec
from wf.runtime.differences import Difference, differences

SHOWN = 5
"""How many values of a part a message names."""
HEAVY = ("model", "loss", "optimizer", "modes")
"""Parts of torch's own protocol that hold most of a state; they are not put back into themselves for a try."""


def check_savable(loop: Loop, may_fail: Sequence[Any] = ()) -> None:
    """Refuse, before step 1, a run whose state cannot be saved or does not come back.

    What holds tensors is encoded without a copy. Hooks, transforms, schedulers and trainer are given their own state
    back and must give the same again.

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
    state = _call(loop, name, "state_dict", part.state_dict)
    try:
        encoded = codec.encode(dict(state))
    except codec.CodecError as error:
        raise UsageError(f"the state of {loop.part_name(name)} cannot be saved\n  {error}") from error
    if name in HEAVY:
        return
    _call(loop, name, "load_state_dict", lambda: part.load_state_dict(codec.decode(*encoded)))
    again = dict(_call(loop, name, "state_dict", part.state_dict))
    found = list(islice(differences(codec.decode(*encoded), again), SHOWN))
    if found:
        words = [f"{loop.part_name(name)}: {one}" for one in found]
        raise UsageError("\n  ".join(["the state of this run does not come back as it was saved", *words]))


def _call(loop: Loop, name: str, what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except FAILURES as error:
        blame(error, f"{loop.part_name(name)}, at {what} before the first step")
        raise


def check_restored(loop: Loop, state: Mapping[str, Any], allowed: Collection[str] = ()) -> list[drift.Drift]:
    """Export a state again after it was put back, and compare it bit for bit with what was loaded.

    Args:
        loop: What the state was put back into.
        state: What was loaded.
        allowed: Names for `wf.drift`; ``state`` lets a run go on that differs.

    Returns:
        What differs, where that is allowed.

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
    return [
        drift.Drift(name="state", level="error", before=f"{name}.{one.path} {one.before}", now=one.after)
        for name, several in found.items()
        for one in several
    ]


def _by_part(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Difference]]:
    found = {name: list(islice(differences(before[name], after[name]), SHOWN)) for name in before if name in after}
    return {name: several for name, several in found.items() if several}


def _words(found: Mapping[str, list[Difference]], loop: Loop) -> list[str]:
    return [f"{loop.part_name(name)}: {one}" for name, several in found.items() for one in several]
