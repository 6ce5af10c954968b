"""The events of the loop, listed once: the methods of `Hook`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from wf.errors import UsageError, closest

if TYPE_CHECKING:
    from wf.engine.loop import Loop


class Hook:
    """Listens to the loop. Override what you need; an event nobody listens to costs nothing.

    Deriving from `Hook` is optional: any object with a method of these names is a hook. `run` is the `Loop`:
    ``run.progress``, ``run.loss`` and ``run.batch`` (the last ones), ``run.metrics``, ``run.stop(reason)``.
    """

    told_last: ClassVar[bool] = False
    """Whether it is called at ``on_log``, ``on_evaluation_end`` and ``on_run_end`` after all hooks without this,
    whatever their order: for a hook that shows or records figures which other hooks add, or uses files which other
    hooks write."""

    figures: ClassVar[Mapping[str, bool | None] | None] = None
    """The figures that it adds: ``train/NAME`` to records, and ``SPLIT/NAME``, or ``*/NAME`` for every split, to
    evaluations; each with whether a larger value is better, None for unknown. A name that ends with ``*`` is a prefix.
    None if undeclared: a monitored figure is then checked only at its first record or evaluation."""

    def on_run_start(self, run: Loop) -> None:
        """Before the first step, after a restore."""

    def on_epoch_start(self, run: Loop) -> None:
        """Before the first batch of an epoch, or the first one after a resume."""

    def on_gradients_ready(self, run: Loop) -> None:
        """After the backward pass, before the optimizer's step; only with a trainer that has `before_update`."""

    def on_step_end(self, run: Loop) -> None:
        """After each update. Called every step: reading ``run.loss`` as a number here makes the device wait."""

    def on_log(self, run: Loop, record: dict[str, Any]) -> None:
        """At each log interval, before each evaluation, and at the end of each epoch and of the run; a sync point.

        `record` has plain numbers: ``loss`` (the last batch's), ``running_loss`` (mean over the batches since the last
        record, where there are any) and, at the end of an epoch, ``epoch_loss`` (mean over its samples). A hook may add
        to it: ``record["gradient/norm"] = 0.5`` is the figure ``train/gradient/norm``.
        """

    def on_evaluation_end(self, run: Loop, split: str, metrics: Mapping[str, Any]) -> None:
        """After a split was evaluated; a sync point. `metrics` has its figures by name, and a hook may add to them."""

    def on_epoch_end(self, run: Loop) -> None:
        """After the last batch of an epoch and its evaluation; ``run.progress.epoch`` is still this epoch."""

    def on_checkpoint_end(self, run: Loop, place: str) -> None:
        """After a checkpoint was committed at `place`.

        With writing in the background this is some steps after the checkpoint's own step; how many differs between
        runs.
        """

    def on_run_end(self, run: Loop) -> None:
        """After the final evaluation of a run that was not ended by an error."""

    def on_exception(self, run: Loop, error: BaseException) -> None:
        """When the run ends with an error, before it is raised; errors raised here are added to it as notes."""


EVENTS: tuple[str, ...] = tuple(name for name in vars(Hook) if name.startswith("on_"))
"""The names of all events, in the order in which they happen in an epoch that ends the run."""


def listeners(event: str, parts: Iterable[Any]) -> tuple[Callable[..., None], ...]:
    """The bound methods of the parts that listen to `event`; methods inherited from `Hook` itself do not count."""
    found = []
    for part in parts:
        method = getattr(part, event, None)
        if method is not None and getattr(method, "__func__", method) is not vars(Hook)[event]:
            found.append(method)
    return tuple(found)


def check_events(parts: Iterable[Any]) -> None:
    """Refuse a method named almost like an event, or one that does not take the event's arguments.

    Raises:
        UsageError: Naming the class, the method and the event that was probably meant.
    """
    for part in parts:
        if inspect.isclass(part):
            raise UsageError(f"{part.__name__} is a class where an object of it is wanted: {part.__name__}()")
        owner = type(part).__name__
        for name in dir(type(part)):
            if name.startswith("on_") and name not in EVENTS and callable(getattr(part, name)):
                near = closest(name, EVENTS)
                if near:
                    raise UsageError(
                        f"{owner} has a method '{name}', which is not an event of the loop\n"
                        f"  did you mean {' or '.join(near)}?\n  events: {', '.join(EVENTS)}"
                    )
        for event in EVENTS:
            _check_signature(part, event, owner)


def _check_signature(part: Any, event: str, owner: str) -> None:
    method = getattr(part, event, None)
    if method is None:
        return
    wanted = list(inspect.signature(vars(Hook)[event]).parameters)[1:]
    try:
        inspect.signature(method).bind(*wanted)
    except TypeError as error:
        raise UsageError(f"{owner}.{event} is called with ({', '.join(wanted)}): {error}") from error
