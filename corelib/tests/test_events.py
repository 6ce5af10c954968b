"""The events: which hooks listen, and the messages for wrong hooks."""

from __future__ import annotations

from typing import Any

import pytest

from wf import Hook, Loop
from wf.engine.events import EVENTS, check_events, listeners
from wf.errors import UsageError


class Listening(Hook):
    def on_step_end(self, run: Loop) -> None: ...


class Child(Listening):
    pass


class Plain:
    def on_step_end(self, run: Any) -> None: ...


def test_only_overridden_methods_listen() -> None:
    parts = [Hook(), Listening(), Child(), Plain(), object()]
    assert [type(method.__self__) for method in listeners("on_step_end", parts)] == [Listening, Child, Plain]  # type: ignore[attr-defined]  # bound methods
    assert listeners("on_epoch_end", parts) == ()


def test_a_method_set_on_an_object_listens() -> None:
    hook, seen = Plain(), []
    hook.on_epoch_end = seen.append  # type: ignore[attr-defined]  # as a test double does
    (listen,) = listeners("on_epoch_end", [hook])
    listen("run")  # type: ignore[arg-type]  # anything
    assert seen == ["run"]


@pytest.mark.parametrize("event", EVENTS)
def test_a_misspelt_event_is_reported(event: str) -> None:
    near = event.replace("_", "", 2).replace("on", "on_", 1) + "s"
    hook = type("Mine", (), {near: lambda self, run: None})()
    with pytest.raises(UsageError, match=f"Mine has a method '{near}', which is not an event") as caught:
        check_events([hook])
    assert event in str(caught.value).splitlines()[1]


def test_lightning_names_are_reported() -> None:
    hook = type("Mine", (), {"on_train_epoch_end": lambda self, run: None})()
    with pytest.raises(UsageError, match="on_epoch_end"):
        check_events([hook])


@pytest.mark.parametrize("parameters", ["self", "self, run, more", "self, run, split"])
def test_a_wrong_signature_is_refused(parameters: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def on_evaluation_end({parameters}): pass", space)
    hook = type("Mine", (), {"on_evaluation_end": space["on_evaluation_end"]})()
    if parameters == "self, run, split":
        hook = type("Mine", (), {"on_log": lambda self, run: None})()
    with pytest.raises(UsageError, match=r"Mine\.on_\w+ is called with \(run, "):
        check_events([hook])


def test_other_names_for_the_arguments_are_fine() -> None:
    check_events([type("Mine", (), {"on_log": lambda self, loop, figures, extra=None: None})(), Hook()])
    check_events([type("Mine", (), {"on_log": lambda self, *args: None, "helper": 1, "on_a_whim": None})()])


def test_a_class_in_place_of_an_object() -> None:
    with pytest.raises(UsageError, match=r"Listening is a class where an object of it is wanted: Listening\(\)"):
        check_events([Listening])


def test_a_hook_for_gradients_needs_a_trainer_that_announces_them() -> None:
    class Clip(Hook):
        def on_gradients_ready(self, run: Loop) -> None: ...

    class Trainer:
        def train_step(self, batch: Any) -> float:
            return 0.0

    from wf import Epochs

    with pytest.raises(UsageError, match=r"Trainer does not announce its gradients .* cannot work: Clip"):
        Loop(Trainer(), hooks=[Clip()]).run([], Epochs(1))
