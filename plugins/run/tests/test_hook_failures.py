"""A failing hook is named with its plugin and event, and ends the run or is disabled and recorded."""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import wf as api
from wf.engine.events import EVENTS

HOOK = '''
from pathlib import Path

from wf import Component, Hook, hookimpl


class Fragile(Hook):
    """Fails at an event, while there is a file `fail`.

    Args:
        event: The event.
        step: The first step at which it fails.
    """

    def __init__(self, event: str = "on_step_end", step: int = 0) -> None:
        self.step, self.steps_heard = step, []
        setattr(self, event, self.fail)

    def fail(self, run, *args):
        self.steps_heard.append(run.progress.step)
        if run.progress.step >= self.step and Path("fail").exists():
            raise OSError("the server is gone")

    def state_dict(self):
        return {"steps_heard": list(self.steps_heard)}

    def load_state_dict(self, state):
        self.steps_heard = list(state["steps_heard"])
        print("it has heard", self.steps_heard)


@hookimpl
def wf_components():
    return [Component("hook", "fragile", Fragile, aliases=("brittle",))]
'''
KILLER = """
import os, signal

class Killer:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, run):
        if run.progress.step == self.step and os.path.exists("fail"):
            run.wait_for_checkpoint()
            os.kill(os.getpid(), signal.SIGKILL)
"""
TOLD = [event for event in EVENTS if event != "on_exception"]
BY_COMMAND_LINE = [
    event if event in ("on_step_end", "on_checkpoint_end") else pytest.param(event, marks=pytest.mark.exhaustive)
    for event in TOLD
]
"""All are tried in Python, see below."""
PLUGIN = ("-p", "fragile.py")
SHORT = ("--dataset", "iris", "--steps", 12, "--checkpoint-every", "5steps", "--quiet", "--name", "x")

Run = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "fragile.py").write_text(HOOK)
    (tmp_path / "killer.py").write_text(KILLER)
    (tmp_path / "fail").touch()
    return tmp_path


@pytest.fixture
def fragile(wf: Any, place: Path) -> Run:
    """A run with the hook `fragile`, which fails at an event."""

    def run(event: str, *options: Any) -> Any:
        return wf("run", *PLUGIN, "--hook", "+fragile", "--hook.fragile.event", event, *SHORT, *options)

    return run


def manifest(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "runs/x/manifest.json").read_text())
    return found


@pytest.mark.parametrize("event", BY_COMMAND_LINE)
def test_a_failing_hook_ends_the_run_and_is_named(fragile: Run, place: Path, event: str) -> None:
    result = fragile(event)
    assert (result.code, result.stdout) == (1, "")
    assert f'File "{place / "fragile.py"}", line 22, in fail\n    raise OSError("the server is gone")' in result.stderr
    ending = f"wf: unexpected failure in hook 'fragile' of fragile, at {event}: OSError: the server is gone\n"
    assert result.stderr.endswith(ending)
    assert result.stderr.count("'fragile'") == 1, "it is reported once"
    assert (manifest(place)["status"], manifest(place)["disabled_hooks"]) == ("failed", [])


@pytest.mark.parametrize("event", BY_COMMAND_LINE)
def test_a_run_continues_without_a_disabled_hook(fragile: Run, place: Path, event: str) -> None:
    result = fragile(event, "--hook.fragile.on_error", "disable")
    assert result.code == 0, result.stderr
    (record,) = manifest(place)["disabled_hooks"]
    assert list(record) == ["hook", "plugin", "event", "step", "error", "traceback"]
    step = record["step"]
    assert (record["hook"], record["plugin"], record["event"]) == ("fragile", "fragile", event)
    assert record["error"] == "OSError: the server is gone"
    assert 'raise OSError("the server is gone")\nOSError: the server is gone' in record["traceback"]
    assert result.stderr == (
        f"wf: warning: hook 'fragile' of fragile failed at {event} of step {step}; the run continues without it "
        '(on_error = "disable")\n  OSError: the server is gone\n  its traceback is in runs/x/manifest.json\n'
    )
    line = f"disabled hooks  fragile, at {event} of step {step}: OSError: the server is gone"
    assert line in result.stdout.splitlines()
    assert (manifest(place)["status"], manifest(place)["steps"]) == ("done", 12)


def test_a_disabled_hook_is_recorded_while_the_run_continues(wf: Any, place: Path) -> None:
    """A process that is killed after the hook was disabled leaves the record, too."""
    hooks = ("--hook", "fragile", "--hook.fragile.on_error", "disable", "--hook", "killer.py:Killer")
    assert wf("run", *PLUGIN, *hooks, "--hook.killer.py:Killer.step", 4, *SHORT).code != 0
    assert manifest(place)["status"] == "running"
    assert [record["hook"] for record in manifest(place)["disabled_hooks"]] == ["fragile"]


def test_a_disabled_hook_does_not_change_the_metrics(wf: Any, fragile: Run, place: Path) -> None:
    assert fragile("on_gradients_ready", "--hook.fragile.on_error", "disable").code == 0
    assert wf("run", *SHORT[:-1], "plain").code == 0
    assert (place / "runs/x/metrics.jsonl").read_text() == (place / "runs/plain/metrics.jsonl").read_text()


def test_resume_tries_a_disabled_hook_again(wf: Any, fragile: Run, place: Path) -> None:
    assert fragile("on_step_end", "--hook.fragile.on_error", "disable", "--hook.fragile.step", 7).code == 0
    (first,) = manifest(place)["disabled_hooks"]
    assert (first["event"], first["step"]) == ("on_step_end", 7)
    table = next(table for table in tomllib.loads((place / "runs/x/run.toml").read_text())["hook"] if "event" in table)
    assert table == {"use": "fragile", "event": "on_step_end", "step": 7, "on_error": "disable"}

    again = wf("resume", "x", "--epochs", 4, "--quiet")
    assert again.code == 0, again.stderr
    assert "it has heard [1, 2, 3, 4, 5, 6, 7]" in again.stdout
    assert "failed at on_step_end of step 13" in again.stderr
    assert [record["step"] for record in manifest(place)["disabled_hooks"]] == [7, 13]
    assert "of step 7: OSError: the server is gone; fragile, at on_step_end of step 13" in " ".join(
        again.stdout.split()
    )

    (place / "fail").unlink()
    cured = wf("resume", "x", "--epochs", 5, "--quiet")
    assert (cured.code, cured.stderr) == (0, "")
    assert "it has heard [1, 2, 3, 4, 5, 6, 7, 13]" in cured.stdout
    assert [record["step"] for record in manifest(place)["disabled_hooks"]] == [7, 13], "earlier failures stay recorded"


def test_repeated_steps_drop_the_record_of_a_failure(wf: Any, fragile: Run, place: Path) -> None:
    options = ("--hook.fragile.on_error", "disable", "--hook.fragile.step", 7, "--hook", "+killer.py:Killer")
    options += ("--hook.killer.py:Killer.step", 9)
    assert fragile("on_step_end", *options).code != 0
    assert [record["step"] for record in manifest(place)["disabled_hooks"]] == [7]
    (place / "fail").unlink()
    again = wf("resume", "x", "--quiet")
    assert again.code == 0, again.stderr
    assert "it has heard [1, 2, 3, 4, 5]" in again.stdout, "its state is that of the checkpoint of step 5"
    assert manifest(place)["disabled_hooks"] == []
    assert "disabled hooks" not in again.stdout


def test_a_stopped_run_can_be_resumed(wf: Any, fragile: Run, place: Path) -> None:
    assert fragile("on_step_end", "--hook.fragile.step", 7).code == 1
    (place / "fail").unlink()
    result = wf("resume", "x", "--quiet")
    assert result.code == 0, result.stderr
    assert (manifest(place)["status"], manifest(place)["steps"]) == ("done", 12)


def test_a_dry_run_shows_the_traceback(fragile: Run, place: Path) -> None:
    result = fragile("on_step_end", "--hook.fragile.on_error", "disable", "--dry-run")
    assert result.code == 0
    assert "the run continues without it" in result.stderr
    assert 'raise OSError("the server is gone")' in result.stderr
    assert not (place / "runs").exists()


@pytest.mark.parametrize("spelling", ["hook.fragile.on_error", "hook.brittle.on-error", "hook.Fragile.on_error"])
def test_on_error_accepts_aliases_and_any_case(wf: Any, place: Path, spelling: str) -> None:
    result = wf("run", *PLUGIN, "--hook", "+fragile", f"--{spelling}", "disable", "--print-config", "--quiet")
    assert tomllib.loads(result.stdout)["hook"][-1]["on_error"] == "disable"
    again = wf("run", *PLUGIN, "--hook", "+fragile", f"--{spelling}", "stop", "--print-config", "--quiet")
    assert "on_error" not in tomllib.loads(again.stdout)["hook"][-1], "the default of this hook is not written"
    plain = wf("run", *PLUGIN, "--hook", "+fragile", "--print-config", "--quiet")
    assert "on_error" not in tomllib.loads(plain.stdout)["hook"][-1]


def test_a_user_hook_is_named_by_its_file(wf: Any, place: Path) -> None:
    name = "fragile.py:Fragile"
    result = wf("run", "--hook", f"+{name}", *SHORT)
    assert result.stderr.endswith(
        f"wf: unexpected failure in hook 'fragile-fragile' of {place / 'fragile.py'}, at on_step_end: "
        "OSError: the server is gone\n"
    )
    result = wf("run", "--hook", f"+{name}", f"--hook.{name}.on_error", "disable", *SHORT[:-1], "y")
    assert result.code == 0, result.stderr
    (record,) = json.loads((place / "runs/y/manifest.json").read_text())["disabled_hooks"]
    assert (record["hook"], record["plugin"]) == ("fragile-fragile", "own code")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--hook.progress.on_error disabel",
            ["unknown value of 'on_error' 'disabel' of hook 'progress'", "did you mean 'disable'?", "disable, stop"],
        ),
        ("--hook.progress.on_error", ["unknown value of 'on_error' 'True'", "disable, stop"]),
        ("--hook.progress.on_eror stop", ["unknown option 'on_eror' of hook 'progress'"]),
        ("--loss.on_error disable", ["unknown option 'on_error' of loss 'ce'"]),
        ("--metric accuracy --metric.accuracy.on_error disable", ["unknown option 'on_error' of metric 'accuracy'"]),
    ],
)
def test_unknown_policies_are_refused(wf: Any, line: str, words: list[str]) -> None:
    result = wf("run", *line.split())
    assert (result.code, result.stdout) == (2, "")
    assert [word for word in words if word not in result.stderr] == []


# Failures of other shapes

BAD = """
import sys
from pathlib import Path


class Silent(Exception):
    def __str__(self):
        raise ZeroDivisionError


class Bad:
    def __init__(self, event: str, what: str) -> None:
        self.event, self.what = event, what
        self.act("made")

    def act(self, event):
        if event == self.event and Path("fail").exists():
            if self.what == "exit":
                sys.exit(0)
            raise {"silent": Silent, "generator": GeneratorExit, "plain": ValueError("no")}[self.what]

    def on_step_end(self, run):
        self.act("on_step_end")

    def on_evaluation_end(self, run, split, metrics):
        self.act("on_evaluation_end")

    def state_dict(self):
        self.act("state_dict")
        return {"heard": 3}

    def load_state_dict(self, state):
        self.act("load_state_dict")
        assert state == {"heard": 3}


def leave(predictions, targets):
    sys.exit(0)
"""
SAYS = {
    "exit": "SystemExit: 0",
    "silent": "Silent: (its message cannot be read: ZeroDivisionError)",
    "generator": "GeneratorExit",
    "plain": "ValueError: no",
}


@pytest.fixture
def bad(wf: Any, place: Path) -> Run:
    (place / "bad.py").write_text(BAD)

    def run(event: str, what: str, *options: Any) -> Any:
        hook = "--hook.bad.py:Bad"
        return wf(
            "run", "--hook", "+bad.py:Bad", f"{hook}.event", event, f"{hook}.what", what, *SHORT, *options, timeout=120
        )

    return run


@pytest.mark.parametrize("what", SAYS)
@pytest.mark.parametrize(
    "event",
    [
        "on_step_end",
        *(pytest.param(event, marks=pytest.mark.exhaustive) for event in ("on_evaluation_end", "state_dict")),
    ],
)
def test_any_exception_of_a_hook_is_reported_as_its_failure(bad: Run, place: Path, event: str, what: str) -> None:
    result = bad(event, what)
    assert (result.code, result.stdout) == (1, "")
    last = result.stderr.splitlines()[-1]
    assert f"in hook 'bad-bad' of {place / 'bad.py'}, at {event}: " in last
    assert last.endswith(SAYS[what])
    assert (manifest(place)["status"], SAYS[what].rpartition(": ")[2] in manifest(place)["reason"]) == ("failed", True)


@pytest.mark.parametrize("what", SAYS)
def test_a_run_continues_after_any_exception_of_a_disabled_hook(bad: Run, place: Path, what: str) -> None:
    result = bad("on_step_end", what, "--hook.bad.py:Bad.on_error", "disable")
    assert result.code == 0, result.stderr
    (record,) = manifest(place)["disabled_hooks"]
    assert (record["event"], record["error"]) == ("on_step_end", SAYS[what])


@pytest.mark.parametrize("what", SAYS)
def test_a_hook_that_cannot_be_made_is_named(bad: Run, place: Path, what: str) -> None:
    result = bad("made", what, "--hook.bad.py:Bad.on_error", "disable")
    last = result.stderr.splitlines()[-1]
    assert (result.code, result.stdout) == (1, "")
    assert f"in hook 'bad-bad' of {place / 'bad.py'}, while it is made: " in last
    assert last.endswith(SAYS[what])


def test_a_loss_that_ends_the_process(wf: Any, place: Path) -> None:
    (place / "bad.py").write_text(BAD)
    result = wf("run", "--loss", "bad.py:leave", *SHORT)
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].endswith("bad.py: RuntimeError: it ends the process: SystemExit: 0")
    assert manifest(place)["status"] == "failed"


@pytest.mark.parametrize("policy", ["stop", "disable"])
def test_a_hook_that_cannot_load_its_state(wf: Any, bad: Run, place: Path, policy: str) -> None:
    (place / "fail").unlink()
    assert bad("load_state_dict", "plain", "--hook.bad.py:Bad.on_error", policy).code == 0
    (place / "fail").touch()
    result = wf("resume", "x", "--epochs", 4, "--quiet")
    if policy == "stop":
        assert result.code == 1
        ending = f"in hook 'bad-bad' of {place / 'bad.py'}, at load_state_dict: ValueError: no\n"
        assert result.stderr.endswith(ending)
        assert manifest(place)["status"] == "failed"
        return
    assert result.code == 0, result.stderr
    (record,) = manifest(place)["disabled_hooks"]
    assert (record["event"], record["step"], record["error"]) == ("load_state_dict", 12, "ValueError: no")
    (place / "fail").unlink()
    again = wf("resume", "x", "--epochs", 5, "--quiet")
    assert (again.code, again.stderr) == (0, ""), "a disabled hook keeps its state and is tried again"


# In Python


class Live(api.Hook):
    def on_log(self, run: api.Loop, record: dict[str, Any]) -> None:
        raise OSError("the server is gone")


RUN: dict[str, Any] = {"dataset": "iris", "steps": 2, "save": False, "quiet": True}


def test_in_python_the_error_has_a_note() -> None:
    with pytest.raises(OSError, match="the server is gone") as caught:
        api.run(hook=[Live()], **RUN)
    assert caught.value.__notes__ == ["in hook 'Live' of own code, at on_log"]
    assert caught.traceback[-1].name == "on_log"


def test_in_python_a_run_continues_without_a_disabled_hook(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="wf"):
        exp = api.run(hook=[{"use": Live(), "on_error": "disable"}], **RUN)
    assert [(record["hook"], record["event"], record["step"]) for record in exp.disabled_hooks] == [
        ("Live", "on_log", 1)
    ]
    assert exp.loop.notes == {"disabled hooks": "Live, at on_log of step 1: OSError: the server is gone"}
    assert "failed at on_log of step 1" in caplog.text
    assert exp.loop.progress.step == 2


class Fragile(api.Hook):
    def __init__(self, event: str) -> None:
        setattr(self, event, self.fail)

    def fail(self, *_: Any) -> None:
        raise OSError("the server is gone")


@pytest.mark.parametrize("event", TOLD)
def test_in_python_a_failure_at_every_event(event: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = {**RUN, "save": True, "epochs": 1, "steps": None}
    with pytest.raises(OSError, match="the server is gone") as caught:
        api.run(hook=[Fragile(event)], run_dir=tmp_path / "ends", **run)
    assert caught.value.__notes__ == [f"in hook 'Fragile' of own code, at {event}"]
    assert json.loads((tmp_path / "ends/manifest.json").read_text())["status"] == "failed"
    api.run(hook=[{"use": Fragile(event), "on_error": "disable"}], run_dir=tmp_path / "goes-on", **run)
    ended = json.loads((tmp_path / "goes-on/manifest.json").read_text())
    (record,) = ended["disabled_hooks"]
    assert (record["hook"], record["event"], record["error"]) == ("Fragile", event, "OSError: the server is gone")
    assert ended["status"] == "done"
    assert caplog.text.count(f"failed at {event} of step") == 1


BROKEN = {
    "trainer": ("torch.Tensor.backward", "wf-training"),
    "evaluator": ("torch.inference_mode", "wf-training"),
    "checkpointer": ("wf_durability.whole.safetensors_file", "wf-durability"),
    "loss": ("torch.nn.functional.cross_entropy", "wf-losses"),
    "model": ("torch.nn.functional.max_pool2d", "wf-models"),
    "metric": ("torch.searchsorted", "wf-metrics"),
}
"""What each part calls, and the plugin that it is of."""


@pytest.mark.parametrize("kind", BROKEN)
def test_a_failure_in_any_component_names_its_plugin(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exp = api.build(model="lenet", loss="ce", metric=["auroc"], steps=2, run_dir=tmp_path / "x", quiet=True)
    error, (broken, plugin) = ArithmeticError("broken"), BROKEN[kind]

    monkeypatch.setattr(broken, Mock(side_effect=error))  # a library's function, not one of this file
    with pytest.raises(ArithmeticError) as caught:
        exp.fit()
    assert caught.value is error
    assert caught.value.__notes__ == [f"in {plugin}"]


def test_evaluation_and_prediction_name_the_plugin_too(monkeypatch: pytest.MonkeyPatch) -> None:
    exp = api.build(model="lenet", save=False, quiet=True)

    monkeypatch.setattr("torch.nn.functional.max_pool2d", Mock(side_effect=ArithmeticError("broken")))
    for work in (exp.evaluate, exp.predict, exp.dry_run):
        with pytest.raises(ArithmeticError) as caught:
            work()
        assert caught.value.__notes__ == ["in wf-models"]


WATCHER = """
from wf import Component, Hook, hookimpl
from wf.errors import DataError
from wf.traits import HookTraits

class Fragile(Hook):
    def on_run_end(self, run):
        raise DataError("there is nothing to draw")

@hookimpl
def wf_components():
    return [Component("hook", "fragile", Fragile, traits=HookTraits(watches=True))]
"""


def test_a_watching_hook_is_disabled_by_default_when_it_fails(wf: Any, place: Path) -> None:
    (place / "fragile.py").write_text(WATCHER)
    result = wf("run", *PLUGIN, "--hook", "+fragile", *SHORT)
    assert result.code == 0, result.stderr
    assert result.stderr.count("warning: hook 'fragile' of fragile failed at on_run_end of step 12") == 1
    assert manifest(place)["status"] == "done"
    stops = wf("run", *PLUGIN, "--hook", "+fragile", "--hook.fragile.on_error", "stop", *SHORT[:-1], "y")
    assert stops.code == 4
    assert "there is nothing to draw" in stops.stderr
    text = (place / "runs/y/run.toml").read_text()
    assert 'on_error = "stop"' in text
    assert "on_error" not in (place / "runs/x/run.toml").read_text()
