from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from wf_run.cli.starting import uncollected


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_while_a_run_is_built_and_what_was_built_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_after_an_error_there_is_collecting_again() -> None:
    with pytest.raises(ValueError, match="it cannot be built"), uncollected():
        raise ValueError("it cannot be built")
    assert gc.isenabled()


def test_who_has_turned_it_off_keeps_it_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()
