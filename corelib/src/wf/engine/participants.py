"""The participants of a run: their events, their states, and the consequences of their failures."""

from __future__ import annotations

import copy
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wf.blame import FAILURES, blame, blamed
from wf.discovery.modules import describe
from wf.engine.events import EVENTS, check_events, listeners
from wf.engine.figures import Figures
from wf.errors import DataError, PluginError, SaveError, UsageError, WfError
from wf.protocols import Stateful

if TYPE_CHECKING:
    from wf.engine.loop import Loop

_FIGURES = ("on_log", "on_evaluation_end")
"""The events at which a hook may add figures."""
_LAST = (*_FIGURES, "on_run_end")
"""The events at which parts with `told_last` are called after all others."""


class Participants:
    """The loop's trainer, evaluator, checkpointer and hooks, and the parts that are saved with them.

    Args:
        run: The loop, whose parts are looked up whenever they are needed.
        name_of: Returns the name of a part for error notes.
        failed: Called as ``failed(run, part, event, error)`` for an error that is not one of `wf.errors`; returns True
            if the run should continue without that part's listeners.
        watches: Whether a part only observes: then `failed` is called for its errors of `wf.errors`, too, once the run
            has begun.
    """

    def __init__(
        self,
        run: Loop,
        name_of: Callable[[Any], str],
        failed: Callable[[Loop, Any, str, BaseException], bool],
        watches: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        self._run, self.name_of, self._failed, self._watches = run, name_of, failed, watches
        self._not_loaded: dict[int, dict[str, Any]] = {}
        self.listening: dict[str, list[Callable[..., None]]] = {}
        """The listeners of each event, from `bind` on."""
        self._num_adding = Counter[str]()
        """The number of listeners that may add figures; the others come later and show or record them."""

    def bind(self) -> None:
        """Find the listeners of each event, once for the whole run.

        Raises:
            UsageError: For a method named almost like an event, or hooks for gradients with a trainer that does not
                announce them.
        """
        parts = self._all()
        check_events(parts)
        awake = [part for part in parts if id(part) not in self._not_loaded]
        last = sorted(awake, key=lambda part: bool(getattr(part, "told_last", False)))
        self.listening = {event: list(listeners(event, last if event in _LAST else awake)) for event in EVENTS}
        adding = [part for part in awake if not getattr(part, "told_last", False)]
        self._num_adding = Counter({event: len(listeners(event, adding)) for event in _FIGURES})
        clippers, trainer = self.listening["on_gradients_ready"], self._run.trainer
        if hasattr(trainer, "before_update"):
            tell = functools.partial(self.tell, "on_gradients_ready", self._run)
            trainer.before_update = (tell,) if clippers else ()
        elif clippers:
            raise UsageError(
                f"{type(trainer).__name__} does not announce its gradients (it has no attribute "
                f"'before_update'), so these hooks cannot work: "
                + ", ".join(self._name_of_owner(call, "on_gradients_ready") for call in clippers)
            )

    def tell(self, event: str, *args: Any) -> None:
        """Call the listeners of an event."""
        for listen in self.listening.get(event, ()):
            try:
                listen(*args)
            except FAILURES as error:
                if not self.goes_on(listen, event, error):
                    raise

    def tell_figures(self, event: str, args: Sequence[Any], figures: Figures, then: Callable[[Figures], None]) -> None:
        """Call the listeners of an event at which figures may be added.

        Args:
            event: One of `_FIGURES`.
            args: The arguments of the event.
            figures: The figures, which listeners may add to.
            then: Called with all figures, before the listeners that show or record them.
        """
        calls = self.listening.get(event, ())
        for number, listen in enumerate(calls):
            if number == self._num_adding[event]:
                then(figures)
            try:
                listen(*args, figures.values)
                figures.take(functools.partial(self._name_of_owner, listen, event))
            except FAILURES as error:
                if not self.goes_on(listen, event, error):
                    raise
                figures.forget()
        if len(calls) == self._num_adding[event]:
            then(figures)

    def tell_of(self, error: BaseException) -> None:
        """Tell every listener of the error that ends the run; a listener that fails must not hide it."""
        for listen in self.listening["on_exception"]:
            try:
                listen(self._run, error)
            except FAILURES as another:
                name = self._name_of_owner(listen, "on_exception")
                error.add_note(f"{name} failed too, at on_exception: {describe(another)}")

    def goes_on(self, listen: Callable[..., None], event: str, error: BaseException) -> bool:
        """Whether the run continues after a listener's error."""
        return self._goes_on_without(self._owner(listen, event), event, error)

    def stateful(self) -> dict[str, Stateful]:
        """The contents of a checkpoint besides the position, by name."""
        parts = dict(self._run.parts)
        trainer = self._run.trainer
        if isinstance(trainer, Stateful):
            parts["trainer"] = trainer
        parts |= {f"trainer/{name}": part for name, part in getattr(trainer, "parts", {}).items()}
        for hook in self._run.hooks:
            if isinstance(hook, Stateful):
                parts[_free_name(f"hook/{type(hook).__name__}", parts)] = hook
        return parts

    def states(self) -> dict[str, dict[str, Any] | None]:
        """The state of each part; None for a failed hook that the run continues without."""
        return {name: self._state_of(part) for name, part in self.stateful().items()}

    def check_names(self, states: Mapping[str, Any]) -> None:
        """Refuse states that do not belong to the parts of this run.

        Raises:
            UsageError: Naming the parts that exist on one side only.
        """
        here, there = set(self.stateful()), set(states)
        if here != there:
            raise UsageError(
                "the checkpoint does not fit this run"
                f"\n  only in the checkpoint: {sorted(there - here) or '-'}"
                f"\n  only in the run: {sorted(here - there) or '-'}"
            )

    def load_states(self, states: Mapping[str, Any]) -> None:
        """Restore the states from `states` into the present parts."""
        self._not_loaded = {}
        for name, part in self.stateful().items():
            if states.get(name) is not None:  # None: the hook could not give its state
                self._load(part, states[name])

    def _all(self) -> list[Any]:
        run = self._run
        return [part for part in (run.trainer, run.evaluator, run.checkpointer, *run.hooks) if part is not None]

    def _load(self, part: Stateful, state: dict[str, Any]) -> None:
        """Restore a part's state; the run may continue without a failing hook, whose saved state is kept unchanged."""
        try:
            part.load_state_dict(copy.copy(state))  # some remove what they load
        except FAILURES as error:
            if not self._goes_on_without(part, "load_state_dict", error):
                raise
            self._not_loaded[id(part)] = state

    def _state_of(self, part: Stateful) -> dict[str, Any] | None:
        if id(part) in self._not_loaded:
            return self._not_loaded[id(part)]
        try:
            return dict(part.state_dict())
        except FAILURES as error:
            if not self._goes_on_without(part, "state_dict", error):
                raise
        return None

    def _goes_on_without(self, part: Any, event: str, error: BaseException) -> bool:
        """Handle a part's failure in `event`; True if the run continues and the part is disconnected."""
        if blamed(error):  # raised by a part that this one called
            return False
        if isinstance(error, WfError) and not self._may_fall_away(part, event, error):  # raised on purpose
            return False
        blame(error, f"{self.name_of(part)}, at {event}")
        if not self._failed(self._run, part, event, error):
            return False
        for name, listening in self.listening.items():  # in place: an event may be under way
            gone = listeners(name, [part])
            listening[:] = [_deaf if call in gone else call for call in listening]
        return True

    def _may_fall_away(self, part: Any, event: str, error: WfError) -> bool:
        """Whether an intentional error comes from a part that only observes; before the run such an error refuses
        options."""
        theirs = isinstance(error, (UsageError, DataError, PluginError)) and not isinstance(error, SaveError)
        return theirs and event != "on_run_start" and self._watches(part)

    def _name_of_owner(self, listen: Callable[..., None], event: str) -> str:
        return self.name_of(self._owner(listen, event))

    def _owner(self, listen: Callable[..., None], event: str) -> Any:
        """The part that listens to an event with this method."""
        return next((part for part in self._all() if listen in listeners(event, [part])), listen)


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, numbered where it is taken."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def _deaf(*_: Any) -> None:
    """Placeholder for a disconnected listener."""
