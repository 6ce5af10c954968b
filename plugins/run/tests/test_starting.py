from __future__ import annotations

import gc
import io
import sys
import threading
from collections.abc import Iterator

import pytest

from wf_run.cli import starting
from wf_run.cli.starting import uncollected


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_garbage_collection_is_off_during_the_build_and_then_frozen() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_garbage_collection_is_on_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="it cannot be built"), uncollected():
        raise ValueError("it cannot be built")
    assert gc.isenabled()


def test_garbage_collection_turned_off_by_the_user_stays_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_progress_is_shown_on_a_terminal_and_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, fractions = Terminal(), iter([0.0, 0.5])
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(starting, "INTERVAL_SEC", 0.01)
    seen = threading.Event()

    def fraction() -> float:
        found = next(fractions, None)
        if found is None:
            seen.set()
        return 1.0 if found is None else found

    with starting.progress_of("evaluating test", fraction):
        assert seen.wait(10)
    shown = terminal.getvalue()
    assert [f"evaluating test {one}\r" in shown for one in ("0%", "50%")] == [True, True]
    assert shown.endswith("\x1b[2K")
