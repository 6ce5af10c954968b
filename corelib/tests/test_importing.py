"""Changes that importing a plugin makes to the process are reported and undone."""

from __future__ import annotations

import builtins
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

from wf.declarations.component import Component
from wf.discovery import importing
from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin, Selection, discover

DECLARATION = """
from wf import Component, hookimpl
@hookimpl
def wf_components():
    return []
"""


def load(path: Path, text: str) -> Plugin:
    file = path / "evil.py"
    file.write_text(text + DECLARATION)
    (found,) = discover(Selection(extra=(str(file),), autoload=False))
    return found


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("import os; os.chdir('/')", "the working directory"),
        ("import os; os.environ['WF_EVIL'] = '1'", "the environment"),
        ("import sys; sys.path.insert(0, '/evil')", "sys.path"),
        ("import sys; sys.setrecursionlimit(5000)", "the recursion limit"),
        ("import warnings; warnings.simplefilter('ignore')", "filters of warnings"),
        ("import random; random.seed(3)", "Python's random numbers"),
        ("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)", "signal handlers"),
        ("import logging; logging.root.setLevel(1)", "logging"),
        ("import sys; sys.excepthook = print", "hooks for exceptions"),
        ("import gc; gc.disable()", "garbage collection"),
        ("import builtins; builtins.sorted = lambda *_: []", "builtins.sorted"),
        ("import torch; torch.set_default_dtype(torch.float64)", "torch's default dtype"),
        ("import torch; torch.manual_seed(3)", "torch's random numbers"),
        ("import torch; torch.set_grad_enabled(False)", "whether torch keeps gradients"),
        ("import torch; torch.nn.functional.relu = lambda x: x", "torch.nn.functional.relu"),
        ("import torch; torch.nn.Linear.forward = lambda self, x: x", "torch.nn.modules.linear.Linear.forward"),
    ],
)
def test_process_changes_by_a_declaration_are_reported_and_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, changed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = (os.getcwd(), dict(os.environ), [*warnings.filters], random.getstate(), signal.getsignal(signal.SIGINT))
    others = (logging.root.level, sys.excepthook, builtins.sorted, torch.get_default_dtype(), torch.is_grad_enabled())
    functions = (torch.nn.functional.relu, torch.nn.Linear.forward, torch.initial_seed(), sys.getrecursionlimit())
    path = [*sys.path]
    found = load(tmp_path, text)
    assert (found.status, found.changed) == ("ok", (changed,))
    assert before == (
        *(os.getcwd(), dict(os.environ), [*warnings.filters], random.getstate()),
        signal.getsignal(signal.SIGINT),
    )
    assert others == (
        *(logging.root.level, sys.excepthook, builtins.sorted, torch.get_default_dtype()),
        torch.is_grad_enabled(),
    )
    assert functions[:2] == (torch.nn.functional.relu, torch.nn.Linear.forward)
    assert functions[3] == sys.getrecursionlimit()
    assert sys.path[: len(path)] == path, "new entries come after the old ones"
    sys.path[:] = path


def test_process_changes_by_a_failing_plugin_are_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(tmp_path, "import os, sys; os.chdir('/'); sys.exit(3)")
    assert (found.status, found.changed, os.getcwd()) == ("failed", ("the working directory",), str(tmp_path))


def test_a_started_thread_is_reported(tmp_path: Path) -> None:
    found = load(
        tmp_path, "import threading, time; threading.Thread(target=time.sleep, args=(0.2,), name='spy').start()"
    )
    assert found.changed == ("a thread that it started, spy (not undone)",)
    for thread in threading.enumerate():
        if thread.name == "spy":
            thread.join()


def test_a_plugin_that_changes_nothing_is_not_reported(tmp_path: Path) -> None:
    assert load(tmp_path, "import json, wave, torch\n").changed == ()


def test_a_slow_plugin_is_named_while_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importing, "SLOW_SEC", 0.05)
    with caplog.at_level(logging.WARNING):
        load(tmp_path, "import time; time.sleep(0.3)")
    (record,) = caplog.records
    assert record.getMessage().startswith("still importing plugin 'evil', after 0.05 s")


def test_a_plugin_that_reads_standard_input_gets_end_of_file(tmp_path: Path) -> None:
    found = load(tmp_path, "import os; assert os.read(0, 1) == b''; input()")
    assert found.error == "EOFError: EOF when reading a line"


def test_process_changes_by_importing_a_component_are_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "evil_target_of_test.py").write_text(
        "import os, torch\nos.chdir('/')\ntorch.set_default_dtype(torch.half)\nf = max"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    plugin = Plugin(name="evil", distribution="evil", version="1", module="evil", status="ok")
    with caplog.at_level(logging.WARNING):
        assert Entry(Component("loss", "evil", "evil_target_of_test:f"), plugin).load() is max
    assert (os.getcwd(), torch.get_default_dtype()) == (str(tmp_path), torch.float32)
    assert "evil_target_of_test: the working directory, torch's default dtype" in caplog.text


def test_each_plugin_is_told_its_own_changes(tmp_path: Path) -> None:
    """Also after a plugin that changed nothing, one that could not undo its change, and one that failed."""
    thread = (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(0.5,), name='spy', daemon=True).start()\n"
    )
    limit, product = "import sys\nsys.setrecursionlimit(5000)\n", "import torch\ntorch.nn.functional.relu = None\n"
    texts = ["", limit, "", thread, "", product + "raise OSError\n", limit + product, ""]
    files = [tmp_path / f"plugin_{number}.py" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text + DECLARATION)
    found = discover(Selection(extra=tuple(map(str, files)), autoload=False))
    changes = [plugin.changed for plugin in found]
    spy, relu = "a thread that it started, spy (not undone)", "torch.nn.functional.relu"
    assert changes == [(), ("the recursion limit",), (), (spy,), (), (relu,), ("the recursion limit", relu), ()]
    assert sys.getrecursionlimit() != 5000
    assert callable(torch.nn.functional.relu)


def test_watching_an_import_takes_little_time() -> None:
    started = time.perf_counter()
    for _ in range(20):
        importing.Watched(declaring=True).settle()
    assert time.perf_counter() - started < 0.5
