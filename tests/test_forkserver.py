"""A run in a fork is what a run of its own is, and one that hangs harms no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("args", [["list", "losses"], ["list", "no-such-kind"], ["run", "--loss", "no-such-loss"]])
def test_fork_equals_process(wf: Any, wf_process: Any, args: list[str]) -> None:
    assert wf(*args) == wf_process(*args)


def test_hanging_run_is_killed(wf: Any, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="killed after 1 s"):
        wf("run", "--epochs", "1000000", "--name", "endless", timeout=1)
    assert wf("list", "losses").code == 0
