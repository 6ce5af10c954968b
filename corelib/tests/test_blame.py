"""The owner of the code that raised an error is named, and only once."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from wf import Component
from wf.blame import blame, blamed, culprit, naming_culprit, take_blame
from wf.discovery.plugins import Plugin
from wf.errors import UsageError


@pytest.mark.parametrize(
    ("modules", "name"),
    [
        (["wf.engine.loop", "wf_losses.focal", "torch.nn"], "wf-losses"),
        (["wf.engine.loop", "wf_training.trainer", "wf_file_net"], "net.py"),
        (["wf_training.trainer", "wf.engine.loop"], "wf-core"),
        (["__main__", "wf.engine.loop", "torch.utils.data", "__main__"], "net.py"),
        (["__main__", "wf.engine.loop", "torch.utils.data"], "wf-core"),
        (["wf.engine.loop", "stranger.losses.deep"], "stranger"),
        (["wf.engine.loop", "parts_of_stranger"], "stranger"),
        (["wf.engine.loop", "parts_of_somebody_else"], "wf-core"),
        (["torch.nn"], ""),
    ],
)
def test_the_owner_of_the_raising_code_is_found(modules: list[str], name: str) -> None:
    """`modules` are the modules of the frames of an error, outermost first."""
    assert culprit(raised_in(modules), [stranger()]) == name


def stranger() -> Plugin:
    components = (
        Component("loss", "theirs", "parts_of_stranger:Loss"),
        Component("loss", "live", lambda predictions, targets: None),
    )
    return Plugin(
        name="stranger", distribution=None, version=None, module="stranger.losses", status="ok", components=components
    )


def raised_in(modules: list[str]) -> BaseException:
    with pytest.raises(ZeroDivisionError) as caught:
        nested(modules)
    frames = caught.value.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") not in modules:
        frames = frames.tb_next
    return caught.value.with_traceback(frames)


NESTED = """\
def nested(modules):
    if not modules:
        raise ZeroDivisionError
    names = {"__name__": modules[0], "__file__": "net.py", "call": lambda: nested(modules[1:])}
    exec("call()", names)
"""


def nested(modules: list[str]) -> None:
    names: dict[str, Any] = {"__name__": "nobody"}  # this file would count as user code
    exec(NESTED, names)
    names["nested"](modules)


def test_the_first_blame_is_kept() -> None:
    error = RuntimeError("boom")
    error.add_note("in a note of somebody else")
    assert blamed(error) == ""
    blame(error, "")
    blame(error, "hook 'x' of y, at on_log")
    blame(error, "z")
    assert error.__notes__ == ["in a note of somebody else", "in hook 'x' of y, at on_log"]
    assert blamed(error) == take_blame(error) == "hook 'x' of y, at on_log"
    assert error.__notes__ == ["in a note of somebody else"]
    assert take_blame(error) == ""


def passing(error: BaseException, modules: list[str]) -> list[str]:
    """The notes of an error that was raised in these modules and passed through `naming_culprit`."""

    with pytest.raises(type(error)) as caught, naming_culprit():
        exec("raise error", {"__name__": modules[0], "error": error})
    assert caught.value is error
    return list(getattr(error, "__notes__", []))


def test_unexpected_errors_get_a_note_with_their_owner() -> None:
    assert passing(RuntimeError(), ["wf_losses.focal"]) == ["in wf-losses"]
    assert passing(UsageError(), ["wf_losses.focal"]) == []
    assert passing(KeyboardInterrupt(), ["wf_losses.focal"]) == []
    known = RuntimeError()
    blame(known, "hook 'x'")
    assert passing(known, ["wf_losses.focal"]) == ["in hook 'x'"]


def test_a_user_module_is_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nets_of_mine.py").write_text("def fail():\n    raise KeyError('oh')\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_nets_of_mine")
    with pytest.raises(KeyError) as caught, naming_culprit():
        module.fail()
    assert blamed(caught.value) == str(tmp_path / "own_nets_of_mine.py")


def test_installed_libraries_are_not_user_code() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    frames = caught.value.__traceback__
    assert frames is not None
    assert culprit(caught.value.with_traceback(frames.tb_next)) == ""
