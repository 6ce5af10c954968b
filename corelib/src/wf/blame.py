"""Which plugin's code raised an unexpected error: one note on the error says so."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from wf.discovery.modules import describe
from wf.errors import WfError

if TYPE_CHECKING:
    from wf.discovery.plugins import Plugin


FAILURES = (Exception, SystemExit, GeneratorExit)
"""The exceptions that count as a failure of a component. ``sys.exit()`` is one, whatever its exit code;
KeyboardInterrupt is not: it comes from the user."""


class _Where(str):
    """The note with the origin of an error; others may add further notes."""

    __slots__ = ()


def blame(error: BaseException, where: str) -> None:
    """Add the note ``in WHERE`` to an error that has no such note yet."""
    if where and not blamed(error):
        error.add_note(_Where(f"in {where}"))


def blamed(error: BaseException) -> str:
    """The origin of an error, as given to `blame`; empty if unknown."""
    notes = (note for note in getattr(error, "__notes__", ()) if isinstance(note, _Where))
    return str(next(notes, "")).removeprefix("in ")


def take_blame(error: BaseException) -> str:
    """As `blamed`, and remove the note, for a caller that says it elsewhere."""
    where = blamed(error)
    if where:
        error.__notes__ = [note for note in error.__notes__ if not isinstance(note, _Where)]
    return where


@contextmanager
def naming_culprit(plugins: Iterable[Plugin] = ()) -> Iterator[None]:
    """Add the name of the plugin whose code raised an unexpected error to that error.

    Args:
        plugins: The plugins of the run: those named by a path are not among the installed ones.

    Raises:
        RuntimeError: For anything that would end the process silently, such as ``sys.exit()``.
    """
    try:
        yield
    except WfError:  # explains itself
        raise
    except FAILURES as error:
        where = blamed(error) or culprit(error, plugins)
        if isinstance(error, Exception):
            blame(error, where)
            raise
        take_blame(error)
        failure = RuntimeError(f"it ends the process: {describe(error)}")
        blame(failure, where)
        raise failure from error


def culprit(error: BaseException, plugins: Iterable[Plugin] = ()) -> str:
    """Whose code raised: the distribution, plugin or own file of the innermost frame that belongs to one.

    Args:
        error: The error, with its traceback.
        plugins: The plugins of the run: those named by a path are not among the installed ones.

    Returns:
        A name; empty if no frame belongs to wf, to a plugin or to a user's file.
    """
    owners = {**_named(plugins), **_installed()}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next(filter(None, (_owner(frame, owners) for frame in reversed(frames))), "")


def _installed() -> dict[str, str]:
    """The distribution of each package that holds a plugin's declaration, and of its top-level package."""
    from wf.discovery.distributions import plugin_entry_points  # only on the way to an error

    owners = {"wf": "wf-core"}
    for entry, distribution in plugin_entry_points():
        module = re.split(r"[^\w.]", entry.value)[0]
        owners[module.rpartition(".")[0] or module] = distribution.name
        owners.setdefault(module.partition(".")[0], distribution.name)
    return owners


def _named(plugins: Iterable[Plugin]) -> dict[str, str]:
    """The modules of plugins that are not installed: their own and those of their components."""
    owners: dict[str, str] = {}
    for plugin in plugins:
        if plugin.distribution is None:
            targets = [component.target for component in plugin.components if isinstance(component.target, str)]
            owners |= dict.fromkeys((plugin.module, *(t.rpartition(":")[0] for t in targets)), plugin.name)
    return owners


def _owner(frame: FrameType, owners: Mapping[str, str]) -> str:
    whole = name = str(frame.f_globals.get("__name__", ""))
    if name.startswith("wf_file_") or name == "__main__":  # a user's file, or the script that calls wf
        return str(frame.f_globals.get("__file__") or "your own code")
    while name and name not in owners:
        name = name.rpartition(".")[0]
    file = str(frame.f_globals.get("__file__") or "")
    other = file.startswith(tuple(sysconfig.get_paths().values())) or whole.startswith("wf_")  # wf or a library
    is_own = os.path.isabs(file) and os.path.isfile(file) and not other  # a user's module
    return owners[name] if name else file * is_own
