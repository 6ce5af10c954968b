"""A run in a fork equals a run in a new process, and a hanging run affects no other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("args", [["list", "losses"], ["list", "no-such-kind"], ["run", "--loss", "no-such-loss"]])
def test_a_fork_prints_the_same_as_a_process(wf: Any, wf_process: Any, args: list[str]) -> None:
    assert wf(*args) == wf_process(*args)


def test_hanging_run_is_killed(wf: Any, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="killed after 1 s"):
        wf("run", "--epochs", "1000000", "--name", "endless", timeout=1)
    assert wf("list", "losses").code == 0


def test_when_one_rank_fails_the_other_is_stopped(ranks: Any, tmp_path: Path) -> None:
    """As torchrun does; tests/test_ddp.py tests training with both."""
    (tmp_path / "hook.py").write_text(
        "import time\nclass Waits:\n    def __init__(self, strategy):\n"
        "        if strategy.rank: raise RuntimeError('boom')\n        time.sleep(60)\n"
    )
    began = time.monotonic()
    done = ranks("run", "--hook", "+hook.py:Waits", "--strategy", "ddp", "--steps", 1)
    assert (done.code, "boom" in done.stderr) == (1, True)
    assert time.monotonic() - began < 50
